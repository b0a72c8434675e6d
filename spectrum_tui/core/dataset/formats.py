"""The lines of a data file, whatever it is written in: JSON lines, JSON, CSV, Parquet or text."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import PurePath
from typing import Any

from spectrum_tui.core import disk, json_text
from spectrum_tui.core.dataset.columns import Layout, Row, layout_of
from spectrum_tui.core.errors import DataError

_PACKED = ".gz"
_UTF8, _UTF16 = codecs.BOM_UTF8, (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_UTF32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_LONGEST_FIELD = 2**31 - 1
"""Characters of a CSV field: what a C long holds everywhere."""
_ROWS = 1000
"""Rows of a Parquet file that are Python objects at a time."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line: where it stands in its file ("line 3"), and its columns, or the `problem` with
    it."""

    place: str
    row: Row
    problem: str = ""


def lines_of(name: str, data: bytes, also: Sequence[Layout] = ()) -> Iterator[Line]:
    """Yield the lines of a file; raises DataError where it cannot be read as what its name says.
    Of a file that stores columns apart, those of the layout are read, and those of `also`.

    A name without a known ending (a pipe) is looked into. Blank lines are none.
    """
    if name.lower().endswith(_PACKED):
        name, data = name[: -len(_PACKED)], _unpacked(name, data)
    reader = _reader(name, data)
    return _parquet(name, data, also) if reader is _parquet else reader(name, data)


def ending(name: str) -> str:
    """Return what a name ends with, without `.gz`, in small letters."""
    return PurePath(name.lower().removesuffix(_PACKED)).suffix


def error(name: str, problem: str, hint: str = "") -> DataError:
    """Return the error for a file: `data.jsonl is empty.`"""
    return DataError(f"{name} {problem}.", hint, field="data")


def _reader(name: str, data: bytes) -> Callable[[str, bytes], Iterator[Line]]:
    if (reader := READERS.get(ending(name))) is not None:
        return reader
    beginning = data[:100].lstrip()
    for opening, reader in ((b"{", _json_lines), (b"[", _json), (b"PAR1", _parquet)):
        if beginning.startswith(opening):
            return reader
    raise error(
        name,
        f"is none of the kinds that are read: {', '.join(READERS)}, each also with .gz",
        "Give it the ending of what it holds.",
    )


def _unpacked(name: str, data: bytes) -> bytes:
    try:
        found = gzip.GzipFile(fileobj=io.BytesIO(data)).read(disk.MOST_KEPT + 1)
    except (OSError, EOFError, zlib.error):
        raise error(name, "is not readable gzip", "Download or pack it again.") from None
    if len(found) > disk.MOST_KEPT:
        raise error(name, f"has more than {disk.MOST_KEPT:,} bytes unpacked", TAKE_LESS)
    return found


TAKE_LESS = "A proof needs a few MB: take a part, as `head -n 100000 FILE` does."


# -- characters --------------------------------------------------------------------------------


def _decoded(name: str, data: bytes) -> str:
    """Return the text of UTF-8, with or without a byte-order mark, or of UTF-16 with one."""
    if data.startswith(_UTF32):
        raise _not_utf8(name, data, 0)
    skipped = len(_UTF8) if data.startswith(_UTF8) else 0
    try:
        return data.decode("utf-16") if data.startswith(_UTF16) else data[skipped:].decode()
    except UnicodeDecodeError as exc:
        raise _not_utf8(name, data, skipped + exc.start) from None


def _not_utf8(name: str, data: bytes, at: int) -> DataError:
    return error(
        name,
        f"is not UTF-8: its byte {at:,} is {data[at]:#04x}",
        f"Convert it, as `iconv -f latin1 -t utf-8 {PurePath(name).name} > utf8.txt` does.",
    )


def _plain(name: str, data: bytes) -> str:
    text = _decoded(name, data)
    if (at := text.find("\0")) >= 0:
        raise error(
            name,
            f"is no text: its character {at:,} is NUL",
            "If it is UTF-16, save it with a byte-order mark (BOM).",
        )
    return text


# -- kinds -------------------------------------------------------------------------------------


def _text(name: str, data: bytes) -> Iterator[Line]:
    text = _plain(name, data).replace("\r\n", "\n").replace("\r", "\n")
    yield Line("", {"text": text})


def _json_lines(name: str, data: bytes) -> Iterator[Line]:
    if data.startswith((*_UTF16, *_UTF32)):
        data = _decoded(name, data).encode()
    start = len(_UTF8) if data.startswith(_UTF8) else 0
    file = io.BytesIO(data)
    file.seek(start)
    for number, line in enumerate(file, 1):
        try:
            text = line.decode()
        except UnicodeDecodeError as exc:
            raise _not_utf8(name, data, start + exc.start) from None
        start += len(line)
        if text.strip():
            yield _json_line(f"line {number}", text)


def _json_line(place: str, text: str) -> Line:
    try:
        return _object(place, json_text.load(text))
    except json_text.NotJSONError as exc:
        return Line(place, {}, f"it {exc.fault.problem}")


def _object(place: str, value: Any) -> Line:
    if isinstance(value, dict):
        return Line(place, value)
    return Line(place, {}, "it is not an object with columns")


def _json(name: str, data: bytes) -> Iterator[Line]:
    """Read a list of objects, the nested files of SQuAD, or JSON lines under this name."""
    text = _decoded(name, data)
    if not text.strip():
        return
    try:
        value = json_text.load(text)
    except json_text.NotJSONError as exc:
        if not _json_line("", text.lstrip().partition("\n")[0]).row:
            raise error(name, exc.fault.problem, exc.fault.hint) from None
        yield from _json_lines(name, data)
        return
    if isinstance(value, dict):
        value = value["data"] if isinstance(value.get("data"), list) else [value]
    if not isinstance(value, list):
        raise error(name, "is no list of objects", "Write one object for each example.")
    for number, item in enumerate(value, 1):
        if isinstance(item, dict) and "paragraphs" in item:
            yield from _questions(f"article {number}", item["paragraphs"])
        else:
            yield _object(f"item {number}", item)


def _questions(place: str, paragraphs: Any) -> Iterator[Line]:
    """Yield the questions of an article of SQuAD, each with its context."""
    try:
        for number, paragraph in enumerate(paragraphs, 1):
            for question in paragraph["qas"]:
                row = {"answers": [], **question, "context": paragraph["context"]}
                yield Line(f"{place}, paragraph {number}", row)
    except json_text.WRONG_SHAPE:
        yield Line(place, {}, "its paragraphs are not those of SQuAD")


def _csv(name: str, data: bytes) -> Iterator[Line]:
    text = _plain(name, data)
    csv.field_size_limit(_LONGEST_FIELD)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    header: list[str] = []
    while True:
        place = f"line {rows.line_num + 1}"
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as exc:
            yield Line(place, {}, f"it is not readable CSV ({exc})")
            continue
        if not header:
            header = [column.strip() for column in row]
        elif row:
            yield _csv_line(place, header, row)


def _csv_line(place: str, header: list[str], row: list[str]) -> Line:
    if len(row) != len(header):
        return Line(place, {}, f"it has {len(row)} columns, the first line {len(header)}")
    return Line(place, dict(zip(header, row, strict=True)))


def _delimiter(text: str) -> str:
    """Return what most separates the first line: spreadsheets write a comma, a semicolon or a
    tabulator, by their language."""
    first = text.lstrip().partition("\n")[0]
    return max((",", ";", "\t"), key=first.count)


def _parquet(name: str, data: bytes, also: Sequence[Layout] = ()) -> Iterator[Line]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        hint = (
            "Install it with `pip install 'spectrum-tui[train]'`, or save the data as JSON lines."
        )
        raise error(name, "is Parquet, for which pyarrow is missing", hint) from None
    try:
        file = parquet.ParquetFile(pyarrow.BufferReader(data))
        names: list[str] = file.schema_arrow.names
        known = _known(names, also)
        batches = file.iter_batches(batch_size=_ROWS, columns=known or names)
        rows = chain.from_iterable(batch.to_pylist() for batch in batches)
        for number, row in enumerate(rows, 1):
            yield Line(f"row {number}", row)
            if not known:  # images, perhaps
                return
    except (OSError, ValueError, pyarrow.ArrowException, *json_text.WRONG_SHAPE):
        raise error(name, "is not readable Parquet", "Download it again.") from None


def _known(names: Sequence[str], also: Sequence[Layout]) -> list[str]:
    """Return the columns that examples are made of, by their names alone."""
    layouts = [one for one in also if set(one.needed) <= set(names)]
    if (first := layout_of(dict.fromkeys(names))) is not None:
        layouts.append(first)
    return list(dict.fromkeys(n for one in layouts for n in (*one.needed, *one.optional)))


TEXTS = (".txt", ".md")
"""Endings of files that are one document each."""
READERS: dict[str, Callable[[str, bytes], Iterator[Line]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
    **dict.fromkeys(TEXTS, _text),
}
"""How each kind of file is read, by its ending."""
