"""The folder of a proof: nothing that is damaged is taken for a row, nothing foreign replaced."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectrum_tui.core.errors import OutputError, ResultsError
from spectrum_tui.core.proof.plot import plot
from spectrum_tui.core.proof.proof import Comparison, Verdict, proof_of, proof_text
from spectrum_tui.core.proof.rows import Losses, Outcome
from spectrum_tui.core.proof.store import (
    check_folder,
    keep_row,
    kept_row,
    read_proof,
    row_path,
    write_proof,
)
from spectrum_tui.core.proof.summary import summaries
from spectrum_tui.core.proof.table import cells, markdown
from spectrum_tui.core.proof.verdict import verdict
from spectrum_tui.core.text import has_controls
from tests.fuzz.damage import hostile_values
from tests.unit.proof.proofs import outcome, outcomes, proof

ROW = outcome("top:25", 0, 2.67, 3.4)
PROOF = replace(
    proof(outcomes({"top:25": [2.67, 2.66], "random:25": [2.7, math.nan]})),
    verdict=Verdict(
        lines=("top:25 and random:25: no difference.",),
        comparisons=(
            Comparison(
                one="top:25", other="random:25", text="held_out", seeds=2, difference=-0.03,
                spread=0.01, p=0.2,
            ),
        ),
        best="top:25",
    ),
)  # fmt: skip


def test_a_row_is_found_again_by_its_key(tmp_path: Path) -> None:
    assert kept_row(tmp_path, "abc") == (None, "")
    failed = Outcome(method="full", seed=0, rate=1e-5, steps=4, error="out of memory")
    diverged = replace(ROW, after=Losses(held_out=math.inf))
    for key, one in (("abc", ROW), ("def", failed), ("ghi", diverged)):
        keep_row(tmp_path, key, one)
        assert kept_row(tmp_path, key) == (one, "")


@pytest.mark.parametrize("damage", [
    lambda text: text[:-20], lambda text: "", lambda text: text.replace("2.67", "2.57"),
    lambda text: text.replace("abc", "abd"), lambda text: "[" * 100_000, lambda text: "[1]",
    lambda text: "\x00\xff",
])  # fmt: skip
def test_a_damaged_row_counts_as_not_run_and_is_said(tmp_path: Path, damage: Any) -> None:
    keep_row(tmp_path, "abc", ROW)
    path = row_path(tmp_path, "abc")
    path.write_text(damage(path.read_text()))
    assert kept_row(tmp_path, "abc") == (
        None,
        "The row abc.json is damaged: it counts as not run.",
    )
    path.unlink()
    path.mkdir()
    found, why = kept_row(tmp_path, "abc")
    assert found is None and "cannot be read" in why


def test_a_proof_is_read_back_as_it_was_and_by_other_programs(tmp_path: Path) -> None:
    path = write_proof(tmp_path, PROOF, "| table |", "<svg/>")
    found = read_proof(path)
    assert repr(found) == repr(PROOF)  # NaN is not equal to itself
    assert repr(read_proof(tmp_path)) == repr(PROOF)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    data = json.loads(path.read_text(), parse_constant=refuse)
    assert data["outcomes"][3]["after"]["held_out"] == "nan"
    assert (tmp_path / "proof.md").read_text() == "| table |"
    assert (tmp_path / "proof.svg").read_text() == "<svg/>"


@pytest.mark.parametrize("change", [
    {"version": 2}, {"model": 1}, {"outcomes": [1]}, {"verdict": {"lines": "a"}}, {"more": 1},
    {"texts": {"train": {}}}, {"seeds": "3"}, {"rates": {"full": "a"}}, {"conditions": None},
])  # fmt: skip
def test_what_is_no_proof_is_refused_in_one_line(tmp_path: Path, change: dict[str, Any]) -> None:
    data = json.loads(proof_text(PROOF)) | change
    with pytest.raises(ValueError, match=r"not a proof"):
        proof_of(data)
    (tmp_path / "proof.json").write_text(json.dumps(data))
    with pytest.raises(ResultsError, match="is not a proof of this version"):
        read_proof(tmp_path)


def leaves(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inside = enumerate(data) if isinstance(data, list) else ()
    for key, value in data.items() if isinstance(data, dict) else inside:
        yield from leaves(value, (*path, key))


def with_value(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(data)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


DATA = json.loads(proof_text(PROOF))
PLACES = [path for path in leaves(DATA) if path]
VALUES = [*hostile_values("/canary"), 1e308, -1e308, 5e-324, 10**400]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(PLACES), st.sampled_from(VALUES))
def test_what_is_read_can_be_shown_whatever_stands_in_it(
    place: tuple[Any, ...], value: Any
) -> None:
    data = with_value(DATA, place, value)
    try:
        found = proof_of(data)
    except ValueError:
        return
    shown = [
        markdown(found),
        *(cell for wide in (True, False) for row in cells(found, wide=wide) for cell in row),
        *verdict(summaries(found.outcomes, found.methods)).lines,
    ]
    assert all(not has_controls(text.replace("\n", "")) for text in shown)
    assert max(map(len, shown[1:])) < 30_000
    ElementTree.fromstring(plot(found))


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="No such file"):
        read_proof(tmp_path / "none.json")
    (tmp_path / "proof.json").write_text(proof_text(PROOF)[:-9])
    with pytest.raises(ResultsError, match="not readable JSON"):
        read_proof(tmp_path)


def test_the_proof_of_another_model_is_not_replaced(tmp_path: Path) -> None:
    check_folder(tmp_path, "made/llama")
    path = write_proof(tmp_path, PROOF, "", "")
    before = path.read_text()
    write_proof(tmp_path, PROOF, "", "")
    with pytest.raises(OutputError, match="holds a proof of made/llama, not of made/other"):
        write_proof(tmp_path, replace(PROOF, model="made/other"), "", "")
    assert path.read_text() == before
    path.write_text("{}")
    with pytest.raises(OutputError, match=r"not a proof .* not replaced"):
        check_folder(tmp_path, "made/llama")
    assert kept_row(tmp_path, "abc") == (None, "")


def test_a_table_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "proof.md").write_text("mine")
    with pytest.raises(OutputError, match="is there already, and no proof beside it"):
        check_folder(tmp_path, "made/llama")
    (tmp_path / "rows").mkdir()  # a proof that was interrupted while it was written
    check_folder(tmp_path, "made/llama")
