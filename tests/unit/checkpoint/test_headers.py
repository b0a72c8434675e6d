"""Reading headers agrees with the safetensors library, name by name and byte by byte."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from spectrum_tui.core.checkpoint.headers import Checkpoint, read_checkpoint, read_header
from spectrum_tui.core.checkpoint.shards import INDEX_FILE, SINGLE_FILE, model_files, shard_names
from tests.unit.checkpoint.files import (
    entry,
    save_in_folder_below,
    save_raw,
    save_sharded,
    shard,
    tensors_of_every_type,
)


def assert_agrees(checkpoint: Checkpoint, folder: Path) -> None:
    """Every name, type, shape and byte is what the safetensors library gives for it."""
    found = {tensor.name: tensor for tensor in checkpoint.tensors}
    assert len(found) == len(checkpoint.tensors)
    for name in checkpoint.shards:
        data = (folder / name).read_bytes()
        with safe_open(folder / name, "pt") as library:
            for key in library.keys():  # noqa: SIM118 - no dictionary
                tensor, piece = found.pop(key), library.get_slice(key)
                assert tensor.file == str(folder / name)
                assert (tensor.dtype, list(tensor.shape)) == (piece.get_dtype(), piece.get_shape())
                stored = library.get_tensor(key).reshape(-1).view(torch.uint8).numpy().tobytes()
                assert data[tensor.start : tensor.end] == stored
                assert tensor.nbytes == len(stored)
    assert not found


def test_one_file_agrees_with_the_library(tmp_path: Path) -> None:
    tensors = tensors_of_every_type()
    save_file(tensors, tmp_path / SINGLE_FILE, {"format": "pt"})
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint.shards == (SINGLE_FILE,)
    assert {tensor.name for tensor in checkpoint.tensors} == set(tensors)
    assert {t.name: t.numel for t in checkpoint.tensors} == {
        k: v.numel() for k, v in tensors.items()
    }
    assert checkpoint.nbytes == sum(t.nbytes for t in tensors.values())
    assert checkpoint.config == {}
    assert_agrees(checkpoint, tmp_path)


def test_shards_agree_with_the_library(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(save_sharded(tmp_path))
    assert checkpoint.shards == (shard(1, 3), shard(2, 3), shard(3, 3))
    assert checkpoint.config == {"model_type": "llama"}
    assert_agrees(checkpoint, tmp_path)


def test_shards_without_an_index_agree_with_the_library(tmp_path: Path) -> None:
    (save_sharded(tmp_path) / INDEX_FILE).unlink()
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint.shards == (shard(1, 3), shard(2, 3), shard(3, 3))
    assert_agrees(checkpoint, tmp_path)


def test_links_of_the_hub_cache_are_followed(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / ("c" * 40)
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    source = tmp_path / "source"
    source.mkdir()
    for number, path in enumerate(sorted(save_sharded(source).iterdir())):
        blob = path.rename(blobs / f"{number:064x}")
        (snapshot / path.name).symlink_to(os.path.relpath(blob, snapshot))
    checkpoint = read_checkpoint(snapshot)
    assert len(checkpoint.shards) == 3
    assert_agrees(checkpoint, snapshot)


def test_shards_in_a_folder_below_agree_with_the_library(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(save_in_folder_below(tmp_path))
    assert checkpoint.shards == ("shards/x.safetensors",)
    assert_agrees(checkpoint, tmp_path)


def test_what_macos_keeps_beside_the_shards_is_none(tmp_path: Path) -> None:
    (save_sharded(tmp_path) / INDEX_FILE).unlink()
    for path in list(tmp_path.glob("*.safetensors")):
        (tmp_path / f"._{path.name}").write_bytes(b"\0\x05\x16\x07")
    assert len(read_checkpoint(tmp_path).shards) == 3


def test_an_empty_tensor_may_stand_between_others(tmp_path: Path) -> None:
    header = {"a": entry(0, 2), "b": entry(2, 4), "z": entry(2, 2, shape=[0])}
    path = save_raw(tmp_path / SINGLE_FILE, header, b"1234")
    with safe_open(path, "pt") as library:
        assert sorted(library.keys()) == ["a", "b", "z"]
    assert [t.name for t in read_header(path).tensors] == ["a", "z", "b"]


def test_what_else_a_folder_has_and_lacks(tmp_path: Path) -> None:
    plain = read_checkpoint(save_sharded(tmp_path))
    assert (plain.has_config, plain.indexed, plain.has_adapter) == (True, True, False)
    (tmp_path / "config.json").unlink()
    (tmp_path / INDEX_FILE).unlink()
    (tmp_path / "adapter_config.json").write_text("{}")
    bare = read_checkpoint(tmp_path)
    assert (bare.has_config, bare.indexed, bare.has_adapter) == (False, False, True)


def test_tensors_stand_in_the_order_of_their_bytes(tmp_path: Path) -> None:
    header = {"b": entry(2, 4), "c": entry(4, 5), "a": entry(0, 2)}
    path = save_raw(tmp_path / SINGLE_FILE, header, b"12345")
    assert [t.name for t in read_header(path).tensors] == ["a", "b", "c"]


def test_only_files_of_the_model_itself_count() -> None:
    files = (
        "model.safetensors", "x.safetensors", "consolidated.safetensors", "model.bin",
        "consolidated-00001-of-00002.safetensors", "adapter_model.safetensors",
        "original/model.safetensors", "tokenizer.json", "._model.safetensors", ".x.safetensors",
    )  # fmt: skip
    assert model_files(files) == ["model.safetensors", "x.safetensors"]


def test_one_file_comes_before_an_index(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, save_sharded(tmp_path) / SINGLE_FILE)
    assert shard_names(tmp_path) == [SINGLE_FILE]


def test_the_fingerprint_changes_with_the_files(tmp_path: Path) -> None:
    path = tmp_path / SINGLE_FILE
    seen = set()
    for tensors in ({"a": torch.zeros(4)}, {"b": torch.zeros(4)}, {"b": torch.zeros(5)}):
        save_file(tensors, path)
        os.utime(path, (1, 1))
        seen.add(read_checkpoint(tmp_path).fingerprint)
        assert read_checkpoint(tmp_path).fingerprint in seen
    assert len(seen) == 3


def test_another_file_of_the_same_size_and_time_is_another(tmp_path: Path) -> None:
    """Archives that set all times to one, rsync in place, a file put in the other's place."""
    path = tmp_path / SINGLE_FILE
    seen = set()
    for value in range(3):
        save_file({"a": torch.full((4,), value)}, tmp_path / "new")
        if value == 1:
            path.write_bytes((tmp_path / "new").read_bytes())
        else:
            (tmp_path / "new").replace(path)
        os.utime(path, (1, 1))
        seen.add(read_checkpoint(tmp_path).fingerprint)
    assert len(seen) == 3


def test_a_name_is_only_text(tmp_path: Path) -> None:
    names = ["a[/b][red]", "../../x", "ü\n", ""]
    save_raw(tmp_path / SINGLE_FILE, {n: entry(i, i + 1) for i, n in enumerate(names)}, b"1234")
    assert [tensor.name for tensor in read_checkpoint(tmp_path).tensors] == names
