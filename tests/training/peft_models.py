"""Tiny models on disk, scanned for real, and what PEFT has made of one: for tests that train."""

from __future__ import annotations

import json
import runpy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.pytorch_utils import Conv1D

from spectrum_tui.core.model.inspection import inspect_model, with_exact_names
from spectrum_tui.core.recipes.choice import Choice, Tiers
from spectrum_tui.core.recipes.kinds import kind_named
from spectrum_tui.core.requests import ResultReady
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.saved.store import load_result
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.settings import Settings
from tests import oracle
from tests.architectures.tiny import ARCHITECTURES
from tests.architectures.trainers import embeddings

TEXT = torch.arange(3, 19)[None]
BLOCKS = 12
"""So that the names of blocks 1, 10 and 11 begin alike."""
DEEP = {
    "llama": {"num_hidden_layers": BLOCKS},
    "qwen2": {"num_hidden_layers": BLOCKS},
    "gpt2": {"n_layer": BLOCKS},
    "mixtral": {"num_hidden_layers": BLOCKS, "num_local_experts": 4},
    "qwen3_moe": {"num_hidden_layers": BLOCKS},
    "deepseek_v3": {},
}


@dataclass(frozen=True)
class Prepared:
    """A model's folder and the scores of everything in it."""

    name: str
    folder: Path
    result: Result

    @cached_property
    def selection(self) -> Selection:
        return Selection(self.result)

    def load(self) -> Any:
        """The model as a trainer loads it."""
        return getattr(transformers, ARCHITECTURES[self.name].model).from_pretrained(self.folder)

    def choice(self, percent: int, **tiers: int) -> Choice:
        return Choice(
            selection=self.selection, policy=Policy(percent=percent), tiers=Tiers(**tiers)
        )

    def best(self, percent: int) -> set[str]:
        """The layers of the best of each type, by the rule typed again."""
        scores = self.result.scores
        types: dict[str, dict[str, float]] = {}
        for layer, type_id, snr in zip(scores.layers, scores.type_ids, scores.values, strict=True):
            types.setdefault(scores.type_names[type_id], {})[layer] = float(snr)
        return {layer for of_type in types.values() for layer in oracle.selected(of_type, percent)}


def prepare(name: str, root: Path, options: dict[str, Any], dtype: torch.dtype) -> Prepared:
    """Make a tiny model with these options besides its own, and scan all of it."""
    architecture = ARCHITECTURES[name]
    model = replace(architecture, options={**architecture.options, **options}).build()
    folder = root / name
    model.to(dtype).save_pretrained(folder)
    inspection = with_exact_names(inspect_model(str(folder)))
    types = tuple(kind.name for kind in inspection.summary.types)
    request = Settings(model=str(folder), types=types, device="cpu", output_dir=str(root / "out"))
    *_, ready = run_scan(request, inspection)
    assert isinstance(ready, ResultReady) and ready.complete
    return Prepared(name, folder, load_result(Path(ready.path)))


def adaptable(model: Any) -> dict[str, str]:
    """{layer: what it is} of all that PEFT can adapt and is neither embedding nor head."""
    heads = {id(model.get_parameter(name)) for name in embeddings(model)}
    found = {
        name: "module"
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
        and id(module.weight) not in heads
        and min(module.weight.shape) > 1
        and not read_past(model, name)
    }
    fused = (n for n, p in model.named_parameters() if p.ndim == 3 and ".experts" in n)
    return found | dict.fromkeys(fused, "experts")


def read_past(model: Any, name: str) -> bool:
    """Whether the module around a linear one reads its weight instead of calling it."""
    parent = model.get_submodule(name.rpartition(".")[0])
    if hasattr(parent, "A_log"):
        return name.endswith(("x_proj", "dt_proj", "out_proj"))
    return isinstance(parent, torch.nn.MultiheadAttention)


def write_recipe(kind: str, choice: Choice, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Write both files of a recipe; returns the Python file and what is in the JSON."""
    config, script = kind_named(kind).files(choice)
    for file in (config, script):
        (folder / f"recipe{file.ending}").write_text(file.text, encoding="utf-8")
    return folder / f"recipe{script.ending}", json.loads(config.text)


def module_of_file(path: Path) -> dict[str, Any]:
    """What a generated file defines."""
    return runpy.run_path(str(path))


def adapters_of(model: Any) -> dict[str, tuple[int, float]]:
    """{layer: (rank, scale)} of every LoRA adapter in a PEFT model, fused experts by parameter."""
    from peft.tuners.lora import LoraLayer
    from peft.tuners.lora.layer import ParamWrapper

    found = {}
    for path, module in model.get_base_model().named_modules():
        if not isinstance(module, LoraLayer):
            continue
        name = path.replace(".base_layer", "")
        if isinstance(module, ParamWrapper):
            name = f"{name}.{module.parameter_name}".removesuffix(".weight")
        found[name] = (module.r["default"], module.scaling["default"])
    return found


def trainable(model: Any) -> dict[str, torch.Tensor]:
    """{name: tensor} of all that trains, tied ones once."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def trained(model: Any, steps: int = 20) -> set[str]:
    """Train with the Trainer of transformers; returns the names of the tensors that changed."""
    torch.manual_seed(1)
    tokens = torch.randint(3, 90, (8, 12))
    rows = [{"input_ids": row, "labels": row} for row in tokens]
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    arguments = transformers.TrainingArguments(
        output_dir="unused",
        max_steps=steps,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    transformers.Trainer(model=model, args=arguments, train_dataset=rows).train()
    return {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}


def logits(model: Any) -> torch.Tensor:
    """What a model answers to a fixed text."""
    with torch.no_grad():
        answer: torch.Tensor = model.eval()(input_ids=TEXT).logits
    return answer
