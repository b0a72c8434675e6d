"""Every recipe of YAML kind, every trainer, every architecture: what is meant trains, and no more.

The judges are the trainers as typed again in `trainers.py`, applied to real models; what the
program itself says of each trainer is compared with them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spectrum_tui.core.audit.audit import audit
from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.model.inspection import inspect_model, with_exact_names
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.recipes.choice import Choice, RecipeKind
from spectrum_tui.core.recipes.kinds import kind_named, kinds_for
from spectrum_tui.core.recipes.writing import is_list_of_names
from spectrum_tui.core.requests import ModelNames
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.scanning.outcome import Outcome, build_result
from spectrum_tui.core.scanning.plan import make_plan
from spectrum_tui.core.trainers.llama_factory import FreezeSetting, smallest_setting
from spectrum_tui.core.trainers.reports import report
from spectrum_tui.core.trainers.trainers import TRAINERS
from tests import made
from tests.architectures.conftest import TinyModels
from tests.architectures.test_scans import intended, of_the_same_modules, parameters_of
from tests.architectures.tiny import ARCHITECTURES
from tests.architectures.trainers import ORACLES, of_every_trainer, of_llama_factory, of_swift
from tests.made import TEXT_KINDS
from tests.policies import by_type, expected
from tests.scans import done

PLAIN = tuple(
    Policy(percent=percent, embeddings=embeddings)
    for percent in (50, 100)
    for embeddings in (True, False)
)
OVERMATCHES = {"spectrum-reference"}
"""Written as the reference script does, whose lines match siblings and miss heads: not meant to
train what was selected, so that only our report of it is checked."""


def scored(folder: Path) -> Result:
    """A result of every layer, with made-up scores."""
    inspection = with_exact_names(inspect_model(str(folder)))
    layers = inspection.model.layers
    rng = random.Random(0)
    scores = {layer.name: done(layer, rng.random()) for layer in layers}
    plan = make_plan(inspection.checkpoint, layers, device="cpu")
    return build_result(inspection, plan, Outcome(done=scores))


def is_yaml(kind: RecipeKind) -> bool:
    """Whether the first file of a kind is the YAML list, seen on a made-up model that it fits."""
    plain = Selection(made.with_parameters(made.result(layers=32, types=7)))
    try:
        return is_list_of_names(kind.files(Choice(selection=plain, policy=Policy(percent=25))))
    except SelectionError:
        return False


YAML_KINDS = tuple(kind for kind in TEXT_KINDS if is_yaml(kind))
OWN_KEYS = {"swift": of_swift}
"""Kinds that one trainer alone reads, under keys of its own, and its reader."""


def written(kind: RecipeKind, choice: Choice) -> str:
    """The first file of a kind, empty where a choice selects nothing or is not of this kind."""
    try:
        return kind.files(kind.ranked(choice))[0].text
    except SelectionError as exc:
        refused = (
            *("smallest percentage", "always trains embeddings", "As spectrum.py writes it"),
            *("one percentage for all types", "No layer is left", "Only embeddings"),
        )
        if any(words in str(exc) for words in refused):
            return ""
        raise


def meant(result: Result, policy: Policy) -> set[str]:
    names = set(result.names)
    heads = {parameter.name for parameter in result.embeddings}
    if policy.is_plain:
        best = intended(result, policy.percent, names)
    else:
        best = parameters_of(expected(result, policy), names)
    return best | heads if policy.embeddings else best - of_the_same_modules(heads, names)


def shaped(result: Result) -> Policy:
    """A policy with something of everything: the worst layer of the first type pinned, the best
    one banned, a share of its own for the last type, and not every block."""
    values = next(iter(by_type(result).values()))
    ranked = sorted(values, key=lambda name: values[name])
    return Policy(
        percent=50,
        embeddings=False,
        type_percents=((result.scores.type_names[-1], 100),),
        blocks=((1, None),),
        pins=(ranked[0],),
        bans=(ranked[-1],),
    )


def check(kind: RecipeKind, choice: Choice, model: Any) -> tuple[int, int]:
    """(trainers that were tried, those by which exactly what is meant trains)."""
    result = choice.selection.result
    text = written(kind, choice)
    if not text:
        return 0, 0
    wanted = meant(result, choice.policy)
    trains = of_every_trainer(model, text)
    for one in report(text, wanted, result.parameters):
        assert one.trains == trains[one.trainer.name], (kind.name, one.trainer.name)
        assert one.exact == (trains[one.trainer.name] == wanted)
        assert one.matched == len(wanted & one.trains)
    if kind.name in OVERMATCHES:
        return 0, 0
    for name, found in trains.items():
        assert found == wanted, (kind.name, name, choice.percent, found ^ wanted)
    if choice.policy == PLAIN[0]:
        check_audit(kind, text, result)
    return len(trains), sum(found == wanted for found in trains.values())


def check_audit(kind: RecipeKind, text: str, result: Result) -> None:
    """What is written here has no defect, by its text and in its model."""
    names = tuple((p.name, p.numel, p.shape[0] if p.shape else 0) for p in result.parameters)
    listed, sizes, rows = zip(*names, strict=True)
    model_names = ModelNames(
        model="tiny", naming="transformers", names=listed, sizes=sizes, rows=rows
    )
    for audited in (audit(text), audit(text, model_names)):
        assert not [one for one in audited.findings if one.is_defect], kind.name


def test_every_kind_of_yaml_is_here() -> None:
    assert {kind.name for kind in YAML_KINDS} >= {"spectrum", "axolotl", *OVERMATCHES}


def test_every_trainer_has_a_double() -> None:
    assert [trainer.name for trainer in TRAINERS] == list(ORACLES)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_trainer_trains_what_is_meant(
    name: str, tiny: TinyModels, record_property: Callable[[str, object], None]
) -> None:
    model = tiny.model(name)
    result = scored(tiny.folder(name))
    assert list(result.names) == [name for name, _ in model.named_parameters()]
    selection = Selection(result)
    for kind in YAML_KINDS:
        tried, right = 0, 0
        for policy in (*PLAIN, shaped(result)):
            counts = check(kind, Choice(selection=selection, policy=policy), model)
            tried, right = tried + counts[0], right + counts[1]
        record_property("read", (name, kind.name, len(result.names), tried, right))
        assert tried or kind.name in OVERMATCHES


@pytest.mark.parametrize("kind", OWN_KEYS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_trainer_with_keys_of_its_own_trains_what_is_meant(
    name: str, kind: str, tiny: TinyModels, record_property: Callable[[str, object], None]
) -> None:
    """What it does not load is refused, and says so."""
    model, result = tiny.model(name), scored(tiny.folder(name))
    choices = [
        Choice(selection=Selection(result), policy=policy) for policy in (*PLAIN, shaped(result))
    ]
    assert (kind_named(kind) in kinds_for(result)) is is_loaded(model)
    if not is_loaded(model):
        with pytest.raises(SelectionError, match=f"{kind} does not train it"):
            kind_named(kind).files(choices[0])
        return
    right = 0
    for choice in choices:
        if text := written(kind_named(kind), choice):
            assert OWN_KEYS[kind](model, text) == meant(result, choice.policy), choice.policy
            right += 1
    record_property("read", (name, kind, len(result.names), right, right))
    assert right


def is_loaded(model: Any) -> bool:
    """Whether a trainer of language models takes it: a decoder that writes, or a classifier of
    texts."""
    writes = model.can_generate() and not model.config.is_encoder_decoder
    return bool(writes or "ForSequenceClassification" in type(model).__name__)


def last(result: Result) -> Policy:
    """All of the last of two blocks, or of all but the first, without what is in no block: its
    text `norm` would train every norm."""
    outside = [one for one in result.scores.layers if not re.search(r"\.\d+\.", one)]
    return Policy(percent=100, embeddings=False, blocks=((1, None),), bans=tuple(outside))


def freeze_text(setting: FreezeSetting) -> str:
    lines = [f"{key}: {value}" for key, value in setting.keys.items()]
    return "\n".join(["finetuning_type: freeze", *lines])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_whole_blocks_in_llama_factory(
    name: str, tiny: TinyModels, record_property: Callable[[str, object], None]
) -> None:
    """What is said of its smallest setting is what it trains; a choice that it cannot train is
    refused with the number of others, one of whole blocks is written."""
    model, result = tiny.model(name), scored(tiny.folder(name))
    kind, right = kind_named("llama-factory"), 0
    if kind not in kinds_for(result) or smallest_setting(result.names, result.names) is None:
        with pytest.raises(SelectionError, match=r"does not train it|rules of its own"):
            kind.files(Choice(selection=Selection(result), policy=PLAIN[0]))
        return
    for policy in (*PLAIN, shaped(result), last(result)):
        wanted = meant(result, policy)
        setting = smallest_setting(wanted, result.names)
        assert setting is not None
        trains = of_llama_factory(model, freeze_text(setting))
        assert trains == setting.trains >= wanted
        try:
            text = kind.files(Choice(selection=Selection(result), policy=policy))[0].text
        except SelectionError as exc:
            assert f"{counted(len(trains - wanted), 'other')} would train" in str(exc)
            continue
        assert of_llama_factory(model, text) == wanted
        right += 1
    record_property("read", (name, kind.name, len(result.names), right, right))
    unscored = set(result.names) - meant(result, Policy(percent=100))
    assert right >= (0 if unscored else 3)
