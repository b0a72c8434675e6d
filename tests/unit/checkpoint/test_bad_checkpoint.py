"""Every way in which a folder can hold no readable model is named, with what to do about it."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from spectrum_tui.core.checkpoint.headers import parse_config, read_checkpoint
from spectrum_tui.core.checkpoint.shards import INDEX_FILE, SINGLE_FILE
from spectrum_tui.core.errors import CheckpointError
from tests.unit.checkpoint.files import (
    entry,
    save_in_folder_below,
    save_raw,
    save_sharded,
    shard,
)

AGAIN = "Download the file again."
PLAIN = "Save it as UTF-8 without BOM."


def assert_refused(folder: Path, message: str, hint: str) -> None:
    """Reading fails with exactly these words, for the field of the model."""
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(folder)
    assert caught.value.message == message
    assert caught.value.hint == hint
    assert caught.value.field == "model"
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_folder_that_is_gone_or_a_file(tmp_path: Path) -> None:
    gone, file = tmp_path / "gone", tmp_path / "file"
    file.write_text("")
    check = "Check the path and its permissions."
    assert_refused(gone, f"{gone} cannot be read (No such file or directory).", check)
    # config.json is looked for first, and below a file there is none.
    with pytest.raises(CheckpointError, match="cannot be read \\(Not a directory\\)"):
        read_checkpoint(file)


def test_a_folder_without_weights(tmp_path: Path) -> None:
    for name in ("config.json", "training_args.bin", "optimizer.pt", "rng_state_0.pth"):
        (tmp_path / name).write_text("{}")
    assert_refused(
        tmp_path,
        f"{tmp_path} holds no weights (*.safetensors).",
        "Give the folder that has config.json and model.safetensors in it.",
    )


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt"])
def test_only_pytorch_weights(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK")
    assert_refused(
        tmp_path,
        f"{tmp_path} holds only PyTorch .bin weights.",
        "Save it as safetensors first: model.save_pretrained(folder).",
    )


def test_only_an_adapter(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    save_file({"a": torch.zeros(1)}, tmp_path / "adapter_model.safetensors")
    assert_refused(
        tmp_path,
        f"{tmp_path} holds a LoRA/PEFT adapter, not a model.",
        "Scan the base model, or merge the adapter into it first: spectrum-tui merge.",
    )


def test_only_consolidated_weights(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "consolidated.safetensors")
    assert_refused(
        tmp_path,
        f"{tmp_path} holds only consolidated weights, whose layers have other names.",
        "Use the Transformers version of this model (model.safetensors).",
    )


def test_only_gguf(tmp_path: Path) -> None:
    (tmp_path / "model-Q4_K_M.gguf").write_bytes(b"GGUF")
    assert_refused(
        tmp_path,
        f"{tmp_path} holds only GGUF weights, which are quantised and named differently.",
        "Scan the original safetensors repository of this model.",
    )


def test_a_git_lfs_pointer(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 123\n"
    (tmp_path / SINGLE_FILE).write_text(pointer)
    assert_refused(
        tmp_path,
        "model.safetensors is a Git LFS pointer, not the weights.",
        "Run `git lfs pull` in the model folder.",
    )


def test_a_truncated_shard(tmp_path: Path) -> None:
    path = save_sharded(tmp_path) / shard(2, 3)
    size = path.stat().st_size
    os.truncate(path, size - 10)
    assert_refused(
        tmp_path,
        f"{path.name} is truncated: it needs {size:,} bytes and has {size - 10:,}.",
        "Download it again; the transfer was cut short.",
    )


def test_a_shard_with_bytes_too_many(tmp_path: Path) -> None:
    path = save_sharded(tmp_path) / shard(2, 3)
    size = path.stat().st_size
    os.truncate(path, size + 1)
    with pytest.raises(SafetensorError), safe_open(path, "pt"):
        pass
    assert_refused(
        tmp_path,
        f"{path.name} is too long: it needs {size:,} bytes and has {size + 1:,}.",
        "Download it again; it is not the file that was written.",
    )


def test_two_models_in_one_folder(tmp_path: Path) -> None:
    """Without an index nothing says which of the two is meant, and transformers takes neither."""
    for name in ("a.safetensors", "b.safetensors"):
        save_file({"x.weight": torch.zeros(1), name: torch.zeros(1)}, tmp_path / name)
    assert_refused(
        tmp_path,
        f"a.safetensors and b.safetensors in {tmp_path} both hold x.weight, and no {INDEX_FILE} "
        "says which of them is the model's.",
        "Leave the files of one model in the folder.",
    )


def test_a_shard_that_is_missing(tmp_path: Path) -> None:
    save_sharded(tmp_path)
    (tmp_path / shard(2, 3)).unlink()
    message = f"1 of 3 shards is missing, first {shard(2, 3)}."
    index = tmp_path / INDEX_FILE
    assert_refused(tmp_path, f"{index}: {message}", "Finish the download and try again.")
    index.unlink()  # the names of the others still tell
    assert_refused(tmp_path, f"{tmp_path}: {message}", "Finish the download and try again.")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1234567",
        b"<!DOCTYPE html><html>404</html>",
        struct.pack("<Q", 0),
        struct.pack("<Q", 1) + b"{",
        struct.pack("<Q", 1000) + b"{}",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 100_000_001) + b"{}",
    ],
)
def test_a_header_that_does_not_fit(tmp_path: Path, data: bytes) -> None:
    (tmp_path / SINGLE_FILE).write_bytes(data)
    assert_refused(
        tmp_path,
        "model.safetensors is not a safetensors file (its header does not fit).",
        "Download it again; the transfer may have been cut short.",
    )


@pytest.mark.parametrize(
    "header",
    [
        b"\xff\xfe\x00garbage",
        pytest.param(b"[" * 100_000, id="deep"),
        b"[]",
        b'"text"',
        b"null",
        {"a": 1},
        {"a": {}},
        {"a": {"dtype": "U8", "shape": [1]}},
        {"a": {"dtype": "U8", "shape": [1], "data_offsets": []}},
        {"a": {"dtype": "U8", "shape": [1], "data_offsets": ["0", "1"]}, "b": entry(0, 1)},
        {"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1, 2]}},
        {"a": {"dtype": "U8", "shape": 1, "data_offsets": [0, 1]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}},
        {"a": {"dtype": "U8", "shape": [-1, -1], "data_offsets": [0, 1]}},
        {"a": {"dtype": "U8", "shape": [1], "data_offsets": [-1, 0]}},
        {"a": {"dtype": "U8", "shape": [1.5], "data_offsets": [0, 1]}},
        {"a": {"dtype": "U8", "shape": [True], "data_offsets": [0, 1]}},
        {"a": {"dtype": "U8", "shape": [float("inf")], "data_offsets": [0, 1]}},
        {"a": {"dtype": "U8", "shape": ["1"], "data_offsets": [0, 1]}},
        {"a": {"dtype": 8, "shape": [1], "data_offsets": [0, 1]}},
        {"a": entry(0, 4), "b": entry(2, 6)},
        {"a": entry(0, 4), "b": entry(0, 4)},
        {"a": entry(0, 8), "b": entry(2, 3)},
        {"a": entry(0, 4), "b": entry(5, 8)},
        {"a": entry(1, 8)},
        {"a": entry(0, 8, dtype="Q8")},
        {"a": entry(0, 8), "__metadata__": {"a": 1}},
        {"a": entry(0, 8), "__metadata__": []},
        {"a": entry(0, 0, shape=[2**64, 0])},
        {"a": {"dtype": "F4", "shape": [3], "data_offsets": [0, 1]}},
        b'{"a": {"dtype": "U8", "dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}',
        b'{"a": {"dtype": "U8", "shape": [8], "data_offsets": [-0, 8]}}',
        b'{"a": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8], "more": NaN}}',
        b'{"a": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8], "more": 1e999}}',
        b'{"\\ud800": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}',
        b'{"\xff": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}',
        b'\xef\xbb\xbf{"a": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}',
    ],
)
def test_a_header_that_makes_no_sense(tmp_path: Path, header: object) -> None:
    path = save_raw(tmp_path / SINGLE_FILE, header, b"12345678")
    with pytest.raises(SafetensorError), safe_open(path, "pt"):  # the library refuses it too
        pass
    assert_refused(tmp_path, "model.safetensors has a damaged header.", AGAIN)


@pytest.mark.parametrize(
    "index",
    [
        "[]",
        "{}",
        '{"weight_map": []}',
        '{"weight_map": {}}',
        '{"weight_map": {"a": 5}}',
        '{"weight_map": {"a": null, "b": "x.safetensors"}}',
        '{"weight_map": {"a": ["x"]}}',
    ],
)
def test_an_index_that_is_none(tmp_path: Path, index: str) -> None:
    path = tmp_path / INDEX_FILE
    path.write_text(index)
    words = "is not a valid shard index: it has no weight_map of tensors to files."
    assert_refused(tmp_path, f"{path} {words}", AGAIN)


@pytest.mark.parametrize(
    "name",
    ["../secret.safetensors", "/etc/passwd", "sub/../../x", "..", ".", "", "..\\x", "a\0", "a//b"],
)
def test_an_index_that_points_outside(tmp_path: Path, name: str) -> None:
    (tmp_path / INDEX_FILE).write_text(json.dumps({"weight_map": {"a": name}}))
    message = f"{tmp_path / INDEX_FILE} points outside the model folder ({name!r})."
    assert_refused(tmp_path, message, "Do not trust this download.")


def test_an_index_that_points_outside_by_a_link(tmp_path: Path) -> None:
    folder = save_in_folder_below(tmp_path / "model")
    (folder / "shards").rename(tmp_path / "elsewhere")
    (folder / "shards").symlink_to("../elsewhere")
    message = f"{folder / INDEX_FILE} points outside the model folder ('shards/x.safetensors')."
    assert_refused(folder, message, "Do not trust this download.")


def test_a_link_to_a_file_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / SINGLE_FILE).symlink_to(tmp_path / "blobs" / "gone")
    assert_refused(
        tmp_path, "model.safetensors is a link to a file that is gone.", "Download the model again."
    )


def test_a_shard_that_is_a_link_to_a_file_that_is_gone(tmp_path: Path) -> None:
    path = save_sharded(tmp_path) / shard(3, 3)
    path.unlink()
    path.symlink_to("gone")
    assert_refused(
        tmp_path, f"{path.name} is a link to a file that is gone.", "Download the model again."
    )


def test_a_folder_in_the_place_of_a_shard(tmp_path: Path) -> None:
    path = save_sharded(tmp_path) / shard(1, 3)
    path.unlink()
    path.mkdir()
    message = f"{tmp_path / INDEX_FILE}: 1 of 3 shards is missing, first {path.name}."
    assert_refused(tmp_path, message, "Finish the download and try again.")


@pytest.mark.parametrize("name", [SINGLE_FILE, INDEX_FILE, "config.json"])
def test_a_file_that_may_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Refused by the system call, because permissions do not hold for root."""
    save_sharded(tmp_path)
    if name == SINGLE_FILE:
        save_file({"a": torch.zeros(1)}, tmp_path / SINGLE_FILE)
    real = os.open

    def refuse(path: Any, *args: Any, **options: Any) -> int:
        if Path(path).name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **options)

    monkeypatch.setattr(os, "open", refuse)
    message = f"{tmp_path / name} cannot be read (Permission denied)."
    assert_refused(tmp_path, message, "Check the path and its permissions.")


