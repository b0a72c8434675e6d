"""The same selection as a file that every trainer reads alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spectrum_tui.core.audit.entries import Recipe, RecipeEntry, has_rows, is_module, plain_name
from spectrum_tui.core.audit.findings import short
from spectrum_tui.core.audit.meaning import Meaning
from spectrum_tui.core.layer_types import layer_type
from spectrum_tui.core.numbers import counted, part_of
from spectrum_tui.core.recipes.spectrum import one_line
from spectrum_tui.core.trainers.recipe_text import KEY


@dataclass(frozen=True, slots=True)
class Correction:
    """The corrected file, the entries that it leaves out, or why there is none.

    `text` is empty where `refused` says why. `needs_model` says that a model would help.
    """

    text: str
    dropped: tuple[RecipeEntry, ...] = ()
    refused: str = ""
    needs_model: bool = False


def corrected(recipe: Recipe, meanings: Sequence[Meaning], model: str) -> Correction:
    """Return the file of full names, where the model is known; none where it would name nothing, or
    leave out most of the lines: that is another selection, not a corrected one."""
    dropped = tuple(sorted((*_lost(meanings), *recipe.long), key=lambda entry: entry.line))
    names = dict.fromkeys(name for one in meanings for name in one.names)
    if not recipe.lines:
        return Correction("", refused="the list is empty")
    if not names or 2 * len(dropped) > recipe.lines:
        lost = part_of(len(dropped), recipe.lines, "line", "names", "name")
        return Correction("", dropped, f"{lost} nothing in {one_line(model)}")
    comments = [f"# the parameters of {one_line(model)} that the file named", *_left_out(dropped)]
    return Correction(_file(names, comments, recipe), dropped)


def _lost(meanings: Iterable[Meaning]) -> Iterable[RecipeEntry]:
    return (one.entry for one in meanings if not one.names)


def corrected_text(recipe: Recipe) -> Correction:
    """Return what can be put right without the model; nothing where a line is a regular expression,
    whose names only the model tells."""
    names = []
    for entry in recipe.entries:
        name = plain_name(entry.pattern)
        if not name:
            words = f"line {entry.line} is a regular expression, whose names only the model tells"
            return Correction("", refused=words, needs_model=True)
        names.append(f"{name}.weight" if is_module(name) else name)
    if not names or len(names) < len(recipe.long):
        words = "most of its lines are not names" if recipe.lines else "the list is empty"
        return Correction("", recipe.long, words)
    comments = ["# biases are not listed: give the model to find them", *_left_out(recipe.long)]
    return Correction(_file(dict.fromkeys(names), comments, recipe), recipe.long)


def _left_out(dropped: Sequence[RecipeEntry]) -> list[str]:
    if not dropped:
        return []
    lines = (f"#   line {entry.line}: {one_line(short(entry.pattern, 200))}" for entry in dropped)
    return [f"# left out, as the model has no such names: {counted(len(dropped), 'line')}", *lines]


def _file(names: Iterable[str], comments: Sequence[str], recipe: Recipe) -> str:
    groups: dict[str, list[str]] = {}
    for name in names:
        module = name.removesuffix(".weight").removesuffix(".bias")
        groups.setdefault(layer_type(module), []).append(name)
    limited = any(has_rows(entry.pattern) for entry in recipe.entries)
    rows = ["# whole parameters: only axolotl reads rows"] if limited else []
    lines = [*comments, *rows, f"{KEY}:"]
    for kind, listed in groups.items():
        lines += [f"# {one_line(kind)}", *(f"- {name}" for name in listed)]
    return "\n".join([*lines, ""])
