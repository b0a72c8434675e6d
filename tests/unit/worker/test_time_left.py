"""The estimate against scans whose end is known: recorded seconds, two workers, costliest first."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import pytest

from spectrum_tui.core.events import LayerDone, LayerStarted, ScanStarted
from spectrum_tui.core.scoring.svd import cost
from spectrum_tui.worker.progress import ScanProgress
from spectrum_tui.worker.rates import Rate, seconds_left

Shape = tuple[int, int]
EXACT: dict[Shape, float] = {
    (192, 576): 0.0022, (576, 576): 0.0206, (1536, 576): 0.0263, (576, 1536): 0.0267,
    (49152, 576): 0.395, (512, 2048): 0.0239, (2048, 2048): 0.682, (8192, 2048): 1.205,
    (2048, 8192): 1.250, (32000, 1024): 0.822, (1024, 1024): 0.0854, (512, 1024): 0.0195,
    (3072, 1024): 0.132, (1024, 3072): 0.134,
}  # fmt: skip
"""Seconds of one matrix on one core, float64."""
FAST: dict[Shape, float] = {
    (192, 576): 0.0017, (576, 576): 0.0121, (1536, 576): 0.0164, (576, 1536): 0.0168,
    (49152, 576): 0.204, (512, 2048): 0.0152, (2048, 2048): 0.387, (8192, 2048): 0.650,
    (2048, 8192): 0.688, (32000, 1024): 0.430, (1024, 1024): 0.0575, (512, 1024): 0.0115,
    (3072, 1024): 0.0820, (1024, 3072): 0.0854,
}  # fmt: skip
"""The same in float32."""


def decoder(layers: int, hidden: int, inner: int, keys: int) -> list[Shape]:
    square, narrow = (hidden, hidden), (keys, hidden)
    return [square, narrow, narrow, square, (inner, hidden), (inner, hidden), (hidden, inner)] * (
        layers
    )


MODELS = {
    "135 M": [(49152, 576), *decoder(30, 576, 1536, 192)],
    "large vocabulary": [(32000, 1024), (32000, 1024), *decoder(8, 1024, 3072, 512)],
    "1 B": decoder(16, 2048, 8192, 512),
}


class Clock:
    time = 0.0

    def __call__(self) -> float:
        return self.time


def estimates(
    shapes: list[Shape], seconds: dict[Shape, float], precision: str, rate: float = 0.0
) -> Iterator[tuple[float, float]]:
    """(share of the time gone, estimate over truth) after every matrix of a scan."""
    clock = Clock()
    progress = ScanProgress(clock)
    total = sum(cost(*shape, precision) for shape in shapes)
    progress.begin()
    progress.feed(
        ScanStarted(
            layers=len(shapes),
            cost=total,
            types={"all": len(shapes)},
            device="cpu",
            batch_size=2,
            seconds_per_cost=rate,
        )
    )
    todo = sorted(shapes, key=lambda shape: cost(shape[0], shape[1], precision))
    in_work: list[tuple[float, int, Shape]] = []
    seen: list[tuple[float, float | None]] = [(0.0, progress.snapshot().eta)] if rate else []
    while todo or in_work:
        while todo and len(in_work) < 2:
            shape, number = todo.pop(), len(todo)
            progress.feed(LayerStarted(f"{number}", "all", shape, cost(*shape, precision)))
            heapq.heappush(in_work, (clock.time + seconds[shape], number, shape))
        clock.time, number, shape = heapq.heappop(in_work)
        took, work = seconds[shape], cost(*shape, precision)
        progress.feed(
            LayerDone(
                layer=f"{number}",
                type="all",
                shape=shape,
                metrics={"spectrum": 1.0},
                cost=work,
                bytes=0,
                seconds=took,
            )
        )
        seen.append((clock.time, progress.snapshot().eta))
    for at, eta in seen:
        if at < clock.time:
            assert eta is not None
            yield at / clock.time, eta / (clock.time - at)


PRECISIONS = pytest.mark.parametrize(
    ("precision", "seconds"), [("exact", EXACT), ("fast", FAST)], ids=["exact", "fast"]
)


@pytest.mark.parametrize("model", MODELS)
@PRECISIONS
def test_after_a_fifth_the_estimate_is_within_a_quarter(
    model: str, precision: str, seconds: dict[Shape, float]
) -> None:
    all_of_them = estimates(MODELS[model], seconds, precision)
    found = [ratio for share, ratio in all_of_them if 0.2 <= share <= 0.9]
    assert len(found) > 20
    assert max(found) < 1.25
    assert min(found) > 0.75


@pytest.mark.parametrize("model", MODELS)
@PRECISIONS
def test_with_one_matrix_measured_it_is_within_a_factor_of_two_from_the_start(
    model: str, precision: str, seconds: dict[Shape, float]
) -> None:
    """Whichever of its shapes that is, and though the first to end is a vocabulary."""
    for shape in set(MODELS[model]):
        rate = seconds[shape] / cost(*shape, precision)
        found = list(estimates(MODELS[model], seconds, precision, rate))
        assert found[0][0] == 0.0
        early = [ratio for share, ratio in found if share <= 0.2]
        assert 0.5 < min(early) <= max(early) < 2.0


def test_nothing_is_known_before_the_first_matrix() -> None:
    assert Rate().seconds_per_cost == 0.0


def test_what_is_half_done_counts() -> None:
    assert seconds_left(100.0, 0.1, 2, [(40.0, 2.0), (20.0, 1.0)]) == pytest.approx((10 - 3) / 2)


def test_a_late_matrix_is_nearly_done_and_takes_nothing_off_the_others() -> None:
    assert seconds_left(100.0, 0.1, 1, [(20.0, 50.0)]) == pytest.approx(8.0)


def test_never_less_than_the_longest_in_work() -> None:
    assert seconds_left(110.0, 0.1, 4, [(100.0, 1.0), (10.0, 0.5)]) == pytest.approx(9.0)
