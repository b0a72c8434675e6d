"""Keys for LLaMA-Factory's freeze tuning, where they can say what was chosen; where not, what would
be lost. Its reader is typed again in `core/trainers/llama_factory.py`."""

from __future__ import annotations

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.recipes.choice import Choice, RecipeFile, RecipeKind
from spectrum_tui.core.recipes.spectrum import SpectrumYaml
from spectrum_tui.core.recipes.tasks import refuse_other
from spectrum_tui.core.trainers.llama_factory import smallest_setting

_PURPOSE = """\
# Keys for a LLaMA-Factory config (llamafactory-cli train config.yaml): they replace its keys of the
# same names, and need no use_llama_pro beside them.
finetuning_type: freeze"""


class LlamaFactoryKind(RecipeKind):
    """Whole modules of the first or last blocks; every other choice is refused."""

    name = "llama-factory"
    title = "LLaMA-Factory"
    purpose = "Whole blocks for LLaMA-Factory"
    tasks = ("text",)
    names_whole = True

    def files(self, choice: Choice) -> tuple[RecipeFile, ...]:
        """Return the fragment; raises SelectionError for a choice that LLaMA-Factory cannot train,
        with what it would train instead."""
        result = choice.selection.result
        refuse_other(result, self)
        recipe = SpectrumYaml(choice.selection)
        wanted = set(recipe.check(choice.policy))
        if not result.names:
            raise SelectionError(
                "These scores do not say which parameters the model has besides.",
                "Give --sizes-from MODEL, or press f on the results.",
                field="kind",
            )
        setting = smallest_setting(wanted, result.names)
        if setting is None:
            raise SelectionError(
                "LLaMA-Factory freezes parts of a model like this by rules of its own.",
                "Save spectrum, for another trainer.",
                field="kind",
            )
        if others := len(setting.trains - wanted):
            raise SelectionError(
                "LLaMA-Factory freezes whole blocks: with these "
                f"{counted(len(wanted), 'parameter')}, {counted(others, 'other')} would train.",
                "Choose whole blocks, the first or the last (--blocks, --top-percent 100, all "
                "types), or save spectrum for another trainer.",
                field="kind",
            )
        keys = [f"{key}: {value}" for key, value in setting.keys.items()]
        text = "\n".join([*recipe.view(choice.policy).provenance(), _PURPOSE, *keys, ""])
        return (RecipeFile(f"_llama-factory_{choice.policy.ending}.yaml", text),)
