"""Models on the hub are described by their headers alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.errors import HubError
from spectrum_tui.core.hub.patience import Patience
from spectrum_tui.core.hub.remote import read_remote
from tests.fake_hub import FakeHub
from tests.hostile_answers import halved
from tests.unit.hub.scripts import run, shard_name

DESCRIBE = """
remote = read_remote({repo!r})
answer = dict(
    commit=remote.files.commit, nbytes=remote.files.nbytes, files=remote.files.sizes,
    local=remote.files.cached_bytes(),
    config=remote.checkpoint.config, shards=remote.checkpoint.shards,
    folder=str(remote.checkpoint.folder),
    tensors=[(t.name, t.shape, t.dtype, t.file, t.start, t.end) for t in remote.checkpoint.tensors],
)
"""


def assert_described(answer: dict[str, Any], folder: Path) -> None:
    """The description is what reading the folder itself gives, and safetensors agrees."""
    local = read_checkpoint(folder)
    assert answer["shards"] == list(local.shards)
    assert answer["config"] == local.config
    stored: dict[str, bytes] = {}
    for shard in local.shards:
        with safe_open(folder / shard, "np") as reader:
            names = reader.keys()
            stored |= {name: reader.get_tensor(name).tobytes() for name in names}
    data = {shard: (folder / shard).read_bytes() for shard in local.shards}
    for got, tensor in zip(answer["tensors"], local.tensors, strict=True):
        name, shape, dtype, file, start, end = got
        assert (name, tuple(shape), dtype) == (tensor.name, tensor.shape, tensor.dtype)
        assert (Path(file).name, start, end) == (Path(tensor.file).name, tensor.start, tensor.end)
        assert stored[name] == data[Path(file).name][start:end]


def test_a_single_file_is_described_by_its_header_alone(
    fake: FakeHub, repos: dict[str, Path], tmp_path: Path
) -> None:
    answer = run(fake.url, tmp_path, DESCRIBE.format(repo="org/single"))
    assert_described(answer, repos["org/single"])
    assert answer["commit"] == fake.commit("org/single")
    assert answer["local"] == 0
    assert answer["nbytes"] == sum(answer["files"].values())
    assert set(answer["files"]) == {"model.safetensors", "config.json", "generation_config.json"}
    assert [r.range for r in fake.fetched("model.safetensors")] == ["bytes=0-99999"]
    assert not fake.fetched("consolidated.safetensors")
    assert fake.bytes_sent < 150_000 < answer["files"]["model.safetensors"]
    assert not any(path.is_file() for path in tmp_path.rglob("model*"))


def test_shards_are_described_by_their_headers_alone(
    fake: FakeHub, repos: dict[str, Path], tmp_path: Path
) -> None:
    answer = run(fake.url, tmp_path, DESCRIBE.format(repo="org/sharded"))
    assert_described(answer, repos["org/sharded"])
    assert answer["shards"] == [shard_name(1), shard_name(2), shard_name(3)]
    assert "model.safetensors.index.json" in answer["files"]
    assert fake.bytes_sent < 350_000 < answer["nbytes"] / 10


def test_a_header_longer_than_the_first_read(
    fake: FakeHub, repos: dict[str, Path], tmp_path: Path
) -> None:
    answer = run(fake.url, tmp_path, DESCRIBE.format(repo="org/many"))
    assert_described(answer, repos["org/many"])
    assert len(answer["tensors"]) == 2000
    first, rest = (r.range for r in fake.fetched("model.safetensors"))
    assert first == "bytes=0-99999"
    assert rest.startswith("bytes=100000-")


def test_a_long_header_is_looked_up_once(
    fake: FakeHub, repos: dict[str, Path], tmp_path: Path
) -> None:
    fake.signed_seconds = 3600
    answer = run(fake.url, tmp_path, DESCRIBE.format(repo="org/many"))
    assert_described(answer, repos["org/many"])
    assert [r.status for r in fake.fetched("model.safetensors")] == [302]
    elsewhere = [r for r in fake.requests if r.path.startswith("/signed/")]
    assert [r.status for r in elsewhere] == [206, 206]
    assert not any(r.token for r in elsewhere)


@pytest.mark.parametrize("status", [400, 403])
def test_an_address_that_is_over_is_signed_anew(
    status: int, fake: FakeHub, repos: dict[str, Path], tmp_path: Path
) -> None:
    fake.signed_seconds = 3600
    fake.failures |= {"/signed/": [0, status]}
    answer = run(fake.url, tmp_path, DESCRIBE.format(repo="org/many"))
    assert_described(answer, repos["org/many"])
    assert [r.status for r in fake.fetched("model.safetensors")] == [302, 302]


def test_what_is_refused_behind_every_address_is_said(fake: FakeHub, tmp_path: Path) -> None:
    fake.signed_seconds = 3600
    fake.failures |= {"/signed/": [403] * 9}
    answer = run(fake.url, tmp_path, "answer = told('org/many')")
    hub = fake.url.removeprefix("http://")
    assert answer["message"] == (
        f"localhost, to which {hub} redirects, refuses org/many (HTTP 403)."
    )


def test_a_hub_that_heeds_no_ranges(fake: FakeHub, repos: dict[str, Path], tmp_path: Path) -> None:
    fake.no_ranges = True
    answer = run(fake.url, tmp_path, DESCRIBE.format(repo="org/many"))
    assert_described(answer, repos["org/many"])


def test_passing_failures_are_overcome(
    fake: FakeHub, repos: dict[str, Path], tmp_path: Path
) -> None:
    fake.failures |= {"/api/models/": [503], f"{shard_name(2)}": [502, 500]}
    fake.cuts |= {shard_name(3): 1000}
    answer = run(fake.url, tmp_path, DESCRIBE.format(repo="org/sharded"))
    assert_described(answer, repos["org/sharded"])
    assert not any(fake.failures.values()) and not fake.cuts


def test_half_of_a_header_is_a_connection_that_broke_off(
    online: FakeHub, repos: dict[str, Path]
) -> None:
    online.hostile["READ /signed/org/single/model.safetensors"] = halved
    with pytest.raises(HubError, match=r"The connection to 127\.0\.0\.1:\d+ broke off"):
        read_remote("org/single", patience=Patience((0.01,)))
