"""The few lines of Python that put an adapter on its model, and say when that went otherwise."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence

from spectrum_tui.core.metrics import described
from spectrum_tui.core.recipes.adapters import REASONS, AdapterCount, AdapterLayers, Place
from spectrum_tui.core.recipes.choice import RecipeFile
from spectrum_tui.core.recipes.peft_config import Targets, heads, model_class
from spectrum_tui.core.recipes.spectrum import one_line
from spectrum_tui.core.requests import DEMO_NAME
from spectrum_tui.core.results import Result

_WIDTH = 88
"""The line length of ruff and black where nobody asked for another."""
Group = Sequence[str]

_IMPORTS = """\
import argparse
import json
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import {classes}
"""
_BASE = '''\
def load_base(model=MODEL{parameter}):
    """The model without the adapter{in_4bit}."""
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        # This list replaces the one that keeps the output head: so the head is in it.
        llm_int8_skip_modules=KEEP,
    )
    return {name}.from_pretrained(
        model,
        dtype="auto",
        quantization_config={quantization},
    )
'''
_MODEL = '''\
def load_model(model=MODEL{parameter}):
    """The model with a new adapter: nothing else trains."""
    adapted = get_peft_model(load_base(model{argument}), LoraConfig(**CONFIG)){share}
{check}    return adapted
'''
_CHECK = """\
    trainable = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    if trainable != TRAINABLE:
        raise SystemExit(f"{trainable:,} parameters would train, not {TRAINABLE:,}")
"""
_SHARE = '''\
def share(adapted):
    """Give every module of a group the adapter of the first: their gradients add up."""
    for first, *others in GROUPS:
        kept = adapted.get_base_model().get_submodule(first)
        for other in others:
            module = adapted.get_base_model().get_submodule(other)
            module.lora_A["default"] = kept.lora_A["default"]
            module.lora_B["default"] = kept.lora_B["default"]
'''
_MAIN = """\
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default=MODEL, help="folder or id")
{option}    options = parser.parse_args()
    load_model({call}).print_trainable_parameters()
"""
_OPTION = """\
    parser.add_argument("--4bit", action="store_true", dest="four_bit", help="QLoRA")
