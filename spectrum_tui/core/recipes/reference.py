"""The YAML as the reference script writes it from the same scores, byte for byte.

For comparing with files of spectrum.py, nothing else: its two head lines are the same for every
model and match nothing in many, and names without `.weight` match everything that begins so.
Layers are of the types that the script gives them: the path after the first number, in a model of
stages as well. One difference is on purpose. The script sorts a layer whose score is NaN to
wherever it happens to stand, and the layers around it with it; here it is never selected.
"""

from __future__ import annotations

from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.layer_types import reference_type
from spectrum_tui.core.recipes.check import overmatched
from spectrum_tui.core.recipes.choice import Choice, RecipeFile, RecipeKind
from spectrum_tui.core.recipes.spectrum import LIST, SpectrumYaml, one_line
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import IntArray
from spectrum_tui.core.results.selection import Selection

EMBEDDING_LINES = ("- ^lm_head.weight$", "- ^model.embed_tokens.weight$")
"""Written for every model, whatever its embeddings and output head are called."""


_KNOWN: WeakKeyDictionary[Selection, Selection | None] = WeakKeyDictionary()


class ReferenceKind(RecipeKind):
    """The YAML of spectrum.py."""

    name = "spectrum-reference"
    title = "Reference YAML"
    purpose = "The same bytes as spectrum.py"

    def ranked(self, choice: Choice) -> Choice:
        """Return the choice of a ranking within the types of spectrum.py.

        Those of a file of another tool are as they stand in it, which is what the script goes by.
        """
        selection = choice.selection
        if not selection.result.provenance.version:
            return choice
        if selection not in _KNOWN:
            _KNOWN[selection] = _regrouped(selection)
        grouped = _KNOWN[selection]
        return choice if grouped is None else replace(choice, selection=grouped)

    def files(self, choice: Choice) -> tuple[RecipeFile, ...]:
        """Return the file; raises SelectionError for a choice that spectrum.py cannot make."""
        result = choice.selection.result
        if not choice.policy.is_plain:
            raise SelectionError(
                "spectrum.py knows one percentage for all types, and nothing else.",
                "Write another kind of recipe, or undo what you chose by hand.",
            )
        if result.embeddings and not choice.policy.embeddings:
            raise SelectionError(
                "spectrum.py always trains embeddings and output head.",
                "Switch them on, or write another kind of recipe.",
            )
        SpectrumYaml(choice.selection).check(choice.policy)
        _check_siblings(choice)
        text = reference_text(choice.selection, choice.policy)
        return (RecipeFile(f"_reference_{choice.policy.ending}.yaml", text),)


def _regrouped(selection: Selection) -> Selection | None:
    """Return the ranking in the script's types; None where it is in these."""
    scores = selection.result.scores
    types = [reference_type(layer) for layer in scores.layers]
    if types == [scores.type_names[kind] for kind in scores.type_ids.tolist()]:
        return None
    names = list(dict.fromkeys(types))
    place = {name: i for i, name in enumerate(names)}
    ids = np.fromiter((place[name] for name in types), np.int64, len(types))
    grouped = replace(scores, type_names=names, type_ids=ids)
    return Selection(replace(selection.result, scores=grouped), selection)


def reference_text(selection: Selection, policy: Policy) -> str:
    """Return what spectrum.py writes, for a percentage that selects nothing as well."""
    scores = selection.result.scores
    chosen = _chosen_by_type(selection, policy)
    lines = [LIST, *EMBEDDING_LINES]
    for type_id in _types_in_order(selection):
        lines.append(f"# {one_line(scores.type_names[type_id])} layers")
        lines += [f"- {scores.layers[row]}" for row in chosen.get(type_id, ())]
    return "\n".join([*lines, ""])


def _chosen_by_type(selection: Selection, policy: Policy) -> dict[int, list[int]]:
    """Return the selected rows of each type, highest first, ties as in the score file."""
    rows = np.flatnonzero(selection.mask(policy))
    type_ids: IntArray = selection.result.scores.type_ids[rows]
    chosen: dict[int, list[int]] = {}
    for at in np.lexsort((selection.rank[rows], type_ids)).tolist():
        chosen.setdefault(int(type_ids[at]), []).append(int(rows[at]))
    return chosen


def _types_in_order(selection: Selection) -> list[int]:
    """Return the types as they first appear in the score file, which holds no failed layer."""
    scores = selection.result.scores
    type_ids = scores.type_ids.tolist()
    kept = (type_id for row, type_id in enumerate(type_ids) if row not in scores.problems)
    return list(dict.fromkeys(kept))


def _check_siblings(choice: Choice) -> None:
    """Refuse names that also match what is not selected: `mlp.gate` matches `mlp.gate_proj`."""
    result = choice.selection.result
    rows = np.flatnonzero(choice.mask()).tolist()
    meant = {name for row in rows for name in result.scores.parameters[row]}
    meant.update(name for one in result.embeddings for name in (one.name, *one.tied))
    patterns = [result.scores.layers[row] for row in rows]
    for pattern, other in overmatched(patterns, set(result.names) - meant):
        raise SelectionError(
            f"As spectrum.py writes it, {pattern} would also unfreeze {other}.",
            "Write the Spectrum YAML, whose names end in .weight.",
        )
