"""What keeps a recipe from being written: names that a trainer would read otherwise, a whole model,
and too many layers without a score."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np

from spectrum_tui.core import numbers
from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.numbers import counted, part_of
from spectrum_tui.core.results.results import BoolArray, Parameter, Result, Scores
from spectrum_tui.core.trainers.matching import hits
from spectrum_tui.core.trainers.names import Names
from spectrum_tui.core.trainers.patterns import NAME, anywhere
from spectrum_tui.core.trainers.reports import TrainerReport, report
from spectrum_tui.core.trainers.trainers import TRAINERS

MOST_MISSING = 0.1
"""The share of the chosen types' parameters that may lack a score: above it, what was scored says
little of what was not."""

_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")


def check_names(written: Sequence[str], parameters: Iterable[str]) -> None:
    """Raise SelectionError unless `written` is what will train of the model's `parameters`.

    Every name must stand in the file as it is, must be a parameter (where they are known), and
    must not also match one that is not written: some trainers match the beginning of a name,
    others look for it anywhere.
    """
    for name in written:
        if not NAME.fullmatch(name):
            raise SelectionError(
                f"The parameter name {name!r} cannot be written to this file.",
                "Trainers read the names as patterns, and would match others or none.",
            )
    known = set(parameters)
    if not known:
        return
    for name in written:
        if name not in known:
            raise SelectionError(
                f"{name} is not a parameter of the model that a trainer would load.",
                "Scan the model again with this version of transformers.",
            )
    for name, other in overmatched(written, known):
        raise SelectionError(
            f"{name} would also unfreeze {other}, which is not selected.",
            "Trainers match names by their beginning or anywhere inside; select both or neither.",
        )


def overmatched(written: Sequence[str], known: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(written name, other parameter that it matches too), one for each such name.

    Looked for in the widest sense of any trainer, as a regular expression anywhere.
    """
    meant = set(written)
    found = hits(written, anywhere, Names(known))
    if found.all <= meant:
        return
    for name in written:
        other = next((one for one in found.of(name) if one not in meant), None)
        if other is not None:
            yield name, other


def check_trainers(
    text: str, wanted: Collection[str], parameters: Sequence[Parameter]
) -> tuple[TrainerReport, ...]:
    """Return what each trainer that accepts a list of this length does with it: it must train
    exactly `wanted`.

    Raises SelectionError where one would do anything else, and where nothing would train. The
    report is empty where the parameters are not known.
    """
    if not wanted:
        raise SelectionError("Nothing would train with this file.", "Select at least one layer.")
    if not parameters:
        return ()
    # One that takes no file of this length says so itself; the others may well read it.
    able = [one for one in TRAINERS if not one.most or len(wanted) <= one.most]
    reports = report(text, wanted, parameters, able)
    for one in reports:
        if not one.exact:
            raise SelectionError(f"{one.trainer.name} {deviation(one)}.", "Nothing was written.")
    return reports


def refuse_everything(wanted: Collection[str], parameters: Sequence[Parameter]) -> None:
    """Raise SelectionError where all of the model is to train, which needs no recipe."""
    if parameters and len(set(wanted)) >= len(parameters):
        raise SelectionError(
            (
                f"All of the model, {counted(len(parameters), 'parameter')}, would train with this "
                "file."
            ),
            "Select less, or train without a recipe.",
        )


def deviation(one: TrainerReport) -> str:
    """Return how a trainer deviates from what is intended, as the end of a sentence."""
    if one.problem or not one.wanted:
        return one.problem or "would train nothing: nothing is selected"
    missing = one.wanted - one.matched
    parts = [f"would train {part_of(one.matched, one.wanted, 'parameter')}"] if missing else []
    if one.unintended:
        more = len(one.unintended) - 1
        others = f" and {counted(more, 'other')}" if more else ""
        parts.append(f"would also train {one.unintended[0]}{others}")
    return ", and ".join(parts)


def _missing(scores: Scores) -> BoolArray:
    """Per layer whether it has no score: those of another tool are NaN without a reason."""
    return np.isnan(scores.values)


def missing_note(result: Result) -> str:
    """Return how many layers of the chosen types have no score, as a recipe's comment says it;
    empty where all have one."""
    skipped = _skipped(result)
    count = int(_missing(result.scores).sum()) + len(skipped)
    layers = part_of(count, len(result.scores) + len(skipped), "layer", "has", "have")
    return f"{layers} no score" if count else ""


def refuse_missing(result: Result, *, allowed: bool) -> None:
    """Raise SelectionError where too many layers could not be scored, unless that is `allowed`.

    By their parameters, or by their number where no size is known.
    """
    scores = result.scores
    weights = scores.numel if scores.has_shapes else np.ones(len(scores))
    unseen = sum(parameter.numel for parameter in _skipped(result))
    missing = float(weights[_missing(scores)].sum()) + unseen
    share = missing / max(float(weights.sum()) + unseen, 1.0)
    if allowed or share <= MOST_MISSING:
        return
    raise SelectionError(
        f"{missing_note(result)}: {numbers.percent(share)} of the parameters of the chosen types, "
        "which a recipe would silently leave frozen.",
        "Fix what failed and scan again, or give --allow-missing.",
    )


def _skipped(result: Result) -> list[Parameter]:
    """Return the parameters that could not even be tried (not stored, of another shape or type),
    where others that differ from them by running numbers alone were: those are layers of one
    type."""
    skipped = {name for name, _ in result.skipped}
    if not skipped:
        return []
    chosen = {_role(names[0]) for names in result.scores.parameters if names}
    return [p for p in result.parameters if p.name in skipped and _role(p.name) in chosen]


def _role(parameter: str) -> str:
    return _NUMBER.sub("*", parameter)
