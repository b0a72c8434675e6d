"""What a policy selects: its rules typed again over names, and that it reads back from a recipe."""

from __future__ import annotations

import math
import re
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectrum_tui.core.errors import InputError, RecipeError, ResultsError, SelectionError
from spectrum_tui.core.memory.budget import filled
from spectrum_tui.core.memory.estimate import MemoryTable
from spectrum_tui.core.memory.model import ModelSizes
from spectrum_tui.core.memory.presets import PRESETS, SHARDINGS, Preset, Sharding, Training
from spectrum_tui.core.memory.ways import parse_way, way_text
from spectrum_tui.core.policy_values import (
    RULES,
    parse_blocks,
    parse_budget,
    parse_percent,
    parse_type_percents,
)
from spectrum_tui.core.recipes.choice import Choice, RecipeKind, Tiers
from spectrum_tui.core.recipes.policy_line import OPENING, policy_line, read_policy
from spectrum_tui.core.recipes.spectrum import named
from spectrum_tui.core.recipes.writing import drafted
from spectrum_tui.core.results.policy import Policy, policy_of, settings_with
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.settings import Settings
from tests import made
from tests.made import TEXT_KINDS
from tests.policies import expected, matched, shares

LAYERS, TYPES = 9, 4
HEADS = ("model.embed_tokens", "lm_head")
RESULT = made.with_parameters(
    made.with_metrics(made.result(layers=LAYERS, types=TYPES, snr={3: math.nan, 8: 1.0, 9: 1.0}))
)
SELECTIONS = {
    metric: Selection(RESULT.with_metric(metric)) for metric in ("spectrum", "calibrated")
}
NAMES = RESULT.scores.layers
TABLES = {
    metric: MemoryTable(selection, ModelSizes(RESULT.parameters, RESULT.embeddings))
    for metric, selection in SELECTIONS.items()
}

