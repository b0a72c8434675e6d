"""Folders that hold models rather than being one: the message points to what is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from spectrum_tui.core.checkpoint import folder as folder_module
from spectrum_tui.core.checkpoint.folder import files_below
from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.checkpoint.shards import choose_shards
from spectrum_tui.core.errors import CheckpointError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    return folder


def refusal(folder: Path) -> tuple[str, str]:
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(folder)
    assert caught.value.field == "model"
    return caught.value.message, caught.value.hint


def test_what_a_trainer_wrote_is_pointed_into(tmp_path: Path) -> None:
    steps = [f"checkpoint-{n}/model.safetensors" for n in (500, 1000, 1500)]
    touch(tmp_path, *steps, "runs/events.out", "training_args.bin")
    assert refusal(tmp_path) == (
        f"{tmp_path} is not a model itself; there are models in checkpoint-500, checkpoint-1000, "
        "checkpoint-1500.",
        f"Give one of them: {tmp_path}/checkpoint-1500",
    )


def test_the_last_of_many_checkpoints_are_named(tmp_path: Path) -> None:
    touch(tmp_path, *(f"checkpoint-{n}/model.safetensors" for n in range(100, 1100, 100)))
    message, hint = refusal(tmp_path)
    assert (
        "in checkpoint-700, checkpoint-800, checkpoint-900, checkpoint-1000 and 6 more" in message
    )
    assert hint.endswith("/checkpoint-1000")


def test_a_pipeline_is_pointed_into(tmp_path: Path) -> None:
    touch(tmp_path, "model_index.json", "unet/diffusion_pytorch_model.safetensors")
    touch(tmp_path, "text_encoder/model.safetensors", "text_encoder/config.json")
    touch(tmp_path, "sd_xl_base_1.0.safetensors")  # all of it in one file, under other names
    assert refusal(tmp_path) == (
        f"{tmp_path} is a diffusers pipeline; there are models in text_encoder, unet.",
        f"Give one of them: {tmp_path}/text_encoder",
    )


def test_a_folder_of_models_is_pointed_into(tmp_path: Path) -> None:
    touch(tmp_path, "org/one/model.safetensors", ".git/x/model.safetensors")
    assert refusal(tmp_path) == (
        f"{tmp_path} is not a model itself; there is a model in org/one.",
        f"Give it: {tmp_path}/org/one",
    )


def test_the_folder_of_a_repository_in_the_cache_is_pointed_into(tmp_path: Path) -> None:
    touch(tmp_path, "models--org--name/snapshots/abc/model.safetensors")
    assert refusal(tmp_path)[1] == f"Give it: {tmp_path}/models--org--name/snapshots/abc"


def test_adapters_and_what_lies_too_deep_are_no_models(tmp_path: Path) -> None:
    touch(tmp_path, "checkpoint-5/adapter_model.safetensors", "a/b/c/d/model.safetensors")
    touch(tmp_path, "b/._model.safetensors")
    assert refusal(tmp_path)[0] == f"{tmp_path} holds no weights (*.safetensors)."


def test_weights_of_another_kind_come_before_parts_of_the_model(tmp_path: Path) -> None:
    touch(tmp_path, "pytorch_model.bin", "2_Dense/model.safetensors")
    assert "holds only PyTorch .bin weights" in refusal(tmp_path)[0]


@pytest.mark.parametrize(
    ("name", "says", "hint"),
    [
        ("__0_0.distcp", "the pieces of a distributed checkpoint", "accelerate merge-weights"),
        ("zero_to_fp32.py", "the pieces of a DeepSpeed checkpoint", "python zero_to_fp32.py"),
    ],
)
def test_pieces_are_to_be_joined(tmp_path: Path, name: str, says: str, hint: str) -> None:
    message, way_out = refusal(touch(tmp_path, name, "pytorch_model.bin"))
    assert says in message
    assert hint in way_out


def test_a_repository_of_models_is_pointed_into() -> None:
    files = ["model_index.json", "vae/model.safetensors", "unet/x.fp16.safetensors"]
    with pytest.raises(CheckpointError) as caught:
        choose_shards(files, None, "org/name", "")
    message = "org/name is a diffusers pipeline; there are models in unet, vae."
    assert caught.value.message == message
    hint = "Download it (hf download org/name --local-dir FOLDER) and give FOLDER/unet"
    assert caught.value.hint == hint


def test_looking_stops_after_so_many_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a home folder on a network disk."""
    touch(tmp_path, "a/b/model.safetensors")
    assert files_below(tmp_path) == ["a/b/model.safetensors"]
    monkeypatch.setattr(folder_module, "MOST_ENTRIES", 1)
    assert files_below(tmp_path) == []
