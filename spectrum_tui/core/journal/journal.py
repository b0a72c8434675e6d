"""Finished scores on disk while a scan runs: what a killed scan is resumed from.

One JSON line per layer, appended and synced before the score is shown to anyone (0.1 ms). It ends
with its own checksum: of random bit flips a quarter leave a line that reads as another score. The
journal belongs to the contents of a checkpoint (`Checkpoint.fingerprint`), so a scan of
other types, or after any kind of end, finds everything that was ever computed for it. The singular
values lie in a file beside it (`journal.spectra`): a metric that an entry lacks, since it was not
known then, comes from those.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from spectrum_tui.core import disk
from spectrum_tui.core.checkpoint.identity import canonical
from spectrum_tui.core.errors import OutputError
from spectrum_tui.core.files import cache_dir, cannot_keep, checksum
from spectrum_tui.core.journal.spectra import (
    NOWHERE,
    KeptSpectrum,
    SpectraReader,
    SpectraWriter,
    spectra_path,
)
from spectrum_tui.core.json_text import WRONG_SHAPE
from spectrum_tui.core.results.results import read_notes
from spectrum_tui.core.scoring.metrics import every_metric
from spectrum_tui.core.scoring.snr import RULE
from spectrum_tui.core.settings import METRIC, METRICS


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A matrix's scores, and the seconds they took; `rule` names how they were computed.

    `metrics` are {name: value} of every metric, the SNR always among them. `error` bounds the
    relative error of the SNR where it was computed in the `fast` precision; it is 0 for an exact
    one. `spectrum` is where the singular values lie in the file beside the journal `file`. `made`
    is when they were computed, in seconds since 1970. `ranges` is where the matrix was read in
    ranges, so that the hashes of whole files were not checked; "" where it was not. `unmarked`:
    the server there says nothing of when a file changes.
    """

    layer: str
    metrics: Mapping[str, float]
    seconds: float = 0.0
    rule: str = RULE
    error: float = 0.0
    spectrum: int = NOWHERE
    file: str = ""
    made: float = 0.0
    ranges: str = ""
    unmarked: bool = False

    @property
    def read_notes(self) -> tuple[str, ...]:
        """What stands in the provenance of its scores."""
        return read_notes(self.ranges, unmarked=self.unmarked)


def journal_path(fingerprint: str) -> Path:
    """Return where the journal of a checkpoint lies, by any fingerprint of the same contents."""
    return place_of(canonical(fingerprint))


def place_of(fingerprint: str) -> Path:
    """Return where a journal under just this fingerprint would lie."""
    return cache_dir() / "scans" / f"{fingerprint[:40]}.jsonl"


def journals(path: Path) -> list[Path]:
    """Return a checkpoint's journal, and those beside it: of earlier scans in several processes,
    and those that were kept under another fingerprint."""
    return [path, *sorted(path.parent.glob(f"{path.stem}.*{path.suffix}"))]


def read_journal(path: Path) -> dict[str, Entry]:
    """{layer: entry} of all journals; a torn or foreign line is passed over, a
    missing file is empty.

    An entry that lacks a metric gets it from its spectrum; without one it is left out, as if
    its matrix had not been scored.
    """
    return best_entries(read_entries(path))


def read_entries(path: Path) -> Iterator[Entry]:
    """Every usable entry of all journals, several of a layer among them."""
    return (entry for file in journals(path) for entry in _entries(file))


def best_entries(entries: Iterable[Entry]) -> dict[str, Entry]:
    """{layer: entry}, the most exact of each, and the newest of those, whatever file it is from."""
    best: dict[str, Entry] = {}
    for entry in entries:
        known = best.get(entry.layer)
        if known is None or (entry.error, -entry.made) <= (known.error, -known.made):
            best[entry.layer] = entry
    return best