percents = st.integers(1, 1000).map(lambda tenths: tenths // 10 if not tenths % 10 else tenths / 10)
own_percents = st.integers(0, 1000).map(lambda t: t // 10 if not t % 10 else t / 10)
patterns = st.one_of(
    st.sampled_from([*NAMES, *HEADS]),
    st.sampled_from(["*", "*.mlp.*", "model.layers.3.*", "*.[24].*", "*_head", "nothing.*"]),
)
type_patterns = st.sampled_from([*RESULT.scores.type_names, "mlp.*", "self_attn.*", "*"])
ranges = st.tuples(st.integers(0, LAYERS), st.one_of(st.none(), st.integers(0, LAYERS))).map(
    lambda ends: ends if ends[1] is None else (min(ends[0], ends[1]), max(ends[0], ends[1]))
)
policies = st.builds(
    Policy,
    percent=percents,
    embeddings=st.booleans(),
    rule=st.sampled_from(list(RULES)),
    type_percents=st.lists(st.tuples(type_patterns, own_percents), max_size=2).map(tuple),
    blocks=st.lists(ranges, max_size=2).map(tuple),
    pins=st.lists(patterns, max_size=3, unique=True).map(tuple),
    bans=st.lists(patterns, max_size=3, unique=True).map(tuple),
)


def metric_of(policy: Policy) -> str:
    """The metric that the policy's rule allows."""
    return "calibrated" if policy.rule == "global" else "spectrum"


@given(policies)
def test_a_policy_selects_what_its_rules_say(policy: Policy) -> None:
    selection = SELECTIONS[metric_of(policy)]
    mask = selection.mask(policy)
    assert {NAMES[row] for row in np.flatnonzero(mask)} == expected(selection.result, policy)
    heads = {head.name.removesuffix(".weight") for head in selection.heads(policy)}
    on = set(HEADS) if policy.embeddings else {h for h in HEADS if matched(h, policy.pins)}
    assert heads == {head for head in on if not matched(head, policy.bans)}
    sizes = {p.name: p.numel for p in RESULT.parameters}
    trained = named(selection, policy)
    totals = selection.totals(policy)
    assert totals.layers == mask.sum()
    assert totals.parameters == sum(sizes[name] for name in trained)
    table = TABLES[metric_of(policy)]
    assert table.estimate(policy, Training()).trained == totals.parameters


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_takes_what_it_says_and_no_other_is_known(
    rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = Policy(percent=30, rule=rule)
    selection = SELECTIONS[metric_of(policy)]
    layers = {NAMES[row] for row in np.flatnonzero(selection.mask(policy))}
    assert layers == expected(selection.result, policy) != set()
    monkeypatch.setitem(RULES, "unknown", RULES[rule])
    for chosen in (lambda p: Selection(selection.result).mask(p), partial(expected, RESULT)):
        with pytest.raises(NotImplementedError):
            chosen(replace(policy, rule="unknown"))


OTHER: dict[str, object] = {
    "percent": 12.5,
    "embeddings": False,
    "rule": "global-rank",
    "type_percents": (("mlp.*", 40),),
    "blocks": ((1, None),),
    "pins": ("a",),
    "bans": ("b",),
    "budget": parse_budget("24GiB"),
    "way": "qlora gpus=2",
}


def test_every_field_of_a_policy_is_a_setting_and_read_back_from_a_recipe(tmp_path: Path) -> None:
    counted = {"layers"}  # how many the budget holds
    assert OTHER.keys() | counted == {field.name for field in fields(Policy)}
    policy = Policy(**OTHER)  # type: ignore[arg-type]
    assert all(getattr(policy, name) != getattr(Policy(), name) for name in OTHER)
    assert policy_of(settings_with(Settings(), policy)) == policy
    path = tmp_path / "recipe.yaml"
    path.write_text(policy_line(replace(policy, percent=50), "spectrum"), encoding="utf-8")
    assert policy_of(replace(Settings(), **read_policy(path))) == replace(policy, percent=50)


@given(policies)
def test_bans_never_train_and_pins_always_do(policy: Policy) -> None:
    names = set(named(SELECTIONS[metric_of(policy)], policy))
    for name in (*NAMES, *HEADS):
        if matched(name, policy.bans):
            assert f"{name}.weight" not in names
        elif matched(name, policy.pins):
            assert f"{name}.weight" in names


@given(policies, st.sampled_from(NAMES))
def test_pinning_and_banning_one_layer_moves_no_other(policy: Policy, name: str) -> None:
    selection, row = SELECTIONS[metric_of(policy)], NAMES.index(name)
    before = selection.mask(policy)
    for changed in (
        replace(policy, pins=(*policy.pins, name)),
        replace(policy, bans=(*policy.bans, name)),
    ):
        after = selection.mask(changed)
        assert np.delete(before != after, row).sum() == 0
    assert (selection.mask(policy) == before).all()


@settings(max_examples=60)
@given(policies, st.sampled_from(["spectrum", "calibrated"]))
def test_what_is_written_reads_back(
    tmp_path_factory: pytest.TempPathFactory, policy: Policy, metric: str
) -> None:
    line = policy_line(policy, metric)
    assert "\n" not in line and line.startswith(OPENING)
    path = tmp_path_factory.getbasetemp() / "recipe.yaml"
    path.write_text(f"# other words\n{line}\nunfrozen_parameters:\n- x\n")
    read = Settings(**read_policy(path))
    assert policy_of(read) == policy
    assert read.metric == metric


@pytest.mark.parametrize("kind", [kind for kind in TEXT_KINDS if kind.name != "spectrum-reference"])
def test_every_kind_of_recipe_holds_the_policy(kind: RecipeKind, tmp_path: Path) -> None:
    policy = Policy(
        percent=40,
        embeddings=False,
        type_percents=(("mlp.*", 62.5),),
        blocks=((0, 3), (5, None)),
        pins=("model.layers.0.mlp.up_proj",),
        bans=("model.layers.6.*",),
    )
    files = drafted(kind, Choice(selection=SELECTIONS["spectrum"], policy=policy))
    texts = [file.text for file in files if re.search(f"^{OPENING}", file.text, re.MULTILINE)]
    assert all("shaped" in file.ending for file in files)
    for text in texts:
        path = tmp_path / "recipe"
        path.write_text(text)
        assert policy_of(Settings(**read_policy(path))) == policy
    assert texts


def test_the_reference_knows_one_percentage_alone() -> None:
    kind = next(kind for kind in TEXT_KINDS if kind.name == "spectrum-reference")
    for shaped in (
        Policy(pins=(NAMES[0],)),
        Policy(blocks=((2, None),)),
        Policy(rule="global-rank"),
    ):
        with pytest.raises(SelectionError, match="one percentage for all types"):
            drafted(kind, Choice(selection=SELECTIONS["spectrum"], policy=shaped))


@settings(max_examples=40)
@given(policies, st.integers(1, 60), st.booleans(), st.sampled_from([p.name for p in PRESETS]))
def test_a_budget_is_met_and_holds_no_further_layer(
    policy: Policy, share: int, in_bytes: bool, way: str
) -> None:
    selection = SELECTIONS["spectrum"]
    table = TABLES["spectrum"]
    training = parse_way(way, Tiers())
    whole = Policy(percent=100, embeddings=policy.embeddings)

    def cost(one: Policy) -> float:
        if in_bytes:
            return table.estimate(one, training).total
        return selection.totals(one).parameters

    amount = round(cost(whole) * share / 50)
    text = f"{amount / 1e9:.9f}GB" if in_bytes else str(amount)
    budget = parse_budget(text)
    assert budget is not None
    wanted = replace(policy, rule="per-type", budget=budget, way=way)
    try:
        found = filled(wanted, selection, Tiers(), table)
    except SelectionError:
        least = replace(wanted, layers=0)
        none_fits = cost(replace(wanted, layers=1)) > budget.amount
        assert none_fits or not selection.selects_any(replace(wanted, layers=1))
        assert cost(least) > budget.amount or not selection.selects_any(least)
        return
    assert cost(found) <= budget.amount
    assert found.layers is not None
    if found.layers < len(selection.by_share):
        assert cost(replace(found, layers=found.layers + 1)) > budget.amount
    assert filled(wanted, selection, Tiers()) == found
    for before in (1, found.layers // 2, len(selection.by_share)):
        assert filled(replace(wanted, layers=before), selection, Tiers(), table) == found


def test_a_budget_takes_the_best_by_their_share_first() -> None:
    selection = SELECTIONS["spectrum"]
    order = sorted(
        (n for n, v in shares(RESULT).items() if not math.isnan(v)),
        key=lambda n: (-shares(RESULT)[n], NAMES.index(n)),
    )
    assert [NAMES[row] for row in selection.by_share] == order
    policy = Policy(budget=parse_budget("1B"), layers=7)
    assert {NAMES[row] for row in np.flatnonzero(selection.mask(policy))} == set(order[:7])


def test_a_budget_needs_sizes() -> None:
    bare = Selection(made.result(sizes=False))
    for text in ("1B", "24GiB"):
        with pytest.raises(ResultsError, match="sizes"):
            filled(Policy(budget=parse_budget(text)), bare, Tiers())


@pytest.mark.parametrize("sharding", SHARDINGS)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_way_to_train_reads_back(preset: Preset, sharding: Sharding) -> None:
    for training in (
        Training(preset=preset),
        Training(preset=preset, gpus=8, sharding=sharding, batch=3, sequence=777),
        Training(preset=preset, checkpointing=False),
    ):
        assert parse_way(way_text(training), training.tiers) == training


@pytest.mark.parametrize(
    "text",
    ["lora gpus=0", "lora tiers=3", "qlora checkpointing=maybe", "x", "batch=", "sharding=x"],
)
def test_ways_that_there_are_not(text: str) -> None:
    with pytest.raises(InputError):
        parse_way(text, Tiers())


def test_a_global_cut_needs_scores_that_compare() -> None:
    with pytest.raises(InputError, match="global compares layers of different types"):
        SELECTIONS["spectrum"].mask(Policy(rule="global"))


def test_what_is_not_there_is_known() -> None:
    policy = Policy(
        type_percents=(("mlp.*", 1), ("moe.*", 2)),
        pins=("lm_head", "layers.99", "model.layers.1.*"),
        bans=("*embed*", "nothing*"),
    )
    assert SELECTIONS["spectrum"].unknown(policy) == ["moe.*", "layers.99", "nothing*"]


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("", ()),
        ("8-", ((8, None),)),
        ("3", ((3, 3),)),
        (" 0-3 , 28-31", ((0, 3), (28, 31))),
    ],
)
def test_blocks_as_they_are_typed(text: str, ranges: tuple[tuple[int, int | None], ...]) -> None:
    assert parse_blocks(text) == ranges


@pytest.mark.parametrize("text", ["-3", "3-1", "a", "1,,2", "1-2-3", "1.5", "٣", "9" * 9])
def test_blocks_that_there_are_not(text: str) -> None:
    with pytest.raises(InputError, match="no range of blocks"):
        parse_blocks(text)


@pytest.mark.parametrize(
    ("text", "amount", "in_bytes", "shown"),
    [
        ("24GiB", 24 * 2**30, True, "24GiB"),
        ("24 gb", 24e9, True, "24GB"),
        ("1.5b", 1.5e9, False, "1.5B"),
        ("200 M", 2e8, False, "200M"),
        ("1000", 1000, False, "1000"),
    ],
)
def test_budgets_as_they_are_typed(text: str, amount: float, in_bytes: bool, shown: str) -> None:
    budget = parse_budget(text)
    assert budget is not None
    assert (budget.amount, budget.in_bytes, budget.text) == (amount, in_bytes, shown)
    assert parse_budget(shown) == budget


@pytest.mark.parametrize("text", ["0", "-1", "GiB", "24TiB", "1e9", "nan", "1,5B", "²B"])
def test_budgets_that_there_are_not(text: str) -> None:
    with pytest.raises(InputError, match="is no budget"):
        parse_budget(text)


@pytest.mark.parametrize("text", ["12.55", "0", "100.1", "1e1", "nan", "", "５"])
def test_percentages_that_there_are_not(text: str) -> None:
    with pytest.raises(InputError, match="percentage"):
        parse_percent(text)


def test_percentages_have_a_decimal_at_most() -> None:
    assert [repr(parse_percent(text)) for text in ("12.5", "25", "25.0", "0.1 %")] == [
        *("12.5", "25", "25", "0.1")
    ]
    for text in ("mlp", "=4", "mlp=", "mlp=101"):
        with pytest.raises(InputError):
            parse_type_percents([text])
    assert parse_type_percents(["a=b=0", "mlp.*= 12.5 %"]) == (("a=b", 0), ("mlp.*", 12.5))


@pytest.mark.parametrize(
    "text",
    [
        "--pin",
        "--top-percent 900",
        "--output-dir /etc",
        "--pin 'open",
        "25",
        "--rule budget",
        "--model x",
    ],
)
def test_a_line_that_somebody_changed_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(f"{OPENING}{text}\n")
    with pytest.raises(RecipeError, match=r"policy in .*r\.yaml cannot be read"):
        read_policy(path)


@pytest.mark.parametrize("content", [b"", b"unfrozen_parameters:\n- x\n", b"\xff\xfe\x00", None])
def test_a_file_without_a_policy_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError):
        read_policy(path)


def test_what_is_chosen_besides_in_short() -> None:
    policy = Policy(
        type_percents=(("mlp.*", 40), ("*.k_proj", 5)), blocks=((8, None),), pins=("a",)
    )
    assert policy.besides == "40 % of mlp.*, 5 % of *.k_proj, blocks 8- only, 1 pin"
    assert policy.besides_in_short == "2 own percentages, blocks 8- only, 1 pin"
    assert Policy(bans=("a",)).besides_in_short == "1 ban"
