"""A Python script that trains what is selected, with transformers and TRL.

The script is `scripts/train_with_trl.py` of this package, with the names, the model and its class
put into the one block that holds them.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources
from typing import ClassVar

from spectrum_tui.core.recipes.choice import Choice, RecipeFile, RecipeKind
from spectrum_tui.core.recipes.spectrum import SpectrumYaml, YamlView, hub_id, model_class
from spectrum_tui.core.recipes.tasks import refuse_other
from spectrum_tui.core.results.results import Result

_BEGIN = re.compile(r"(?<=\n)# -- what is trained, .*-\n")
_END = re.compile(r"(?<=\n)# -- end -+\n")


class TrlKind(RecipeKind):
    """A training script that freezes all but the names in it."""

    name = "trl"
    title = "TRL script"
    purpose = "TRL training script, SageMaker too"
    tasks: ClassVar[tuple[str, ...]] = ("text",)

    def files(self, choice: Choice) -> tuple[RecipeFile, ...]:
        """Return the script; raises SelectionError for a choice that must not be written."""
        refuse_other(choice.selection.result, self)
        recipe = SpectrumYaml(choice.selection)
        recipe.check(choice.policy)
        view = recipe.view(choice.policy)
        text = script(choice.selection.result, view)
        return (RecipeFile(f"_trl_{choice.policy.ending}.py", text),)


def script(result: Result, view: YamlView, recipe: str = "") -> str:
    """Return the training script of a selection, with the names in it, or with the path of the
    file `recipe` in their place, which it looks for beside itself."""
    given = {"RECIPE": recipe}
    return filled("train_with_trl.py", result, view, given, by_names=not recipe)


def filled(
    name: str, result: Result, view: YamlView, given: dict[str, str], *, by_names: bool = True
) -> str:
    """Return a script of this package with what it trains: model, class, the constants `given`,
    and the names unless they stand in a file."""
    before, after = _template(name)
    return before + _data(result, view, given, by_names=by_names) + after


@cache
def _template(name: str) -> tuple[str, str]:
    """Return a script up to what is put in, and what follows it."""
    file = resources.files("spectrum_tui") / "scripts" / name
    text = file.read_text(encoding="utf-8")
    begin, end = _BEGIN.search(text), _END.search(text)
    assert begin is not None and end is not None
    return text[: begin.end()], text[end.start() :]


def _data(result: Result, view: YamlView, given: dict[str, str], *, by_names: bool) -> str:
    origin = result.provenance
    sections = view.sections()
    heads = [one.name for one in result.embeddings] if result.embeddings_are_guessed else []
    assumed = [name for _, names in sections for name in names if name in heads]
    lines = [
        *view.provenance(),
        f"MODEL = {_text(hub_id(origin))}",
        f"REVISION = {_text(origin.revision if hub_id(origin) else '')}",
        f"MODEL_CLASS = {_text(model_class(origin))}",
        *(f"{name} = {_text(value)}" for name, value in given.items()),
        *(_listing(sections) if by_names else ["NAMES: tuple[str, ...] = ()"]),
    ]
    lines.append("# Names that may be missing, because no scan has seen them:")
    lines += [f"ASSUMED: tuple[str, ...] = ({_listed(assumed)})", ""]
    return "\n".join(lines)


def _listing(sections: list[tuple[str, list[str]]]) -> list[str]:
    lines = ["NAMES: tuple[str, ...] = ("]
    for comment, names in sections:
        lines += [f"    # {comment}", *(f"    {_text(name)}," for name in names)]
    return [*lines, ")"]


def _listed(names: list[str]) -> str:
    return ", ".join(map(_text, names)) + ("," if len(names) == 1 else "")


def _text(value: str) -> str:
    return json.dumps(value)
