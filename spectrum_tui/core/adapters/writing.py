"""A merged model on disk: written beside its place, file by file, and moved there when it is whole.

The folder `NAME.unfinished` holds `spectrum_merge.json`, which names the files that are finished
with their sha256. A merge that was stopped goes on after those that still have it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectrum_tui.core import disk, json_text
from spectrum_tui.core.adapters.beside import files_beside, merged_config
from spectrum_tui.core.adapters.merging import Content, Merge, header_of
from spectrum_tui.core.checkpoint.shards import INDEX_FILE, SINGLE_FILE, read_json
from spectrum_tui.core.errors import OutputError
from spectrum_tui.core.files import (
    cannot_write,
    check_writable,
    is_folder,
    write_pieces,
    write_text,
)
from spectrum_tui.core.platforms import lock

RECORD = "spectrum_merge.json"
"""What says of which adapter and base a folder is, and which files are finished."""
UNFINISHED = ".unfinished"
_FORM = 1
_PIECE = 2**24

Progress = Callable[[int, int, str], None]
"""(bytes done, bytes in all, the file)."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What came of a merge: shards that were written, and those that were there and sound."""

    folder: Path
    written: int
    reused: int
    already_there: bool = False


def write_merge(merge: Merge, folder: Path, progress: Progress) -> Written:
    """Write a merged model into a folder that is not there, or go on with one; raises OutputError
    for a folder that holds anything else, and where the disk does not take it."""
    identity, shards = _identity(merge), tuple(merge.shards)
    if _is_taken(folder):
        return _there(merge, folder, identity, progress)
    work = folder.with_name(folder.name + UNFINISHED)
    with _claimed(work):
        record = _started(work, identity)
        reused = _sound(work, record, merge, progress)
        record["shards"] = {name: record["shards"][name] for name in shards if name in reused}
        for name, contents in merge.shards.items():
            if name not in reused:
                record["shards"][name] = _write_shard(work / name, name, contents, merge, progress)
                _keep(work, record)
        _write_beside(work, merge)
        _keep(work, record)
        _move(work, folder)
    return Written(folder=folder, written=len(shards) - len(reused), reused=len(reused))


def _there(merge: Merge, folder: Path, identity: Mapping[str, Any], progress: Progress) -> Written:
    """Return that a folder holds this very merge; raises OutputError for anything else."""
    record = _read_record(folder)
    if record is None or record["of"] != identity:
        raise OutputError(
            f"{folder} is there and holds something else.",
            "Choose a folder that does not exist yet.",
            field="output_dir",
        )
    if _sound(folder, record, merge, progress) != set(merge.shards):
        raise OutputError(
            f"{folder} is a merge of this adapter, and its files have changed since.",
            "Move it away, or choose another folder.",
            field="output_dir",
        )
    return Written(folder=folder, written=0, reused=len(merge.shards), already_there=True)


# -- what is there already -------------------------------------------------------------------


def _identity(merge: Merge) -> dict[str, Any]:
    config, base = merge.adapter.config, merge.checkpoint.identity
    return {
        "form": _FORM,
        "adapter": merge.adapter.fingerprint,
        # Its very files: a merge of two versions is worse than one that starts over.
        "base": base.by_system,
        "base_weights": base.sampled or base.published,
        "base_name": config.base,
        "revision": config.revision,
        "dequantised": merge.dequantised,
    }


def _is_taken(folder: Path) -> bool:
    """Return whether something stands where the folder goes; an empty one does not count."""
    try:
        return bool(disk.names_in(folder)) if is_folder(folder) else folder.exists()
    except (OSError, ValueError) as exc:
        reason = exc if isinstance(exc, OSError) else OSError(0, "it is no path")
        raise cannot_write(folder, reason) from None


def _read_record(folder: Path) -> dict[str, Any] | None:
    """Return the record of a folder; None where there is none that could be ours."""
    if not is_folder(folder):
        return None
    try:
        record = json_text.load(read_json(folder / RECORD) or b"")
        shards = record["shards"]
        sound = all(isinstance(value, str) for pair in shards.items() for value in pair)
        return dict(record) if sound and isinstance(record["of"], dict) else None
    except json_text.WRONG_SHAPE:
        return None


