"""The same selection as a file that every trainer reads alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from spectrum_tui.core.audit.entries import Recipe
from spectrum_tui.core.audit.meaning import Meaning
from spectrum_tui.core.audit.plain import has_rows, is_module, plain_name
from spectrum_tui.core.consumers.reading import KEY
from spectrum_tui.core.layer_types import layer_type
from spectrum_tui.core.recipes.spectrum import one_line


def corrected(meanings: Sequence[Meaning], model: str) -> str:
    """The file of full names, where the model is known; "" where it would name nothing."""
    names = dict.fromkeys(name for one in meanings for name in one.names)
    comment = f"# the parameters of {one_line(model)} that the file named"
    return _file(names, comment, (one.entry.pattern for one in meanings))


def corrected_text(recipe: Recipe) -> str:
    """What can be put right without the model; "" where a line is a regular expression, whose
    names only the model tells."""
    names = []
    for entry in recipe.entries:
        name = plain_name(entry.pattern)
        if not name:
            return ""
        names.append(f"{name}.weight" if is_module(name) else name)
    comment = "# biases are not named: give the model to find them"
    return _file(dict.fromkeys(names), comment, (entry.pattern for entry in recipe.entries))


def _file(names: Iterable[str], comment: str, patterns: Iterable[str]) -> str:
    groups: dict[str, list[str]] = {}
    for name in names:
        module = name.removesuffix(".weight").removesuffix(".bias")
        groups.setdefault(layer_type(module), []).append(name)
    if not groups:
        return ""
    rows = ["# whole parameters: only axolotl reads rows"] if any(map(has_rows, patterns)) else []
    lines = [comment, *rows, f"{KEY}:"]
    for kind, listed in groups.items():
        lines += [f"# {one_line(kind)}", *(f"- {name}" for name in listed)]
    return "\n".join([*lines, ""])
