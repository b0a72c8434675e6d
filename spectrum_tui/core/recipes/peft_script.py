"""The few lines of Python that put an adapter on its model, and say when that went otherwise."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from spectrum_tui.core.recipes.adapter_comments import WIDTH, Comments
from spectrum_tui.core.recipes.choice import RecipeFile
from spectrum_tui.core.recipes.peft_config import Targets, module_of, outside_blocks
from spectrum_tui.core.recipes.spectrum import hub_id, model_class
from spectrum_tui.core.results.results import Result

EVERY = 200
"""Steps between two choices of the adapters that train, unless the script is changed."""
_IMPORTS = """\
import argparse
import json
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
{own}from transformers import {classes}
"""
_CALLBACK = '''\
def callback():
    """What chooses the adapters that train, and their ranks: for the trainer's callbacks."""
    return SpectrumAdapters(
        EVERY,
{arguments}    )
'''
_OWN = "from spectrum_tui.adapters import SpectrumAdapters\n"
_POLICY = "from spectrum_tui.core.results.policy import Policy\n"
_BASE = '''\
def load_base({parameters}):
    """The model without the adapter{in_4bit}."""
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        # This list replaces the default one, which keeps the output head, so the head is in it.
        llm_int8_skip_modules=KEEP,
    )
    return {name}.from_pretrained(
        model,
        dtype={dtype},
{revision}        quantization_config={quantization},
    )
'''
_HALF = "torch.bfloat16"
"""The type of what stays out of a 4-bit base: as it computes, whatever the checkpoint holds."""
_MODEL = '''\
def load_model({parameters}):
    """The model with a new adapter, for any trainer: nothing else trains."""
    adapted = get_peft_model(load_base({arguments}), LoraConfig(**CONFIG)){share}
{check}    return adapted
'''
REVISION = """\
        revision=REVISION if model == MODEL else "main",
"""
CHECK = """\
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
    parser.add_argument("model", {default}help="folder or id")
{option}    options = parser.parse_args()
    load_model({call}).print_trainable_parameters()
"""
OPTION = """\
    parser.add_argument("--4bit", action="store_true", dest="four_bit", help="QLoRA")
"""


@dataclass(frozen=True, kw_only=True)
class Script:
    """One Python file, beside the JSON that it reads.

    `groups` share an adapter each; `made` is how many parameters train when the model is made, 0
    where that is unknown. `callback` are the arguments of `SpectrumAdapters`, where it changes the
    adapters.
    """

    comments: Comments
    made: int
    always_4bit: bool = False
    groups: Sequence[Sequence[str]] = ()
    callback: Sequence[str] = ()

    def text(self) -> str:
        """Return the file."""
        parts = [
            "\n".join(self.comments.lines())
            + '\n"""Put a LoRA adapter on the model and check how much trains."""\n',
            self._imports(),
            self._constants() + "\n",
            self._base(),
            *(["\n" + _SHARE] if self.groups else []),
            "\n" + self._model(),
            *(["\n" + self._callback()] if self.callback else []),
            "\n" + self._main(),
        ]
        return "\n".join(parts)

    def _imports(self) -> str:
        own = _OWN if self.callback else ""
        if any("=Policy(" in one for one in self.callback):
            own += _POLICY
        return _IMPORTS.format(own=own, classes=_imported("BitsAndBytesConfig", self._class))

    def _callback(self) -> str:
        return _CALLBACK.format(arguments="".join(f"        {one},\n" for one in self.callback))

    @property
    def _result(self) -> Result:
        return self.comments.layers.result

    @property
    def _class(self) -> str:
        return model_class(self._result.provenance) or "AutoModelForCausalLM"

    @property
    def _id(self) -> str:
        return hub_id(self._result.provenance)

    @property
    def _revision(self) -> str:
        return self._result.provenance.revision if self._id else ""

    def _constants(self) -> str:
        values = {
            "MODEL": json.dumps(self._id) if self._id else "",
            "REVISION": json.dumps(self._revision) if self._revision else "",
            "CONFIG": 'json.loads(Path(__file__).with_suffix(".json").read_text())',
            "KEEP": listed(kept_apart(self.comments.targets, self._result)),
            "TRAINABLE": str(self.made or ""),
            "EVERY": str(EVERY) if self.callback else "",
        }
        if self.groups:
            inner = "".join(f"    {listed(group, 4)},\n" for group in self.groups)
            values["GROUPS"] = f"[\n{inner}]"
        return "".join(f"{name} = {value}\n" for name, value in values.items() if value)

    @property
    def _parameters(self) -> str:
        model = "model=MODEL" if self._id else "model"
        return model if self.always_4bit else f"{model}, four_bit=False"

    def _base(self) -> str:
        return _BASE.format(
            parameters=self._parameters,
            in_4bit=", in 4-bit NF4 but for KEEP" if self.always_4bit else "",
            name=self._class,
            revision=REVISION if self._revision else "",
            dtype=_HALF if self.always_4bit else f'{_HALF} if four_bit else "auto"',
            quantization="quantization"
            if self.always_4bit
            else "quantization if four_bit else None",
        )

    def _model(self) -> str:
        return _MODEL.format(
            parameters=self._parameters,
            arguments="model" if self.always_4bit else "model, four_bit",
            share="\n    share(adapted)" if self.groups else "",
            check=CHECK if self.made else "",
        )

    def _main(self) -> str:
        return _MAIN.format(
            default='nargs="?", default=MODEL, ' if self._id else "",
            option="" if self.always_4bit else OPTION,
            call="options.model" if self.always_4bit else "options.model, options.four_bit",
        )


def kept_apart(targets: Targets, result: Result) -> list[str]:
    """Return the modules that bitsandbytes must not quantise: those that train whole, those that
    are adapted by their weight, and linear ones outside the blocks."""
    weights = (name for name in targets.parameters if name.endswith(".weight"))
    kept = [*targets.whole, *map(module_of, weights)]
    return list(dict.fromkeys([*kept, *outside_blocks(result)]))


def two_files(stem: str, config: str, script: str) -> tuple[RecipeFile, ...]:
    """Return the JSON, and the Python that finds it beside itself by its own name."""
    return RecipeFile(f"{stem}.json", config), RecipeFile(f"{stem}.py", script)


def listed(names: Sequence[str], indent: int = 0) -> str:
    """Return a list of strings in Python, one a line where it is long or several."""
    items = [json.dumps(name) for name in names]
    line = f"[{', '.join(items)}]"
    if len(items) < 2 and indent + len(line) + 8 < WIDTH:
        return line
    margin = " " * indent
    return "[\n" + "".join(f"{margin}    {item},\n" for item in items) + f"{margin}]"


def _imported(*names: str) -> str:
    """Return the names of an import, in parentheses where they do not fit in one line."""
    ordered = sorted(set(names))
    line = ", ".join(ordered)
    if len("from transformers import ") + len(line) <= WIDTH:
        return line
    return "(\n" + "".join(f"    {name},\n" for name in ordered) + ")"
