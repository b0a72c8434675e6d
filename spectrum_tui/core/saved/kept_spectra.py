"""Metrics and spectra of a finished scan, from the singular values that it kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from spectrum_tui.core.journal.journal import Entry, journal_path, read_journal
from spectrum_tui.core.journal.spectra import KeptSpectrum, SpectraReader, spectra_path
from spectrum_tui.core.results.results import MetricColumn, Parts, Result
from spectrum_tui.core.scoring.metrics import ONE_DIMENSIONAL
from spectrum_tui.core.scoring.snr import mean
from spectrum_tui.core.settings import METRICS


def completed(result: Result) -> Result:
    """Return the result with every metric that this version knows, where the kept spectra give
    those that it lacks; else as it is."""
    scores = result.scores
    lacking = [name for name in METRICS if name not in scores.metrics]
    if not lacking or not result.checkpoint:
        return result
    entries = read_journal(journal_path(result.checkpoint))
    if any(name not in entries for row in _matrix_rows(result) for name in _matrices(result, row)):
        return result
    columns = {name: _column(result, name, entries) for name in lacking}
    return replace(result, scores=replace(scores, metrics={**scores.metrics, **columns}))


class LayerSpectra:
    """Reads the singular values of single layers; where each matrix has its own is read once (1 s
    for 60,000)."""

    def __init__(self, result: Result) -> None:
        self._result = result

    @property
    def possible(self) -> bool:
        """Whether any may have been kept."""
        return bool(self._result.checkpoint)

    @cached_property
    def _places(self) -> dict[str, tuple[Path, int]]:
        """{matrix: (file, offset)}."""
        journal = journal_path(self._result.checkpoint)
        return {
            name: (spectra_path(journal.with_name(entry.file)), entry.spectrum)
            for name, entry in read_journal(journal).items()
        }

    def of(self, row: int) -> list[tuple[str, KeptSpectrum]]:
        """(label, spectrum) of each matrix of a layer that was kept; [] where none was."""
        if not self.possible:
            return []
        names = [name for name in _matrices(self._result, row) if name in self._places]
        found: dict[str, KeptSpectrum] = {}
        for file in {self._places[name][0] for name in names}:
            with SpectraReader(file) as reader:
                for name in names:
                    of, offset = self._places[name]
                    kept = reader.read(name, offset) if of == file else None
                    if kept is not None:
                        found[name] = kept
        return [(name, found[name]) for name in names if name in found]


def spectra_of(result: Result, row: int) -> list[tuple[str, KeptSpectrum]]:
    """(label, spectrum) of each matrix of a layer that was kept; [] where none was."""
    return LayerSpectra(result).of(row)


def kept_spectra(result: Result, rows: Sequence[int]) -> Iterator[KeptSpectrum | None]:
    """Yield the spectrum of each of these layers, which are one matrix each; None where it was not
    kept. Reads them one after the other, so that a model's need no memory."""
    if not result.checkpoint:
        yield from (None for _ in rows)
        return
    journal = journal_path(result.checkpoint)
    entries = read_journal(journal)
    with ExitStack() as stack:
        readers: dict[str, SpectraReader] = {}
        for row in rows:
            name = result.scores.layers[row]
            entry = entries.get(name)
            if entry is None:
                yield None
                continue
            if entry.file not in readers:
                reader = SpectraReader(spectra_path(journal.with_name(entry.file)))
                readers[entry.file] = stack.enter_context(reader)
            yield readers[entry.file].read(name, entry.spectrum)


def _matrices(result: Result, row: int) -> list[str]:
    """Return the names that the matrices of a layer have in the journal (`Layer.matrix_names`)."""
    layer = result.scores.layers[row]
    labels = [label for label, _ in result.scores.parts.get(row, ())]
    return [f"{layer} [{label}]" for label in labels] or [layer]


def _matrix_rows(result: Result) -> Iterator[int]:
    """Yield the layers with a score of their own: those that did not fail and are not one row,
    whose values are those of every 1-D weight."""
    scores = result.scores
    for row in range(len(scores)):
        if row not in scores.problems and scores.rows[row] != 1:
            yield row


def _column(result: Result, metric: str, entries: dict[str, Entry]) -> MetricColumn:
    values = np.full(len(result.scores), np.nan)
    parts: Parts = {}
    for row in range(len(values)):
        if row in result.scores.problems:
            continue
        names = _matrices(result, row)
        if names[0] not in entries:
            values[row] = ONE_DIMENSIONAL[metric]
            continue
        found = [entries[name].metrics[metric] for name in names]
        values[row] = mean(found)
        if row in result.scores.parts:
            labels = (label for label, _ in result.scores.parts[row])
            parts[row] = tuple(zip(labels, found, strict=True))
    return MetricColumn(values, parts)
