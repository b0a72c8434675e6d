"""The tri-state model: what a box says, what toggling reaches, what is on show."""

from __future__ import annotations

import numpy as np
import pytest

from spectrum_tui.app.widgets.check_model import Check, CheckModel
from spectrum_tui.core.layer_types import Group, TypeInfo


def info(name: str, group: Group, *, layers: int = 2, cost: float = 1.0) -> TypeInfo:
    norm = group is Group.NORMS
    return TypeInfo(
        name=name,
        group=group,
        layers=layers,
        parameters=layers * 100,
        cost=0.0 if norm else cost,
        one_dimensional=norm,
    )


def small() -> CheckModel:
    experts = [
        info(f"mlp.experts.{i}.{part}", Group.EXPERTS)
        for i in range(11)
        for part in ("down_proj", "up_proj")
    ]
    return CheckModel(
        [
            info("input_layernorm", Group.NORMS),
            info("mlp.down_proj", Group.MLP, cost=6.0),
            info("self_attn.q_proj", Group.ATTENTION),
            info("self_attn.k_proj", Group.ATTENTION),
            *reversed(experts),
            info("mlp.gate", Group.EXPERTS),
        ]
    )


def node(model: CheckModel, label: str) -> int:
    return model.labels.index(label)


def shown(model: CheckModel) -> list[str]:
    return [model.labels[i] for i in model.visible]


def test_order_is_group_then_family_then_natural() -> None:
    model = small()
    assert shown(model) == [
        "attention",
        "self_attn.k_proj",
        "self_attn.q_proj",
        "MLP",
        "mlp.down_proj",
        "experts",
        "mlp.experts.*.down_proj",
        "mlp.experts.*.up_proj",
        "mlp.gate",
        "norms",
        "input_layernorm",
    ]
    family = node(model, "mlp.experts.*.down_proj")
    members = model.labels[family + 1 : model.end[family]]
    assert members == [f"mlp.experts.{i}.down_proj" for i in range(11)]


def test_matrices_start_checked_and_norms_do_not() -> None:
    model = small()
    assert "input_layernorm" not in model.checked
    assert len(model.checked) == len(model.types) - 1
    assert model.checked[:3] == ("self_attn.k_proj", "self_attn.q_proj", "mlp.down_proj")


def test_a_branch_says_off_part_or_on() -> None:
    model = small()
    attention = node(model, "attention")
    assert model.state(attention) is Check.ON
    model.toggle(node(model, "self_attn.q_proj"))
    assert model.state(attention) is Check.PART
    assert model.counts(attention) == (1, 2)
    model.toggle(attention)
    assert model.state(attention) is Check.ON, "a part becomes a whole first"
    model.toggle(attention)
    assert model.state(attention) is Check.OFF


def test_toggling_a_family_and_one_expert() -> None:
    model = small()
    family = node(model, "mlp.experts.*.down_proj")
    model.toggle(family)
    assert not any(name.endswith("down_proj") and "experts" in name for name in model.checked)
    model.toggle(node(model, "mlp.experts.10.down_proj"))
    assert model.counts(family) == (1, 11)
    assert model.state(node(model, "experts")) is Check.PART


def test_all_none_invert() -> None:
    model = small()
    before = set(model.checked)
    model.invert()
    assert set(model.checked) == {"input_layernorm"}
    model.invert()
    assert set(model.checked) == before
    model.check_all(False)
    assert model.checked == ()
    model.check_all(True)
    assert len(model.checked) == len(model.types)


def test_figures_of_a_branch_are_sums() -> None:
    model = small()
    experts = node(model, "experts")
    assert model.layers(experts) == 2 * 23
    assert model.parameters(experts) == 2 * 23 * 100
    assert model.share(node(model, "mlp.down_proj")) == pytest.approx(6 / 31)
    assert model.share(node(model, "norms")) == 0


