"""The arithmetic of a running scan, with a clock that only moves when told."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import replace

import pytest

from spectrum_tui.core.events import (
    Fetched,
    LayerDone,
    LayerFailed,
    LayerRescored,
    LayerStarted,
    ScanEnded,
    ScanStarted,
)
from spectrum_tui.worker.progress import RECENT, ScanProgress
from spectrum_tui.worker.rates import network_line


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def progress(clock: Clock) -> ScanProgress:
    return ScanProgress(clock)


def started(layers: int = 10, cost: float = 100.0) -> ScanStarted:
    return ScanStarted(layers=layers, cost=cost, types={"mlp": layers}, device="cpu", batch_size=2)


def done(
    i: int, cost: float = 10.0, nbytes: int = 1000, seconds: float = 1.0, resumed: bool = False
) -> LayerDone:
    return LayerDone(
        layer=f"layers.{i}.mlp",
        type="mlp",
        shape=(4, 8),
        metrics={"spectrum": 0.5 + i},
        cost=cost,
        bytes=nbytes,
        seconds=seconds,
        resumed=resumed,
    )


def failed(i: int, cost: float = 10.0) -> LayerFailed:
    return LayerFailed(
        layer=f"layers.{i}.mlp", type="mlp", shape=(4, 8), reason="contains NaN", cost=cost
    )


def test_nothing_before_the_first_scan(progress: ScanProgress) -> None:
    view = progress.snapshot()
    assert (view.phase, view.live, view.share, view.eta) == ("idle", False, 0.0, None)


def test_counts_by_type_and_in_total(progress: ScanProgress) -> None:
    progress.begin()
    progress.feed(started())
    progress.feed(LayerStarted("layers.0.mlp", "mlp", (4, 8)))
    progress.feed(LayerStarted("layers.1.mlp", "mlp", (4, 8)))
    progress.feed(done(0))
    progress.feed(failed(1))
    view = progress.snapshot()
    assert (view.done, view.failed, view.layers) == (1, 1, 10)
    assert (view.types["mlp"].done, view.types["mlp"].failed, view.types["mlp"].total) == (1, 1, 10)
    assert view.in_work == ()
    assert view.share == pytest.approx(0.2)
    assert [f.reason for f in view.failures] == ["contains NaN"]
    assert [e.layer for e in view.recent] == ["layers.1.mlp", "layers.0.mlp"]


def test_what_is_in_work_keeps_its_start(progress: ScanProgress, clock: Clock) -> None:
    progress.begin()
    progress.feed(started())
    progress.feed(LayerStarted("layers.3.mlp", "mlp", (4, 8)))
    clock.time += 7
    (work,) = progress.snapshot().in_work
    assert (work.layer, work.shape, progress.now() - work.since) == ("layers.3.mlp", (4, 8), 7)


def test_the_estimate_counts_work_and_not_matrices(progress: ScanProgress, clock: Clock) -> None:
    """Nine cheap matrices of ten took a second each, but they are a tenth of the work."""
    progress.begin()
    progress.feed(started(layers=10, cost=90.0))
    for i in range(9):
        clock.time += 1
        progress.feed(done(i, cost=1.0))
    view = progress.snapshot()
    assert view.share == pytest.approx(0.1)
    assert view.eta == pytest.approx(81.0)


def test_the_estimate_runs_down_between_scores(progress: ScanProgress, clock: Clock) -> None:
    progress.begin()
    progress.feed(started(cost=40.0))
    progress.feed(LayerStarted("layers.0.mlp", "mlp", (64, 96), 10.0))
    clock.time += 5
    progress.feed(done(0, cost=10.0, seconds=5.0))
    progress.feed(LayerStarted("layers.1.mlp", "mlp", (64, 96), 10.0))
    for seconds, left in ((0, 15.0), (3, 12.0), (2, 10.0), (50, 10.0)):
        clock.time += seconds
        assert progress.snapshot().eta == pytest.approx(left)


def test_the_estimate_shares_the_work_among_those_seen_at_once(
    progress: ScanProgress, clock: Clock
) -> None:
    progress.begin()
    progress.feed(started(cost=100.0))
    for i in range(3):
        progress.feed(LayerStarted(f"layers.{i}.mlp", "mlp", (8,)))
    for i in range(3):
        clock.time += 1
        progress.feed(done(i, seconds=3.0))
    assert progress.snapshot().eta == pytest.approx(70.0 * 0.3 / 3)


def test_the_estimate_follows_a_machine_that_becomes_slower(
    progress: ScanProgress, clock: Clock
) -> None:
    progress.begin()
    progress.feed(started(layers=100, cost=1000.0))
    for i in range(90):
        seconds = 1.0 if i < 20 else 4.0
        clock.time += seconds
        progress.feed(done(i, seconds=seconds))
    assert progress.snapshot().eta == pytest.approx(40.0)


def test_rates_forget_what_is_older_than_the_window(progress: ScanProgress, clock: Clock) -> None:
    progress.begin()
    progress.feed(started(layers=100, cost=1000.0))
    for i in range(10):  # a slow start: one matrix in 5 s
        clock.time += 5
        progress.feed(done(i))
    for i in range(10, 90):  # then five in a second
        clock.time += 0.2
        progress.feed(done(i))
    view = progress.snapshot()
    assert view.layers_per_second == pytest.approx(5.0, rel=0.05)
    assert view.bytes_per_second == pytest.approx(5000.0, rel=0.05)


def test_a_matrix_longer_than_the_window_has_a_rate(progress: ScanProgress, clock: Clock) -> None:
    progress.begin()
    progress.feed(started())
    for i in range(3):
        clock.time += 40
        progress.feed(done(i))
    assert progress.snapshot().layers_per_second == pytest.approx(1 / 40)


def test_the_time_left_is_that_of_the_network_where_it_takes_longer(
    progress: ScanProgress, clock: Clock
) -> None:
    progress.feed(started(layers=3, cost=30.0))
    progress.feed(LayerStarted("layers.0.mlp", "mlp", (4, 8), 10.0))
    clock.time += 1
    progress.feed(done(0))
    assert progress.snapshot().eta == pytest.approx(2.0)
    progress.feed(Fetched(100, 1000, 10.0))
    assert progress.snapshot().eta == pytest.approx(90.0)
    progress.feed(Fetched(990, 1000, 10.0))
    assert progress.snapshot().eta == pytest.approx(2.0)
    progress.feed(Fetched(990, 1000, 0.0, "Nobody answers."))
    assert progress.snapshot().eta is None
    progress.feed(Fetched(990, 0, 10.0))
    assert progress.snapshot().eta == pytest.approx(2.0)


def test_the_bar_follows_the_bytes_where_the_network_is_the_limit(
    progress: ScanProgress, clock: Clock
) -> None:
    progress.feed(started(layers=4, cost=40.0))
    progress.feed(done(0, resumed=True))
    progress.feed(Fetched(0, 1000, 0.0))
    clock.time += 1
    progress.feed(done(1))
    assert progress.snapshot().share == pytest.approx(0.5)
    progress.feed(Fetched(400, 1000, 10.0))
    assert progress.snapshot().share == pytest.approx(0.25 + 0.75 * 0.4)
    for waited in ("Nobody answers.", ""):  # it is as far as it was, and as fast as before
        progress.feed(Fetched(400, 1000, 0.0, waited))
        assert progress.snapshot().share == pytest.approx(0.25 + 0.75 * 0.4)
    assert progress.snapshot().eta == pytest.approx(60.0)
    progress.feed(Fetched(1000, 1000, 10.0))
    assert progress.snapshot().share == pytest.approx(0.25 + 0.75 * 0.98)
    progress.feed(done(2))
    progress.feed(done(3))
    assert progress.snapshot().share == pytest.approx(1.0)


def test_how_the_network_goes_on_is_one_line() -> None:
    assert network_line(Fetched(12_300_000_000, 163 * 10**9, 42e6)) == "42.0 MB/s · 12.3 of 163 GB"
    assert network_line(Fetched(900, 2000, 0.0, "Gone.")).startswith(
        "waiting for the network · 900"
    )
    assert network_line(Fetched(12_300_000, 0, 42e6)) == "42.0 MB/s · 12.3 MB so far"


def test_resumed_layers_count_but_never_speed_up(progress: ScanProgress, clock: Clock) -> None:
    progress.begin()
    progress.feed(started())
    for i in range(5):
        clock.time += 0.001
        progress.feed(done(i, resumed=True))
    view = progress.snapshot()
    assert (view.done, view.resumed, view.recent) == (5, 5, ())
    norm = replace(done(0, cost=0.0, resumed=True), layer="layers.0.norm", type="norm", shape=(4,))
    progress.feed(norm)
    assert progress.snapshot().resumed == 5  # of no earlier scan
    assert (view.eta, view.layers_per_second) == (None, 0.0)
    clock.time += 2
    progress.feed(done(5, seconds=2.0))
    assert progress.snapshot().eta == pytest.approx(8.0)


def test_the_clock_stands_still_after_the_end(progress: ScanProgress, clock: Clock) -> None:
    progress.begin()
    progress.feed(started())
    clock.time += 30
    progress.feed(ScanEnded("finished", 10, 0))
    clock.time += 1000
    view = progress.snapshot()
    assert (view.phase, view.elapsed, view.eta) == ("finished", 30.0, None)


def test_a_dead_worker_ends_a_scan(progress: ScanProgress) -> None:
    progress.end("died", "killed")
    assert progress.snapshot().phase == "idle"
    progress.begin()
    progress.feed(started())
    progress.feed(LayerStarted("layers.0.mlp", "mlp", (4, 8)))
    progress.end("died", "killed")
    view = progress.snapshot()
    assert (view.phase, view.reason, view.in_work) == ("died", "killed", ())


def test_a_worker_that_dies_before_the_result_is_written(progress: ScanProgress) -> None:
    progress.begin()
    progress.feed(started())
    progress.feed(ScanEnded("finished", 10, 0))
    progress.end("died", "killed")
    assert progress.snapshot().phase == "died"


def test_stopping_lasts_until_the_end(progress: ScanProgress) -> None:
    progress.begin()
    progress.stopping()
    progress.feed(started())
    assert progress.snapshot().phase == "stopping"
    progress.feed(ScanEnded("stopped", 1, 0))
    assert progress.snapshot().phase == "stopped"
    progress.stopping()
    assert progress.snapshot().phase == "stopped"


def test_a_new_scan_starts_from_nothing(progress: ScanProgress) -> None:
    progress.begin()
    progress.feed(started())
    progress.feed(failed(0))
    progress.begin()
    view = progress.snapshot()
    assert (view.phase, view.failed, view.failures, view.types) == ("starting", 0, (), {})


def test_recent_scores_are_bounded_and_failures_are_not(progress: ScanProgress) -> None:
    progress.begin()
    progress.feed(started(layers=1000))
    for i in range(RECENT + 50):
        progress.feed(failed(i))
    view = progress.snapshot()
    assert (len(view.recent), len(view.failures)) == (RECENT, RECENT + 50)


def test_a_snapshot_does_not_change_later(progress: ScanProgress) -> None:
    progress.begin()
    progress.feed(started())
    before = progress.snapshot()
    progress.feed(done(0))
    assert (before.done, before.types["mlp"].done) == (0, 0)


def test_feeding_and_reading_from_two_threads() -> None:
    progress = ScanProgress()
    progress.begin()
    progress.feed(started(layers=2000, cost=20_000.0))

    def feed() -> None:
        for i in range(2000):
            progress.feed(LayerStarted(f"layers.{i}.mlp", "mlp", (4, 8)))
            progress.feed(done(i))

    thread = threading.Thread(target=feed)
    thread.start()
    while thread.is_alive():
        view = progress.snapshot()
        assert view.done == view.types["mlp"].done
        time.sleep(0.001)  # a reader that never rests would only fight over the interpreter
    thread.join()
    assert progress.snapshot().done == 2000


def test_scores_come_in_their_order_in_the_metric_that_was_asked_for(
    progress: ScanProgress,
) -> None:
    progress.begin("calibrated")
    progress.feed(replace(started(3), names=("layers.0.mlp", "layers.1.mlp", "layers.2.mlp")))
    first = replace(done(0), metrics={"spectrum": 1.0, "calibrated": 2.0})
    progress.feed(first)
    progress.feed(failed(1))
    again = replace(first, metrics={"spectrum": 1.0, "calibrated": 2.5})
    progress.feed(LayerRescored(again))
    assert progress.scores(0)[::2] == [("layers.0.mlp", 2.0), ("layers.0.mlp", 2.5)]
    ((layer, value),) = progress.scores(1)[:-1]
    assert layer == "layers.1.mlp" and math.isnan(value)
    assert progress.names.layers[2] == "layers.2.mlp"
    names = progress.names
    progress.begin()
    assert progress.scores(0) == [] and progress.names is not names


def test_names_that_are_not_all_there_are_none(progress: ScanProgress) -> None:
    progress.begin()
    progress.feed(replace(started(3), names=("layers.0.mlp",)))
    assert progress.names.layers == ()
