"""The `unfrozen_parameters` YAML, in the one form that every known trainer reads alike.

One full parameter name a line, at column 0, unquoted, no inline comment: trainers match the
names as regular expressions, as prefixes, as substrings or read the lines without a YAML parser,
and this form is right in all of them. Comments stand on lines of their own.
"""

from __future__ import annotations

import re

import numpy as np

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.numbers import part_of
from spectrum_tui.core.recipes.check import check_names, check_trainers, missing_note
from spectrum_tui.core.recipes.choice import Choice, RecipeFile, RecipeKind
from spectrum_tui.core.recipes.policy_line import policy_line
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import BoolArray, IntArray, Provenance, Result
from spectrum_tui.core.results.selection import NEVER, Selection
from spectrum_tui.core.scoring.metrics import described
from spectrum_tui.core.settings import DEMO_NAME
from spectrum_tui.core.text import safe
from spectrum_tui.core.trainers.recipe_text import KEY

LIST = f"{KEY}:"
"""The line that the list of names follows."""
DEMONSTRATION = "a demonstration: the model's weights are random"
_HUB_ID = re.compile(r"[\w.\-]+/[\w.\-]+", re.ASCII)
_CLASS = re.compile(r"(?:transformers \S+ )?([A-Z]\w*)(?: matched by suffix)?", re.ASCII)
"""What `Provenance.naming` says where the names are those of a class of transformers."""


class SpectrumKind(RecipeKind):
    """The list of names alone."""

    name = "spectrum"
    title = "Spectrum YAML"
    purpose = "Names to train, for every trainer"

    def files(self, choice: Choice) -> tuple[RecipeFile, ...]:
        """Return the YAML; raises SelectionError where a trainer would read it otherwise."""
        text = SpectrumYaml(choice.selection).text(choice.policy)
        return (RecipeFile(f"_unfrozenparameters_{choice.policy.ending}.yaml", text),)


class SpectrumYaml:
    """All lines that any policy may need, prepared once; `view` picks from them.

    The preview and the file are the same lines, so that what is shown is what is written.
    A step of the percentage costs 0.3 ms at 60,000 layers.
    """

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self.result = selection.result
        scores = self.result.scores
        self._lines: list[str] = []
        rows: list[int] = []
        self._type_of_header: dict[int, int] = {}
        for row in np.lexsort((selection.rank, scores.type_ids)).tolist():
            type_id = int(scores.type_ids[row])
            if not rows or type_id != scores.type_ids[rows[-1]]:
                self._type_of_header[len(rows)] = type_id
                self._lines.append("")  # written by `header`: it counts what is selected
                rows.append(row)
            for name in scores.parameters[row]:
                self._lines.append(f"- {name}")
                rows.append(row)
        self._rows: IntArray = np.asarray(rows, dtype=np.int64)
        self._headers = np.fromiter(self._type_of_header.keys(), np.int64)
        self._header_types = np.fromiter(self._type_of_header.values(), np.int64)
        in_embeddings = {f"- {h.name}" for h in self.result.embeddings}
        self._outside_embeddings = np.fromiter(
            (line not in in_embeddings for line in self._lines), np.bool_
        )
        self._line_types = scores.type_ids[self._rows]

    def view(self, policy: Policy) -> YamlView:
        """Return the YAML of what a policy selects."""
        scores = self.result.scores
        mask = self.selection.mask(policy)
        shown = mask[self._rows] & self._outside_embeddings
        shown[self._headers] = False
        selected = np.bincount(scores.type_ids[mask], minlength=len(scores.type_names))
        lines = np.bincount(self._line_types[shown], minlength=len(scores.type_names))
        shown[self._headers] = lines[self._header_types] > 0
        return YamlView(self, self._opening(policy), shown, selected)

    def candidate(self, number: int, selected: IntArray) -> str:
        """Line `number` of all candidates, given how many of each type are selected."""
        type_id = self._type_of_header.get(number)
        if type_id is None:
            return self._lines[number]
        name = one_line(self.result.scores.type_names[type_id])
        return f"# {name}: {selected[type_id]} of {self.selection.counts[type_id]}"

    def text(self, policy: Policy) -> str:
        """Return the whole file; raises SelectionError where it would train no ranked layer, or
        where any trainer would train anything else by it."""
        wanted = self.check(policy)
        text = self.view(policy).text()
        check_trainers(text, wanted, self.result.parameters)
        return text

    def check(self, policy: Policy) -> list[str]:
        """Return the parameters that are to train; raises SelectionError where a file of this must
        not be written, whatever its kind."""
        self._refuse_nothing(policy)
        if not self.selection.mask(policy).any():
            raise SelectionError(
                "Only embeddings and output head are selected, and they are switched off.",
                "Switch them on, or scan more layer types.",
            )
        wanted = named(self.selection, policy)
        check_names(wanted, self.result.names)
        return wanted

    def _refuse_nothing(self, policy: Policy) -> None:
        """Raise SelectionError where no layer is selected, or blocks that are not there."""
        self.selection.check_blocks(policy)
        if self.selection.selects_any(policy):
            return
        if not self.selection.rank.any():
            raise SelectionError("No layer has a score, so there is nothing to select.", "")
        least = self.selection.smallest_percent(policy)
        if least == NEVER:
            raise SelectionError(
                "No layer is left to train.",
                "The blocks, bans or percentages of types leave none: allow more.",
            )
        raise SelectionError(
            f"{policy.percent:g} % selects no layer of any type.",
            f"The smallest percentage that selects one here is {least:g} %.",
            field="top_percent",
        )

    def _opening(self, policy: Policy) -> list[str]:
        lines = [*provenance_comment(self.result, policy, self._note()), LIST]
        trained, task = self.selection.heads(policy), self.result.task_head
        tables = [h for h in trained if h not in task]
        task = tuple(h for h in trained if h in task)
        guess = ", names assumed" if self.result.embeddings_are_guessed else ""
        for words, heads in (("embeddings and output head", tables), ("head of the task", task)):
            if heads:
                lines += [f"# {words}{guess}", *(f"- {h.name}" for h in heads)]
        return lines

    def _note(self) -> str:
        layers = part_of(len(self.result.scores), self.result.planned, "layer")
        scanned = f"partial: {layers} scanned"
        notes = ("" if self.result.complete else scanned, missing_note(self.result))
        return " · ".join(filter(None, notes))


