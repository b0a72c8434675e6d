"""Scores that were kept under another fingerprint of the same contents are found once more."""

from __future__ import annotations

import contextlib
from pathlib import Path

from spectrum_tui.core import disk
from spectrum_tui.core.checkpoint.headers import Checkpoint
from spectrum_tui.core.checkpoint.identity import canonical, remember, take_as
from spectrum_tui.core.journal.journal import journals, place_of
from spectrum_tui.core.journal.lock import ScanLock
from spectrum_tui.core.journal.spectra import spectra_path


def take_over(checkpoint: Checkpoint) -> None:
    """Note how a checkpoint is known, and move its journals under other names to its own.

    What a running scan writes is left to the next time, and so is what cannot be moved.
    """
    identity, now = checkpoint.identity, checkpoint.fingerprint
    remember(identity)
    formers = [identity.by_system]
    if canonical(identity.sampled) == now:
        formers.append(identity.sampled)
    for former in formers:
        if former not in ("", now):
            with contextlib.suppress(OSError):
                _move(former, now)


def _move(former: str, now: str) -> None:
    """Raise OSError where a journal, of which there are several of some scans, is not moved."""
    old, new = place_of(former), place_of(now)
    there = [file for file in journals(old) if file.is_file()]
    if not there:
        return
    with ScanLock(old) as lock:
        if not lock.take():
            return
        take_as(former, now)
        for file in there:
            target = _beside(new, file)
            # The spectra first: a journal without them would be read in between.
            with contextlib.suppress(FileNotFoundError):
                disk.move(spectra_path(file), spectra_path(target))
            disk.move(file, target)


def _beside(journal: Path, other: Path) -> Path:
    """Return the name of another journal among those of a checkpoint: one that is not taken."""
    name = other.stem.replace(".", "-")
    target, count = journal.with_suffix(f".{name}{journal.suffix}"), 1
    while target.exists():
        count += 1
        target = journal.with_suffix(f".{name}-{count}{journal.suffix}")
    return target
