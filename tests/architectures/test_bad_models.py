"""Models that cannot be known or do not fit: a note or one line, never a traceback or a prompt."""

from __future__ import annotations

import builtins
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from spectrum_tui.cli.main import main
from spectrum_tui.core.model.inspection import inspect_model, with_exact_names
from tests.architectures.conftest import TinyModels
from tests.architectures.layouts import Tensors, rewrite
from tests.commands import Capture, refused

DOWN = "model.layers.0.mlp.down_proj"


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")

    def no_prompt(*_: object) -> str:
        raise AssertionError("asked a question")

    monkeypatch.setattr(builtins, "input", no_prompt)


def notes(capsys: Capture, *arguments: str, code: int = 0) -> list[str]:
    """The notes of a scan, which says nothing that is not meant to be read."""
    assert main(["scan", *arguments]) == code
    err = capsys.readouterr().err
    assert "Traceback" not in err
    return [line.removeprefix("note: ") for line in err.splitlines() if line.startswith("note: ")]


def recipe() -> tuple[str, set[str]]:
    text = next(Path.cwd().glob("*.yaml")).read_text()
    return text, set(yaml.safe_load(text)["unfrozen_parameters"])


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"model_type": "no-such-model"}, "does not know the architecture (no-such-model)"),
        ({"model_type": "x", "auto_map": {"AutoConfig": "evil.C"}}, "which is never run"),
        ({"model_type": None, "auto_map": {"AutoModel": "evil.C"}}, "which is never run"),
        ({"model_type": None, "architectures": None}, "does not say which architecture"),
        ({"hidden_size": "wide"}, "refuses the configuration"),
    ],
)
def test_a_model_that_cannot_be_known_is_scanned_as_stored(
    config: dict[str, Any], says: str, tiny: TinyModels, tmp_path: Path, capsys: Capture
) -> None:
    folder = rewrite(tiny.folder("llama"), tmp_path / "m", config=config)
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (note,) = notes(capsys, str(folder))
    assert note.startswith("Names as stored in the checkpoint: ") and says in note
    text, names = recipe()
    assert "names as in the checkpoint" in text
    assert f"{DOWN}.weight" in names or "model.layers.1.mlp.down_proj.weight" in names
    assert not (tmp_path / "ran").exists()


def test_a_config_without_architectures(tiny: TinyModels, tmp_path: Path, capsys: Capture) -> None:
    folder = rewrite(tiny.folder("llama"), tmp_path / "m", config={"architectures": None})
    assert notes(capsys, str(folder)) == []
    assert "LlamaForCausalLM" in recipe()[0]


def test_no_config_at_all(tiny: TinyModels, tmp_path: Path, capsys: Capture) -> None:
    folder = rewrite(tiny.folder("llama"), tmp_path / "m")
    (folder / "config.json").unlink()
    (note,) = notes(capsys, str(folder))
    assert "there is no config.json. Without it from_pretrained does not load them." in note
    (folder / "config.json").write_text("{")
    assert main(["scan", str(folder)]) in (0, 2)
    assert "Traceback" not in capsys.readouterr().err


