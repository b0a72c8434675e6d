"""The same selection as a file that every trainer reads alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from spectrum_tui.core.audit.entries import Recipe
from spectrum_tui.core.audit.meaning import Meaning
from spectrum_tui.core.audit.plain import is_module, plain_name
from spectrum_tui.core.consumers.reading import KEY
from spectrum_tui.core.layer_types import layer_type


def corrected(meanings: Sequence[Meaning], model: str) -> str:
    """The file of full names, where the model is known; "" where it would name nothing."""
    names = dict.fromkeys(name for one in meanings for name in one.names)
    return _file(names, f"# the parameters of {_one_line(model)} that the file named")


def corrected_text(recipe: Recipe) -> str:
    """What can be put right without the model; "" where a line is a regular expression, whose
    names only the model tells."""
    names = []
    for entry in recipe.entries:
        name = plain_name(entry.pattern)
        if not name:
            return ""
        names.append(f"{name}.weight" if is_module(name) else name)
    return _file(dict.fromkeys(names), "# biases are not named: give the model to find them")


def _file(names: Iterable[str], comment: str) -> str:
    groups: dict[str, list[str]] = {}
    for name in names:
        module = name.removesuffix(".weight").removesuffix(".bias")
        groups.setdefault(layer_type(module), []).append(name)
    if not groups:
        return ""
    lines = [comment, f"{KEY}:"]
    for kind, listed in groups.items():
        lines += [f"# {_one_line(kind)}", *(f"- {name}" for name in listed)]
    return "\n".join([*lines, ""])


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
