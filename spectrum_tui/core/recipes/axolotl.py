"""A fragment for an axolotl config: the names to train, and the keys that must go with them.

The names are those of the Spectrum YAML. axolotl's reader is PyYAML, and it matches as
`re.match` with every dot taken literally; a trailing `[a:b]` is a range on the first dimension,
whose other rows get their gradient set to zero (axolotl's `utils/freeze.py`). The keys follow
its `train.py`, `utils/schemas/validation.py` and `integrations/spectrum`, as of July 2026.
"""

from __future__ import annotations

from collections.abc import Iterator

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.recipes.check import check_names
from spectrum_tui.core.recipes.choice import Choice, RecipeFile, RecipeKind
from spectrum_tui.core.recipes.experts import FusedType, best, fused_types
from spectrum_tui.core.recipes.spectrum import KEY, SpectrumYaml, YamlView, one_line

_PURPOSE = "# Keys for an axolotl config: they replace any that it has by the same names."
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

Block = tuple[str, list[str]]
"""(comment, what is listed below it)."""


class AxolotlKind(RecipeKind):
    """The names, or experts of fused parameters, with axolotl's keys."""

    name = "axolotl"
    title = "axolotl fragment"
    purpose = "Names and the keys that go with them, to paste"
    options = ("experts",)

    def files(self, choice: Choice) -> tuple[RecipeFile, ...]:
        """Return the fragment; raises SelectionError for a choice that must not be written."""
        recipe = SpectrumYaml(choice.selection)
        view = recipe.view(choice.percent, head=choice.head)
        fused = fused_types(choice.selection.result) if choice.experts else []
        if choice.experts and not fused:
            raise SelectionError(
                "These scores hold no single experts.", "Leave out the choice of experts."
            )
        if fused:
            blocks = _with_experts(choice, view, fused)
        else:
            recipe.check(choice.percent, head=choice.head)
            blocks = view.blocks()
        notes = [_PURPOSE, *(_RANGES if fused else ())]
        listed = [line for comment, items in blocks for line in _lines(comment, items)]
        text = "\n".join([*view.provenance(), *notes, KEY, *listed, _REST])
        return (RecipeFile(f"_axolotl_{choice.percent}percent.yaml", text),)


def _lines(comment: str, items: list[str]) -> list[str]:
    return [f"# {comment}", *(f"- {item}" for item in items)]


def _with_experts(choice: Choice, view: YamlView, fused: list[FusedType]) -> list[Block]:
    """The blocks of whole layers, less those of fused parameters, which are listed by expert."""
    result = choice.selection.result
    parameters = result.scores.parameters
    by_expert = {name for kind in fused for row in kind.rows for name in parameters[row]}
    blocks = [block for block in view.blocks() if by_expert.isdisjoint(block[1])]
    parts = [block for kind in fused for block in _of_experts(kind, choice)]
    heads = {head.name for head in result.head}
    if not parts and all(name in heads for _, names in blocks for name in names):
        raise SelectionError(
            f"{choice.percent} % selects no layer and no expert.",
            "Choose a higher percentage.",
            field="top_percent",
        )
    names = [name for _, listed in blocks for name in listed]
    ranged = [item.partition("[")[0] for _, items in parts for item in items]
    check_names([*names, *dict.fromkeys(ranged)], result.names)
    return [*blocks, *parts]


def _of_experts(kind: FusedType, choice: Choice) -> Iterator[Block]:
    """One block for a type, unless the percentage selects none of its experts."""
    parameters = choice.selection.result.scores.parameters
    listed: list[str] = []
    for row, values in kind.rows.items():
        for first, end in best(values, choice.percent):
            whole = end - first == len(values)
            rows = "" if whole else f"[{first}:{end}]"
            listed += [f"{name}{rows}" for name in parameters[row]]
    if listed:
        layers = f"the top {choice.percent} % of {kind.experts} experts in each layer"
        yield f"{one_line(kind.name)}: {layers}", listed
