"""Folders on mounts that fetch what is read: what is looked at of them, and how they are known."""

from __future__ import annotations

import errno
import io
import os
import shutil
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from spectrum_tui.core import platforms
from spectrum_tui.core.checkpoint import heads, mounts, samples
from spectrum_tui.core.checkpoint.file_state import check_unchanged
from spectrum_tui.core.checkpoint.headers import Checkpoint, read_checkpoint
from spectrum_tui.core.checkpoint.identity import remember
from spectrum_tui.core.checkpoint.mounts import lie_on_demand, out_of_reach
from spectrum_tui.core.checkpoint.samples import BLOCK, GLIMPSES
from spectrum_tui.core.errors import CheckpointError, ModelChangedError, OutOfReachError
from spectrum_tui.core.platforms import Mount
from tests.checkpoints import llama, save, save_in_hub_cache

FILE = "model.safetensors"

HF_MOUNT = Mount("fuse", "hf-mount")


@pytest.fixture
def mounted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every folder is one of hf-mount's."""
    monkeypatch.setattr(mounts, "mount_of", lambda device: HF_MOUNT)


def looked_at(folder: Path) -> Checkpoint:
    checkpoint = read_checkpoint(folder)
    remember(checkpoint.identity)
    return checkpoint


def mounted_again(folder: Path, to: Path) -> Path:
    """Another mount of the same: other inodes and times of change, the same time of contents."""
    to.mkdir()
    for file in folder.iterdir():
        shutil.copy2(file, to)
    return to


@pytest.mark.usefixtures("mounted")
def test_a_model_is_known_on_another_mount(tmp_path: Path) -> None:
    folder = save(tmp_path / "a", llama(2), shards=2)
    assert (
        looked_at(folder).fingerprint
        == looked_at(mounted_again(folder, tmp_path / "b")).fingerprint
    )


@pytest.mark.usefixtures("mounted")
def test_another_time_or_size_or_header_or_sample_is_another_model(tmp_path: Path) -> None:
    folder = save(tmp_path / "a", llama(1))
    file = folder / FILE
    os.utime(file, ns=(10**18, 10**18))
    seen = {looked_at(folder).fingerprint}
    os.utime(file, ns=(10**18, 10**18 + 1))
    seen.add(looked_at(folder).fingerprint)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(10**18, 10**18))
    seen.add(looked_at(folder).fingerprint)
    file = save(folder, {"lm_head.weight": torch.randn(3, 4)}) / FILE
    os.utime(file, ns=(10**18, 10**18))
    seen.add(looked_at(folder).fingerprint)
    assert len(seen) == 4


class Reads:
    """What is read of files: (begin, end) of each read after a seek."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.blocks: list[tuple[int, int]] = []
        real = samples._bytes

        def read(file: io.FileIO, begin: int, end: int) -> bytes:
            self.blocks.append((begin, end))
            return real(file, begin, end)

        monkeypatch.setattr(samples, "_bytes", read)


def test_few_samples_are_read_and_backwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """400 tensors: 64 of their ends, and before each 8 of them another page at the end of the
    file."""
    tensors = {f"x{i}": torch.randn(5, 1000) for i in range(400)}
    folder = save(tmp_path / "a", tensors)
    reads = Reads(monkeypatch)
    read_checkpoint(folder)
    everywhere = len(reads.blocks)
    monkeypatch.setattr(mounts, "mount_of", lambda device: HF_MOUNT)
    monkeypatch.setattr(samples, "AT_ONCE", 1)
    reads.blocks.clear()
    checkpoint = read_checkpoint(folder)
    assert len(reads.blocks) <= GLIMPSES * 9 // 8 < everywhere
    pages = [(folder / FILE).stat().st_size // BLOCK - job for job in range(2, 10)]
    first = [(page * BLOCK, (page + 1) * BLOCK) for page in pages]
    assert [block for block in reads.blocks if block in first] == first
    ends = {end - BLOCK for end in (tensor.end for tensor in checkpoint.tensors)}
    inner = [block[0] for block in reads.blocks if block not in first]
    assert ends.issuperset(inner) and len(set(inner)) == len(inner) == GLIMPSES
    for before, after in pairwise(reads.blocks):
        assert after[0] < before[0] or after in first


@pytest.mark.usefixtures("mounted")
def test_where_the_hub_s_ids_are_known_nothing_is_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = save_in_hub_cache(tmp_path, "org/m", llama(1))
    reads = Reads(monkeypatch)
    found = looked_at(snapshot)
    assert found.fingerprint == found.identity.published != ""
    assert not reads.blocks
    monkeypatch.undo()
    assert looked_at(snapshot).fingerprint == found.fingerprint


@pytest.mark.usefixtures("mounted")
@pytest.mark.parametrize("count", [1, 3000])
def test_a_header_is_the_same_wherever_it_lies(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 60 bytes and of 200 kB, which is more than is read at once."""
    folder = save(tmp_path, {f"layer.{i}.weight": torch.zeros(2, 2) for i in range(count)})
    found = read_checkpoint(folder).tensors
    monkeypatch.undo()
    assert found == read_checkpoint(folder).tensors and len(found) == count