"""


class Script:
    """One Python file, beside the JSON that it reads."""

    def __init__(self, layers: AdapterLayers, targets: Targets) -> None:
        self._layers, self._targets = layers, targets
        self._result: Result = layers.selection.result

    def text(
        self,
        opening: str,
        count: AdapterCount,
        *,
        percent: int,
        always_4bit: bool = False,
        groups: Sequence[Group] = (),
        notes: Iterable[str] = (),
    ) -> str:
        """The file. `opening` says in one line what the adapter is, `percent` up to where layers
        were selected; `notes` are remarks of the kind, one line each."""
        comments = [opening, *self._origin(), *notes, *self._remarks(percent)]
        parts = [
            "\n".join(f"# {line}" for text in comments for line in folded(one_line(text)))
            + '\n"""Put a LoRA adapter on the model and check how much trains."""\n',
            _IMPORTS.format(classes=_imported("BitsAndBytesConfig", self._class)),
            self._constants(count, groups) + "\n",
            self._base(always_4bit=always_4bit),
            *(["\n" + _SHARE] if groups else []),
            "\n" + self._model(count, groups, always_4bit=always_4bit),
            "\n" + self._main(always_4bit=always_4bit),
        ]
        return "\n".join(parts)

    @property
    def _class(self) -> str:
        return model_class(self._result) or "AutoModelForCausalLM"

    def _origin(self) -> list[str]:
        origin = self._result.provenance
        source = (origin.model, origin.revision[:12], origin.architecture, origin.dtypes)
        made = f"spectrum-tui {origin.version}" if origin.version else "scores of another tool"
        how = (made, f"metric {described(origin.metric).title}", origin.finished)
        demo = ["a demonstration: the model's weights are random"]
        return [
            *(demo if origin.model == DEMO_NAME else []),
            " · ".join(filter(None, source)),
            " · ".join((*filter(None, how), f"names as in {origin.naming}")),
        ]

    def _remarks(self, percent: int) -> list[str]:
        """What a reader would not expect: experts, names that PEFT rewrites, what is left out."""
        places = {Place.EXPERTS: 0, Place.WEIGHT: 0}
        for name in self._targets.parameters:
            places[Place.WEIGHT if name.endswith(".weight") else Place.EXPERTS] += 1
        left_out = self._layers.left_out(percent)
        lines = [
            f"Left out: {len(rows)} selected {REASONS[place]}." for place, rows in left_out.items()
        ]
        lines.append("Embeddings and output head stay frozen, and are never quantised.")
        if places[Place.EXPERTS]:
            lines.append(self._about_experts())
        if places[Place.WEIGHT]:
            lines.append(
                "Some linear modules are named by their weight, in target_parameters: as "
                "target_modules, PEFT would take their names for those of experts in every block."
            )
        if self._targets.parameters and len(set(self._targets.ranks.values())) > 1:
            lines.append("PEFT warns that it ignores rank_pattern for these. It does not.")
        return lines

    def _about_experts(self) -> str:
        most = int(self._layers.experts.max())
        return (
            "Fused experts are adapted as one parameter: rank r for each expert, so r times their "
            f"number in all ({most} experts). bitsandbytes does not quantise them."
        )

    def _constants(self, count: AdapterCount, groups: Sequence[Group]) -> str:
        weights = (n for n in self._targets.parameters if n.endswith(".weight"))
        kept = [*self._targets.whole, *(name.removesuffix(".weight") for name in weights)]
        lines = [
            f"MODEL = {_literal(self._result.provenance.model)}",
            'CONFIG = json.loads(Path(__file__).with_suffix(".json").read_text())',
            f"KEEP = {listed([*kept, *heads(self._result)])}",
        ]
        if count.parameters:
            lines.append(f"TRAINABLE = {count.parameters}")
        if groups:
            inner = "".join(f"    {listed(group, 4)},\n" for group in groups)
            lines.append(f"GROUPS = [\n{inner}]")
        return "\n".join(lines) + "\n"

    def _base(self, *, always_4bit: bool) -> str:
        return _BASE.format(
            parameter="" if always_4bit else ", four_bit=False",
            in_4bit=", in 4-bit NF4 but for KEEP" if always_4bit else "",
            name=self._class,
            quantization="quantization" if always_4bit else "quantization if four_bit else None",
        )

    def _model(self, count: AdapterCount, groups: Sequence[Group], *, always_4bit: bool) -> str:
        return _MODEL.format(
            parameter="" if always_4bit else ", four_bit=False",
            argument="" if always_4bit else ", four_bit",
            share="\n    share(adapted)" if groups else "",
            check=_CHECK if count.parameters else "",
        )

    def _main(self, *, always_4bit: bool) -> str:
        return _MAIN.format(
            option="" if always_4bit else _OPTION,
            call="options.model" if always_4bit else "options.model, options.four_bit",
        )


def two_files(stem: str, config: str, script: str) -> tuple[RecipeFile, ...]:
    """The JSON, and the Python that finds it beside itself by its own name."""
    return RecipeFile(f"{stem}.json", config), RecipeFile(f"{stem}.py", script)


def listed(names: Sequence[str], indent: int = 0) -> str:
    """A list of strings in Python, one a line where it is long or several."""
    items = [json.dumps(name) for name in names]
    line = f"[{', '.join(items)}]"
    if len(items) < 2 and indent + len(line) + 8 < _WIDTH:
        return line
    margin = " " * indent
    return "[\n" + "".join(f"{margin}    {item},\n" for item in items) + f"{margin}]"


def folded(text: str) -> list[str]:
    """The lines of a comment, none longer than a line of code, those after the first indented."""
    return textwrap.wrap(text, _WIDTH - 2, subsequent_indent="  ", break_long_words=False)


def _imported(*names: str) -> str:
    """The names of an import, in parentheses where they do not fit in one line."""
    ordered = sorted(set(names))
    line = ", ".join(ordered)
    if len("from transformers import ") + len(line) <= _WIDTH:
        return line
    return "(\n" + "".join(f"    {name},\n" for name in ordered) + ")"


def _literal(text: str) -> str:
    """A string in Python, whatever is in it."""
    return json.dumps(text, ensure_ascii=False) if text.isprintable() else ascii(text)
