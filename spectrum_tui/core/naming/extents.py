"""Which bytes of which files a matrix is made of: what is to be fetched before it can be scored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from spectrum_tui.core.checkpoint.headers import Tensor
from spectrum_tui.core.naming.parameters import MatrixRef, StoredSource, Window
from spectrum_tui.core.naming.values import Computed

GAP = 64 * 1024
"""Bytes between two ranges of a matrix that are fetched along: a request costs as much."""


@dataclass(frozen=True, slots=True, order=True)
class Extent:
    """Bytes [start, end) of a file."""

    file: str
    start: int
    end: int


def extents_of(matrix: MatrixRef) -> list[Extent]:
    """Return the ranges that are read for a matrix, in the order of its files; companions and
    scales among them, ranges near each other as one."""
    joined: list[Extent] = []
    for extent in sorted(_extents(matrix)):
        last = joined[-1] if joined else None
        if last and last.file == extent.file and extent.start <= last.end + GAP:
            joined[-1] = Extent(last.file, last.start, max(last.end, extent.end))
        else:
            joined.append(extent)
    return joined


def shared_conversion(matrix: MatrixRef) -> int:
    """Return what matrices have in common that are made at once and kept until all are read; 0 for
    one that is made of its own bytes."""
    values = matrix.values
    if not isinstance(values, Computed) or _own_expert(values):
        return 0
    return id(values.values.made)


def _extents(matrix: MatrixRef) -> Iterator[Extent]:
    values = matrix.values
    if isinstance(values, Window):
        first = values.first * values.width
        yield from _elements(values.source, first, first + matrix.rows * values.width)
    elif isinstance(values, Computed):
        yield from _converted(values)


def _converted(values: Computed) -> Iterator[Extent]:
    group, expert = values.values.made.group, values.expert
    merges = group.converter is not None and group.converter.merges
    for sources in group.by_pattern.values():
        if not _own_expert(values):
            for source in sources:
                yield from map(_whole, source.parts)
        elif merges:
            yield from map(_whole, sources[expert].parts)
        else:
            for source in sources:
                yield from _rows(source, expert, expert + 1)


def _own_expert(values: Computed) -> bool:
    return values.expert >= 0 and values.values.can_read_expert()


def _elements(source: StoredSource, first: int, last: int) -> Iterator[Extent]:
    if source.decode is None:
        part = source.parts[0]
        begin, end = (place * part.nbytes // part.numel for place in (first, last))
        yield Extent(part.file, part.start + begin, part.start + end)
    else:
        width = prod(source.shape[1:])
        yield from _rows(source, first // width, -(-last // width))


def _rows(source: StoredSource, start: int, stop: int) -> Iterator[Extent]:
    for part in source.parts:
        if source.decode is not None and not source.row_aligned:
            yield _whole(part)
        else:
            begin, end = (row * part.nbytes // part.shape[0] for row in (start, stop))
            yield Extent(part.file, part.start + begin, part.start + end)


def _whole(part: Tensor) -> Extent:
    return Extent(part.file, part.start, part.end)
