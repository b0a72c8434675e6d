"""A record of the score files of this machine, whatever folder they lie in.

One small file in the cache for each score file that a scan wrote or that was opened: processes
never write over each other's, and a damaged one costs itself alone. Nothing needs the record, so
that writing one never fails a scan.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from spectrum_tui.core import disk
from spectrum_tui.core.conforming import conforms
from spectrum_tui.core.errors import OutputError
from spectrum_tui.core.files import (
    SCORES_FOLDER,
    cache_dir,
    cannot_keep,
    is_file,
    newest_first,
    read_kept,
    write_kept,
)
from spectrum_tui.core.json_text import WRONG_SHAPE

if TYPE_CHECKING:
    from spectrum_tui.core.results.results import Result

MOST_ENTRIES = 2_000
"""Entries that are kept, the last used ones: reading 1,000 takes about 0.1 s."""
_SLACK = 100
"""Entries above that before the oldest are removed: to find them, all are looked at."""
LONGEST_NOTE = 200
_FORM = "library 1"
_LATEST = 3e10
"""Seconds since 1970 that every system's calendar knows (the year 2920)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A score file: where it is, and what it held when it was last scanned or opened.

    `used` is when that was, in seconds since 1970, `finished` the day of the scan. `layers` of
    the `planned` ones have been reached, `failed` of them without a score. What another tool's
    file does not say is empty.
    """

    path: str
    model: str
    used: float
    layers: int
    planned: int
    failed: int
    metric: str
    revision: str = ""
    finished: str = ""
    device: str = ""
    precision: str = ""
    note: str = ""

    @property
    def complete(self) -> bool:
        """Whether the scan reached every planned layer."""
        return self.layers >= self.planned

    @property
    def layers_text(self) -> str:
        """`338`, or `37 of 224` where the scan was stopped."""
        return f"{self.layers:,}" if self.complete else f"{self.layers:,} of {self.planned:,}"

    @property
    def last_used(self) -> str:
        """When it was last used, in local time: entries of one day are told apart by it."""
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(self.used))

    @property
    def folder(self) -> str:
        """The output folder of the scan, or the one that the file lies in."""
        parent = Path(self.path).parent
        return str(parent.parent if parent.name == SCORES_FOLDER else parent)

    @property
    def is_gone(self) -> bool:
        """Whether there is no such file any more; this asks the disk."""
        return not is_file(Path(self.path))

    def contains(self, text: str) -> bool:
        """Return whether a text stands in model, note or path, in capitals or not."""
        return text.lower() in f"{self.model}\0{self.note}\0{self.path}".lower()


_FIELDS = tuple(field.name for field in fields(Entry))


def record(result: Result, path: Path) -> None:
    """Record a score file as used now; its note stays. Raises nothing: where the cache cannot be
    written, nothing is recorded, nor is a pipe, which cannot be opened again."""
    with contextlib.suppress(OSError, OutputError, ValueError):
        path = Path(os.path.abspath(path))  # noqa: PTH100 - `..` is taken out, links are not
        if path.is_file():
            entry = _entry(result, str(path))
            before = entry_at(path)
            _write(replace(entry, note=before.note) if before is not None else entry)
            _trim()


def entry_of(recipe: str) -> Entry | None:
    """Return the last used entry, whose file is there, of the model that a recipe of ours names in
    its comments; None where there is none."""
    said = {line[2:].split(" · ")[0] for line in recipe.splitlines() if line.startswith("# ")}
    return next((one for one in entries() if one.model in said and not one.is_gone), None)


def entries() -> list[Entry]:
    """Return all entries, the last used first; what cannot be read as one is skipped."""
    folder = _folder()
    try:
        names = disk.names_in(folder)
    except OSError:
        return []
    found = _read(folder / name for name in names if name.endswith(".json"))
    return sorted(found, key=lambda entry: (-entry.used, entry.path))


def entry_at(path: Path) -> Entry | None:
    """Return the entry of a score file, None where there is none."""
    return next(iter(_read([_place(os.path.abspath(path))])), None)  # noqa: PTH100 - as `record`


def supersede(old: Entry, path: Path) -> None:
    """Remove the entry of a file whose scores all stand in another one too, which has its note
    then unless it has one. Raises nothing, as `record`."""
    with contextlib.suppress(OutputError):
        new = entry_at(path)
        if new is not None and old.note and not new.note:
            annotate(new, old.note)
        remove(old)


def last_there() -> Entry | None:
    """Return the entry that was used last, of those whose file is still there."""
    return next((entry for entry in entries() if not entry.is_gone), None)


def annotate(entry: Entry, note: str) -> Entry:
    """Return the entry with a note of one line, which is kept; raises OutputError."""
    noted = replace(entry, note=" ".join(note.split())[:LONGEST_NOTE])
    _write(noted)
    return noted


def remove(entry: Entry) -> None:
    """Remove an entry, and nothing but the entry; raises OutputError."""
    place = _place(entry.path)
    try:
        disk.remove(place)
    except OSError as exc:
        raise cannot_keep(place, exc) from None


def _entry(result: Result, path: str) -> Entry:
    origin = result.provenance
    scanned = bool(origin.version)
    return Entry(
        path=path,
        model=origin.model,
        used=time.time(),
        layers=len(result.scores),
        planned=result.planned,
        failed=len(result.scores.problems),
        metric=result.scores.metric,
        revision=origin.revision,
        finished=origin.finished,
        device=origin.device,
        precision=origin.precision if scanned else "",
    )


def _folder() -> Path:
    return cache_dir() / "library"


def _place(path: str) -> Path:
    """Return the file of the entry for a score file."""
    digest = hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()
    return _folder() / f"{digest[:40]}.json"


def _write(entry: Entry) -> None:
    write_kept(_place(entry.path), _FORM, json.dumps(asdict(entry)))


def _read(places: Iterable[Path]) -> list[Entry]:
    """Return the entries that are sound. All are checked at once, which takes half of the time of
    one by one."""
    found = list(filter(None, map(_decoded, places)))
    if not conforms(found, list[Entry]):
        found = [entry for entry in found if conforms(entry, Entry)]
    return [entry for entry in found if 0 <= entry.used < _LATEST]


def _decoded(place: Path) -> Entry | None:
    """Return an entry, without fields that this version does not know."""
    try:
        data = json.loads(read_kept(place, _FORM) or "")
        return Entry(**{name: data[name] for name in _FIELDS if name in data})
    except WRONG_SHAPE:
        return None


def _trim() -> None:
    if len(disk.names_in(_folder())) > MOST_ENTRIES + _SLACK:
        for place in newest_first(_folder().glob("*.json"))[MOST_ENTRIES:]:
            disk.remove(place)