@pytest.mark.parametrize("name", ["config.json", INDEX_FILE])
@pytest.mark.parametrize(
    ("data", "problem", "hint"),
    [
        (b" \n", "is empty", AGAIN),
        (
            b"{",
            "is not readable JSON (line 1, column 2: Expecting property name enclosed in "
            "double quotes)",
            "Correct it there, or download it again.",
        ),
        (
            b'{"a": 1,\n "b": [1, 2],\n}',
            "is not readable JSON (an extra comma at the end of line 2)",
            "Remove it.",
        ),
        (
            b'{"a": [1,\n2 , ]}',
            "is not readable JSON (an extra comma at the end of line 2)",
            "Remove it.",
        ),
        (
            b"\xef\xbb\xbf{}",
            "begins with a byte-order mark (BOM), which JSON does not allow",
            PLAIN,
        ),
        ("{}".encode("utf-16"), "is not UTF-8 text, which JSON must be", PLAIN),
        ("{}".encode("utf-16-be"), "is not UTF-8 text, which JSON must be", PLAIN),
        (b'{"a": "\xff"}', "is not UTF-8 text, which JSON must be", PLAIN),
        (b"[" * 100_000, "is not readable JSON (nested too deep)", AGAIN),
    ],
    ids=str,
)
def test_json_that_is_none(tmp_path: Path, name: str, data: bytes, problem: str, hint: str) -> None:
    path = save_sharded(tmp_path) / name
    path.write_bytes(data)
    assert_refused(tmp_path, f"{path} {problem}.", hint)


