"""The checkpoints of a job: it goes on from its own last one, and from nobody else's."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

from spectrum_tui.core import disk, json_text
from spectrum_tui.core.errors import SpectrumError, reason_of

MARK = "spectrum_job.txt"
"""The file beside the checkpoints with the digest of what the job trains."""

_ARCHIVES = (".pt", ".pth", ".bin")
"""What torch saves, as zip archives."""


def own_checkpoint(folder: str, names: Iterable[str], *, resume: bool) -> str | None:
    """Return the last checkpoint of a job that trains `names`; None where there is none, or
    without `resume`.

    The first process marks the folder. Raises SpectrumError where the checkpoints in it are of a
    job that trains something else: its optimizer state would not fit.
    """
    from transformers.trainer_utils import get_last_checkpoint

    place, digest = Path(folder) / MARK, _digest(names)
    last: str | None = get_last_checkpoint(folder) if resume and Path(folder).is_dir() else None
    if last is None:
        if os.environ.get("RANK", "0") == "0":
            _mark(place, digest)
        return None
    if _marked(place) == digest:
        return last
    raise SpectrumError(
        f"The checkpoints in {folder} are of a job that trains other tensors.",
        "Give another --checkpoint-dir, or --resume false.",
    )


def check_whole(checkpoint: str) -> None:
    """Raise SpectrumError for a checkpoint that is not there, or of which a file was cut short: a
    job that is killed while it saves leaves such ones."""
    folder = Path(checkpoint)
    if not folder.is_dir():
        raise SpectrumError(f"There is no checkpoint {folder}.", "Give a folder checkpoint-N.")
    for path in sorted(folder.iterdir()):
        if path.is_file() and not _is_whole(path):
            raise SpectrumError(
                f"The checkpoint {folder} is damaged: {path.name} cannot be read.",
                "Remove this folder to go on from the one before it, or give --resume false.",
            )


def _is_whole(path: Path) -> bool:
    """Return whether a file has its end, as far as its kind tells: the directory of an archive is
    at the end of it, and a header of safetensors says how long the file is."""
    from safetensors import SafetensorError, safe_open

    try:
        if path.suffix in _ARCHIVES:
            return zipfile.is_zipfile(path)
        if path.suffix == ".json":
            json_text.load(disk.read_bytes(path))
        if path.suffix == ".safetensors":
            with safe_open(path, framework="numpy"):
                pass
    except (OSError, json_text.NotJSONError, SafetensorError):
        return False
    return True


def _digest(names: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def _mark(place: Path, digest: str) -> None:
    try:
        disk.make_folder(place.parent, 0o777)
        disk.replace(place, (digest.encode(),), disk.mode_of(place))
    except OSError as error:
        raise SpectrumError(f"Cannot write {place}: {reason_of(error)}.", "") from None


def _marked(place: Path) -> str:
    try:
        return disk.read_bytes(place).decode("ascii", "replace").strip()
    except OSError:
        return ""
