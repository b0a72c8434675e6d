"""Names are checked against the model before a recipe is written."""

from __future__ import annotations

import itertools
import random
import re
from dataclasses import replace

import pytest

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.recipes.check import check_names, check_trainers, overmatched
from spectrum_tui.core.recipes.spectrum import SpectrumYaml
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Parameter, Result
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.trainers.trainers import TRAINERS
from tests import made

WEIGHT = "model.layers.1.mlp.down_proj.weight"


def test_names_that_are_the_models_pass() -> None:
    check_names([WEIGHT], [WEIGHT, "model.layers.11.mlp.down_proj.weight"])
    check_names([WEIGHT], [])  # scores of another tool: nothing is known of the model
    check_names([], [WEIGHT])


def test_a_name_that_the_model_does_not_have() -> None:
    old = "model.layers.1.block_sparse_moe.experts.3.w1.weight"
    with pytest.raises(SelectionError, match="is not a parameter") as caught:
        check_names([WEIGHT, old], [WEIGHT, "model.layers.1.mlp.experts.gate_up_proj"])
    assert old in caught.value.message
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("written", "other"),
    [
        ("model.layers.0.mlp.experts.gate_up_proj", "model.layers.0.mlp.experts.gate_up_proj_bias"),
        ("norm.weight", "layers.0.q_norm.weight"),
        ("embed_tokens.weight", "decoder.embed_tokens.weight"),
        ("a.b_c.weight", "a.b_c.weight.original"),
        ("a.b.weight", "a_b.weight.more"),
        ("x.weight", "a_x_weight"),
    ],
)
def test_a_name_that_matches_another_one_too(written: str, other: str) -> None:
    assert re.search(written, other)
    with pytest.raises(SelectionError) as caught:
        check_names([written], [written, other])
    assert f"{written} would also unfreeze {other}" in caught.value.message
    check_names([written, other], [written, other])  # both are meant to train


def random_names(rng: random.Random) -> list[str]:
    parts = ["a", "ab", "b", "norm", "q_norm", "w", "weight", "1", "11", "proj_bias", "proj"]
    count = rng.randint(2, 30)
    return [".".join(rng.choices(parts, k=rng.randint(1, 4))) for _ in range(count)]


@pytest.mark.parametrize("seed", range(200))
def test_found_is_what_matches_at_the_beginning_or_the_end(seed: int) -> None:
    rng = random.Random(seed)
    known = sorted(set(random_names(rng)))
    written = rng.sample(known, k=rng.randint(1, len(known)))
    rest = set(known) - set(written)
    found = list(overmatched(written, known))
    for name, other in found:
        assert other in rest
        assert re.search(name, other), (name, other)
    wanted = {
        name
        for name, other in itertools.product(written, rest)
        if re.match(name, other) or other.endswith(name)
    }
    # "." also stands for a letter ("a.b" is in "aab"): that no two parameters of a model do
    plain = {n for n in wanted if any(o.startswith(n) or o.endswith(n) for o in rest)}
    assert plain <= {name for name, _ in found}


def with_names(result: Result, *more: str) -> Result:
    names = {name for row in result.scores.parameters for name in row}
    heads = {head.name for head in result.embeddings}
    return replace(result, parameters=tuple(Parameter(n, ()) for n in (*names, *heads, *more)))


def test_a_recipe_is_stopped_and_says_why() -> None:
    result = made.result(layers=2, types=1, snr={0: 2.0, 1: 1.0})
    assert SpectrumYaml(Selection(with_names(result))).text(Policy(percent=50))
    clash = f"{result.scores.parameters[0][0]}_scale"
    recipe = SpectrumYaml(Selection(with_names(result, clash)))
    with pytest.raises(SelectionError, match="would also unfreeze"):
        recipe.text(Policy(percent=50))
    renamed = replace(result, parameters=(Parameter("model.layers.0.mlp.other.weight", ()),))
    with pytest.raises(SelectionError, match="is not a parameter"):
        SpectrumYaml(Selection(renamed)).text(Policy(percent=50, embeddings=False))


def test_a_list_longer_than_one_trainer_takes_is_for_the_others() -> None:
    names = [f"model.layers.{i}.mlp.up_proj.weight" for i in range(50_001)]
    parameters = [Parameter(name, (2, 2)) for name in [*names, "model.norm.weight"]]
    text = "unfrozen_parameters:\n" + "".join(f"- {name}\n" for name in names)
    able = {one.trainer.name for one in check_trainers(text, names, parameters)}
    assert able == {trainer.name for trainer in TRAINERS} - {"Soup"}
