"""The `fast` precision: float32 where it is provably good enough, and the order of float64."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from spectrum_tui.cli.main import main
from spectrum_tui.core.events import LayerDone, LayerRescored
from spectrum_tui.core.scanning.precision import Interval, undecided, undecided_in_groups
from spectrum_tui.core.scoring import svd
from spectrum_tui.core.scoring.snr import spectrum_score
from spectrum_tui.core.scoring.svd import (
    EXACT,
    FAST,
    TORCH_ON_CPU,
    StoredMatrix,
    gram_singular_values,
)
from spectrum_tui.core.stored_types import Array, as_numpy
from tests import oracle
from tests.checkpoints import llama, save
from tests.scans import run


@dataclass(frozen=True)
class InMemory:
    """A matrix that is not in a file."""

    tensor: torch.Tensor
    by_rows: bool = True

    def read_rows(self, start: int, stop: int) -> Array:
        return as_numpy(self.tensor[start:stop])

    def read_columns(self, rows: int, start: int, stop: int) -> Array:
        return as_numpy(self.tensor[:rows, start:stop])


def snr(tensor: torch.Tensor, precision: str) -> tuple[float, float]:
    """(SNR, bound on its relative error)."""
    rows, columns = tensor.shape
    spectrum = svd.singular_values(InMemory(tensor), rows, columns, "cpu", precision)
    return spectrum_score(spectrum.values, rows, columns).snr, spectrum.error


def normal(generator: torch.Generator, rows: int, columns: int) -> torch.Tensor:
    return torch.randn(rows, columns, generator=generator)


def with_signal(generator: torch.Generator, rows: int, columns: int) -> torch.Tensor:
    """What a trained matrix looks like: noise of several strengths, and a decaying signal."""
    rank = min(rows, columns) // 4 + 1
    strengths = 8.0 * torch.arange(1, rank + 1) ** -0.6
    left, right = normal(generator, rows, rank), normal(generator, columns, rank)
    noise = normal(generator, rows, columns) * torch.linspace(1.6, 0.7, columns)
    signal = (left / rows**0.5 * strengths) @ (right / columns**0.5).T
    made: torch.Tensor = noise / math.sqrt(rows) + signal
    return made


def families() -> Iterator[tuple[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(3)
    for rows, columns in ((40, 40), (64, 200), (400, 90), (200, 200)):
        base = normal(generator, rows, columns)
        chance = torch.rand(rows, columns, generator=generator)
        made = {
            "normal": base,
            "trained": with_signal(generator, rows, columns),
            "shifted": base + 3.0,
            "sparse": base * (chance < 0.05),
            "nearly empty": base * (chance < 0.01),
            "steep": base * torch.logspace(0, -2, columns),
            "orthogonal": torch.linalg.qr(base.T if columns > rows else base).Q,
        }
        for name, tensor in made.items():
            for dtype in (torch.float32, torch.bfloat16):
                yield f"{name} {rows}x{columns} {dtype}", tensor.to(dtype)


@pytest.mark.parametrize("device", ["cpu", TORCH_ON_CPU])
def test_the_float32_bound_bounds_the_true_error(device: str) -> None:
    for name, tensor in families():
        matrix = StoredMatrix(InMemory(tensor), *tensor.shape)
        values, errors = gram_singular_values(matrix, device, FAST)
        true = oracle.singular_values(tensor.double().numpy())
        assert (np.abs(values - true) <= errors).all(), name
        assert errors[0] < 1e-3 * true[0], name  # it says something


def test_fast_is_within_what_it_says_and_seldom_needs_float64(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ways: list[str] = []

    def spy(matrix: StoredMatrix, device: str, precision: str = EXACT) -> object:
        ways.append(precision)
        return gram_singular_values(matrix, device, precision)

    monkeypatch.setattr(svd, "gram_singular_values", spy)
    generator = torch.Generator().manual_seed(4)
    for _ in range(40):
        tensor = with_signal(generator, 120, 100).to(torch.bfloat16)
        got, error = snr(tensor, FAST)
        wanted = oracle.snr(tensor.double().numpy())
        assert error <= 1e-4
        assert abs(got - wanted) <= error * wanted
    assert ways.count(FAST) == 40
    assert ways.count(EXACT) <= 6


@pytest.mark.parametrize("power", [-130, -60, 60, 120])
def test_values_that_float32_cannot_square(power: int) -> None:
    generator = torch.Generator().manual_seed(5)
    tensor = with_signal(generator, 60, 40) * 2.0**power
    got, _ = snr(tensor, FAST)
    wanted = oracle.snr(tensor.double().numpy())
    assert abs(got - wanted) <= 1e-4 * wanted


def test_float64_values_beyond_float32() -> None:
    generator = torch.Generator().manual_seed(6)
    tensor = with_signal(generator, 60, 40).double() * 1e60
    got, error = snr(tensor, FAST)
    assert error <= 1e-9
    assert abs(got - oracle.snr(tensor.numpy())) <= 1e-9 * got


def test_hundreds_of_types_with_near_ties_are_in_the_order_of_exact() -> None:
    generator = torch.Generator().manual_seed(7)
    items: list[tuple[int, torch.Tensor]] = []
    for kind in range(240):
        base = with_signal(generator, 12, 16)
        gaps = (0.0, 10.0 ** -(kind % 8), 3.0 * 10.0 ** -(kind % 8))
        items += [(kind, base * (1.0 + gap)) for gap in gaps]
    scored = [snr(tensor, FAST) for _, tensor in items]
    intervals = [
        (kind, Interval(value * (1 - error), value * (1 + error), exact=error <= 1e-9))
        for (kind, _), (value, error) in zip(items, scored, strict=True)
    ]
    final = [value for value, _ in scored]
    exact = [snr(tensor, EXACT)[0] for _, tensor in items]
    again = undecided_in_groups(intervals)
    for i in again:
        final[i] = exact[i]
    for start in range(0, len(items), 3):
        members = range(start, start + 3)
        order = sorted(members, key=lambda i: -final[i])
        assert order == sorted(members, key=lambda i: -exact[i])
    assert 100 < len(again) < len(items)  # neither nothing nor everything


def test_undecided() -> None:
    def group(*pairs: tuple[float, float]) -> list[Interval]:
        return [Interval(low, high) for low, high in pairs]

    assert undecided([]) == []
    assert undecided(group((1, 2), (3, 4), (5, 6))) == []
    assert undecided(group((5, 6), (1, 2), (1.5, 3))) == [1, 2]
    assert undecided(group((1, 10), (2, 3), (4, 5))) == [0, 1, 2]  # one over all
    assert undecided(group((1, 2), (2, 3))) == [0, 1]  # they may be equal
    exact = Interval(2.5, 2.5, exact=True)
    assert undecided([Interval(2, 3), exact, Interval(2.4, 2.6, exact=True)]) == [0]
    infinite = Interval(math.inf, math.inf, exact=True)
    assert undecided([infinite, infinite, *group((1, 2))]) == []


def test_types_do_not_meet() -> None:
    same = Interval(1, 2)
    assert undecided_in_groups([("a", same), ("b", same)]) == []
    assert undecided_in_groups([("a", same), ("b", same), ("a", same)]) == [0, 2]


def test_a_fast_scan_settles_the_order_and_an_exact_one_does_not_reuse_it(tmp_path: Path) -> None:
    tensors = llama(3)
    close = [name for name in tensors if name.endswith("up_proj.weight")]
    for i, name in enumerate(close):
        tensors[name] = tensors[close[0]].float() * (1.0 + i * 1e-6)
    folder = save(tmp_path, tensors)
    fast = run(folder, precision=FAST)
    rescored = {e.done.layer for e in fast if isinstance(e, LayerRescored)}
    assert {name.removesuffix(".weight") for name in close} <= rescored
    exact = run(folder, precision=EXACT)
    computed = [e for e in exact if isinstance(e, LayerDone) and not e.resumed]
    assert computed  # float32 scores are not good enough
    assert not rescored & {e.layer for e in computed}  # but those are exact already
    again = run(folder, precision=FAST)
    assert all(e.resumed for e in again if isinstance(e, LayerDone))


def test_the_files_say_that_they_are_of_the_fast_precision(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", llama(2))
    for precision in (EXACT, FAST):
        out = tmp_path / precision
        out.mkdir()
        assert main(["scan", str(folder), "--precision", precision, "--output-dir", str(out)]) == 0
        (recipe,) = out.glob("*.yaml")
        assert ("fast precision" in recipe.read_text()) == (precision == FAST)
