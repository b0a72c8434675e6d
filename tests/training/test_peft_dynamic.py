"""The generated files of peft-dynamic: made, trained with their callback, saved and read back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("peft")

from peft import PeftModel

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.policy_values import parse_budget
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.recipes.kinds import kind_named
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.training.live_adapters import live_adapters
from tests.training.adapter_runs import answer, lines, ranks, run
from tests.training.conftest import Models
from tests.training.peft_models import (
    Prepared,
    adaptable,
    adapters_of,
    module_of_file,
    write_recipe,
)

TIERS = {"medium_percent": 60, "high_rank": 6, "medium_rank": 2}


def made(model: Prepared, choice: Choice, folder: Path) -> tuple[Any, Any, dict[str, Any]]:
    """(the model, the callback with a choice every 5 steps, what the script defines)"""
    path, _ = write_recipe("peft-dynamic", choice, folder)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("EVERY = 200", "EVERY = 5"), encoding="utf-8")
    names = module_of_file(path)
    return names["load_model"](model.folder), names["callback"](), names


@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "gpt2"])
def test_ranks_follow_from_the_tiers_on(name: str, prepared: Models, tmp_path: Path) -> None:
    model = prepared(name)
    adapted, callback, names = made(model, model.choice(34, **TIERS), tmp_path)
    every = set(adaptable(model.load()))
    assert set(adapters_of(adapted)) == every
    assert names["TRAINABLE"] == adapted.get_nb_trainable_parameters()[0]
    start = adapters_of(adapted)
    run(adapted, tmp_path, callback)
    found = lines(tmp_path)
    assert [line["step"] for line in found] == [0, 5, 10, 15, 20]
    both = model.best(34), model.best(60)
    wanted = {n: 6 if n in both[0] else 2 if n in both[1] else 0 for n in every}
    assert found[0]["ranks"] == wanted  # the tiers of the scan, of the same weights
    assert {n: start[n][0] for n in every} == {n: rank or 2 for n, rank in wanted.items()}
    counted = kind_named("peft-dynamic").count(model.choice(34, **TIERS))  # type: ignore[attr-defined]
    assert found[0]["trainable"] == counted.parameters
    adapted.save_pretrained(tmp_path / "adapter")
    again = PeftModel.from_pretrained(model.load(), tmp_path / "adapter")
    assert ranks(again) == ranks(adapted)
    assert answer(again).equal(answer(adapted))


def test_a_shaped_policy_is_followed(prepared: Models, tmp_path: Path) -> None:
    model = prepared("llama")
    policy = Policy(
        percent=25,
        blocks=((2, 9),),
        pins=("model.layers.3.mlp.*",),
        bans=('model."x', "*.layers.4.*"),
        type_percents=(("self_attn.k_proj", 50.0),),
    )
    choice = replace(model.choice(25, **TIERS), policy=policy)
    adapted, callback, _ = made(model, choice, tmp_path)
    run(adapted, tmp_path, callback)
    for line in lines(tmp_path):
        on = {name for name, rank in line["ranks"].items() if rank}
        assert {f"model.layers.3.mlp.{n}_proj" for n in ("up", "gate", "down")} <= on
        assert {int(name.split(".")[2]) for name in on} <= {2, 3, 5, 6, 7, 8, 9}
    assert all(int(one.layer.split(".")[2]) in range(2, 10) for one in live_adapters(adapted))


def test_a_budget_cannot_be_followed(prepared: Models) -> None:
    model = prepared("llama")
    policy = Policy(budget=parse_budget("1M"), layers=5)
    choice = replace(model.choice(34), policy=policy)
    with pytest.raises(SelectionError, match="A budget cannot be followed"):
        kind_named("peft-dynamic").files(choice)
