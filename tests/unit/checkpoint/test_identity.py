"""The same weights are known again wherever they lie; others never pass for them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spectrum_tui.core.checkpoint import identity, mounts, samples
from spectrum_tui.core.checkpoint.file_state import FileState
from spectrum_tui.core.checkpoint.headers import Checkpoint, is_unchanged, read_checkpoint
from spectrum_tui.core.checkpoint.identity import Identity, agree, remember, same_contents
from spectrum_tui.core.errors import CheckpointError, ModelChangedError
from spectrum_tui.core.files import cache_dir
from spectrum_tui.core.platforms import Mount
from tests.checkpoints import llama, save, save_in_hub_cache

FILE = "model.safetensors"
OTHER_COMMIT = "fedcba9876543210fedcba9876543210fedcba98"


def looked_at(folder: Path) -> Checkpoint:
    """What an inspection does with a folder."""
    checkpoint = read_checkpoint(folder)
    remember(checkpoint.identity)
    return checkpoint


def fingerprint(folder: Path) -> str:
    return looked_at(folder).fingerprint


def overwrite(file: Path, data: bytes) -> None:
    """Other bytes in place, with the time of change that was there before."""
    stat = file.stat()
    with file.open("r+b") as handle:
        handle.write(data)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def flipped(data: bytes, place: int, count: int = 1) -> bytes:
    changed = bytearray(data)
    changed[place : place + count] = bytes(byte ^ 1 for byte in changed[place : place + count])
    return bytes(changed)


def in_folder(folder: Path, *, changed_after: float = 0.0) -> Path:
    """Write a model as `hf download --local-dir` does, then change the times of its file."""
    file = save(folder, llama(1)) / FILE
    metadata = folder / ".cache" / "huggingface" / "download" / f"{FILE}.metadata"
    metadata.parent.mkdir(parents=True)
    now = time.time()
    metadata.write_text(f"{OTHER_COMMIT}\n{sha256_of(file)}\n{now}\n")
    os.utime(file, (now + changed_after, now + changed_after))
    return folder


def sha256_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


# -- plain folders -------------------------------------------------------------------------------


def copy_in_place(folder: Path) -> Path:
    shutil.copy(folder / FILE, folder / "new")
    (folder / "new").replace(folder / FILE)
    return folder


def touch(folder: Path) -> Path:
    os.utime(folder / FILE, (1, 1))
    return folder


def change_mode(folder: Path) -> Path:
    (folder / FILE).chmod(0o600)
    return folder


def copy_tree(folder: Path) -> Path:
    return shutil.copytree(folder, folder.with_name("copy"))  # with its times, as `cp -p`


def one_shard_of_another_name(folder: Path) -> Path:
    (folder / FILE).rename(folder / "model-00001-of-00001.safetensors")
    return folder


@pytest.mark.parametrize(
    "what", [copy_in_place, touch, change_mode, copy_tree, one_shard_of_another_name]
)
def test_the_same_bytes_are_the_same_model(what: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = save(tmp_path / "model", llama(1))
    before = fingerprint(folder)
    assert fingerprint(what(folder)) == before


def test_every_changed_byte_of_a_small_file_is_told(tmp_path: Path) -> None:
    file = save(tmp_path, llama(1)) / FILE
    data, before = file.read_bytes(), fingerprint(tmp_path)
    start = read_checkpoint(tmp_path).tensors[0].start
    for place in range(start, len(data), 1 + len(data) // 200):
        overwrite(file, flipped(data, place))
        assert fingerprint(tmp_path) != before
    overwrite(file, data)
    assert fingerprint(tmp_path) == before


def test_samples_lie_at_both_ends_and_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large file: what they see of it, byte for byte, and so what they do not."""
    monkeypatch.setattr(samples, "WHOLE", 100)
    monkeypatch.setattr(samples, "BLOCK", 4)
    monkeypatch.setattr(samples, "APART", 90)
    monkeypatch.setattr(samples, "_IN_A_JOB", 3)
    file = save(tmp_path, {f"x{i}": torch.randn(1 + i, 30) for i in range(3)}) / FILE
    data, checkpoint = file.read_bytes(), read_checkpoint(tmp_path)
    seen = set[int]()
    for tensor in checkpoint.tensors:
        near = {tensor.end, *range(tensor.start, tensor.end, 90)}
        seen |= {byte for place in near for byte in range(place - 4, place + 4)}
    told = set[int]()
    places = range(checkpoint.tensors[0].start, len(data), 3)
    for place in places:
        file.write_bytes(flipped(data, place))
        if read_checkpoint(tmp_path).fingerprint != checkpoint.fingerprint:
            told.add(place)
    assert told == seen.intersection(places)
    assert 0 < len(told) < 0.6 * len(places)


