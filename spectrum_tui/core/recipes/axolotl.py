"""A fragment for an axolotl config: the names to train, and the keys that must go with them.

The names are those of the Spectrum YAML. axolotl's reader is PyYAML, and it matches as
`re.match` with every dot taken literally; a trailing `[a:b]` is a range on the first dimension,
whose other rows get their gradient set to zero (axolotl's `utils/freeze.py`). The keys follow
its `train.py`, `utils/schemas/validation.py` and `integrations/spectrum`, as of July 2026.

A fused parameter holds one expert in each row of its first dimension, so that a range of rows is
a range of experts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.experts import expert_of
from spectrum_tui.core.recipes.check import check_names
from spectrum_tui.core.recipes.choice import Choice, RecipeFile, RecipeKind
from spectrum_tui.core.recipes.spectrum import LIST, SpectrumYaml, YamlView, one_line
from spectrum_tui.core.results.policy import step_of
from spectrum_tui.core.results.results import FloatArray, Result
from spectrum_tui.core.results.selection import LAST, Hand
from spectrum_tui.core.trainers.matching import stretches

_PURPOSE = "# Keys for an axolotl config: they replace its keys of the same names."
_REST = """\
# Frozen layers need checkpoints that are not reentrant: where the first trained layer lies above
# frozen ones, the reentrant kind hands it no gradient, and axolotl refuses it beside this list.
gradient_checkpointing: true
gradient_checkpointing_kwargs:
  use_reentrant: false
# No `adapter:` and nothing else of LoRA beside this list: axolotl freezes after it has added the
# adapters, and would freeze those. No SpectrumPlugin either: it puts a list of its own here.
# FSDP 1 cannot flatten frozen and trained weights together; where you use it, add this (FSDP 2
# needs nothing):
# fsdp_config:
#   use_orig_params: true
"""
_RANGES = (
    "# [a:b] after a name are the experts a to b-1 of that parameter. Only axolotl reads this. It",
    "# sets the gradient of the others to zero, but weight decay still changes them (weight_decay:",
    "# 0.0 leaves them as they are), and gradients and optimizer state are kept for all of them.",
    "# Not tried with FSDP or DeepSpeed, which split the parameters.",
)

Section = tuple[str, list[str]]
"""(comment, what is listed below it)."""


Ranges = tuple[tuple[int, int], ...]
"""(first, end) of neighbouring experts, the end not among them."""


class AxolotlKind(RecipeKind):
    """The names, or experts of fused parameters, with axolotl's keys."""

    name = "axolotl"
    title = "axolotl fragment"
    purpose = "Names and their keys, to paste"
    options = ("experts",)

    def files(self, choice: Choice) -> tuple[RecipeFile, ...]:
        """Return the fragment; raises SelectionError for a choice that must not be written."""
        recipe = SpectrumYaml(choice.selection)
        view = recipe.view(choice.policy)
        fused = fused_types(choice.selection.result) if choice.experts else []
        if choice.experts and not choice.policy.is_per_type:
            raise SelectionError(
                "Single experts are chosen by a percentage of each type alone.",
                "Leave out the rule or the budget, or the choice of experts.",
            )
        if choice.experts and not fused:
            raise SelectionError(
                "These scores hold no single experts.", "Leave out the choice of experts."
            )
        if fused:
            sections = _with_experts(choice, view, fused)
        else:
            recipe.check(choice.policy)
            sections = view.sections()
        notes = [_PURPOSE, *(_RANGES if fused else ())]
        listed = [line for comment, items in sections for line in _lines(comment, items)]
        text = "\n".join([*view.provenance(), *notes, LIST, *listed, _REST])
        return (RecipeFile(f"_axolotl_{choice.policy.ending}.yaml", text),)


def _lines(comment: str, items: list[str]) -> list[str]:
    return [f"# {comment}", *(f"- {item}" for item in items)]


