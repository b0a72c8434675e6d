"""Pins, bans, percentages and blocks as they are changed one by one, undone and made again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum_tui.core.results.changes import (
    banned,
    described,
    from_block,
    pinned,
    slid,
    with_type_percents,
)
from spectrum_tui.core.results.history import History
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.selection import Hand, Selection
from tests import made

RESULT = made.result(layers=6, types=3)
SELECTION = Selection(RESULT)
NAMES = RESULT.scores.layers
EVERY = SELECTION.rows_by_name
TYPES = RESULT.scores.type_names

layers = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True)
patterns = st.lists(
    st.sampled_from([*NAMES[:3], "*.mlp.*", "model.layers.2.*", "*"]), max_size=3, unique=True
).map(tuple)
policies = st.builds(Policy, percent=st.integers(1, 100), pins=patterns, bans=patterns)


def hands(policy: Policy) -> dict[str, Hand]:
    codes = SELECTION.by_hand(policy).tolist()
    return {name: Hand(code) for name, code in zip(NAMES, codes, strict=True)}


@given(policies, layers)
def test_pinning_changes_these_layers_alone(policy: Policy, chosen: list[str]) -> None:
    before, after = hands(policy), hands(pinned(policy, chosen, EVERY))
    every = all(before[name] is Hand.PINNED for name in chosen)
    wanted = dict.fromkeys(chosen, Hand.NONE if every else Hand.PINNED)
    assert after == before | wanted


@given(policies, layers)
def test_banning_changes_these_layers_alone(policy: Policy, chosen: list[str]) -> None:
    before, after = hands(policy), hands(banned(policy, chosen, EVERY))
    every = all(before[name] is Hand.BANNED for name in chosen)
    for name in chosen:
        if not every:
            assert after[name] is Hand.BANNED
        else:
            assert after[name] is not Hand.BANNED
    assert {n: h for n, h in after.items() if n not in chosen} == {
        n: h for n, h in before.items() if n not in chosen
    }


def test_a_type_gets_a_percentage_and_gives_it_up() -> None:
    name = TYPES[1]
    raised = with_type_percents(Policy(percent=50), {name: 60})
    assert raised.type_percents == ((name, 60),)
    assert with_type_percents(raised, {name: 50}) == Policy(percent=50)
    by_pattern = Policy(percent=50, type_percents=(("*", 10),))
    assert SELECTION.percent_of(name, with_type_percents(by_pattern, {name: 50})) == 50
    assert SELECTION.percent_of(TYPES[0], with_type_percents(by_pattern, {name: 50})) == 10


def test_types_of_one_percentage_are_said_by_their_pattern() -> None:
    both, plain = "mlp.[dg]*", Policy(percent=50)
    raised = with_type_percents(plain, {TYPES[0]: 60, TYPES[1]: 60}, both)
    assert raised.type_percents == ((both, 60),)
    assert slid(plain, raised) == both
    assert described(plain, raised) == f"{both} 60 %"
    lowered = with_type_percents(raised, {TYPES[0]: 59, TYPES[1]: 61}, both)
    assert lowered.type_percents == ((TYPES[0], 59), (TYPES[1], 61))
    assert described(raised, lowered).startswith("2 types ")
    assert with_type_percents(lowered, {TYPES[0]: 50, TYPES[1]: 50}, both) == plain


@pytest.mark.parametrize(
    ("blocks", "first", "wanted"),
    [
        ((), 3, ((3, None),)),
        (((3, None),), 4, ((4, None),)),
        (((3, None),), 0, ()),
        (((2, 5), (8, 9)), 7, ((7, 7), (8, 9))),
        (((2, 5), (8, 9)), 0, ((0, 5), (8, 9))),
    ],
)
def test_the_first_block(
    blocks: tuple[tuple[int, int | None], ...],
    first: int,
    wanted: tuple[tuple[int, int | None], ...],
) -> None:
    assert from_block(Policy(blocks=blocks), first).blocks == wanted


def changed(policy: Policy, kind: str, chosen: list[str], number: int) -> Policy:
    match kind:
        case "pin":
            return pinned(policy, chosen, EVERY)
        case "ban":
            return banned(policy, chosen, EVERY)
        case "slide":
            return replace(policy, percent=number + 1)
    return with_type_percents(policy, {TYPES[0]: number})


@given(st.lists(st.tuples(st.sampled_from(["pin", "ban", "slide", "type"]), layers), max_size=8))
def test_undo_and_redo_restore_bit_for_bit(changes: list[tuple[str, list[str]]]) -> None:
    history, policy = History(described), Policy()
    past, last = [policy], ""
    for number, (kind, chosen) in enumerate(changes):
        after = changed(policy, kind, chosen, number)
        if after == policy:
            continue
        history.add(policy, after, slid(policy, after))
        if kind == last and kind in ("slide", "type"):
            past.pop()  # a percentage that moves on
        past.append(after)
        policy, last = after, kind
    masks = [SELECTION.mask(one) for one in past]
    for one, mask in zip(past[-2::-1], masks[-2::-1], strict=True):
        step = history.undo(policy)
        assert step is not None and step.value == one and step.words
        assert (SELECTION.mask(step.value) == mask).all()
        policy = step.value
    assert history.undo(policy) is None
    for one in past[1:]:
        step = history.redo(policy)
        assert step is not None and step.value == one
        policy = step.value
    assert history.redo(policy) is None
    assert np.array_equal(SELECTION.mask(policy), masks[-1])


def test_another_change_ends_what_was_undone() -> None:
    history = History(described)
    first, second = Policy(percent=20), Policy(percent=20, pins=(NAMES[0],))
    history.add(Policy(percent=10), first)
    assert history.undo(first) is not None
    history.add(Policy(percent=10), second)
    assert history.redo(second) is None


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (Policy(percent=30), "25 % to 30 %"),
        (Policy(percent=25, pins=("a",)), "a pinned"),
        (Policy(percent=25, bans=("a", "b")), "2 layers banned"),
        (Policy(percent=25, blocks=((8, None),)), "blocks 8-"),
        (Policy(percent=25, embeddings=False), "embeddings off"),
        (Policy(percent=25, type_percents=(("mlp.up_proj", 40),)), "mlp.up_proj 40 %"),
        (Policy(percent=25, rule="global-rank"), "rule per-type to global-rank"),
    ],
)
def test_changes_are_said_in_a_few_words(after: Policy, words: str) -> None:
    assert described(Policy(percent=25), after) == words
