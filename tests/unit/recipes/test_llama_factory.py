"""LLaMA-Factory's freeze tuning: the smallest setting, and what is said where it is too large."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.recipes.kinds import kind_named
from spectrum_tui.core.recipes.writing import drafted
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.trainers.llama_factory import smallest_setting
from tests import made

KIND = kind_named("llama-factory")
PARTS = ("self_attn.q_proj.weight", "mlp.up_proj.weight", "input_layernorm.weight")
NAMES = (
    "model.embed_tokens.weight",
    *(f"model.layers.{i}.{part}" for i in range(12) for part in PARTS),
    "model.norm.weight",
    "lm_head.weight",
)


def blocks(*numbers: int, part: str = "") -> set[str]:
    return {n for n in NAMES for i in numbers if f".{i}.{part}" in n}


@pytest.mark.parametrize(
    ("wanted", "keys", "trains"),
    [
        (blocks(10, 11), (2, "input_layernorm,mlp,self_attn", None), blocks(10, 11)),
        (blocks(0, 1, part="mlp"), (-2, "mlp", None), blocks(0, 1, part="mlp")),
        (blocks(1, part="mlp"), (-2, "mlp", None), blocks(0, 1, part="mlp")),
        (blocks(11, part="mlp"), (1, "mlp", None), blocks(11, part="mlp")),
        (
            {"lm_head.weight", *blocks(11, part="mlp")},
            (1, "mlp", "lm_head"),
            {"lm_head.weight", *blocks(11, part="mlp")},
        ),
        ({"lm_head.weight"}, (0, "all", "lm_head"), {"lm_head.weight"}),
        (
            {"model.norm.weight"},
            (0, "all", "norm"),
            {n for n in NAMES if "norm" in n},
        ),
    ],
)
def test_the_smallest_setting(
    wanted: set[str], keys: tuple[int, str, str | None], trains: set[str]
) -> None:
    """`.1.` is not `.11.`, and `norm` is in every norm."""
    found = smallest_setting(wanted, NAMES)
    assert found is not None
    read = yaml.safe_load("\n".join(f"{key}: {value}" for key, value in found.keys.items()))
    assert (
        tuple(
            read.get(f"freeze_{key}")
            for key in ("trainable_layers", "trainable_modules", "extra_modules")
        )
        == keys
    )
    assert found.trains == trains


def test_a_module_that_the_first_block_lacks_is_asked_for_by_all() -> None:
    """LLaMA-Factory looks for modules in block 0 and stops at any other."""
    names = (*NAMES, "model.layers.11.cross.weight")
    found = smallest_setting({names[-1]}, names)
    assert found is not None and found.modules == ("all",)
    assert found.trains == {*blocks(11), names[-1]}


@pytest.mark.parametrize(
    "names", [(), ("a.weight",), (*NAMES, "vision.layers.0.mlp.weight")], ids=len
)
def test_no_blocks_or_several_stacks_have_no_setting(names: tuple[str, ...]) -> None:
    assert smallest_setting(set(names), names) is None


def choice(result: Result, policy: Policy) -> Choice:
    return Choice(selection=Selection(result), policy=policy)


LAST = Policy(percent=100, embeddings=False, blocks=((10, None),))


def test_whole_blocks_are_written() -> None:
    (file,) = drafted(KIND, choice(made.with_parameters(made.result(norms=False)), LAST))
    assert yaml.safe_load(file.text) == {
        "finetuning_type": "freeze",
        "freeze_trainable_layers": 2,
        "freeze_trainable_modules": "mlp,self_attn",
    }
    assert file.ending.endswith(".yaml") and "\n# policy: " in file.text


def test_what_would_train_besides_is_said() -> None:
    plain = made.with_parameters(made.result())
    with pytest.raises(SelectionError, match=r"with these \d+ parameters, \d+ others? would train"):
        drafted(KIND, choice(plain, Policy(percent=25, embeddings=False)))


def test_without_the_models_parameters_it_cannot_be_told() -> None:
    with pytest.raises(SelectionError, match="do not say which parameters"):
        drafted(KIND, choice(replace(made.result(), parameters=()), LAST))
