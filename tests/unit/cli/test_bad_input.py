"""Bad input: one line with a hint, exit code 2, nothing on stdout and nothing written."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from spectrum_tui.cli.main import main
from spectrum_tui.core.errors import RecipeError
from spectrum_tui.core.trainers.recipe_text import names_in_file
from tests.checkpoints import llama, save
from tests.commands import Capture, refused

pytestmark = pytest.mark.usefixtures("in_empty_folder")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(tmp_path / "models" / "tiny", llama(4))


@pytest.mark.parametrize("percent", ["0", "101", "abc", "-5", "50.55", "", "1e2"])
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


def test_a_name_that_is_no_id_is_told_what_one_looks_like(capsys: Capture) -> None:
    """Before the network is blamed, which an old id without an owner would need."""
    message = refused(capsys, "scan", "notamodel")
    no_folder, network = message.split(" As an id without one it could not be read: ")
    assert no_folder.endswith(
        "There is no folder notamodel, and a model id has an owner: "
        "org/name, as in Qwen/Qwen3-0.6B."
    )
    assert "offline" in network


@pytest.mark.parametrize(
    ("name", "typed"), [(" m", " m"), ("m ", "m "), (" m m\t", " m m\t"), ("m", " m \n")]
)
def test_spaces_around_a_folder(name: str, typed: str, model: Path, capsys: Capture) -> None:
    """They are of its name where a folder has that name, else left over from copying it."""
    model.rename(Path.cwd() / name)
    assert main(["scan", typed, "--output-dir", "out"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert "There is no folder ./nothing." in refused(capsys, "scan", " ./nothing ")


READERS = (
    ["yaml"],
    ["export", "--as", "trl"],
    ["memory"],
    ["compare"],
    ["audit"],
    ["scan"],
    ["adapter"],
    ["merge", "-o", "out"],
)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
@pytest.mark.parametrize("command", READERS, ids=lambda c: c[0])
def test_what_is_no_file(command: list[str], kind: str, tmp_path: Path, capsys: Capture) -> None:
    """Never waited for: nobody writes to the pipe, and the device has no end."""
    path = tmp_path / "x.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    files = [str(path)] * (2 if command == ["compare"] else 1)
    line = refused(capsys, *command, *files)
    words = {"pipe": r"blank|empty|x\.json", "device": r"it is a device, not a file|x\.json"}
    assert re.search(words.get(kind, "folder|directory|weights"), line)


def test_the_app_opens_no_pipe(tmp_path: Path, capsys: Capture) -> None:
    os.mkfifo(tmp_path / "x.json")
    assert f"{tmp_path / 'x.json'} is not a file." in refused(capsys, str(tmp_path / "x.json"))


def test_a_recipe_for_freezing_is_no_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.yaml")
    with pytest.raises(RecipeError, match="unfrozen_parameters"):
        names_in_file(tmp_path / "x.yaml")


def test_scores_through_a_pipe_with_a_writer(model: Path, tmp_path: Path, capsys: Capture) -> None:
    """`spectrum-tui yaml <(command)` is read to its end."""
    assert main(["scan", str(model), "--output-dir", str(tmp_path)]) == 0
    scores = next((tmp_path / "model_snr_results").glob("*.json"))
    assert main(["yaml", str(scores)]) == 0
    wanted = capsys.readouterr().out.splitlines()[2:]
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as file:
        file.write(scores.read_bytes())
    assert main(["yaml", f"/dev/fd/{reader}"]) == 0
    os.close(reader)
    assert capsys.readouterr().out.splitlines()[-1] in wanted


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


def test_an_option_of_another_command_says_whose_it_is(capsys: Capture) -> None:
    assert "--types belongs to `spectrum-tui scan …`" in refused(capsys, "m", "--types", "mlp.*")
    assert "--sizes-from belongs to `spectrum-tui …`" in refused(capsys, "scan", "--sizes-from=m")


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


def test_a_revision_of_a_folder_is_said_to_mean_nothing(model: Path, capsys: Capture) -> None:
    said = "note: --revision is ignored"
    assert main(["scan", str(model), "--revision", "v2"]) == 0
    assert sum(line.startswith(said) for line in capsys.readouterr().err.splitlines()) == 1
    assert main(["scan", str(model)]) == 0
    assert said not in capsys.readouterr().err
