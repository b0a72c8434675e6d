"""Formulas, passes, sketches and shares of the stream on cases that are worked out by hand."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from spectrum_tui.core.files import write_kept
from spectrum_tui.core.probing.as_metrics import ALL, PROBED, agreement, targets_of, with_probed
from spectrum_tui.core.probing.formulas import PartSums, fisher, gradient, gradient_snr, metrics_of
from spectrum_tui.core.probing.passes import FIXED, Sizes, in_passes
from spectrum_tui.core.probing.records import Doing, Probed, said_of, said_text
from spectrum_tui.core.probing.sketches import FORM, read_sketches, sketches_path, write_sketches
from spectrum_tui.core.settings import DATA_METRICS
from spectrum_tui.core.training.sketching import sketch
from spectrum_tui.proving.probing.residual import ResidualStream
from tests import made


def sums(mean: float, squares: float, weight: float = 4.0, batches: int = 2) -> PartSums:
    return PartSums(mean=mean, squares=squares, weight=weight, size=10, batches=batches)


def test_the_formulas() -> None:
    found = sums(mean=1.0, squares=6.0)
    assert gradient(found) == 0.5
    assert fisher(found) == 0.3
    assert gradient_snr(found) == 0.25  # 1 / ((6 - 2 * 1) / 1)


def test_every_metric_of_data_has_a_formula_or_a_share_of_the_stream() -> None:
    assert {*metrics_of([sums(1.0, 6.0)]), "activation"} == set(DATA_METRICS)


def test_where_a_formula_has_no_value() -> None:
    assert math.isnan(gradient(sums(1.0, 2.0, weight=0.0)))
    assert math.isnan(gradient_snr(sums(1.0, 1.0, batches=1)))
    assert gradient_snr(sums(0.0, 5.0)) == 0.0
    assert gradient_snr(sums(1.0, 2.0)) == math.inf


SIZES = Sizes(weights=100, around=20, block=10, activations=50, one_block=5)
SUMS = {"a": 40, "b": 30, "c": 30}


@pytest.mark.parametrize(
    ("memory", "recompute", "hold", "passes"),
    [(290, False, True, 1), (289, True, True, 1), (244, True, False, 1), (154, True, False, 2),
     (116, True, False, 2), (96, True, False, 3), (1, True, False, 3)],
)  # fmt: skip
def test_passes_take_the_fastest_way_that_fits(
    memory: int, recompute: bool, hold: bool, passes: int
) -> None:
    found = in_passes(SIZES, SUMS, FIXED + memory)
    assert (found.recompute, found.hold, len(found.groups)) == (recompute, hold, passes)
    assert [name for group in found.groups for name in group] == list(SUMS)
    assert found.memory <= FIXED + memory or passes == len(SUMS)


def test_sketches_keep_products_in_expectation_and_small_sides_exactly() -> None:
    generator = torch.Generator().manual_seed(0)
    small = torch.randn(40, 50, generator=generator)
    assert torch.equal(sketch(small), small)
    a = torch.randn(300, 200, generator=generator)
    b = a + 0.5 * torch.randn(300, 200, generator=generator)
    x, y = sketch(a), sketch(b)
    assert x.shape == (64, 64)
    cosine = torch.cosine_similarity
    assert float(x.norm() / a.norm()) == pytest.approx(1.0, abs=0.05)
    assert float(cosine(x.flatten(), y.flatten(), 0)) == pytest.approx(
        float(cosine(a.flatten(), b.flatten(), 0)), abs=0.05
    )
    assert sketch(torch.randn(8, 5, 100)).shape == (40, 64)


def test_kept_sketches_are_read_back_and_nothing_else() -> None:
    kept = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}
    write_sketches("model", "data", kept)
    assert (read_sketches("model", "data")["a.weight"] == kept["a.weight"]).all()
    assert read_sketches("model", "other data") == {}
    for damaged in ("[1]", '{"a": [[2], "AAAA"]}', '{"a": [[-1], "é"]}'):
        write_kept(sketches_path("model", "data"), FORM, damaged)
        assert read_sketches("model", "data") == {}


class Sub(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.proj = nn.Linear(2, 2, bias=False)
        self.proj.weight.data = factor * torch.eye(2)


def test_a_share_is_what_is_added_over_what_it_is_added_to() -> None:
    model = nn.ModuleList([Sub(0.5), Sub(0.25)])
    stream = ResidualStream(model, ["0.proj.weight", "1.proj.weight"])
    x = torch.tensor([[[3.0, 4.0], [1.0, 0.0]]])
    with stream:
        stream.enter((None, x))
        h = x + model[0].get_submodule("proj")(x)  # 0.5 of it
        h += model[1].get_submodule("proj")(h)
    stream.close()
    assert stream.shares() == pytest.approx({"0.proj.weight": 0.5, "1.proj.weight": 0.25})


def test_padding_and_sums_beside_the_stream_count_for_nothing() -> None:
    model = nn.ModuleList([Sub(0.5), Sub(7.0)])
    stream = ResidualStream(model, ["0.proj.weight", "1.proj.weight"])
    stream.mask = torch.tensor([[1, 0]])
    with stream:
        x = torch.tensor([[[3.0, 4.0], [0.0, 0.0]]])
        stream.enter((x,))
        aside = model[1].get_submodule("proj")(torch.ones(1, 2, 2))
        aside = aside + torch.ones(1, 2, 2)
        stream.enter((x,))
        model[0].get_submodule("proj")(x) + x
    stream.close()
    assert stream.shares() == pytest.approx({"0.proj.weight": 0.5})


def test_what_is_measured_stands_beside_the_scores() -> None:
    result = made.result()
    count = len(result.scores)
    values: tuple[dict[str, tuple[float, ...]], ...] = tuple(
        {"gradient": (float(row),), "gradient_snr": (math.inf,), "fisher": (-float(row),)}
        for row in range(count - 1)
    )
    again = with_probed(result, Probed(values=(*values, {})), "a text")
    again = with_probed(again, Probed(values=(*values, {})), "another text")
    assert again.metrics[-len(DATA_METRICS) :] == DATA_METRICS
    assert [note for note in again.provenance.notes if PROBED in note] == [f"{PROBED} another text"]
    column = again.with_metric("gradient").scores.values
    assert column[:-1].tolist() == list(range(count - 1)) and math.isnan(column[-1])
    assert len(targets_of(result)) == count
    rhos = agreement(again)
    assert list(rhos)[-1] == ALL
    for kind in rhos.values():
        assert kind["gradient"] == pytest.approx(-kind["fisher"], nan_ok=True)
        assert math.isnan(kind["activation"])
    assert not any(math.isnan(kind["gradient"]) for kind in rhos.values())


def test_lines_of_a_probe_are_read_back_and_no_others() -> None:
    probed = Probed(values=({"gradient": (math.inf, 1.0)},), notes=("a",), versions={"torch": "2"})
    for one in (probed, Doing(step=1, steps=2)):
        assert said_of(said_text(one)) == one
    for line in (
        "",
        "[]",
        "{}",
        '{"Doing": {"step": "1", "steps": 2}}',
        '{"Probed": {}}',
        '{"X": 1}',
    ):
        with pytest.raises(ValueError, match="not what a probe says"):
            said_of(line)


def test_values_grow_with_nothing_but_what_they_measure() -> None:
    rising = [gradient_snr(sums(1.0, squares)) for squares in (9.0, 6.0, 3.0)]
    assert all(low < high for low, high in pairwise(rising))
