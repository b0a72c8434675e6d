"""The architectures that are known without transformers: the same plan as with it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.naming.parameters import ParameterPlan, plain_source
from spectrum_tui.core.naming.plain_decoders import DECODERS, known_plan
from spectrum_tui.core.naming.plan import plan_parameters

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "tied": {"tie_word_embeddings": True},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "wide heads": {"head_dim": 16},
}


def saved(folder: Path, model_type: str, options: dict[str, Any]) -> tuple[Path, Any]:
    """A model made by transformers and saved as it saves; (folder, model)."""
    config = transformers.AutoConfig.for_model(
        model_type, **SIZES, **{"tie_word_embeddings": False, **options}
    )
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    return folder, model


def known(folder: Path, **options: str) -> ParameterPlan | None:
    checkpoint = read_checkpoint(folder)
    return known_plan(checkpoint, tuple(map(plain_source, checkpoint.tensors)), **options)


def edited(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("model_type", DECODERS)
def test_the_plan_is_that_of_transformers(model_type: str, variant: str, tmp_path: Path) -> None:
    folder, model = saved(tmp_path, model_type, VARIANTS[variant])
    plan = known(folder)
    assert plan is not None
    exact = plan_parameters(read_checkpoint(folder))
    assert exact.naming == "transformers"
    assert plan.parameters == exact.parameters
    assert plan.embeddings == exact.embeddings
    assert plan.model_class == exact.model_class == type(model).__name__
    assert [p.name for p in plan.parameters] == [name for name, _ in model.named_parameters()]
    for parameter, weight in zip(plan.parameters, model.parameters(), strict=True):
        assert torch.equal(plan.values[parameter.name].read(), weight.detach())


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("llama"), "llama", {})[0]


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "another class": lambda config: config.update(architectures=["LlamaModel"]),
    "two classes": lambda config: config["architectures"].append("LlamaModel"),
    "no class": lambda config: config.pop("architectures"),
    "code of its own": lambda config: config.update(auto_map={}),
    "quantised": lambda config: config.update(quantization_config={}),
    "another type": lambda config: config.update(model_type="olmo"),
    "a shape that disagrees": lambda config: config.update(intermediate_size=40),
    "a layer more": lambda config: config.update(num_hidden_layers=3),
    "a million layers": lambda config: config.update(num_hidden_layers=10**12),
    "a bias more": lambda config: config.update(mlp_bias=True),
    "a default": lambda config: config.pop("num_key_value_heads"),
    "no word of tying": lambda config: config.pop("tie_word_embeddings"),
    "tied, yet stored": lambda config: config.update(tie_word_embeddings=True),
    "not a number": lambda config: config.update(num_attention_heads="four"),
    "no heads": lambda config: config.update(num_attention_heads=0, head_dim=None),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_disagrees_is_left_to_transformers(
    change: str, llama: Path, tmp_path: Path
) -> None:
    for file in llama.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert known(tmp_path) is not None
    assert known(edited(tmp_path, CHANGES[change])) is None


def test_a_class_of_the_users_is_left_to_transformers(llama: Path) -> None:
    assert known(llama, model_class="LlamaForCausalLM") is not None
    assert known(llama, model_class="LlamaModel") is None


def test_a_tensor_more_or_less_is_left_to_transformers(llama: Path, tmp_path: Path) -> None:
    tensors = load_file(llama / "model.safetensors")
    (tmp_path / "config.json").write_bytes((llama / "config.json").read_bytes())
    rest = dict(list(tensors.items())[1:])
    for changed in (rest, {**tensors, "model.layers.0.extra.weight": torch.ones(2, 2)}):
        save_file(changed, tmp_path / "model.safetensors")
        assert known(tmp_path) is None


def test_a_scan_of_a_known_model_never_imports_transformers(llama: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from spectrum_tui.cli.main import main; "
        f"code = main(['scan', {str(llama)!r}, '--output-dir', {str(tmp_path)!r}]); "
        "sys.exit(code or 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (recipe,) = tmp_path.glob("*.yaml")
    assert "names as in LlamaForCausalLM" in recipe.read_text()
