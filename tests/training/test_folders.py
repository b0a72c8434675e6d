"""What PEFT makes of a folder that holds a model and an adapter: it is why a note is due."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers

from spectrum_tui.core.model.inspection import inspect_model, with_exact_names
from tests.architectures.tiny import ARCHITECTURES

peft = pytest.importorskip("peft")


def names(folder: Path) -> list[str]:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    return [name for name, _ in model.named_parameters()]


def test_an_adapter_beside_a_merged_model_is_put_on_it(tmp_path: Path) -> None:
    model = ARCHITECTURES["llama"].build()
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"], r=2))
    adapted.save_pretrained(tmp_path)
    adapted.merge_and_unload().save_pretrained(tmp_path)
    found = with_exact_names(inspect_model(str(tmp_path)))
    layer = "model.layers.0.self_attn.q_proj"
    assert f"{layer}.base_layer.weight" in names(tmp_path)
    assert f"{layer}.weight" in [p.name for p in found.model.parameters]
    assert any("adapter_config.json is beside the weights" in n for n in found.summary.notes)
    (tmp_path / "adapter_config.json").unlink()  # what the note says to do
    assert names(tmp_path) == [p.name for p in found.model.parameters]
    assert with_exact_names(inspect_model(str(tmp_path))).summary.notes == ()
