"""Who is held out: a share, by what it says, and never both."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum_tui.core.dataset.describing import describe
from spectrum_tui.core.dataset.examples import Dataset, Example
from spectrum_tui.core.dataset.kept_examples import digest_of
from spectrum_tui.core.dataset.split import split, with_tuning, without
from spectrum_tui.core.errors import DataError


def dataset(*texts: str) -> Dataset:
    return of(tuple(Example(text=text) for text in texts))


def of(examples: tuple[Example, ...], *, skipped: int = 0, blank: int = 0) -> Dataset:
    return Dataset(
        examples=examples,
        files=("a.jsonl",),
        form="text",
        columns=("text",),
        digest=digest_of(examples),
        skipped=skipped,
        blank=blank,
        problem="a.jsonl, line 3: it is \x1b[2Jnot readable JSON" if skipped else "",
    )


@given(st.lists(st.text(min_size=1), min_size=2).filter(lambda texts: len(set(texts)) > 1))
def test_equal_examples_are_on_one_side_and_no_side_is_empty(texts: list[str]) -> None:
    found = split(dataset(*texts))
    train, held = ([one.text for one in side] for side in (found.train, found.held_out))
    assert train
    assert held
    assert not set(train) & set(held)
    assert sorted(train + held) == sorted(texts)
    assert [text for text in texts if text in set(train)] == train


def test_the_share_holds_and_neither_order_nor_growth_moves_anybody() -> None:
    texts = [f"Document {n}" for n in range(2000)]
    held = {one.text for one in split(dataset(*texts)).held_out}
    assert 160 < len(held) < 240
    assert held == {
        one.text for one in split(dataset(*random.Random(1).sample(texts, 2000))).held_out
    }
    more = split(dataset(*texts, *(f"Another {n}" for n in range(500))))
    assert held <= {one.text for one in more.held_out}
    assert f"{len(held)} of 2,000 examples are held out, by hash." == split(dataset(*texts)).note


def test_of_one_document_the_end_is_held_out_from_a_paragraph_on() -> None:
    paragraphs = [f"Paragraph {n:02d} of the book." for n in range(40)]
    found = split(dataset("\n\n".join(paragraphs)))
    (train,), (held,) = found.train, found.held_out
    assert train.text.split("\n\n") + held.text.split("\n\n") == paragraphs
    assert len(held.text.split("\n\n")) == 4
    assert found.note.startswith("Of the one document, its last ")


def test_what_finds_the_rates_is_neither_trained_on_nor_held_out() -> None:
    texts = [f"Document {n}" for n in range(2000)]
    plain = split(dataset(*texts))
    found = with_tuning(plain)
    assert 160 < len(found.tuning) < 240
    assert found.held_out == plain.held_out
    assert {*found.train, *found.tuning} == set(plain.train)
    assert len(found.train) + len(found.tuning) == len(plain.train)
    amount = f"{len(found.tuning)} more examples, which no row trains on."
    assert found.note == f"{plain.note} Rates are found by {amount}"
    more = with_tuning(split(dataset(*texts, *(f"Another {n}" for n in range(500)))))
    assert set(found.tuning) <= set(more.tuning)


def test_of_one_document_the_rates_are_found_by_what_comes_before_its_end() -> None:
    words = [f"word{n:03d}" for n in range(200)]
    found = with_tuning(split(dataset(" ".join(words))))
    sides = found.train, found.tuning, found.held_out
    assert [len(side[0].text.split()) for side in sides] == [162, 18, 20]
    assert " ".join(side[0].text for side in sides) == " ".join(words)


def test_two_exchanges_cannot_find_rates() -> None:
    examples = tuple(Example(prompt="a", completion=f"{n}") for n in range(2))
    with pytest.raises(DataError, match="no rates can be found"):
        with_tuning(split(of(examples)))


@pytest.mark.parametrize("copies", [1, 3])
def test_of_one_paragraph_the_last_words(copies: int) -> None:
    text = " ".join(f"word{n:02d}" for n in range(50))
    found = split(dataset(*[text] * copies))
    assert found.held_out == (Example(text=" ".join(f"word{n:02d}" for n in range(45, 50))),)
    assert found.train[0].text + " " + found.held_out[0].text == text
    equal = "The 3 documents are all equal: one of them is read. "
    assert found.note.startswith(("" if copies == 1 else equal) + "Of the one document, its last ")


def test_equal_examples_are_called_so() -> None:
    one = Example(prompt="a", completion="b")
    with pytest.raises(DataError, match="There is one example only: nothing"):
        split(of((one,)))
    with pytest.raises(DataError, match="The 60 examples are all equal: nothing"):
        split(of((one,) * 60))
    parted = replace(split(dataset("held out", "trained on")), train=(one, one))
    with pytest.raises(DataError, match="The examples to train on are all equal: no rates"):
        with_tuning(parted)


@pytest.mark.parametrize(
    "example", [Example(text="word"), Example(text="  "), Example(prompt="a b", completion="c d")]
)
def test_what_cannot_be_parted_is_refused(example: Example) -> None:
    with pytest.raises(DataError, match="one example only"):
        split(of((example,)))


def test_what_is_held_out_is_not_trained_on() -> None:
    found = without(dataset("a", "b", "b", "c"), dataset("b", "d"))
    assert [one.text for one in found.train] == ["a", "c"]
    assert [one.text for one in found.held_out] == ["b", "d"]
    assert found.note == "2 examples are also held out: not trained on."
    assert not without(dataset("a"), dataset("b")).note
    with pytest.raises(DataError, match="Every example"):
        without(dataset("a"), dataset("a"))


def test_what_is_said_of_data() -> None:
    examples = tuple(Example(text="x" * 100) for _ in range(1234))
    assert describe(of(examples)) == ["a.jsonl: 1,234 documents, 123 K characters, read from text"]
    assert describe(of(examples, skipped=2, blank=1))[1] == (
        "1 blank document left out; 2 lines skipped, the first: "
        "a.jsonl, line 3: it is ?[2Jnot readable JSON"
    )