def test_folding_hides_what_is_below() -> None:
    model = small()
    family = node(model, "mlp.experts.*.down_proj")
    model.fold(family, unfolded=True)
    assert "mlp.experts.10.down_proj" in shown(model)
    model.fold(node(model, "experts"), unfolded=False)
    assert "mlp.experts.10.down_proj" not in shown(model)
    assert "mlp.gate" not in shown(model)
    assert model.row_of(node(model, "mlp.experts.10.down_proj")) == shown(model).index("experts")


def test_filter_keeps_ancestors_and_opens_what_hides_a_match() -> None:
    model = small()
    model.filter("EXPERTS.7.")
    assert shown(model) == [
        "experts",
        "mlp.experts.*.down_proj",
        "mlp.experts.7.down_proj",
        "mlp.experts.*.up_proj",
        "mlp.experts.7.up_proj",
    ]
    model.filter("")
    assert "mlp.experts.7.down_proj" not in shown(model), "folded again, as before the filter"
    assert len(shown(model)) == 11


def test_a_match_of_a_branch_shows_what_is_below_it() -> None:
    model = small()
    model.filter("attention")
    assert shown(model) == ["attention", "self_attn.k_proj", "self_attn.q_proj"]
    model.filter("*.down_proj")
    assert shown(model) == ["experts", "mlp.experts.*.down_proj"]
    model.fold(node(model, "mlp.experts.*.down_proj"), unfolded=True)
    assert len(shown(model)) == 13


def test_toggling_reaches_only_what_matches_the_filter() -> None:
    model = small()
    model.filter("q_proj")
    model.check_all(False)
    assert "self_attn.q_proj" not in model.checked
    assert "self_attn.k_proj" in model.checked
    attention = node(model, "attention")
    assert model.state(attention) is Check.PART, "the box counts what the filter hides"
    model.toggle(attention)
    assert model.state(attention) is Check.ON
    model.toggle(attention)
    assert model.counts(attention) == (1, 2)


def test_a_filter_without_a_match_shows_nothing_and_changes_nothing() -> None:
    model = small()
    before = model.checked
    model.filter("no such type")
    assert shown(model) == []
    model.check_all(False)
    model.invert()
    assert model.checked == before


def test_no_types_at_all() -> None:
    model = CheckModel([])
    assert (len(model), model.checked, shown(model)) == (0, (), [])
    model.check_all(True)
    model.filter("x")
    assert model.row_of(-1) == 0


def test_prefix_sums_agree_with_counting_in_a_large_tree() -> None:
    rng = np.random.default_rng(0)
    types = [info(f"mlp.experts.{i}.{part}", Group.EXPERTS) for i in range(2000) for part in "ab"]
    model = CheckModel([*types, info("mlp.down_proj", Group.MLP)])
    for target in rng.choice(len(model), 20, replace=False):
        model.toggle(int(target))
    for target in (0, *rng.choice(len(model), 50)):
        below = slice(int(target), int(model.end[target]))
        want = (int(model.on[below].sum()), int(model.leaf[below].sum()))
        assert model.counts(int(target)) == want


def test_without_a_language_model_every_tower_starts_checked() -> None:
    towers = [
        TypeInfo(
            name="vision:mlp.fc1",
            group=Group.MLP,
            layers=2,
            parameters=10,
            cost=1.0,
            tower="vision",
        ),
        TypeInfo(
            name="projector:linear",
            group=Group.OTHER,
            layers=1,
            parameters=10,
            cost=1.0,
            tower="projector",
        ),
        TypeInfo(
            name="vision:norm",
            group=Group.NORMS,
            layers=2,
            parameters=10,
            cost=0.0,
            one_dimensional=True,
            tower="vision",
        ),
    ]
    assert CheckModel(towers).checked == ("vision:mlp.fc1", "projector:linear")
    with_language = [
        *towers,
        TypeInfo(
            name="mlp.fc1", group=Group.MLP, layers=2, parameters=10, cost=1.0, tower="language"
        ),
    ]
    assert CheckModel(with_language).checked == ("mlp.fc1",)