def _with_experts(choice: Choice, view: YamlView, fused: list[FusedType]) -> list[Section]:
    """Return the sections of whole layers, less those of fused parameters, which are listed by
    expert."""
    result = choice.selection.result
    parameters = result.scores.parameters
    by_expert = {name for kind in fused for row in kind.rows for name in parameters[row]}
    sections = [section for section in view.sections() if by_expert.isdisjoint(section[1])]
    parts = [section for kind in fused for section in _of_experts(kind, choice)]
    heads = {one.name for one in result.embeddings}
    if not parts and all(name in heads for _, names in sections for name in names):
        raise SelectionError(
            f"{choice.percent:g} % selects no layer and no expert.",
            "Choose a higher percentage.",
            field="top_percent",
        )
    names = [name for _, listed in sections for name in listed]
    ranged = [item.partition("[")[0] for _, items in parts for item in items]
    check_names([*names, *dict.fromkeys(ranged)], result.names)
    return [*sections, *parts]


def _of_experts(kind: FusedType, choice: Choice) -> Iterator[Section]:
    """One section for a type, unless the percentage selects none of its experts. A pinned row
    trains whole; one that is banned, or outside the blocks, not at all."""
    parameters = choice.selection.result.scores.parameters
    percent = choice.selection.percent_of(kind.name, choice.policy)
    by_hand = choice.selection.by_hand(choice.policy)
    listed: list[str] = []
    for row, values in kind.rows.items():
        if by_hand[row] in (Hand.BANNED, Hand.OUTSIDE):
            continue
        for first, end in best(values, 100 if by_hand[row] == Hand.PINNED else percent):
            whole = end - first == len(values)
            rows = "" if whole else f"[{first}:{end}]"
            listed += [f"{name}{rows}" for name in parameters[row]]
    if listed:
        layers = f"the top {percent:g} % of {kind.experts} experts in each layer"
        yield f"{one_line(kind.name)}: {layers}", listed


@dataclass(frozen=True, eq=False)
class FusedType:
    """A layer type each of whose rows is fused of experts: {row: score of every expert}."""

    name: str
    rows: dict[int, FloatArray]

    @property
    def experts(self) -> str:
        """How many a row has: "64", or "8 to 64" where they differ."""
        counts = sorted({len(values) for values in self.rows.values()})
        return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def fused_types(result: Result) -> list[FusedType]:
    """Return the types that experts can be chosen of, without their layers that have no score.

    A type with a row that is not fused, or has a parameter whose first dimension is not its
    experts, is none of them: its layers compete as wholes.
    """
    scores = result.scores
    if not scores.parts:
        return []
    sizes = {p.name: p.shape[0] for p in result.parameters if p.shape}
    rows: dict[int, dict[int, FloatArray]] = {}
    whole: set[int] = set()
    for row, type_id in enumerate(scores.type_ids.tolist()):
        if row in scores.problems:
            continue
        values = _by_expert(scores.parts.get(row, ()))
        length = {sizes.get(name, len(values)) for name in scores.parameters[row]}
        if len(values) and length == {len(values)}:
            rows.setdefault(type_id, {})[row] = values
        else:
            whole.add(type_id)
    return [FusedType(scores.type_names[t], found) for t, found in rows.items() if t not in whole]


def _by_expert(parts: tuple[tuple[str, float], ...]) -> FloatArray:
    """Return the score of each expert, the mean of its matrices; empty where these are not
    experts."""
    values: dict[int, list[float]] = {}
    for label, value in parts:
        values.setdefault(expert_of(label), []).append(value)
    if sorted(values) != list(range(len(values))):
        return np.zeros(0)
    return np.array([sum(values[e]) / len(values[e]) for e in range(len(values))])


def best(values: FloatArray, percent: float) -> Ranges:
    """Return the floor(n·percent/100) experts with the highest score, ties in order, as ranges.

    An expert whose score is NaN is not counted and never among them.
    """
    scored = np.flatnonzero(~np.isnan(values))
    order = scored[np.argsort(-values[scored], kind="stable")]
    return tuple(stretches(sorted(order[: len(scored) * step_of(percent) // LAST].tolist())))
