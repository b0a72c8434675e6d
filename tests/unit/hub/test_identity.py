"""A model that is only on the hub has the fingerprint that its download will have."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from spectrum_tui.core.checkpoint.headers import read_checkpoint
from tests.fake_hub import FakeHub
from tests.unit.hub.scripts import run

KNOWN = """
remote = hub.read_remote({repo!r})
answer = [remote.files.commit, remote.checkpoint.fingerprint]
"""
DOWNLOADED = """
from pathlib import Path
from spectrum_tui.core.checkpoint.headers import read_checkpoint
remote = hub.read_remote({repo!r})
folder = fetch({repo!r}, files=remote.files)["folder"]
again = hub.read_remote({repo!r})
answer = [remote.checkpoint.fingerprint, read_checkpoint(Path(folder)).fingerprint]
answer += [again.checkpoint.fingerprint, folder]
"""
NO_IDS = """
from huggingface_hub import HfApi
real = HfApi.model_info
def without(self, *args, **named):
    info = real(self, *args, **named)
    for file in info.siblings:
        file.lfs = file.blob_id = None
    return info
HfApi.model_info = without
"""


@pytest.fixture
def mirror(repos: dict[str, Path], tmp_path: Path) -> Iterator[FakeHub]:
    """Another hub, whose copies have another README and so another commit."""
    copies = {}
    for name in ("org/single", "org/sharded"):
        copies[name] = shutil.copytree(repos[name], tmp_path / name)
        (copies[name] / "README.md").write_text("# Copied")
    with FakeHub(copies) as running:
        yield running


@pytest.mark.parametrize("repo", ["org/single", "org/sharded"])
def test_streamed_then_downloaded_from_a_mirror_of_another_commit(
    repo: str, fake: FakeHub, mirror: FakeHub, tmp_path: Path
) -> None:
    commit, known = run(fake.url, tmp_path / "first", KNOWN.format(repo=repo))
    remote, local, again, folder = run(mirror.url, tmp_path / "home", DOWNLOADED.format(repo=repo))
    assert remote == local == again == known
    assert commit == fake.commit(repo) != mirror.commit(repo) == Path(folder).name
    assert read_checkpoint(Path(folder)).identity.published == known


def test_a_hub_without_ids_is_known_by_the_commit(
    fake: FakeHub, mirror: FakeHub, tmp_path: Path
) -> None:
    script = NO_IDS + KNOWN.format(repo="org/sharded")
    first = run(fake.url, tmp_path / "first", script)
    assert run(fake.url, tmp_path / "first", script) == first
    known = run(fake.url, tmp_path / "first", KNOWN.format(repo="org/sharded"))
    assert len({first[1], run(mirror.url, tmp_path / "first", script)[1], known[1]}) == 3
