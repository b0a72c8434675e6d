"""Bad input: one line with a hint, exit code 2, nothing on stdout and nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.checkpoints import llama, save
from tests.commands import Capture, refused


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(tmp_path / "models" / "tiny", llama(4))


@pytest.mark.parametrize("percent", ["0", "101", "abc", "-5", "50.5", "", "1e2"])
@pytest.mark.parametrize("command", [["scan", "m"], ["yaml", "m.json"], ["m"]], ids=str)
def test_percent(command: list[str], percent: str, capsys: Capture) -> None:
    message = refused(capsys, *command, f"--top-percent={percent}")
    assert "percentage" in message
    assert "1 to 100" in message


@pytest.mark.parametrize("size", ["0", "-3", "abc", "1.5", "4%"])
@pytest.mark.parametrize("command", [["scan", "m"], ["m"]], ids=str)
def test_batch_size(command: list[str], size: str, capsys: Capture) -> None:
    message = refused(capsys, *command, f"--batch-size={size}")
    assert "batch size" in message
    assert "auto" in message


def test_no_such_folder(capsys: Capture) -> None:
    assert "There is no folder ./nothing" in refused(capsys, "scan", "./nothing")
    assert "no folder /nothing/here" in refused(capsys, "scan", "/nothing/here")


def test_a_folder_without_weights(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no weights" in refused(capsys, "scan", str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("pytorch_model.bin", "save_pretrained"),
        ("adapter_model.safetensors", "adapter"),
        ("model-q4.gguf", "GGUF"),
    ],
)
def test_weights_of_another_kind(file: str, words: str, tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    if file.startswith("adapter"):
        save_file({"x.lora_A.weight": torch.ones(2, 2)}, folder / file)
        (folder / "adapter_config.json").write_text("{}")
    else:
        (folder / file).write_bytes(b"\x80\x02")
    assert words in refused(capsys, "scan", str(folder))


@pytest.mark.parametrize("name", ["a/b/c", "org/", "né/x", "a b", "org/na me", "x" * 300])
def test_an_id_that_is_no_id(name: str, capsys: Capture) -> None:
    refused(capsys, "scan", name)


@pytest.mark.parametrize(
    "name",
    ["~nobody-of-this-name/x", "x" * 5000, "a" * 300 + ".json"],
    ids=["user", "long", "file"],
)
def test_a_path_that_cannot_be_one(name: str, capsys: Capture) -> None:
    refused(capsys, "scan", name)
    refused(capsys, name)


def test_offline(capsys: Capture) -> None:
    message = refused(capsys, "scan", "org-of-nobody/name")
    assert "HF_HUB_OFFLINE" in message or "offline" in message


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nowhere"])
def test_an_output_folder_that_cannot_be(
    place: str, model: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "file").write_text("")
    out = str(tmp_path / place)
    assert "Cannot write" in refused(capsys, "scan", str(model), "--output-dir", out)


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "cpu:7"])
def test_a_device_that_does_not_exist(device: str, model: Path, capsys: Capture) -> None:
    message = refused(capsys, "scan", str(model), "--device", device)
    assert device in message
    assert "cpu" in message


def test_types_that_match_nothing(model: Path, capsys: Capture) -> None:
    message = refused(capsys, "scan", str(model), "--types", "mlp.*", "moe.*")
    assert "'moe.*'" in message
    assert "mlp.down_proj" in message


def test_two_models(model: Path, capsys: Capture) -> None:
    assert "Two models" in refused(capsys, "scan", str(model), "--model-name", "gpt2")
    assert "--demo" in refused(capsys, "scan", str(model), "--demo")


def test_no_model(capsys: Capture) -> None:
    assert "No model" in refused(capsys, "scan")


def test_unknown_options(capsys: Capture) -> None:
    for command in (["scan", "m"], ["yaml", "m.json"], ["m"]):
        message = refused(capsys, *command, "--frobnicate")
        assert "--frobnicate" in message
        assert "--help" in message


def test_a_damaged_model(tmp_path: Path, capsys: Capture) -> None:
    folder = save(tmp_path / "m", llama(1))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "truncated" in refused(capsys, "scan", str(folder))
    weights.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    assert "git lfs pull" in refused(capsys, "scan", str(folder))


@pytest.mark.parametrize("command", [["scan", "x"], ["yaml", "x.json"], ["x"]], ids=" ".join)
def test_a_metric_that_is_none(command: list[str], capsys: Capture) -> None:
    message = refused(capsys, *command, "--metric", "snr")
    assert "There is no metric 'snr'" in message
    assert "spectrum, calibrated, stable_rank, effective_rank" in message