def test_each_expert_of_a_fused_tensor_is_seen(tmp_path: Path) -> None:
    """16 experts of 1 MiB: each but for every fourth lies between the samples 4 MiB apart."""
    weight = torch.randn(16, 256, 1024)
    seen = {fingerprint(save(tmp_path, {"experts": weight}))}
    for expert in range(16):
        other = weight.clone()
        other[expert] *= 1.01
        seen.add(fingerprint(save(tmp_path, {"experts": other})))
    assert len(seen) == 17


@pytest.mark.parametrize(("gigabytes", "mebibytes"), [(140, 4), (400, 8), (700, 16), (2000, 16)])
def test_samples_of_giants_lie_farther_apart(gigabytes: int, mebibytes: int) -> None:
    assert samples._apart(gigabytes * 10**9) == mebibytes * 2**20


@pytest.mark.parametrize("shards", [1, 3])
def test_two_fine_tunes_of_one_base_never_mix(
    shards: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One tensor trained, all others the same byte for byte, sizes and times too."""
    monkeypatch.setattr(samples, "WHOLE", 100)
    monkeypatch.setattr(samples, "BLOCK", 8)
    base = llama(2)
    seen = set()
    for name in ("", *base):
        tensors = base | ({name: base[name] * 1.01} if name else {})
        folder = save(tmp_path / (name or "base"), tensors, shards=shards)
        for file in folder.glob("*.safetensors"):
            os.utime(file, (1, 1))
        seen.add(fingerprint(folder))
    assert len(seen) == 1 + len(base)


def test_shards_in_another_order_are_another_model(tmp_path: Path) -> None:
    """Of two tensors with one name the later counts."""
    folder = save(tmp_path, llama(1), shards=2)
    before = fingerprint(folder)
    first, second = sorted(folder.glob("*.safetensors"))
    first.rename(folder / "x")
    second.rename(first)
    (folder / "x").rename(second)
    assert fingerprint(folder) != before


def test_a_file_that_changes_while_it_is_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = save(tmp_path, llama(1)) / FILE
    real = samples._jobs
    changes = [lambda: overwrite(file, file.read_bytes()), file.unlink]

    def jobs(shard: samples.Contents, apart: int) -> object:
        changes.pop(0)()
        return real(shard, apart)

    monkeypatch.setattr(samples, "_jobs", jobs)
    with pytest.raises(ModelChangedError):
        read_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_checkpoint(tmp_path)


def test_samples_that_took_long_are_taken_while_the_files_are_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "SLOW", -1.0)
    monkeypatch.setattr(mounts, "mount_of", lambda device: Mount("ext4", "/dev/vda", "rw,noatime"))
    file = save(tmp_path, llama(1)) / FILE
    before = fingerprint(tmp_path)
    assert not (cache_dir() / "identities").exists()  # just written: another change may follow
    monkeypatch.setattr(identity, "_SETTLED", -100.0)
    assert fingerprint(tmp_path) == before
    with monkeypatch.context() as patch:
        patch.setattr(identity, "sampled_ids", lambda shards: ["not read"])
        assert fingerprint(tmp_path) == before
        os.utime(file, (1, 1))
        assert fingerprint(tmp_path) != before
    data = file.read_bytes()
    overwrite(file, flipped(data, len(data) - 1))
    changed = fingerprint(tmp_path)
    overwrite(file, data)
    assert fingerprint(tmp_path) == before != changed
    save(tmp_path, llama(1), config={"num_experts": 3})
    assert fingerprint(tmp_path) != before


@pytest.mark.parametrize(
    "mount",
    [
        Mount("fuse.squashfuse_ll", "squashfuse_ll", "rw"),
        Mount("squashfs", "/dev/loop0", "ro"),
        Mount("overlay", "overlay", "rw"),
        Mount("ext4", "/dev/vdb", "ro"),
        Mount("ext4", "/dev/loop0", "rw"),
        Mount("nfs4", "filer:/m", "rw"),
        Mount(),
    ],
)
def test_another_model_in_an_image_at_the_same_path_is_another_one(
    mount: Mount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever makes an image chooses the times of its files, and their numbers are 1, 2, ..."""
    state = FileState(device=1, inode=2, size=0, mtime_ns=0, ctime_ns=0)
    monkeypatch.setattr(identity, "SLOW", -1.0)
    monkeypatch.setattr(mounts, "mount_of", lambda device: mount)
    monkeypatch.setattr(
        FileState, "of", lambda stat: replace(state, size=stat.st_size, device=stat.st_dev)
    )
    file = save(tmp_path, llama(1)) / FILE
    before = looked_at(tmp_path)
    assert is_unchanged(before)
    data = file.read_bytes()
    overwrite(file, flipped(data, len(data) - 1))
    assert fingerprint(tmp_path) != before.fingerprint
    assert not is_unchanged(before)


@pytest.mark.parametrize(
    ("mount", "of_seconds", "of_nanoseconds"),
    [
        (Mount("ext4", "/dev/vdb", "rw"), True, True),
        (Mount("lustre", "mds@tcp:/scratch", "rw"), True, True),
        (Mount("nfs4", "filer:/models", "rw,vers=4.2"), False, True),
        (Mount("overlay", "overlay", "rw"), False, True),
        (Mount("nfs", "127.0.0.1:/hf", "rw"), False, False),
        (Mount("nfs4", "filer:/models", "ro"), False, False),
        (Mount("cifs", "//filer/models", "rw"), False, False),
    ],
)
def test_times_of_change_are_true_where_nobody_chose_them(
    mount: Mount, of_seconds: bool, of_nanoseconds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model on a cluster's NFS is not sampled at each step of the app."""
    monkeypatch.setattr(mounts, "mount_of", lambda device: mount)
    second = 1_700_000_000 * 10**9
    assert mounts.have_true_times([(1, second)]) is of_seconds
    assert mounts.have_true_times([(1, second + 7), (1, second + 8)]) is of_nanoseconds
    assert mounts.have_true_times([(1, second + 7), (1, second)]) is of_seconds


# -- what the config decides ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tie_word_embeddings", True),
        ("architectures", ["MistralForCausalLM"]),
        ("model_type", "mistral"),
        ("num_experts", 8),
        ("n_routed_experts", 8),
        ("moe_intermediate_size", 8),
        ("head_dim", 8),
        ("num_key_value_heads", 1),
        ("quantization_config", {"quant_method": "fp8"}),
        ("text_config", {"num_hidden_layers": 2}),
    ],
)
def test_fields_that_names_follow_from_belong_to_the_model(
    field: str, value: object, tmp_path: Path
) -> None:
    folder = save(tmp_path, llama(1))
    before = fingerprint(folder)
    save(folder, llama(1), config={field: value})
    assert fingerprint(folder) != before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("transformers_version", "9.9"),
        ("_name_or_path", "/elsewhere"),
        ("use_cache", False),
        ("eos_token_id", [1, 2]),
        ("rope_theta", 5e5),
        ("dtype", "float16"),
        ("text_config", {"use_cache": False}),
    ],
)
def test_other_fields_do_not(field: str, value: object, tmp_path: Path) -> None:
    folder = save(tmp_path, llama(1))
    before = fingerprint(folder)
    save(folder, llama(1), config={field: value})
    (folder / "README.md").write_text("# Another card")
    (folder / "generation_config.json").write_text("{}")
    assert fingerprint(folder) == before


