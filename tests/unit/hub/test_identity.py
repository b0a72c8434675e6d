"""A model that is only on the hub has the fingerprint that its download will have."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from spectrum_tui.core.checkpoint.headers import read_checkpoint
from tests.checkpoints import llama, save
from tests.fake_hub import FakeHub
from tests.unit.hub.scripts import run

KNOWN = """
remote = read_remote({repo!r})
answer = [remote.files.commit, remote.checkpoint.fingerprint]
"""
DOWNLOADED = """
from pathlib import Path
from spectrum_tui.core.checkpoint.headers import read_checkpoint
remote = read_remote({repo!r})
folder = fetch({repo!r}, files=remote.files)["folder"]
again = read_remote({repo!r})
answer = [remote.checkpoint.fingerprint, read_checkpoint(Path(folder)).fingerprint]
answer += [again.checkpoint.fingerprint, folder]
"""
SCANNED = """
from spectrum_tui.core.model.inspection import fetch as download, inspect_model
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.settings import Settings

def scanned(found, **how):
    settings = Settings(model="org/llama", device="cpu", output_dir={output!r}, **how)
    events = run_scan(settings, found)
    return [event.resumed for event in events if type(event).__name__ == "LayerDone"]

remote = inspect_model("org/llama")
answer = [remote.summary.origin, scanned(remote, stream=True)]
local = download(remote, progress=lambda *step: None)
answer += [local.summary.origin, local.summary.scored == remote.summary.scored, scanned(local)]
"""
SPOILT = """
import os, time
first, second = sorted(Path(fetch("org/llama")["folder"]).glob("*.safetensors"))
blob = first.resolve()
blob.write_bytes(blob.read_bytes()[:-900] + bytes(900))
os.utime(blob, (time.time() + 9, time.time() + 9))
second.resolve().unlink()
second.unlink()
"""
SCORED = """
from pathlib import Path
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.settings import Settings
{spoil}
settings = Settings(model="org/llama", device="cpu", output_dir={output!r}, stream=True)
events = list(run_scan(settings))
answer = {{event.layer: event.snr for event in events if type(event).__name__ == "LayerDone"}}
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


def test_a_scan_goes_on_after_the_download(tmp_path: Path) -> None:
    """Streamed, then downloaded: nothing is computed again."""
    repo = save(tmp_path / "repo", llama(1), shards=2)
    with FakeHub({"org/llama": repo}) as fake:
        script = SCANNED.format(output=str(tmp_path / "out"))
        remote, first, local, unknown, again = run(fake.url, tmp_path / "home", script)
    assert (remote, local) == ("hub", "cache")
    assert len(first) == len(again) > 5 and not any(first) and all(again)
    assert not unknown


def test_a_file_of_the_cache_that_was_written_to_is_fetched(tmp_path: Path) -> None:
    """A download that was stopped left one of two shards, and somebody wrote into it."""
    repo = save(tmp_path / "repo", llama(1), shards=2)
    with FakeHub({"org/llama": repo}) as fake:
        clean, found = (
            run(
                fake.url,
                tmp_path / name,
                SCORED.format(output=str(tmp_path / name), spoil=spoil),
                SPECTRUM_TUI_CACHE=str(tmp_path / f"scores of {name}"),
            )
            for name, spoil in (("whole", ""), ("spoilt", SPOILT))
        )
    assert found == clean and len(clean) > 5


def test_a_hub_without_ids_is_known_by_the_commit(
    fake: FakeHub, mirror: FakeHub, tmp_path: Path
) -> None:
    script = NO_IDS + KNOWN.format(repo="org/sharded")
    first = run(fake.url, tmp_path / "first", script)
    assert run(fake.url, tmp_path / "first", script) == first
    known = run(fake.url, tmp_path / "first", KNOWN.format(repo="org/sharded"))
    assert len({first[1], run(mirror.url, tmp_path / "first", script)[1], known[1]}) == 3
