"""Finished scores on disk while a scan runs: what a killed scan is resumed from.

One JSON line per layer, appended and synced before the score is shown to anyone (0.1 ms). The
journal belongs to the exact bytes of a checkpoint (`Checkpoint.fingerprint`), so a scan of
other types, or after any kind of end, finds everything that was ever computed for it.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from spectrum_tui.core.files import cache_dir, cannot_write
from spectrum_tui.core.scores import RULE, Score


@dataclass(frozen=True, slots=True)
class Entry:
    """A matrix's score, and the seconds it took; `rule` names how it was computed.

    `error` bounds the relative error of the SNR where it was computed in the `fast` precision;
    it is 0 for an exact one.
    """

    layer: str
    score: Score
    seconds: float
    rule: str = RULE
    error: float = 0.0


def journal_path(fingerprint: str) -> Path:
    """Where the journal of a checkpoint lies."""
    return cache_dir() / "scans" / f"{fingerprint[:40]}.jsonl"


def read_journal(path: Path) -> dict[str, Entry]:
    """{layer: entry}; a torn or foreign line is passed over, a missing file is empty."""
    entries: dict[str, Entry] = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return entries
    for line in lines:
        entry = _parse(line)
        if entry is not None and entry.rule == RULE:
            entries[entry.layer] = entry
    return entries


def _parse(line: str) -> Entry | None:
    try:
        data = json.loads(line)
        entry = Entry(score=Score(**data.pop("score")), **data)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    known = isinstance(entry.layer, str) and isinstance(entry.score.snr, float)
    return entry if known else None


class Journal:
    """The journal of one checkpoint, open for appending. Raises OutputError on a full disk."""

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        self.path = path
        self._fresh = fresh
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("wb" if self._fresh else "ab", buffering=0)
            self._end_torn_line()
        except OSError as exc:
            raise cannot_write(self.path, exc) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._file:
            self._file.close()

    def append(self, entry: Entry) -> None:
        """Write one entry and wait until it is on disk."""
        assert self._file is not None
        rest = json.dumps(asdict(entry)).encode() + b"\n"
        try:
            while rest:  # an almost full disk takes a part of the line before it refuses
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as exc:
            raise cannot_write(self.path, exc) from None

    def _end_torn_line(self) -> None:
        """After a kill in the middle of a line, the next entry must not be glued to it."""
        assert self._file is not None
        if self._file.tell() == 0:
            return
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            torn = file.read(1) != b"\n"
        if torn:
            self._file.write(b"\n")