def test_a_field_of_any_shape_is_no_fault(tmp_path: Path) -> None:
    deep: object = 1
    for _ in range(200):
        deep = [deep]
    odd = {"num_experts": deep, "n_x": {"a": 1}, "tie_x": None, "num_y": [None, 1.5, "\ud800"]}
    assert fingerprint(save(tmp_path, llama(1), config=odd))


# -- models of the hub ---------------------------------------------------------------------------


def test_another_download_and_another_commit_are_the_same_model(tmp_path: Path) -> None:
    first = save_in_hub_cache(tmp_path / "a", "org/name", llama(1))
    second = save_in_hub_cache(tmp_path / "b", "other/mirror", llama(1), commit=OTHER_COMMIT)
    (second / "README.md").write_text("# Another card")
    os.utime(second / FILE, (1, 1))
    assert fingerprint(first) == fingerprint(second)
    assert read_checkpoint(first).identity.published == read_checkpoint(first).fingerprint


def test_a_folder_with_the_metadata_of_its_download_is_that_model(tmp_path: Path) -> None:
    cached = save_in_hub_cache(tmp_path / "a", "org/name", llama(1))
    assert fingerprint(in_folder(tmp_path / "b")) == fingerprint(cached)


def test_what_was_looked_at_is_known_without_the_hub_s_ids(tmp_path: Path) -> None:
    """A copy without metadata, one whose metadata no longer hold, a plain copy of the cache."""
    cached = save_in_hub_cache(tmp_path / "a", "org/name", llama(1))
    copy, touched = save(tmp_path / "copy", llama(1)), in_folder(tmp_path / "b", changed_after=9)
    before = fingerprint(copy)
    assert fingerprint(touched) == before != read_checkpoint(cached).fingerprint
    known = fingerprint(cached)
    assert fingerprint(copy) == fingerprint(touched) == known
    assert same_contents(before, known) and same_contents(known, before)
    assert not same_contents(before, "0" * 64)


