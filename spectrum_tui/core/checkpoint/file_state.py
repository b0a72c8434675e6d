"""Whether a model's files are still those that were inspected."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from spectrum_tui.core.checkpoint.mounts import out_of_reach
from spectrum_tui.core.errors import ModelChangedError, OutOfReachError, SpectrumError, reason_of

_SHA256 = re.compile(r"[0-9a-f]{64}")
_HEX_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def is_hex_id(text: str) -> bool:
    """Return whether `text` can be a file's id: the hex digits of a git blob's SHA-1 or of a
    SHA-256."""
    return _HEX_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """What tells a file from any other, and from itself once it was written to.

    The time of change (ctime) besides that of the contents, which rsync and `cp -p` set back.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, stat: os.stat_result) -> FileState:
        """Return the state of a file by what the system says of it."""
        return cls(
            device=stat.st_dev,
            inode=stat.st_ino,
            size=stat.st_size,
            mtime_ns=stat.st_mtime_ns,
            ctime_ns=stat.st_ctime_ns,
        )

    def identity(self, path: Path) -> str:
        """Return what the system says of a file that nobody wrote to: a blob of the hub's cache by
        its name, any other by its inode and all times. The device does not count: its number
        changes when a network disk is mounted again.
        """
        blob = path.resolve()
        if blob.parent.name == "blobs" and _SHA256.fullmatch(blob.name):
            return f"{blob.name} {self.size} {self.mtime_ns}"
        return f"{self.inode} {self.size} {self.mtime_ns} {self.ctime_ns}"


def check_unchanged(states: Mapping[str, FileState | None]) -> None:
    """Raise ModelChangedError for the first file that has changed, where its state was recorded,
    and OutOfReachError for one whose mount or disk is away."""
    for file, state in states.items():
        if state is None:
            continue
        try:
            now = FileState.of(Path(file).stat())
        except OSError as exc:
            raise gone(file, exc, state.device) from None
        if now != state:
            raise changed(file)


def gone(file: str, exc: OSError, device: int) -> SpectrumError:
    """Return the error for a file that was inspected, on this device, and can no longer be looked
    at."""
    path = Path(file)
    if error := out_of_reach(path, exc, device):
        return error
    if exc.errno == errno.EIO:  # not of one place in it: the disk is gone
        return OutOfReachError(
            f"{path.name} is out of reach ({reason_of(exc)}).",
            "Check the disk that it is on.",
            field="model",
        )
    if exc.errno == errno.ENOENT and not _holds_anything(path.parent):
        return OutOfReachError(
            f"The folder of {path.name} is empty or gone.",
            "If it is a mount, mount it again.",
            field="model",
        )
    return changed(file, exc)


def _holds_anything(folder: Path) -> bool:
    """Return whether a folder is there and not what is left in the place of a mount."""
    with suppress(OSError):
        return next(folder.iterdir(), None) is not None
    return False


def changed(file: str, exc: OSError | None = None) -> ModelChangedError:
    """Return the error for a file that was written to, replaced or taken away since it was
    inspected."""
    reason = f" ({reason_of(exc)})" if exc else ""
    return ModelChangedError(
        f"{Path(file).name} has changed since the model was inspected{reason}.",
        "Scan again once nothing writes to the folder; no score mixes old and new files.",
        field="model",
    )
