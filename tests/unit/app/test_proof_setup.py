"""What a proof is set up with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from spectrum_tui.app.proof_offers import (
    SELECTION_FILE,
    Offer,
    again_at,
    as_before,
    moved,
    offers_of,
)
from spectrum_tui.app.proof_setup import (
    Typed,
    conditions_with,
    costs_of,
    folder_of,
    in_all,
    measured_step,
    model_of,
    names_of,
    prepared,
    read_data,
    typed_before,
)
from spectrum_tui.core.errors import DataError, InputError, OutputError
from spectrum_tui.core.proof.methods import parse_method, parse_methods
from spectrum_tui.core.proof.store import write_proof
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.settings import Settings
from tests import made
from tests.unit.proof.proofs import outcomes, proof
from tests.unit.proving.texts import document

USUAL = conditions_with({"batch": 2, "sequence": 512}, checkpointing=False)
PINNED = ("model.layers.3.mlp.up_proj",)


def choice(**policy: object) -> Choice:
    result = made.with_parameters(made.result())
    chosen = replace(Policy(percent=25), **policy)  # type: ignore[arg-type]
    return Choice(selection=Selection(result), policy=chosen)


def names(offers: tuple[Offer, ...]) -> list[str]:
    return [f"{one.name}:{one.percent:g}" for one in offers if one.checked]


def test_the_usual_question_is_checked() -> None:
    offers = offers_of(choice(), ("spectrum", "calibrated"))
    assert names(offers) == ["full:0", "top:25", "random:25", "bottom:25"]
    others = ["calibrated", "lora", "qlora", "tiers", "hybrid", "groups", "dynamic"]
    assert [one.name for one in offers if not one.checked] == others
    for one in offers:
        method = one.method(Path("/x"))
        assert parse_method(method.text) == method


def test_a_selection_that_is_shaped_is_offered_as_well() -> None:
    offers = offers_of(choice(pins=PINNED), ())
    assert names(offers)[1] == "selection:0"
    assert offers[1].method(Path("/x")).text == f"policy:/x/{SELECTION_FILE}"


def test_methods_of_one_size_keep_one_size() -> None:
    offers = moved(offers_of(choice(), ()), 1, 40)
    assert names(offers) == ["full:0", "top:40", "random:40", "bottom:40"]
    assert [one.percent for one in offers if one.kind == "lora"] == [100]
    more = again_at(offers, 1)
    assert names(more) == ["full:0", "top:40", "top:20", "random:40", "bottom:40"]
    assert names(moved(more, 2, 10))[2:] == ["top:10", "random:40", "bottom:40"]
    assert again_at(offers, 0) == offers
    assert names(moved(offers, 1, -5))[1] == "top:1"


def test_the_methods_of_an_earlier_proof() -> None:
    offers = as_before(offers_of(choice(), ()), ("full", "top:50", "top:10", "lora"))
    assert names(offers) == ["full:0", "top:50", "top:10", "lora:100"]


def test_what_it_comes_to() -> None:
    methods = parse_methods("full,top:25")
    typed = Typed(steps="100", seeds="2")
    assert in_all(typed, methods) == (
        "4 rows of 100 steps and 6 trials of 25 for the rates: 550 steps in all"
    )
    assert in_all(replace(typed, rates="2e-4"), methods) == "4 rows of 100 steps: 400 steps in all"
    with pytest.raises(InputError, match="rate 'x' is not usable"):
        in_all(replace(typed, rates="x"), methods)
    with pytest.raises(InputError, match="Steps '0'"):
        in_all(replace(typed, steps="0"), methods)


def test_memory_is_that_of_what_trains() -> None:
    here = choice(pins=PINNED)
    methods = [one.method(Path()) for one in offers_of(here, ())]
    costs = costs_of(here, methods, USUAL, half=False)
    trained = {method.kind: one.trained for method, one in costs.estimates.items()}
    assert trained["full"] > trained["policy"] > trained["top"] == trained["random"]
    assert trained["lora"] < trained["bottom"]
    assert not costs.refused
    none = costs_of(
        here,
        [parse_method("top:1")],
        USUAL,
        half=True,
    )
    assert none.estimates or "trains no layer" in next(iter(none.refused.values()))


def test_a_step_is_measured_by_an_earlier_proof_of_as_many_tokens() -> None:
    here = choice()
    methods = parse_methods("full,top:25")
    costs = costs_of(here, methods, USUAL, half=False)
    earlier = proof(outcomes({"full": [2.6, 2.7]}))
    assert measured_step(earlier, costs, 2, 512) == pytest.approx(0.4)
    assert measured_step(earlier, costs, 4, 512) == 0 == measured_step(None, costs, 2, 512)


def test_what_an_earlier_proof_was_set_up_with() -> None:
    before = typed_before(
        replace(proof(outcomes({"full": [2.6], "top:25": [2.7]})), found=("full",))
    )
    assert (before.data, before.kept, before.steps, before.rates) == (
        "a.jsonl",
        "none",
        "200",
        "top:25=2e-4",
    )


def test_what_it_is_judged_by_and_what_it_runs_on_are_typed_too(tmp_path: Path) -> None:
    for name, number in (("a", 1), ("b", 2)):
        (tmp_path / f"{name}.txt").write_text(document(number))
    here = choice()
    typed = Typed(
        data=str(tmp_path / "a.txt"), held_out=str(tmp_path / "b.txt"), dtype=" BFloat16",
        gpus="2", price="2.5", folder=str(tmp_path / "p"), rates="2e-4", kept="none",
    )  # fmt: skip
    run = prepared(typed, offers_of(here, ()), here, Settings())
    asked = run._prepared.asked
    assert asked.held_out == (str(tmp_path / "b.txt"),) and asked.price == 2.5
    assert (asked.conditions.dtype, asked.conditions.processes) == ("bfloat16", 2)
    for wrong, said in (
        (replace(typed, dtype="int8"), "no weights in 'int8'"),
        (replace(typed, gpus="0"), "number of GPUs '0'"),
        (replace(typed, price="much"), "price 'much'"),
    ):
        with pytest.raises(InputError, match=said):
            in_all(wrong, parse_methods("full"))
    earlier = proof(outcomes({"full": [2.6]}))
    texts = {**earlier.texts, "held_out": replace(earlier.texts["train"], files=("judge.txt",))}
    had = replace(earlier.conditions, dtype="float32", processes=4)
    again = typed_before(replace(earlier, texts=texts, conditions=had, price=1.25))
    assert (again.held_out, again.dtype, again.gpus, again.price) == (
        "judge.txt", "float32", "4", "1.25",
    )  # fmt: skip
    assert typed_before(earlier).held_out == ""


def test_files_have_commas_between_them(tmp_path: Path) -> None:
    assert names_of(" a.txt, b c.txt,, ") == ("a.txt", "b c.txt")
    for number in range(20):
        (tmp_path / f"{number}.txt").write_text(document(number))
    said = read_data(str(tmp_path))
    assert said.startswith("20 documents, about ") and said.endswith(" held out")
    with pytest.raises(DataError, match="no file"):
        read_data(f"{tmp_path}, {tmp_path}/nothing.txt")


def test_it_goes_beside_the_scores_and_the_model_is_found(tmp_path: Path) -> None:
    result = replace(made.result(model="llama"), source=str(tmp_path / "scores.json"))
    assert folder_of(result) == str(tmp_path / "proof_llama")
    alone = replace(result, provenance=replace(result.provenance, revision=""))
    with pytest.raises(InputError, match="not here"):
        model_of(alone, Settings())
    (tmp_path / "llama").mkdir()
    assert model_of(alone, Settings(model=str(tmp_path / "llama"))) == str(tmp_path / "llama")
    assert model_of(result, Settings()) == "llama"


def test_nothing_is_written_into_the_proof_of_another_model(tmp_path: Path) -> None:
    write_proof(tmp_path / "p", proof(outcomes({"full": [2.6]}), "other/model"), "", "")
    (tmp_path / "a.txt").write_text(document(1))
    here = choice(pins=PINNED)
    typed = Typed(data=str(tmp_path / "a.txt"), folder=str(tmp_path / "p"), model="m")
    with pytest.raises(OutputError, match="other/model"):
        prepared(typed, offers_of(here, ()), here, Settings())
    assert not (tmp_path / "p" / SELECTION_FILE).exists()