class JournalTail:
    """Reads what is added to a checkpoint's journals."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: dict[Path, int] = {}

    def new_entries(self) -> list[Entry]:
        """Return the usable entries since the last call; all at the first."""
        return [entry for file in journals(self._path) for entry in self._new(file)]

    def _new(self, file: Path) -> Iterator[Entry]:
        start = self._read.get(file, 0)
        try:
            data = disk.read_from(file, start)
        except OSError:
            return
        whole, newline, _ = data.rpartition(b"\n")  # the rest is being written
        self._read[file] = start + len(whole + newline)
        yield from _parsed(whole, file)


def _entries(path: Path) -> Iterator[Entry]:
    try:
        data = disk.read_from(path)
    except OSError:
        return
    yield from _parsed(data, path)


def _parsed(data: bytes, path: Path) -> Iterator[Entry]:
    found = (parse_line(line, path.name) for line in data.split(b"\n"))
    with SpectraReader(spectra_path(path)) as reader:
        for entry in found:
            if entry is not None and entry.rule == RULE:
                complete = _completed(entry, reader)
                if complete is not None:
                    yield complete


def _completed(entry: Entry, reader: SpectraReader) -> Entry | None:
    if entry.metrics.keys() >= _EVERY:
        return entry
    kept = reader.read(entry.layer, entry.spectrum)
    if kept is None:
        return None
    metrics = every_metric(kept.values, kept.rows, kept.columns, entry.metrics)
    return replace(entry, metrics=metrics)


_EVERY = frozenset(METRICS)
_SEAL = b', "checksum": "'


def sealed(data: Mapping[str, object]) -> bytes:
    """Return an entry's fields as a line, without its end: JSON, of which the last field checks the
    rest.

    The braces are apart from what is checked, so that the line is JSON with and without it.
    """
    body = json.dumps(data).encode().removesuffix(b"}")
    return body + _SEAL + checksum(body).encode() + b'"}'


def parse_line(line: bytes, file: str = "") -> Entry | None:
    """Return the entry that `sealed` wrote to `file`; None for anything else, and for another
    version's fields."""
    body, _, seal = line.rpartition(_SEAL)
    if seal != checksum(body).encode() + b'"}':
        return None
    try:
        data = json.loads(body + b"}")
        if "score" in data:  # a line of the other form, which has the SNR apart
            data["metrics"] = {METRIC: data.pop("score")["snr"], **data.get("metrics", {})}
        entry = Entry(**{**data, "file": file})
    except WRONG_SHAPE:
        return None
    return entry if _is_sound(entry) else None


def _is_sound(entry: Entry) -> bool:
    """Return whether every field is what it should be; JSON says nothing of it."""
    if not isinstance(entry.metrics, dict):
        return False
    floats = (entry.seconds, entry.error, entry.made, *entry.metrics.values())
    return (
        set(map(type, floats)) == {float}
        and type(entry.layer) is type(entry.rule) is type(entry.ranges) is str
        and type(entry.unmarked) is bool
        and type(entry.spectrum) is int
        and entry.metrics.get(METRIC, -1.0) >= 0.0
        and 0.0 <= entry.error < math.inf
    )


class Journal:
    """The journal of one checkpoint, open for appending. Raises OutputError on a full disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: disk.GrowingFile | None = None
        self._spectra: SpectraWriter | None = None

    def __enter__(self) -> Self:
        try:
            self._file = disk.GrowingFile(self.path)
            if self._file.last_byte() not in (b"", b"\n"):
                self._file.append(b"\n")  # a torn line: the next must not be glued to it
            self._spectra = SpectraWriter(spectra_path(self.path))
        except OSError as exc:
            self._close()
            raise cannot_keep(self.path, exc) from None
        except OutputError:
            self._close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def append(self, entry: Entry, spectrum: KeptSpectrum | None = None) -> None:
        """Write the spectrum, then the entry that says where it is, and wait for the disk."""
        assert self._file is not None
        if spectrum is not None and self._spectra is not None:
            entry = replace(entry, spectrum=self._spectra.append(entry.layer, spectrum))
        data = asdict(entry)
        del data["file"]  # that is this one, whatever it will be called
        for name in ("ranges", "unmarked"):  # versions that do not know them drop the line
            if not data[name]:
                del data[name]
        try:
            self._file.append(sealed(data) + b"\n")
            self._file.sync()
        except OSError as exc:
            raise cannot_keep(self.path, exc) from None

    def _close(self) -> None:
        for file in (self._file, self._spectra):
            if file is not None:
                file.close()
