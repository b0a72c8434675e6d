"""People's data files as examples: what a file lacks is said in one line, bad lines are counted."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from spectrum_tui.core import disk, files
from spectrum_tui.core.dataset import builtin, formats
from spectrum_tui.core.dataset.columns import MOST_BAD, BlankError, Layout, known_columns, layout_of
from spectrum_tui.core.dataset.examples import Column, Dataset, Example
from spectrum_tui.core.dataset.formats import Line, error, lines_of
from spectrum_tui.core.dataset.kept_examples import digest_of
from spectrum_tui.core.dataset.media import IMAGE, RECORDINGS, images_in
from spectrum_tui.core.errors import DataError, reason_of
from spectrum_tui.core.numbers import counted

_MOST_FILES = 100_000
"""Files of a folder that are looked at: more are no data set, but somebody's disk."""


def read_dataset(paths: Sequence[str], *, media: bool = False) -> Dataset:
    """Return the examples of files, of all files in folders, and of built-in texts; with `media`
    also images, in a folder with one for each class, and recordings (see `media`).

    Raises DataError where one cannot be read or has no known columns, where they are of different
    forms, where more than 1 % of all lines are no examples, and where there is no example at all.
    """
    also = RECORDINGS if media else ()
    reading = _Reading(also)
    for path in paths:
        if path.startswith(builtin.PREFIX):
            reading.add(path, (Line("", {"text": text}) for text in builtin.texts(path)))
        elif media and (images := _images(path)):
            reading.add_images(path, images)
        else:
            for file in _files(path):
                reading.add(str(file), lines_of(str(file), _bytes(file), also))
    return reading.dataset()


class _Reading:
    """What was found up to now."""

    def __init__(self, also: Sequence[Layout] = ()) -> None:
        self._also = also
        self._examples: list[Example] = []
        self._files: list[str] = []
        self._layouts: dict[Layout, str] = {}
        self._characters = self._blank = self._skipped = 0
        self._problem = ""

    def add(self, name: str, lines: Iterator[Line]) -> None:
        """Read one file."""
        self._files.append(name)
        layout: Layout | None = None
        seen: Line | None = None
        for line in lines:
            seen = seen if seen and seen.row else line
            layout = layout or layout_of(line.row, self._also)
            if line.problem or layout is None:
                self._skip(name, line.place, line.problem or "it has no known column")
            else:
                self._add(name, line, layout)
        if seen is None:
            raise error(name, "is empty", "Name a file with at least one example.")
        if layout is None and seen.row:
            raise _other_columns(name, seen)
        if layout is not None:
            self._of_one_form(name, layout)

    def add_images(self, folder: str, lines: Sequence[Line]) -> None:
        """Read the images of a folder."""
        self._also = (IMAGE,)
        self.add(str(files.output_folder(folder).absolute() / "*"), iter(lines))

    def _of_one_form(self, name: str, layout: Layout) -> None:
        for other, file in self._layouts.items():
            if other.form != layout.form:
                here, there = " and ".join(layout.needed), " and ".join(other.needed)
                raise error(name, f"holds {here}, but {file} {there}", "Name files of one kind.")
        self._layouts.setdefault(layout, name)

    def _add(self, name: str, line: Line, layout: Layout) -> None:
        try:
            example = layout.example(line.row)
        except BlankError:
            self._blank += 1
        except ValueError as exc:
            self._skip(name, line.place, str(exc))
        else:
            if example.file:
                place = files.output_folder(name).absolute().parent / example.file
                example = replace(example, file=str(place))
            self._examples.append(example)
            self._characters += len(example.characters)
            if self._characters > disk.MOST_KEPT:
                raise error(name, f"leads beyond {disk.MOST_KEPT:,} characters", formats.TAKE_LESS)

    def _skip(self, name: str, place: str, problem: str) -> None:
        self._skipped += 1
        self._problem = self._problem or f"{', '.join(filter(None, (name, place)))}: {problem}"

    def dataset(self) -> Dataset:
        """Return all of it; raises DataError where too little of it is data."""
        lines = len(self._examples) + self._blank + self._skipped
        if self._skipped > MOST_BAD * lines:
            raise DataError(
                f"{self._skipped:,} of {counted(lines, 'line')} cannot be read as examples, the "
                f"first: {self._problem}.",
                "Correct or remove them: up to 1 % are skipped.",
                field="data",
            )
        if not self._examples:
            raise DataError(
                f"There is no example in {' and '.join(self._files[:3])}: all is blank.",
                "Name a file with text.",
                field="data",
            )
        layouts = list(self._layouts)
        form: Column = layouts[0].form
        names = (name for one in layouts for name in one.needed)
        return Dataset(
            examples=tuple(self._examples),
            files=tuple(self._files),
            form=form,
            columns=tuple(dict.fromkeys(names)),
            digest=digest_of(self._examples),
            blank=self._blank,
            skipped=self._skipped,
            problem=self._problem,
        )


def _other_columns(name: str, line: Line) -> DataError:
    columns = list(map(str, line.row))
    more = f" and {len(columns) - 10:,} more" if len(columns) > 10 else ""
    return error(
        name,
        f"has none of the columns that are read, but {', '.join(columns[:10])}{more}",
        f"Rename yours to {known_columns()}.",
    )


def _images(typed: str) -> list[Line]:
    """Return the images of a folder with one for each class; nothing for anything else."""
    path = files.output_folder(typed)
    try:
        return list(islice(images_in(path), _MOST_FILES)) if files.is_folder(path) else []
    except OSError as exc:
        raise _unreadable(path, exc) from None


def _bytes(path: Path) -> bytes:
    try:
        return disk.read_bytes(path)
    except (OSError, ValueError) as exc:
        raise _unreadable(path, exc) from None


def _unreadable(path: Path, exc: OSError | ValueError) -> DataError:
    if isinstance(exc, FileNotFoundError):
        return DataError(f"There is no file {path}.", "Check the name.", field="data")
    reason = reason_of(exc) if isinstance(exc, OSError) else str(exc)
    too_large = isinstance(exc, OSError) and exc.errno == errno.EFBIG
    hint = formats.TAKE_LESS if too_large else "Name another file."
    return DataError(f"Cannot read {path}: {reason}.", hint, field="data")


def _files(typed: str) -> list[Path]:
    """Return the file that was meant, or the data in a folder; its texts where there is none."""
    if not typed:
        raise DataError("No file is named.", "Name a file or a folder.", field="data")
    path = files.output_folder(typed)
    if not files.is_folder(path):
        return [path]
    try:
        found = sorted(_below(path))
    except OSError as exc:
        raise _unreadable(path, exc) from None
    # A text beside data sets describes them.
    tables = [file for file in found if formats.ending(file.name) not in formats.TEXTS]
    chosen = tables or found
    if not chosen:
        raise error(
            str(path), "holds no data", f"These are read: {', '.join(formats.READERS)}, also .gz."
        )
    return chosen


def _below(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder, at any depth, whose endings are known; hidden ones are none."""

    def stop(exc: OSError) -> None:
        raise exc

    seen = 0
    for place, folders, names in os.walk(folder, onerror=stop):
        folders[:] = [name for name in folders if not name.startswith(".")]
        seen += len(names)
        if seen > _MOST_FILES:
            raise error(
                str(folder), f"holds more than {counted(_MOST_FILES, 'file')}", "Name one in it."
            )
        for name in names:
            if not name.startswith(".") and formats.ending(name) in formats.READERS:
                yield Path(place) / name
