"""Which files make up a model: its shards, by the index beside them or by their names."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from spectrum_tui.core import json_text
from spectrum_tui.core.checkpoint.folder import (
    PIPELINE_FILE,
    files_below,
    is_model_file,
    no_weights,
)
from spectrum_tui.core.checkpoint.mounts import out_of_reach
from spectrum_tui.core.disk import read_regular
from spectrum_tui.core.errors import CheckpointError, reason_of
from spectrum_tui.core.numbers import part_of
from spectrum_tui.core.platforms import has_drive
from spectrum_tui.core.text import is_seen

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
MAX_JSON = 100_000_000
"""Bytes of a config or index that are read at most; the largest known index has 9 MB."""
_FINISH = "Finish the download and try again."
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.safetensors$")


def shard_names(folder: Path) -> list[str]:
    """Return the safetensors files that make up the model, in the order transformers looks for
    them."""
    try:
        files = {p.name for p in folder.iterdir() if p.is_symlink() or not p.is_dir()}
        is_single = (folder / SINGLE_FILE).is_file()
    except OSError as exc:
        raise unreadable(folder, exc) from None
    if is_single:
        return [SINGLE_FILE]
    index = read_json(folder / INDEX_FILE)
    if index is None:
        if PIPELINE_FILE in files or not any(map(is_model_file, files)):
            files |= set(files_below(folder))
        return unindexed_shards(files, str(folder), _FINISH, is_folder=True)
    shards = parse_index(index, str(folder / INDEX_FILE))
    inner = {name for name in shards if "/" in name and _is_inside(folder, name)}
    return all_present(shards, files | inner, str(folder / INDEX_FILE), _FINISH)


def _is_inside(folder: Path, name: str) -> bool:
    """Return whether a file of a folder below is there; raises CheckpointError where a link among
    the folders on the way leads out. The file itself may be a link, as in the hub's cache."""
    path = folder / name
    if not path.parent.resolve().is_relative_to(folder.resolve()):
        raise _outside(str(folder / INDEX_FILE), name)
    return path.is_symlink() or path.exists()


def choose_shards(files: Iterable[str], index: bytes | None, where: str, hint: str) -> list[str]:
    """Return the shards among the `files` of a repository that has no single file: by its index, if
    any.

    Raises CheckpointError when there are none, or, with `hint`, when some are missing.
    """
    present = set(files)
    if index is None:
        return unindexed_shards(present, where, hint, is_folder=False)
    return all_present(parse_index(index, INDEX_FILE), present, INDEX_FILE, hint)


def unindexed_shards(
    files: AbstractSet[str], where: str, hint: str, *, is_folder: bool
) -> list[str]:
    """Return the shards among `files` by their names; raises CheckpointError as `choose_shards`."""
    found = [] if PIPELINE_FILE in files else model_files(files)
    if not found:
        raise no_weights(where, files, is_folder=is_folder)
    return all_present(_all_parts(found), files, where, hint)


def all_present(shards: list[str], present: AbstractSet[str], where: str, hint: str) -> list[str]:
    """`shards`; raises CheckpointError, with `hint`, when some are not `present`."""
    missing = [name for name in shards if name not in present]
    if missing:
        raise CheckpointError(
            f"{where}: {part_of(len(missing), len(shards), 'shard', 'is', 'are')} missing, "
            f"first {missing[0]}.",
            hint,
            field="model",
        )
    return shards


def expected_shards(files: AbstractSet[str], index: bytes | None) -> list[str]:
    """Return the shards that must exist, by the index or by the names of those that do."""
    if SINGLE_FILE in files:
        return [SINGLE_FILE]
    return _all_parts(model_files(files)) if index is None else parse_index(index, INDEX_FILE)


def _all_parts(names: Iterable[str]) -> list[str]:
    """`names` and the parts that "-00002-of-00005" says there must be besides, sorted."""
    parts = set(names)
    for name in list(parts):
        match = _PART.search(name)
        if match:
            stem, count = name[: match.start()], int(match[2])
            parts |= {f"{stem}-{i:05d}-of-{match[2]}.safetensors" for i in range(1, count + 1)}
    return sorted(parts)


def model_files(files: Iterable[str]) -> list[str]:
    """Those of the top-level `files` that hold weights of the model itself."""
    return [name for name in files if "/" not in name and is_model_file(name)]


def leads_below(path: str) -> bool:
    """Return whether a path that somebody else wrote, with `/` between its parts, leads below the
    folder that it is joined to, links left aside, and is seen as itself."""
    parts = path.split("/")
    leads_out = {"", ".", ".."}.intersection(parts) or "\\" in path or has_drive(path)
    return not leads_out and is_seen(path)


def parse_index(data: str | bytes, where: str) -> list[str]:
    """Return the shard names of a model.safetensors.index.json, each once, sorted.

    A name may lead into a folder below; one that leads out raises CheckpointError.
    """
    index = parse_json(data, where)
    try:
        names = set(index["weight_map"].values())
        shards = sorted(name for name in names if isinstance(name, str))
    except json_text.WRONG_SHAPE:
        names, shards = set(), []
    if not shards or len(shards) < len(names):
        raise CheckpointError(
            f"{where} is not a valid shard index: it has no weight_map of tensors to files.",
            "Download the file again.",
            field="model",
        )
    for name in shards:
        if not leads_below(name):
            raise _outside(where, name)
    return shards


def _outside(where: str, name: str) -> CheckpointError:
    return CheckpointError(
        f"{where} points outside the model folder ({name!r}).",
        "Do not trust this download.",
        field="model",
    )


# -- the JSON files of a model --------------------------------------------------------------------


def read_json(path: Path) -> bytes | None:
    """Return the bytes of a JSON file, None where there is no file."""
    try:
        return read_regular(path, MAX_JSON)
    except FileNotFoundError:
        if path.is_symlink():
            raise unreadable(path, FileNotFoundError(errno.ENOENT, "")) from None
        return None
    except OSError as exc:
        raise unreadable(path, exc) from None


def parse_json(data: str | bytes, where: str) -> Any:
    """Return the value of the JSON file `where`; raises CheckpointError."""
    try:
        return json_text.load(data)
    except json_text.NotJSONError as exc:
        fault = exc.fault
        raise CheckpointError(f"{where} {fault.problem}.", fault.hint, field="model") from None


def unreadable(path: Path, exc: OSError, device: int = -1) -> CheckpointError:
    """Return the error for a file that the system will not let us read, on this `device` if that is
    known."""
    if exc.errno == errno.ENOENT and path.is_symlink():
        return CheckpointError(
            f"{path.name} is a link to a file that is gone.",
            "Download the model again.",
            field="model",
        )
    return out_of_reach(path, exc, device) or CheckpointError(
        f"{path} cannot be read ({reason_of(exc)}).",
        "Check the path and its permissions.",
        field="model",
    )