def named(selection: Selection, policy: Policy) -> list[str]:
    """Return the parameters that a list of names holds, each once, embeddings and head first."""
    parameters = selection.result.scores.parameters
    rows = np.flatnonzero(selection.mask(policy)).tolist()
    names = [name for row in rows for name in parameters[row]]
    heads = [h.name for h in selection.heads(policy)]
    return list(dict.fromkeys([*heads, *names]))


class YamlView:
    """A YAML file as lines: `len` and `line(i)` cost nothing, `text` builds it whole."""

    def __init__(
        self, recipe: SpectrumYaml, opening: list[str], shown: BoolArray, selected: IntArray
    ) -> None:
        self._recipe = recipe
        self._opening = opening
        self._index = np.flatnonzero(shown)
        self._selected = selected

    def __len__(self) -> int:
        return len(self._opening) + len(self._index)

    def line(self, number: int) -> str:
        """Line `number`, counted from 0."""
        if number < len(self._opening):
            return self._opening[number]
        at = int(self._index[number - len(self._opening)])
        return self._recipe.candidate(at, self._selected)

    def provenance(self) -> list[str]:
        """Return the comments that open the file, up to its key."""
        return self._opening[: self._opening.index(LIST)]

    def sections(self) -> list[tuple[str, list[str]]]:
        """(comment, names below it) in the order of the file, as other kinds of files list them."""
        lines = [self.line(number) for number in range(len(self))]
        sections: list[tuple[str, list[str]]] = []
        for line in lines[lines.index(LIST) + 1 :]:
            if line.startswith("# "):
                sections.append((line.removeprefix("# "), []))
            else:
                sections[-1][1].append(line.removeprefix("- "))
        return sections

    def text(self) -> str:
        """Return the file's content, newline at the end."""
        candidate, selected = self._recipe.candidate, self._selected
        body = (candidate(at, selected) for at in self._index.tolist())
        return "\n".join([*self._opening, *body, ""])


def provenance_comment(result: Result, policy: Policy, note: str) -> list[str]:
    """Full-line comments that say what the file is and what it was made of."""
    origin, metric = result.provenance, result.scores.metric
    how = (
        made_by(origin),
        f"metric {one_line(metric)}",
        "fast precision" if origin.precision == "fast" else "",
        f"names as in {origin.naming}",
        origin.finished,
        note,
    )
    words = described(metric).words
    return [
        *([f"# {DEMONSTRATION}"] if origin.model == DEMO_NAME else []),
        f"# Spectrum: {one_line(policy.words_by(words))}",
        f"# {one_line(source_of(origin))}",
        f"# {one_line(' · '.join(filter(None, how)))}",
        policy_line(policy, metric),
    ]


def source_of(origin: Provenance) -> str:
    """Return which weights the scores are of, in a line."""
    weights = (origin.model, origin.revision[:12], origin.architecture, origin.dtypes)
    parts = (*weights, origin.unhashed)
    return " · ".join(filter(None, parts))


def made_by(origin: Provenance) -> str:
    """Return which program made the scores."""
    return f"spectrum-tui {origin.version}" if origin.version else "scores of another tool"


def one_line(text: str) -> str:
    """Text that stays inside its comment, whatever a model or layer was called."""
    return safe(text, " ")


def hub_id(origin: Provenance) -> str:
    """Return the id that was scanned; "" for a folder, whose path no other machine has."""
    return origin.model if origin.version and _HUB_ID.fullmatch(origin.model) else ""


def model_class(origin: Provenance) -> str:
    """Return the transformers class whose names the scores are under, "" where that is not
    known."""
    found = _CLASS.fullmatch(origin.naming)
    return found[1] if found else ""