WRONG = (
    *("", "\n\n\n", f"c\n{'a' * 64}", "\ud800", "x" * 5000),
    *(f"c\n{'a' * 64}\n{noted}\n" for noted in ("nan", "inf", "x", "1")),
    *(f"c\n{one}\n9e9\n" for one in ("A" * 64, "a" * 63, "../../x")),
)


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_metadata_of_any_other_form_are_none(text: str, tmp_path: Path) -> None:
    plain = fingerprint(save(tmp_path / "plain", llama(1)))
    folder = in_folder(tmp_path / "b")
    metadata = folder / ".cache" / "huggingface" / "download" / f"{FILE}.metadata"
    metadata.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert fingerprint(folder) == plain


def test_without_an_id_of_every_shard_samples_decide(tmp_path: Path) -> None:
    cached = save_in_hub_cache(tmp_path / "a", "org/name", llama(1), shards=2)
    shard = sorted(cached.glob("*.safetensors"))[0]
    data = shard.read_bytes()
    shard.unlink()
    shard.write_bytes(data)
    found = read_checkpoint(cached)
    assert not found.identity.published
    assert found.fingerprint == fingerprint(save(tmp_path / "b", llama(1), shards=2))


def test_weights_of_the_hub_that_somebody_wrote_into_are_others(tmp_path: Path) -> None:
    cached = save_in_hub_cache(tmp_path / "a", "org/name", llama(1))
    data, before = (cached / FILE).read_bytes(), fingerprint(cached)
    overwrite(cached / FILE, flipped(data, len(data) - 9))
    changed = fingerprint(cached)
    assert changed != before and not same_contents(changed, before)
    overwrite(cached / FILE, data)
    assert fingerprint(cached) == before