@contextlib.contextmanager
def _claimed(work: Path) -> Iterator[None]:
    """Hold the folder of an unfinished merge, which is made; raises OutputError where it holds
    anything else, and where another process writes to it: each would remove what the other does.

    Folders cannot be locked everywhere (Windows, some network disks): there, nothing is held.
    """
    if _is_taken(work) and _read_record(work) is None:
        raise OutputError(
            f"{work} is there and is no unfinished merge.",
            "Move it away: the model is written there first.",
            field="output_dir",
        )
    check_writable(work)
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            handle = disk.open_folder(work)
            held.callback(os.close, handle)
            if not lock(handle):
                raise OutputError(
                    f"Another process is merging into {work}.",
                    "Wait until it ends, or choose another folder.",
                    field="output_dir",
                )
        yield


def _started(work: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of an unfinished folder, a new one where there is none of this merge."""
    record = _read_record(work)
    if record is not None:
        _tidy(work, [] if record["of"] == identity else list(record["shards"]))
        if record["of"] == identity:
            return record
    record = {"of": dict(identity), "shards": {}}
    _keep(work, record)
    return record


def _tidy(work: Path, names: list[str]) -> None:
    """Remove what a killed merge was writing, and the files of another merge."""
    try:
        parts = [name for name in disk.names_in(work) if name.startswith(".")]
        for name in (*(p for p in parts if p.endswith(".part")), *names):
            disk.remove(work / Path(name).name)
    except OSError as exc:
        raise cannot_write(work, exc) from None


def _sound(folder: Path, record: Mapping[str, Any], merge: Merge, progress: Progress) -> set[str]:
    """Return the shards that are finished and still hold what was computed."""
    found = set()
    done = 0
    for name in merge.shards:
        expected = record["shards"].get(name)
        if expected and (folder / name).is_file():
            digest = hashlib.sha256()
            for piece in _read_back(folder / name):
                digest.update(piece)
                done += len(piece)
                progress(done, merge.nbytes, f"checking {name}")
            if digest.hexdigest() == expected:
                found.add(name)
    return found


# -- writing ---------------------------------------------------------------------------------


def _write_shard(
    path: Path, name: str, contents: tuple[Content, ...], merge: Merge, progress: Progress
) -> str:
    """Write one file and read it back; returns its sha256."""
    digest = hashlib.sha256()
    before = sum(c.nbytes for other in _until(merge, name) for c in other)

    def pieces() -> Iterator[bytes]:
        done = before
        head = header_of(contents)
        digest.update(head)
        yield head
        for content in contents:
            for piece in content.pieces():
                digest.update(piece)
                done += len(piece)
                progress(done, merge.nbytes, name)
                yield piece  # type: ignore[misc]

    write_pieces(path, pieces())
    again = hashlib.sha256()
    for piece in _read_back(path):
        again.update(piece)
    if again.digest() != digest.digest():
        raise OutputError(
            f"{path} does not hold what was written to it.",
            "The disk is at fault: choose another one.",
            field="output_dir",
        )
    return digest.hexdigest()


def _until(merge: Merge, name: str) -> Iterator[tuple[Content, ...]]:
    for shard, contents in merge.shards.items():
        if shard == name:
            return
        yield contents


def _read_back(path: Path) -> Iterator[bytes]:
    try:
        yield from disk.read_from_disk(path, _PIECE)
    except OSError as exc:
        raise cannot_write(path, exc) from None


def _write_beside(work: Path, merge: Merge) -> None:
    for name, data in files_beside(merge.checkpoint.folder, merge.adapter.folder):
        write_pieces(work / name, (data,))
    if merge.checkpoint.has_config:
        write_text(work / "config.json", merged_config(merge))
    if set(merge.shards) != {SINGLE_FILE}:
        write_text(work / INDEX_FILE, _index(merge))


def _index(merge: Merge) -> str:
    files = {c.name: shard for shard, contents in merge.shards.items() for c in contents}
    data = {"metadata": {"total_size": merge.nbytes}, "weight_map": dict(sorted(files.items()))}
    return json.dumps(data, indent=2) + "\n"


def _keep(work: Path, record: Mapping[str, Any]) -> None:
    write_text(work / RECORD, json.dumps(record, indent=2) + "\n")


def _move(work: Path, folder: Path) -> None:
    try:
        disk.move_folder(work, folder)
    except OSError as exc:
        raise cannot_write(folder, exc) from None
