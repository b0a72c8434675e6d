"""Kept spectra: what a scan computed once gives every metric again, and damage is noticed."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spectrum_tui.core.errors import OutputError, ResultsError
from spectrum_tui.core.events import LayerDone
from spectrum_tui.core.journal.journal import read_journal, sealed
from spectrum_tui.core.journal.spectra import (
    KeptSpectrum,
    SpectraReader,
    SpectraWriter,
    spectra_path,
)
from spectrum_tui.core.requests import ResultReady
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.saved import kept_spectra, store
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.scoring import metrics
from spectrum_tui.core.settings import METRICS, Settings
from tests import oracle
from tests.checkpoints import llama, save, spoil
from tests.scans import is_matrix, journal_of, run, scores_of, spy_on_scores

ONE = KeptSpectrum(np.array([3.0, 2.0, 1.0]), 3, 7)
TWO = KeptSpectrum(np.array([1e-30, 0.0]), 900, 2)


def read(path: Path, name: str, offset: int) -> KeptSpectrum | None:
    with SpectraReader(path) as reader:
        return reader.read(name, offset)


def same(a: KeptSpectrum | None, b: KeptSpectrum) -> bool:
    return (
        a is not None
        and (a.rows, a.columns) == (b.rows, b.columns)
        and np.array_equal(a.values, b.values)
    )


def written(path: Path) -> tuple[int, int]:
    writer = SpectraWriter(path)
    try:
        return writer.append("one", ONE), writer.append("two", TWO)
    finally:
        writer.close()


def test_what_is_written_is_read_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "x.spectra"
    for _ in range(2):  # the second time it is appended to
        first, second = written(path)
        assert same(read(path, "one", first), ONE)
        assert same(read(path, "two", second), TWO)
    assert first > 0


def test_nothing_is_read_where_nothing_was_written(tmp_path: Path) -> None:
    path = tmp_path / "x.spectra"
    assert read(path, "one", 0) is None
    written(path)
    for offset in (-1, 1, 51, 60, 2**40, 2**70):
        assert read(path, "two", offset) is None
    assert read(path, "other", 0) is None  # as after a scan from the start


@pytest.mark.parametrize("byte", [0, 5, 9, 25, 30, 50])
def test_a_damaged_spectrum_is_none(byte: int, tmp_path: Path) -> None:
    path = tmp_path / "x.spectra"
    first, second = written(path)
    data = bytearray(path.read_bytes())
    data[byte] ^= 1
    path.write_bytes(data)
    assert read(path, "one", first) is None
    assert same(read(path, "two", second), TWO)


def test_a_torn_tail_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "x.spectra"
    first, second = written(path)
    whole = path.read_bytes()
    for length in range(second, len(whole)):
        path.write_bytes(whole[:length])
        assert read(path, "two", second) is None
        _, again = written(path)
        assert same(read(path, "one", first), ONE)
        assert same(read(path, "two", again), TWO)


def test_a_scan_keeps_the_spectrum_of_every_matrix(tmp_path: Path) -> None:
    tensors = llama(1)
    folder = save(tmp_path, tensors)
    events = run(folder, only=is_matrix)
    journal = journal_of(folder)
    entries = read_journal(journal)
    assert entries.keys() == scores_of(events).keys()
    with SpectraReader(spectra_path(journal)) as reader:
        for name, entry in entries.items():
            kept = reader.read(name, entry.spectrum)
            matrix = oracle.as_matrix(tensors[f"{name}.weight"])
            assert kept is not None
            assert (kept.rows, kept.columns) == matrix.shape
            assert np.allclose(kept.values, oracle.singular_values(matrix), rtol=1e-9)
            assert metrics.every_metric(kept.values, kept.rows, kept.columns) == entry.metrics


def test_events_bring_every_metric_and_resumed_ones_too(tmp_path: Path) -> None:
    folder = save(tmp_path, llama(1))
    first, second = ({e.layer: e for e in _done(run(folder))} for _ in range(2))
    for name, event in first.items():
        assert tuple(event.metrics) == METRICS
        assert event.metrics["spectrum"] == event.snr
        assert second[name].metrics == event.metrics
    norm = next(event for name, event in first.items() if "norm" in name)
    assert norm.metrics == metrics.ONE_DIMENSIONAL


def _done(events: list[Any]) -> Iterator[LayerDone]:
    return (event for event in events if isinstance(event, LayerDone))


def lose_metric(journal: Path, name: str) -> None:
    """As if the journal were written by a version that did not know the metric."""
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in lines:
        del line["checksum"], line["metrics"][name]
    journal.write_bytes(b"".join(sealed(line) + b"\n" for line in lines))


def test_a_metric_that_came_later_is_computed_without_a_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path, llama(1))
    run(folder, only=is_matrix)
    journal = journal_of(folder)
    before = read_journal(journal)
    lose_metric(journal, "calibrated")
    assert read_journal(journal) == before
    computed = spy_on_scores(monkeypatch)
    run(folder, only=is_matrix)
    assert not computed


def test_without_its_spectrum_such_a_matrix_is_scanned_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path, llama(1))
    run(folder, only=is_matrix)
    journal = journal_of(folder)
    count = len(read_journal(journal))
    lose_metric(journal, "calibrated")
    path = spectra_path(journal)
    path.write_bytes(path.read_bytes()[:-1])
    assert len(read_journal(journal)) == count - 1
    computed = spy_on_scores(monkeypatch)
    run(folder, only=is_matrix)
    assert len(computed) == 1
    assert len(read_journal(journal)) == count


def test_a_full_disk_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    writer = SpectraWriter(tmp_path / "x.spectra")
    monkeypatch.setattr("os.write", full)
    with pytest.raises(OutputError, match="No space left"):
        writer.append("one", ONE)


# -- results -----------------------------------------------------------------------------------


def scanned(folder: Path, out: Path, **options: Any) -> Result:
    request = Settings(model=str(folder), device="cpu", output_dir=str(out), **options)
    ready = next(e for e in run_scan(request) if isinstance(e, ResultReady))
    return store.load_result(Path(ready.path))


def columns(result: Result) -> dict[str, list[float]]:
    return {name: column.values.tolist() for name, column in result.scores.metrics.items()}


def test_a_result_ranks_by_any_metric(tmp_path: Path) -> None:
    result = scanned(save(tmp_path / "m", llama(2)), tmp_path / "out")
    assert result.metrics == METRICS
    assert result.with_metric("spectrum") is result
    for name in METRICS:
        other = result.with_metric(name)
        assert other.scores.metric == name
        assert other.scores.values.tolist() == result.scores.metrics[name].values.tolist()
        assert other.with_metric("spectrum").scores.values.tolist() == result.scores.values.tolist()


def test_a_failed_layer_has_no_value_in_any_metric(tmp_path: Path) -> None:
    bad = "model.layers.0.mlp.up_proj"
    tensors = spoil(llama(2), bad, math.nan)
    result = scanned(save(tmp_path / "m", tensors), tmp_path / "out")
    row = result.scores.layers.index(bad)
    for column in result.scores.metrics.values():
        assert [i for i, value in enumerate(column.values) if math.isnan(value)] == [row]


def test_another_metric_has_files_of_its_own(tmp_path: Path) -> None:
    folder = save(tmp_path / "m_1", llama(2))
    plain = scanned(folder, tmp_path / "out")
    other = scanned(folder, tmp_path / "out", metric="stable_rank")
    names = {path.name for path in (tmp_path / "out").rglob("*.json")}
    assert names == {
        "snr_results_m-1.json",
        "snr_results_m-1_sorted.json",
        "snr_results_m-1_stable_rank.json",
        "snr_results_m-1_stable_rank_sorted.json",
    }
    assert other.scores.metric == "stable_rank"
    assert columns(other) == columns(plain)
    assert other.scores.values.tolist() == columns(plain)["stable_rank"]


def test_a_file_alone_holds_the_metric_of_its_name(tmp_path: Path) -> None:
    result = scanned(save(tmp_path / "m", llama(1)), tmp_path / "out", metric="effective_rank")
    path = tmp_path / "snr_results_m_effective_rank.json"
    path.write_text(store.flat_text(result).replace("{", "{ ", 1))  # another hash
    back = store.load_result(path)
    assert (back.provenance.model, back.scores.metric) == ("m", "effective_rank")
    assert back.metrics == ("effective_rank",)
    with pytest.raises(ResultsError, match="no calibrated") as caught:
        back.with_metric("calibrated")
    assert caught.value.hint


def test_a_stored_result_gets_a_later_metric_from_the_kept_spectra(tmp_path: Path) -> None:
    result = scanned(save(tmp_path / "m", llama(2)), tmp_path / "out")
    scores = replace(result.scores, metrics={"spectrum": result.scores.metrics["spectrum"]})
    older = replace(result, scores=scores)
    assert older.metrics == ("spectrum",)
    assert columns(kept_spectra.completed(older)) == columns(result)
    assert kept_spectra.completed(replace(older, checkpoint="")).metrics == ("spectrum",)
    assert kept_spectra.completed(replace(older, checkpoint="0" * 64)).metrics == ("spectrum",)


def test_spectra_of_a_layer(tmp_path: Path) -> None:
    result = scanned(save(tmp_path / "m", llama(1)), tmp_path / "out")
    ((name, kept),) = kept_spectra.spectra_of(result, 0)
    assert name == result.scores.layers[0]
    assert metrics.stable_rank(kept.values, kept.rows, kept.columns) == pytest.approx(
        result.with_metric("stable_rank").scores.values[0]
    )
    assert kept_spectra.spectra_of(replace(result, checkpoint=""), 0) == []