def test_a_number_of_5000_digits(tmp_path: Path) -> None:
    path = save_sharded(tmp_path) / "config.json"
    path.write_text(f'{{"vocab_size": {"9" * 5000}}}')
    with pytest.raises(CheckpointError, match=r"config\.json is not readable JSON \(Exceeds"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("through_a_link", [False, True])
@pytest.mark.parametrize("name", ["config.json", INDEX_FILE, SINGLE_FILE, shard(2, 3)])
def test_a_pipe_in_the_place_of_a_file(tmp_path: Path, name: str, through_a_link: bool) -> None:
    """Opened as a file is, it would wait for somebody to write."""
    (tmp_path / "model").mkdir()
    path = save_sharded(tmp_path / "model") / name
    path.unlink(missing_ok=True)
    os.mkfifo(tmp_path / "pipe" if through_a_link else path)
    if through_a_link:
        path.symlink_to("../pipe")
    if name == SINGLE_FILE:
        (path.parent / INDEX_FILE).unlink()
        for number in (1, 2, 3):
            (path.parent / shard(number, 3)).unlink()
    message = f"{path} cannot be read (it is a pipe, not a file)."
    assert_refused(path.parent, message, "Check the path and its permissions.")


def test_a_device_in_the_place_of_a_file(tmp_path: Path) -> None:
    path = save_sharded(tmp_path) / "config.json"
    path.unlink()
    path.symlink_to("/dev/zero")
    message = f"{path} cannot be read (it is a device, not a file)."
    assert_refused(tmp_path, message, "Check the path and its permissions.")


def test_a_config_of_a_gigabyte(tmp_path: Path) -> None:
    path = save_sharded(tmp_path) / "config.json"
    os.truncate(path, 10**9)  # a hole: no bytes on disk
    message = f"{path} cannot be read (it has more than 100,000,000 bytes)."
    assert_refused(tmp_path, message, "Check the path and its permissions.")


def test_a_config_that_is_no_mapping_says_nothing() -> None:
    assert parse_config("[1]") == parse_config("null") == {}


def test_no_file_is_held_open(tmp_path: Path) -> None:
    save_sharded(tmp_path)
    os.truncate(tmp_path / shard(3, 3), 20)
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 0
    for _ in range(5):
        with pytest.raises(CheckpointError):
            read_checkpoint(tmp_path)
    after = len(list(Path("/proc/self/fd").iterdir())) if before else 0
    assert after == before
