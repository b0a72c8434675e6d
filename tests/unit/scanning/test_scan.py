"""The scan: its scores, the order of its events, cancelling, threads, devices."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spectrum_tui.core.checkpoint.headers import Checkpoint, read_checkpoint
from spectrum_tui.core.events import (
    LayerDone,
    LayerFailed,
    LayerRescored,
    LayerStarted,
    ScanEnded,
    ScanStarted,
)
from spectrum_tui.core.journal.journal import journal_path, read_journal
from spectrum_tui.core.model.inspection import inspect_model
from spectrum_tui.core.requests import ResultReady
from spectrum_tui.core.saved import library
from spectrum_tui.core.scanning import scan as scan_module
from spectrum_tui.core.scanning.devices import default_batch_size
from spectrum_tui.core.scanning.plan import make_plan
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.scanning.scan import scan
from spectrum_tui.core.scoring import svd
from spectrum_tui.core.settings import Settings
from tests import checkpoints, oracle
from tests.checkpoints import llama, save
from tests.scans import (
    StopAfter,
    is_matrix,
    journal_of,
    layers_of,
    resumed,
    run,
    scores_of,
    wait_for_threads,
)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("place", ["single", "sharded", "hub cache"])
def test_every_score_is_that_of_an_svd(place: str, dtype: torch.dtype, tmp_path: Path) -> None:
    tensors = llama(2, dtype=dtype, bias=True)
    if place == "hub cache":
        folder = checkpoints.save_in_hub_cache(tmp_path, "org/name", tensors, shards=2)
        assert all(p.is_symlink() for p in folder.iterdir())
    else:
        folder = save(tmp_path / "m", tensors, shards=1 if place == "single" else 3)
    scores = scores_of(run(folder))
    weights = {n.removesuffix(".weight"): t for n, t in tensors.items() if n.endswith(".weight")}
    assert scores.keys() == weights.keys()
    for layer, snr in scores.items():
        assert oracle.close(snr, oracle.snr(oracle.as_matrix(weights[layer]))), layer


def large() -> checkpoints.Tensors:
    """Matrices whose eigenvalues depend on the number of LAPACK's threads (from about 200
    columns), whose products are shared out (from 512), and one that takes the slow way."""
    low = checkpoints.matrix("low", 260, 3) @ checkpoints.matrix("high", 3, 260)
    return {
        "a.weight": checkpoints.matrix("a", 300, 700),
        "b.weight": checkpoints.matrix("b", 520, 530),
        "c.weight": checkpoints.matrix("c", 530, 520, dtype=torch.bfloat16),
        "low.weight": low,
        "small.weight": checkpoints.matrix("small", 40, 30),
    }


@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_neither_batch_size_nor_cores_change_a_bit(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path, large())
    runs = []
    for cores, batch_size in ((1, 1), (2, 1), (2, 2), (8, 1), (8, 3), (8, 8)):
        monkeypatch.setattr(scan_module, "cores", lambda cores=cores: cores)
        events = run(folder, batch_size=batch_size, fresh=True, precision=precision)
        final = {e.done.layer: e.done.metrics for e in events if isinstance(e, LayerRescored)}
        first = {e.layer: e.metrics for e in events if isinstance(e, LayerDone)}
        runs.append(first | final)
    assert len(runs[0]) == 5
    assert all(other == runs[0] for other in runs[1:])


def test_a_scan_that_goes_on_with_another_batch_size_writes_the_same_bytes(
    tmp_path: Path, computed: list[str]
) -> None:
    model = save(tmp_path / "m", large())
    written, began = [], 0.0
    for name, batch_size, stop in (("whole", 2, 99), ("first", 1, 2), ("rest", 5, 99)):
        began = began if name == "rest" else time.time()
        request = Settings(model=str(model), batch_size=batch_size, since=began)
        request = replace(request, device="cpu", output_dir=str(tmp_path / name))
        computed.clear()
        stopped = StopAfter(computed, stop)
        *_, ready = run_scan(request, cancelled=stopped)
        assert isinstance(ready, ResultReady) and ready.complete is (name != "first")
        written.append(Path(ready.path).read_bytes())
    assert written[0] == written[2] != written[1]


def test_the_library_forgets_a_stopped_scan_of_which_a_finished_one_has_every_layer(
    tmp_path: Path, computed: list[str]
) -> None:
    model = save(tmp_path / "m", large())
    request = Settings(model=str(model), batch_size=1, device="cpu", output_dir=str(tmp_path))
    list(run_scan(request, cancelled=StopAfter(computed, 2)))
    (stopped,) = library.entries()
    assert not stopped.complete
    library.annotate(stopped, "the first one")
    kept = {row["type"] for row in json.loads(Path(stopped.path).read_text()).values()}
    rest = tuple(t.name for t in inspect_model(str(model)).summary.types if t.name not in kept)
    list(run_scan(replace(request, types=rest, output_dir=str(tmp_path / "other"))))
    assert stopped.path in {entry.path for entry in library.entries()}, (
        "it has layers that no other"
    )
    list(run_scan(request))
    left = {entry.path: entry for entry in library.entries()}
    assert stopped.path not in left
    whole = left[str(tmp_path / "model_snr_results" / "snr_results_m.json")]
    assert (whole.complete, whole.note) == (True, "the first one")


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_the_order_of_events(batch_size: int, tmp_path: Path) -> None:
    tensors = checkpoints.spoil(llama(2), "model.layers.1.mlp.up_proj", float("nan"))
    folder = save(tmp_path, tensors)
    events = run(folder, batch_size=batch_size)
    planned = [layer.name for layer in layers_of(read_checkpoint(folder))]
    first, last = events[0], events[-1]
    assert isinstance(first, ScanStarted)
    assert isinstance(last, ScanEnded)
    assert [type(e) for e in events].count(ScanStarted) == 1
    assert [type(e) for e in events].count(ScanEnded) == 1
    assert first.layers == len(planned) == sum(first.types.values())
    types = {layer.name: layer.type for layer in layers_of(read_checkpoint(folder))}
    assert [types[name] for name in first.names] == list(Counter(first.types).elements())
    assert sorted(first.names) == sorted(planned)
    assert first.batch_size == batch_size
    ends = [e for e in events if isinstance(e, LayerDone | LayerFailed)]
    assert Counter(e.layer for e in ends) == Counter(planned)
    assert sum(e.cost for e in ends) == pytest.approx(first.cost)
    in_work: set[str] = set()
    for event in events:
        if isinstance(event, LayerStarted):
            in_work.add(event.layer)
            assert len(in_work) <= 2 * batch_size  # a finished one may still wait to be read
        elif isinstance(event, LayerFailed) or (isinstance(event, LayerDone) and not event.resumed):
            in_work.remove(event.layer)  # KeyError: it ended before it began
    assert not in_work
    assert (last.reason, last.done, last.failed) == ("finished", len(planned) - 1, 1)


def test_the_costliest_matrix_comes_first(tmp_path: Path) -> None:
    folder = save(tmp_path, llama(2))
    started = [e.layer for e in run(folder, batch_size=1) if isinstance(e, LayerStarted)]
    layers = {layer.name: layer for layer in layers_of(read_checkpoint(folder))}
    costs = [layers[name].cost for name in started]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] > costs[-1]


def test_one_dimensional_weights_score_one_without_work(
    tmp_path: Path, computed: list[str]
) -> None:
    folder = save(tmp_path, llama(2))
    events = run(folder, only=lambda layer: layer.one_dimensional)
    assert set(scores_of(events).values()) == {1.0}
    assert len(scores_of(events)) == 5
    assert computed == []


def test_each_score_is_on_disk_before_its_event(tmp_path: Path) -> None:
    folder = save(tmp_path, llama(2))
    checkpoint = read_checkpoint(folder)
    layers = [x for x in layers_of(checkpoint) if is_matrix(x)]
    for event in scan(make_plan(checkpoint, layers, device="cpu", batch_size=2)):
        if isinstance(event, LayerDone):
            on_disk = read_journal(journal_path(checkpoint.fingerprint))
            assert on_disk[event.layer].metrics == event.metrics


def test_a_second_scan_computes_nothing(tmp_path: Path, computed: list[str]) -> None:
    folder = save(tmp_path, llama(2))
    first = run(folder)
    count = len(computed)
    second = run(folder)
    assert len(computed) == count > 0
    assert scores_of(second) == scores_of(first)
    assert resumed(second) == set(scores_of(first))
    assert isinstance(second[-1], ScanEnded)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_cancelling_keeps_what_is_finished(
    batch_size: int, tmp_path: Path, computed: list[str]
) -> None:
    folder = save(tmp_path, llama(4))
    events = run(folder, batch_size=batch_size, only=is_matrix, cancelled=StopAfter(computed, 5))
    end = events[-1]
    assert isinstance(end, ScanEnded)
    kept = scores_of(events)
    assert end.done == len(kept) == len(computed) >= 5
    assert end.reason == ("stopped" if len(kept) < 4 * 7 + 2 else "finished")
    assert read_journal(journal_of(folder)).keys() == kept.keys()
    started = {e.layer for e in events if isinstance(e, LayerStarted)}
    assert started == kept.keys()  # what was begun is finished

    before = list(computed)
    computed.clear()
    rest = run(folder, batch_size=batch_size, only=is_matrix)
    assert not set(before) & set(computed)
    assert len(before) + len(computed) == 4 * 7 + 2
    assert resumed(rest) == kept.keys()
    assert {k: v for k, v in scores_of(rest).items() if k in kept} == kept


def test_cancelled_before_it_began(tmp_path: Path, computed: list[str]) -> None:
    folder = save(tmp_path, llama(6))
    events = run(folder, batch_size=1, only=is_matrix, cancelled=lambda: True)
    assert isinstance(events[-1], ScanEnded)
    assert events[-1].reason == "stopped"
    assert computed == []


def test_a_consumer_that_goes_away_leaves_no_threads(tmp_path: Path, computed: list[str]) -> None:
    folder = save(tmp_path, llama(4))
    checkpoint = read_checkpoint(folder)
    plan = make_plan(checkpoint, layers_of(checkpoint), device="cpu", batch_size=2)
    threads, events = threading.active_count(), scan(plan)
    seen = 0
    for event in events:
        seen += isinstance(event, LayerDone) and not event.resumed
        if seen == 3:
            break
    events.close()  # type: ignore[attr-defined]
    wait_for_threads(threads)
    assert len(read_journal(plan.journal)) >= 3


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_torch_threads_come_back_and_workers_end(batch_size: int, tmp_path: Path) -> None:
    folder = save(tmp_path, llama(1))
    before, threads = torch.get_num_threads(), threading.active_count()
    torch.set_num_threads(3)
    try:
        run(folder, batch_size=batch_size)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    wait_for_threads(threads)


def test_plan(tmp_path: Path) -> None:
    checkpoint: Checkpoint = read_checkpoint(save(tmp_path, llama(1)))
    layers = layers_of(checkpoint)
    plan = make_plan(checkpoint, layers, device="cpu")
    assert plan.batch_size == default_batch_size("cpu") >= 1
    assert plan.cost == sum(svd.cost(x.rows, x.columns) for x in layers)
    assert make_plan(checkpoint, layers, device="cpu", batch_size=7).batch_size == 7


@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_work_is_counted_as_it_is_done(precision: str, tmp_path: Path) -> None:
    folder = save(tmp_path, llama(1))
    events = run(folder, precision=precision)
    wanted = sum(
        svd.cost(layer.rows, layer.columns, precision)
        for layer in layers_of(read_checkpoint(folder))
    )
    assert isinstance(events[0], ScanStarted)
    assert events[0].cost == pytest.approx(wanted)
    ends = [event for event in events if isinstance(event, LayerDone)]
    assert sum(event.cost for event in ends) == pytest.approx(wanted)
    assert svd.cost(512, 64, "fast") < svd.cost(512, 64)
