"""Recipes whose names are those of another class, version or part of the model."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml

from spectrum_tui.cli.main import main
from spectrum_tui.core.audit.audit import Audit, audit
from spectrum_tui.core.audit.model_names import model_names
from spectrum_tui.core.settings import Settings
from tests.architectures.conftest import TinyModels
from tests.commands import Capture

SMALL = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48}
TEXT = {"num_hidden_layers": 10, "num_key_value_heads": 2, "vocab_size": 96, "pad_token_id": 0,
        "cross_attention_layers": [3, 8], "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
VISION = {"num_hidden_layers": 2, "num_global_layers": 1, "image_size": 28, "patch_size": 14,
          "attention_heads": 4, "vision_output_dim": 64, "intermediate_layers_indices": [1],
          "supported_aspect_ratios": [[1, 1]], "max_num_tiles": 1}  # fmt: skip


@pytest.fixture(scope="module")
def mllama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama 3.2 Vision, a thousandth of it."""
    transformers = pytest.importorskip("transformers")
    if not hasattr(transformers, "MllamaForConditionalGeneration"):
        pytest.skip("this transformers has no Mllama")
    config = transformers.MllamaConfig(
        text_config={**SMALL, **TEXT}, vision_config={**SMALL, **VISION}
    )
    folder = tmp_path_factory.mktemp("mllama") / "vision-model"
    transformers.MllamaForConditionalGeneration(config).save_pretrained(folder)
    return folder


def recipe(folder: Path, beginning: str, count: int = 60) -> str:
    """Names of the model loaded as a text model, as a scan of that publishes them."""
    names = model_names(Settings(model=str(folder), model_class="AutoModelForCausalLM")).names
    layers = [name for name in names if ".layers." in name and "proj" in name]
    chosen = random.Random(0).sample(layers, count)
    lines = [f"- {beginning}{name}" for name in chosen]
    heads = ["- ^lm_head.weight$", "- ^model.embed_tokens.weight$"]
    return "\n".join(["unfrozen_parameters:", *heads, *lines, ""])


def codes(found: Audit) -> dict[str, int]:
    return {finding.code: finding.count for finding in found.findings if finding.is_defect}


@pytest.mark.parametrize("beginning", ["", "language_model."])
def test_names_of_the_text_model_are_those_of_its_part(mllama: Path, beginning: str) -> None:
    names = model_names(Settings(model=str(mllama)))
    assert "model.language_model.layers.0.mlp.up_proj.weight" in names.names
    text = recipe(mllama, beginning)
    found = audit(text, names)
    fixed = yaml.safe_load(found.fixed)["unfrozen_parameters"]
    named = [line.rpartition("model.")[2] for line in text.splitlines()[3:]]
    wanted = {f"model.language_model.{name}" for name in named}
    assert set(fixed) == wanted | {"lm_head.weight", "model.language_model.embed_tokens.weight"}
    assert found.correction.dropped == ()
    assert codes(found)["renamed"] == 61
    assert audit(found.fixed, names).defects == 0


def test_the_class_that_the_names_are_of_is_proposed(mllama: Path) -> None:
    text = recipe(mllama, "")
    finding = next(one for one in audit(text, model_names(Settings(model=str(mllama)))).findings
                   if one.code == "class")  # fmt: skip
    assert finding.message.startswith("62 of 62 lines match unchanged if")
    assert "MllamaForCausalLM, 1 as" in finding.message
    assert "--model-class AutoModelForCausalLM" in finding.hint
    as_text = audit(
        text, model_names(Settings(model=str(mllama), model_class="AutoModelForCausalLM"))
    )
    assert codes(as_text).keys() == {"anchored"}


def test_what_is_left_out_is_listed_in_report_and_file(
    mllama: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("few.yaml").write_text(recipe(mllama, "") + "- model.layers.77.mlp.up_proj.weight\n")
    assert main(["audit", "few.yaml", "--model", str(mllama), "-o", "fixed.yaml"]) == 1
    out, err = capsys.readouterr()
    assert err == "wrote fixed.yaml, without 1 line\n"
    lines = out.splitlines()
    at = lines.index("left out of a corrected file: 1 line")
    assert lines[at + 1] == "    line 64: model.layers.77.mlp.up_proj.weight"
    fixed = Path("fixed.yaml").read_text().splitlines()
    assert "# left out, as the model has no such names: 1 line" in fixed
    assert "#   line 64: model.layers.77.mlp.up_proj.weight" in fixed


def test_a_file_that_leaves_most_out_is_not_written(
    mllama: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [f"- model.blocks.{n}.mlp.up.weight" for n in range(108)]
    head = ["unfrozen_parameters:", "- lm_head.weight", "- model.embed_tokens.weight"]
    Path("other.yaml").write_text("\n".join([*head, *lines, ""]))
    assert main(["audit", "other.yaml", "--model", str(mllama), "-o", "fixed.yaml"]) == 1
    out, err = capsys.readouterr()
    assert not Path("fixed.yaml").exists()
    assert err == "no corrected file: 108 of 110 lines name nothing in vision-model\n"
    assert "left out of a corrected file: 108 lines" in out
    assert "    line 111: model.blocks.107.mlp.up.weight" in out.splitlines()
    for text in (out, err):
        assert "ake the corrected file" not in text
        assert "give --model" not in text


MIXTRAL = r"""unfrozen_parameters:
- ^lm_head.weight$
- ^model.embed_tokens.weight$
- model.layers.[01]+.block_sparse_moe.gate
- model.layers.[01]+.block_sparse_moe.experts
- model.layers.1.block_sparse_moe.experts.2.w1
- ^model\.layers\.0\.block_sparse_moe\.experts\.[0-9]+\.w2\.weight$
"""


@pytest.mark.parametrize("layout", ["transformers-4", "fused"])
def test_patterns_of_mixtral_s_former_names(tiny: TinyModels, layout: str) -> None:
    names = model_names(Settings(model=str(tiny.folder("mixtral", layout))))
    found = audit(MIXTRAL, names)
    fixed = yaml.safe_load(found.fixed)["unfrozen_parameters"]
    layers = [f"model.layers.{n}.mlp" for n in (0, 1)]
    parts = ("gate.weight", "experts.gate_up_proj", "experts.down_proj")
    wanted = {f"{layer}.{part}" for layer in layers for part in parts}
    assert set(fixed) == wanted | {"lm_head.weight", "model.embed_tokens.weight"}
    assert codes(found)["renamed"] == 4
    assert found.correction.dropped == ()


def test_a_name_is_not_taken_for_one_of_another_tower(tiny: TinyModels) -> None:
    """The vision tower has `layers` too: a layer that the text model lacks is not one of those."""
    names = model_names(Settings(model=str(tiny.folder("llava"))))
    vision = next(n for n in names.names if "vision" in n and n.endswith("self_attn.q_proj.weight"))
    text = f"unfrozen_parameters:\n- model.layers.1.self_attn.q_proj.weight\n- {vision}\n"
    fixed = yaml.safe_load(audit(text, names).fixed)["unfrozen_parameters"]
    assert fixed == ["model.language_model.layers.1.self_attn.q_proj.weight", vision]
    lost = "unfrozen_parameters:\n- model.language_model.layers.40.self_attn.q_proj.weight\n"
    assert audit(lost, names).fixed == ""
