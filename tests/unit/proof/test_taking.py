"""A method taken over as a choice of layers trains what its row trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.proof.draw import chosen
from spectrum_tui.core.proof.methods import parse_method
from spectrum_tui.core.proof.taking import taken
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.recipes.kinds import DEFAULT_KIND
from spectrum_tui.core.recipes.spectrum import named
from spectrum_tui.core.recipes.writing import drafted
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.selection import Selection
from tests import made


@pytest.mark.parametrize("text", ["top:25", "random:25", "bottom:25", "metric:spectrum:40"])
@pytest.mark.parametrize("embeddings", [True, False])
def test_the_same_parameters(text: str, embeddings: bool) -> None:
    selection = Selection(made.result())
    method = parse_method(text)
    found = taken(method, selection, embeddings=embeddings)
    assert found.metric == "spectrum" and found.kind == ""
    wanted = chosen(method, selection, 0, embeddings=embeddings)
    assert set(named(selection, found.policy)) == set(wanted)


def test_a_selection_from_its_file(tmp_path: Path) -> None:
    selection = Selection(made.result())
    policy = Policy(percent=30, pins=("model.layers.3.mlp.up_proj",), embeddings=False)
    choice = Choice(selection=selection, policy=policy)
    path = tmp_path / "selection.yaml"
    path.write_text(drafted(DEFAULT_KIND, choice)[0].text)
    method = parse_method(f"policy:{path}")
    assert taken(method, selection, embeddings=False).policy == policy


def test_adapters_come_with_their_recipe() -> None:
    selection = Selection(made.result())
    found = taken(parse_method("tiers:40"), selection, embeddings=True)
    assert (found.kind, found.policy.percent) == ("peft-tiers", 40)
    assert taken(parse_method("lora"), selection, embeddings=True).policy.percent == 100


def test_everything_is_no_selection() -> None:
    with pytest.raises(SelectionError, match="no selection"):
        taken(parse_method("full"), Selection(made.result()), embeddings=True)