def test_code_of_its_own_is_neither_run_nor_asked_about(
    tiny: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Where stdin has an answer to whatever a prompt would ask."""
    asked: list[object] = []

    def answered(*prompt: object) -> str:
        asked.append(prompt)
        return "y"

    monkeypatch.setattr(builtins, "input", answered)
    stdin = io.StringIO("y\n")
    monkeypatch.setattr(sys, "stdin", stdin)
    config = {"model_type": "x", "auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M"}}
    folder = rewrite(tiny.folder("llama"), tmp_path / "m", config=config)
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert main(["scan", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert asked == [] and stdin.tell() == 0
    assert "[y/N]" not in out + err
    assert "Traceback" not in err
    assert not (tmp_path / "ran").exists()


def test_a_package_that_is_missing(
    tiny: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    from transformers import Olmo2ForCausalLM

    def needs_timm(*_: object) -> None:
        raise ImportError("\nOlmo2ForCausalLM requires the timm library but it was not found.\n")

    folder = rewrite(tiny.folder("olmo2"), tmp_path / "m")
    monkeypatch.setattr(Olmo2ForCausalLM, "__init__", needs_timm)
    (note,) = notes(capsys, str(folder))
    assert "timm" in note and "Install it for exact names." in note


def test_transformers_itself_is_missing(
    tiny: TinyModels, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "transformers":
            raise ModuleNotFoundError("No module named 'transformers'", name="transformers")
        return real(name, *rest, **more)

    folder = tiny.folder("olmo2")
    monkeypatch.setattr(builtins, "__import__", without)
    (note,) = notes(capsys, str(folder))
    assert "transformers is not installed" in note


def test_a_shape_that_disagrees_with_the_config(
    tiny: TinyModels, tmp_path: Path, capsys: Capture
) -> None:
    def cut(tensors: Tensors) -> Tensors:
        name = f"{DOWN}.weight"
        return tensors | {name: tensors[name][:, :-1]}

    folder = rewrite(tiny.folder("llama"), tmp_path / "m", cut)
    found = notes(capsys, str(folder), "--top-percent", "100")
    assert f"first {DOWN}.weight: [32, 47] stored, [32, 48] expected" in found[0]
    _, names = recipe()
    assert f"{DOWN}.weight" not in names
    assert "model.layers.1.mlp.down_proj.weight" in names


def test_a_config_of_quite_another_size(tiny: TinyModels, tmp_path: Path, capsys: Capture) -> None:
    folder = rewrite(
        tiny.folder("llama"),
        tmp_path / "m",
        config={"hidden_size": 64, "intermediate_size": 80, "vocab_size": 100},
    )
    message = refused(capsys, "scan", str(folder))
    assert "32" in message and "64" in message


def test_experts_that_do_not_fit(tiny: TinyModels, tmp_path: Path, capsys: Capture) -> None:
    def drop(tensors: Tensors) -> Tensors:
        gone = [n for n in tensors if "layers.0." in n and "experts.3." in n]
        return {n: t for n, t in tensors.items() if n not in gone}

    folder = rewrite(tiny.folder("qwen3_moe"), tmp_path / "m", drop)
    found = notes(capsys, str(folder), "--top-percent", "100", "--allow-missing")
    assert found and "do not have the shape" in found[0]
    names = recipe()[1]
    assert "model.layers.1.mlp.experts.down_proj" in names
    assert "model.layers.0.mlp.experts.down_proj" not in names


@pytest.mark.parametrize(
    "override",
    ["Nonsense", "BertForMaskedLM", "AutoModelForObjectDetection", "AutoNothing", "a b", "Auto"],
)
def test_a_model_class_that_does_not_fit(override: str, tiny: TinyModels, capsys: Capture) -> None:
    message = refused(capsys, "scan", str(tiny.folder("llama")), "--model-class", override)
    assert "is not a model class" in message
    assert "AutoModelForCausalLM" in message


def test_a_model_class_that_fits(tiny: TinyModels, tmp_path: Path, capsys: Capture) -> None:
    folder = str(tiny.folder("llama4"))
    assert notes(capsys, folder, "--model-class", "AutoModelForCausalLM") == []
    text, names = recipe()
    assert "Llama4ForCausalLM" in text
    assert not any("language_model" in name or "visual" in name for name in names)


def test_what_a_class_has_and_the_checkpoint_has_not(tiny: TinyModels, capsys: Capture) -> None:
    folder = str(tiny.folder("llama"))
    found = notes(capsys, folder, "--model-class", "LlamaForSequenceClassification")
    wanted = "1 of 21 parameters of LlamaForSequenceClassification is not stored"
    assert found[0].startswith(wanted) and found[0].endswith("first score.weight")


def test_a_model_class_of_a_model_that_is_not_known(
    tiny: TinyModels, tmp_path: Path, capsys: Capture
) -> None:
    """Where the class loads the checkpoint it is as good as known."""
    folder = rewrite(tiny.folder("llama"), tmp_path / "m", config={"model_type": "no-such"})
    assert notes(capsys, str(folder), "--model-class", "LlamaForCausalLM") == []
    assert "LlamaForCausalLM" in recipe()[0]
    message = refused(capsys, "scan", str(folder), "--model-class", "Qwen3ForCausalLM")
    assert "which lacks 4 of its 25 parameters" in message


@pytest.mark.parametrize(
    "config",
    [
        {"quantization_config": 7},
        {"text_config": "none"},
        {"architectures": {"a": 1}},
        {"num_hidden_layers": 10**6},
        {"vocab_size": -1},
        {"dtype": "bfloat17"},
        {"tie_word_embeddings": "perhaps"},
        {"rope_parameters": []},
        {"id2label": 3},
    ],
    ids=str,
)
def test_whatever_stands_in_the_config(
    config: dict[str, Any], tiny: TinyModels, tmp_path: Path, capsys: Capture
) -> None:
    folder = rewrite(tiny.folder("llama"), tmp_path / "m", config=config)
    assert main(["scan", str(folder)]) in (0, 2)
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert json.loads((folder / "config.json").read_text())


def test_the_same_words_on_the_screen(tiny: TinyModels, tmp_path: Path) -> None:
    folder = rewrite(tiny.folder("llama"), tmp_path / "m", config={"model_type": "no-such-model"})
    preview = inspect_model(str(folder))
    exact = with_exact_names(preview)
    assert preview.summary.naming == ""
    assert exact.summary.naming == "the checkpoint"
    assert "no-such-model" in exact.summary.notes[0]
