"""The checkpoints of a job: it goes on from its own last one, and from nobody else's."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from spectrum_tui.core import disk
from spectrum_tui.core.errors import SpectrumError, reason_of

MARK = "spectrum_job.txt"
"""The file beside the checkpoints with the digest of what the job trains."""


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