def test_a_blob_in_the_store_that_models_share_has_its_own_id(tmp_path: Path) -> None:
    """There it is called by another hash; huggingface_hub 2.4 keeps what comes by Xet so."""
    cached = save_in_hub_cache(tmp_path / "a", "org/name", llama(1))
    known = read_checkpoint(cached).identity.published
    blob, store = (cached / FILE).resolve(), tmp_path / "a" / "blobs" / "ab"
    store.mkdir(parents=True)
    blob.rename(store / ("ab" * 32))
    blob.symlink_to(Path("../../blobs/ab") / ("ab" * 32))
    assert known and read_checkpoint(cached).identity.published == known
    (tmp_path / "link").symlink_to(cached)
    assert read_checkpoint(tmp_path / "link").fingerprint == known
    alone = save(tmp_path / "b", llama(1)) / FILE
    alone.unlink()
    alone.symlink_to(store / ("ab" * 32))
    assert not read_checkpoint(tmp_path / "b").identity.published


def test_an_id_counts_as_long_as_nothing_was_written_since(tmp_path: Path) -> None:
    """As who saves a model into a snapshot does; without a look before, nothing else would tell."""
    tensors = llama(1)
    cached = save_in_hub_cache(tmp_path / "a", "org/name", tensors)
    base = read_checkpoint(cached).fingerprint
    data = (cached / FILE).read_bytes()
    (cached / FILE).write_bytes(flipped(data, len(data) - 9))
    later = time.time() + 9
    os.utime(cached / FILE, (later, later))
    assert fingerprint(cached) != base
    assert fingerprint(save_in_hub_cache(tmp_path / "b", "org/name", tensors)) == base


def test_a_copy_that_may_be_either_of_two_models_is_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two models of the hub that differ between the samples alone."""
    monkeypatch.setattr(samples, "WHOLE", 100)
    monkeypatch.setattr(samples, "BLOCK", 8)
    one = {"a.weight": torch.randn(40, 40)}
    other = {"a.weight": one["a.weight"].clone()}
    other["a.weight"][10] += 1
    first = save_in_hub_cache(tmp_path / "a", "org/a", one)
    second = save_in_hub_cache(tmp_path / "b", "org/b", other)
    copy = save(tmp_path / "copy", one)
    known = fingerprint(first)
    assert fingerprint(copy) == known
    assert fingerprint(second) != known and fingerprint(first) == known
    alone = fingerprint(copy)
    assert alone not in (known, fingerprint(second))
    assert fingerprint(first) == known and fingerprint(copy) == alone


def test_a_damaged_or_closed_cache_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = save_in_hub_cache(tmp_path / "a", "org/name", llama(1))
    copy = save(tmp_path / "copy", llama(1))
    alone, known = fingerprint(copy), fingerprint(cached)
    assert fingerprint(copy) == known
    for file in (cache_dir() / "identities").iterdir():
        file.write_bytes(file.read_bytes()[:-3])
    assert read_checkpoint(copy).fingerprint == alone
    assert read_checkpoint(cached).fingerprint == known
    monkeypatch.setenv("SPECTRUM_TUI_CACHE", "/dev/null/none")
    assert fingerprint(cached) == known and fingerprint(copy) == alone


def test_two_machines_agree_by_what_both_know() -> None:
    one, other = Identity(published="a", sampled="b"), Identity(published="a")
    copy, edited = Identity(sampled="b"), Identity(published="a", sampled="c")
    assert agree(one, one) and agree(one, other) and agree(one, copy) and agree(copy, one)
    assert not agree(one, edited) and not agree(other, copy) and not agree(edited, copy)
    assert not agree(one, Identity(published="x", sampled="b"))
    assert not agree(Identity(), Identity()) and not agree(one, Identity())


def test_a_ring_of_names_ends(tmp_path: Path) -> None:
    one, other = "1" * 64, "2" * 64
    identity.take_as(one, other)
    identity.take_as(other, one)
    assert identity.canonical(one) in (one, other)
    assert identity.canonical("../../etc/passwd") == "../../etc/passwd"


def test_the_config_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Order and spaces of the file decide nothing."""
    folder = save(tmp_path, llama(1))
    before = fingerprint(folder)
    config = json.loads((folder / "config.json").read_text())
    turned = dict(reversed(config.items()))
    (folder / "config.json").write_text(json.dumps(turned, indent=8))
    assert fingerprint(folder) == before