@pytest.mark.usefixtures("mounted")
@pytest.mark.parametrize("data", [b"", b"\1", bytes(8), b"\xff" * 8, b"version https://git-lfs"])
def test_a_file_that_is_none(data: bytes, tmp_path: Path) -> None:
    file = save(tmp_path, llama(1)) / FILE
    file.write_bytes(data)
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path)


# -- mounts ----------------------------------------------------------------------------------------

TABLE = """\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
132 27 0:55 / /mnt/m ro,nosuid,nodev shared:1 master:2 - fuse hf-mount ro,user_id=0
133 27 0:56 / /mnt/a\\040b rw - fuse.sshfs me@host:/x rw
134 27 0:57 / /mnt/ntfs rw - fuseblk /dev/sdb1 rw
135 27 0:58 / /mnt/n ro - nfs 127.0.0.1:/ ro,vers=3,port=1
136 27 0:59 / /mnt/c rw - nfs4 filer:/models rw
137 27 0:1300 / /mnt/l rw - lustre 10.0.0.1@tcp:/x rw
broken
"""


class _On:
    """A path whose file is on a device."""

    def __init__(self, device: int) -> None:
        self.st_dev = device

    def stat(self) -> _On:
        return self


@pytest.mark.parametrize(
    ("minor", "mount", "on_demand", "network"),
    [
        (55, ("fuse", "hf-mount"), True, True),
        (56, ("fuse.sshfs", "me@host:/x"), True, True),
        (57, ("fuseblk", "/dev/sdb1"), False, False),
        (58, ("nfs", "127.0.0.1:/"), True, True),
        (59, ("nfs4", "filer:/models"), False, True),
        (1300, ("lustre", "10.0.0.1@tcp:/x"), False, True),
        (60, ("", ""), False, False),
    ],
)
def test_mounts_are_told_by_type_and_source(
    minor: int,
    mount: tuple[str, str],
    on_demand: bool,
    network: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(TABLE)
    monkeypatch.setattr(platforms, "Path", lambda path: table)
    device = os.makedev(0, minor)
    assert platforms.mount_of(device)[:2] == mount
    files: Any = [_On(os.makedev(254, 0)), _On(device)]
    assert lie_on_demand(files) is on_demand
    error = out_of_reach(Path("x"), OSError(errno.EIO, "Input/output error"), device)
    assert (error is not None) is network


def test_a_system_without_such_a_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(platforms, "Path", lambda path: tmp_path / "none")
    assert platforms.mount_of(1) == platforms.mount_of(-1) == Mount()
    monkeypatch.delattr(os, "major")
    assert platforms.mount_of(1) == Mount()


@pytest.mark.parametrize(
    ("number", "passes"),
    [
        (errno.ENOTCONN, False),
        (errno.ESTALE, False),
        (errno.ETIMEDOUT, True),
        (errno.EHOSTDOWN, True),
        (errno.EAGAIN, True),
        (errno.EIO, None),
        (errno.EACCES, None),
        (errno.ENOENT, None),
    ],
)
def test_what_is_of_the_mount_and_what_of_the_file(number: int, passes: bool | None) -> None:
    error = out_of_reach(Path("/a/m.safetensors"), OSError(number, os.strerror(number)))
    assert (error.passes if error else None) is passes
    if error:
        assert error.message == f"m.safetensors is out of reach ({os.strerror(number)})."


def test_a_folder_that_is_no_longer_mounted(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", llama(1))
    states = read_checkpoint(folder).states
    (folder / FILE).unlink()
    with pytest.raises(ModelChangedError):
        check_unchanged(states)
    (folder / "config.json").unlink()
    with pytest.raises(OutOfReachError, match=r"The folder of model\.safetensors is empty or gone"):
        check_unchanged(states)
    folder.rmdir()
    with pytest.raises(OutOfReachError):
        check_unchanged(states)


def test_a_disk_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even the state of a file can be told."""
    states = read_checkpoint(save(tmp_path, llama(1))).states

    def stat(path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(OutOfReachError, match=r"Check the disk that it is on"):
        check_unchanged(states)


@pytest.mark.usefixtures("mounted")
@pytest.mark.parametrize("module", [heads, samples])
@pytest.mark.parametrize("number", [errno.EIO, errno.EAGAIN])
@pytest.mark.parametrize("times", [3, 10**9])
def test_a_look_while_the_network_is_away(
    module: ModuleType,
    number: int,
    times: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is tried again for some seconds; Python says None where a read without a buffer has
    EAGAIN."""
    failures = iter(range(times))

    class Broken(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes | None:  # type: ignore[override]
            if next(failures, None) is None:
                return super().read(size)
            if number == errno.EAGAIN:
                return None
            raise OSError(number, os.strerror(number))

    folder = save(tmp_path, llama(1))
    whole = looked_at(folder)
    monkeypatch.setattr(mounts, "WAITS", (0.0,) * 4)
    monkeypatch.setattr(module, "unbuffered", lambda file: Broken(file.fileno(), closefd=False))
    if times < len(mounts.WAITS):
        assert read_checkpoint(folder) == whole
        return
    with pytest.raises(OutOfReachError, match=r"is out of reach .* Check its mount"):
        read_checkpoint(folder)


def test_a_folder_that_cannot_be_looked_at_is_told_by_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its device is not known then; of two mounts at one place, the later one counts."""
    table = tmp_path / "mountinfo"
    below = "\n140 27 0:60 / /mnt/a\\040b/c rw - ext4 /dev/vdb rw"
    table.write_text(TABLE + below + below.replace("ext4", "nfs4").replace("0:60", "0:61"))
    monkeypatch.setattr(platforms, "Path", lambda path: table)
    assert platforms.mount_at(Path("/mnt/a b/m")).kind == "fuse.sshfs"
    assert platforms.mount_at(Path("/mnt/a b/c/m")).kind == "nfs4"
    assert platforms.mount_at(Path("/mnt/aa")).kind == "ext4"
    error = out_of_reach(Path("/mnt/a b/m"), OSError(errno.EIO, "Input/output error"))
    assert error is not None and error.passes
    assert lie_on_demand([Path("/mnt/a b/m")])
    table.unlink()
    assert platforms.mount_at(Path("/mnt/a b/m")) == Mount()


def test_a_mount_whose_files_cannot_be_looked_at_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = read_checkpoint(save(tmp_path, llama(1))).states
    monkeypatch.setattr(mounts, "mount_of", lambda device: HF_MOUNT)

    def stat(path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(OutOfReachError, match=r"Check its mount") as found:
        check_unchanged(states)
    assert found.value.passes
