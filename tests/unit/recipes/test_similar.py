"""Which neighbours are alike: by the spectra that a scan kept, else by their scores."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from spectrum_tui.core.recipes.adapters import adapter_layers
from spectrum_tui.core.recipes.peft_kinds import adapter_groups
from spectrum_tui.core.recipes.similar import (
    BY_SCORES,
    BY_SPECTRA,
    LEAST_COSINE,
    similar_to_previous,
)
from spectrum_tui.core.requests import ResultReady
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.saved.store import load_result
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.settings import Settings
from tests import made, oracle
from tests.checkpoints import Tensors, llama, save

BLOCKS = 6
TYPE = "mlp.down_proj"


def scanned(folder: Path, tensors: Tensors) -> Result:
    request = Settings(
        model=str(save(folder / "model", tensors)), device="cpu", output_dir=str(folder)
    )
    ready = next(event for event in run_scan(request) if isinstance(event, ResultReady))
    return load_result(Path(ready.path))


def weights() -> Tensors:
    """A Llama whose blocks 1 and 2, and 3 to 5, have one spectrum of `TYPE`, at other scales."""
    tensors = llama(BLOCKS, dtype=torch.float32)
    name = f"model.layers.{{}}.{TYPE}.weight"
    for block, source, scale in ((2, 1, 3.0), (4, 3, 0.5), (5, 3, 7.0)):
        tensors[name.format(block)] = scale * tensors[name.format(source)].flip(0)
    return tensors


def cosines(tensors: Tensors, kind: str) -> list[float]:
    """Between the spectra of each block and the one before it, by numpy."""
    names = (f"model.layers.{block}.{kind}.weight" for block in range(BLOCKS))
    spectra = [oracle.singular_values(oracle.as_matrix(tensors[name])) for name in names]
    unit = [values / np.linalg.norm(values) for values in spectra]
    return [float(a @ b) for a, b in pairwise(unit)]


def test_spectra_that_were_kept_decide(tmp_path: Path) -> None:
    tensors = weights()
    result = scanned(tmp_path, tensors)
    layers = adapter_layers(Selection(result))
    assert layers.measure() == BY_SPECTRA
    sharing = layers.sharing(layers.adaptable)
    kinds = [name for name in result.scores.type_names if name.startswith(("mlp.", "self_attn."))]
    assert len(kinds) == 7
    for kind in kinds:
        of_type = [row for row, name in enumerate(result.scores.layers) if name.endswith(kind)]
        wanted = [value >= LEAST_COSINE for value in cosines(tensors, kind)]
        assert sharing[of_type].tolist() == [False, *wanted], kind
    found = [group for group in adapter_groups(layers, layers.adaptable) if group[0].endswith(TYPE)]
    blocks = [[int(name.split(".")[2]) for name in group] for group in found]
    assert [1, 2] in blocks and [3, 4, 5] in blocks


def test_without_the_spectra_scores_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = scanned(tmp_path, weights())
    for file in Path(tmp_path.parent, f"{tmp_path.name}-home").rglob("*.spectra"):
        file.unlink()
    layers = adapter_layers(Selection(result))
    assert layers.measure() == BY_SCORES
    assert layers.sharing(layers.adaptable).any()


@pytest.mark.parametrize(
    ("before", "after", "alike"),
    [
        (1.0, 1.25, True),
        (1.25, 1.0, True),
        (1.0, 1.2501, False),
        (np.inf, np.inf, False),
        (0.0, 0.0, False),
        (np.nan, 1.0, False),
        (1e25, 1e25, True),
    ],
)
def test_scores_are_close_within_a_factor(before: float, after: float, alike: bool) -> None:
    result = made.result(layers=2, types=1, snr={0: before, 1: after})
    likeness = similar_to_previous(result, [0, 1])
    assert likeness.measure == BY_SCORES
    assert likeness.alike.tolist() == [False, alike]


def test_other_sizes_and_other_types_never_share() -> None:
    result = made.with_parameters(made.result(layers=2, types=3, snr=dict.fromkeys(range(6), 1.0)))
    result.scores.rows[1] += 1
    selection = Selection(result)
    layers = adapter_layers(selection)
    high, _ = layers.tiers(selection.shape(Policy()), 100, 100)
    assert layers.sharing(high).tolist() == [False, False, False, True, False, True]
