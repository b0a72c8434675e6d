"""Keys for ms-swift: everything frozen, then the chosen names unfrozen one by one.

How ms-swift reads them (4.6.0.dev0, August 2026: `swift/arguments/tuner_args.py`, and
`freeze_parameters` and `activate_parameters` in `swift/utils/transformers_utils.py`): a ratio of
1.0 freezes every parameter; what begins with one of `trainable_parameters` trains again, after all
other rules. `swift/cli/main.py` gives every line of the YAML to the training as an argument of a
command.
"""

from __future__ import annotations

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.recipes.choice import Choice, RecipeFile, RecipeKind
from spectrum_tui.core.recipes.spectrum import SpectrumYaml
from spectrum_tui.core.recipes.tasks import refuse_other

LONGEST_COMMAND = 1_500_000
"""Bytes of names: Linux starts no command of more than 2 MiB, its environment included, and takes
9 bytes for each argument besides its letters."""
_KEYS = """\
# Keys for an ms-swift config (swift sft config.yaml): they replace its keys of the same names, and
# need no trainable_parameters_regex beside them. Before ms-swift 4, tuner_type is train_type.
tuner_type: full
freeze_parameters_ratio: 1.0
# Of models with a picture or sound part: false would train what joins it to the text.
freeze_aligner: true
trainable_parameters:"""


class SwiftKind(RecipeKind):
    """The names, with the keys that freeze everything else."""

    name = "swift"
    title = "ms-swift keys"
    purpose = "Names and their keys for ms-swift"
    tasks = ("text", "classes")
    names_whole = True

    def files(self, choice: Choice) -> tuple[RecipeFile, ...]:
        """Return the fragment; raises SelectionError for a choice that must not be written."""
        refuse_other(choice.selection.result, self)
        recipe = SpectrumYaml(choice.selection)
        names = recipe.check(choice.policy)
        _refuse_long(names)
        view = recipe.view(choice.policy)
        listed = [line for comment, items in view.sections() for line in _lines(comment, items)]
        text = "\n".join([*view.provenance(), _KEYS, *listed, ""])
        return (RecipeFile(f"_swift_{choice.policy.ending}.yaml", text),)


def _lines(comment: str, items: list[str]) -> list[str]:
    return [f"# {comment}", *(f"- {item}" for item in items)]


def _refuse_long(names: list[str]) -> None:
    if sum(len(name) + 9 for name in names) > LONGEST_COMMAND:
        raise SelectionError(
            f"ms-swift starts its training with {counted(len(names), 'name')} as arguments, "
            "more than a command can have.",
            "Choose fewer layers, or save spectrum and call freeze_except in a script.",
        )
