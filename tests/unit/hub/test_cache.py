"""What is in the hub's local cache, found without the hub."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from filelock import FileLock

from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.hub.cache import (
    HubFiles,
    cached_models,
    find_local,
    remember_revision,
    remove_partial_files,
    repo_folder,
)
from tests.fake_hub import oid
from tests.unit.hub.scripts import ALL_SHARDS, COMMIT, shard_name


def put(repo: str, source: Path, *names: str, commit: str = COMMIT) -> Path:
    """Lay files of `source` into the cache as the client does: blobs, and links to them."""
    blobs, snapshot = repo_folder(repo) / "blobs", repo_folder(repo) / "snapshots" / commit
    for folder in (blobs, snapshot):
        folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        blob = blobs / oid(source / name)
        blob.write_bytes((source / name).read_bytes())
        (snapshot / name).symlink_to(os.path.relpath(blob, snapshot))
    remember_revision(repo, "", commit)
    return snapshot


@pytest.mark.usefixtures("cache")
def test_a_cached_model_is_found_through_its_links(repos: dict[str, Path]) -> None:
    folder = put("org/single", repos["org/single"], "model.safetensors", "config.json")
    assert (folder / "model.safetensors").is_symlink()
    assert find_local("org/single") == (folder, COMMIT)
    assert find_local("org/single", "main") == (folder, COMMIT)
    assert find_local("org/single", COMMIT) == (folder, COMMIT)
    assert find_local("org/single", "v2") is None
    assert find_local("org/other") is None
    remember_revision("org/single", "refs/pr/1", COMMIT)
    assert find_local("org/single", "refs/pr/1") == (folder, COMMIT)
    assert len(read_checkpoint(folder).tensors) == 2


@pytest.mark.usefixtures("cache")
def test_a_model_that_is_partly_cached_is_not_local(repos: dict[str, Path]) -> None:
    source = repos["org/sharded"]
    put("org/no-shard", source, "model.safetensors.index.json")
    put("org/two-shards", source, shard_name(1), shard_name(2), "model.safetensors.index.json")
    put("org/no-index", source, shard_name(1), shard_name(2))
    put("org/config", source, "config.json")
    gone = put("org/gone", source, *ALL_SHARDS)
    (gone / shard_name(2)).resolve().unlink()
    whole = put("org/whole", source, *ALL_SHARDS)
    for name in ("no-shard", "two-shards", "no-index", "config", "gone"):
        assert find_local(f"org/{name}") is None, name
    assert find_local("org/whole") == (whole, COMMIT)


@pytest.mark.usefixtures("cache")
def test_no_name_leads_out_of_the_cache(repos: dict[str, Path], tmp_path: Path) -> None:
    folder = put("org/single", repos["org/single"], "model.safetensors")
    outside = tmp_path / "ref"
    outside.write_text(COMMIT)
    for revision in ("../../../ref", str(outside), "..", "a//b", "a\0b", "..\\x"):
        assert find_local("org/single", revision) is None
        remember_revision("org/single", revision, COMMIT)
    (repo_folder("org/single") / "refs" / "main").write_text("../../..")
    assert find_local("org/single") is None
    assert find_local("../single") is None
    assert folder.is_dir()


def test_cached_models_newest_first(cache: Path, repos: dict[str, Path]) -> None:
    assert cached_models() == []
    for age, name in enumerate(("org/new", "middle", "org/old")):
        folder = put(name, repos["org/single"], "model.safetensors")
        os.utime(folder, (2_000_000_000 - age, 2_000_000_000 - age))
    put("org/config-only", repos["org/single"], "config.json")
    (cache / "datasets--org--data" / "snapshots" / COMMIT).mkdir(parents=True)
    (cache / "models--a--b--c--d" / "snapshots" / COMMIT).mkdir(parents=True)
    (cache / "models--org--file").write_text("no folder")
    (cache / "models--org--empty").mkdir()
    (cache / "models--").mkdir()
    assert cached_models() == ["org/new", "middle", "org/old"]


def test_a_cache_that_is_no_folder(cache: Path) -> None:
    cache.write_text("")
    assert cached_models() == []
    assert find_local("org/single") is None


@pytest.mark.usefixtures("cache")
def test_what_came_with_another_commit_counts_as_cached(repos: dict[str, Path]) -> None:
    source = repos["org/sharded"]
    put("org/sharded", source, shard_name(1), commit="b" * 40)
    sizes = {name: (source / name).stat().st_size for name in ALL_SHARDS}
    blobs = {name: oid(source / name) for name in ALL_SHARDS}
    files = HubFiles(repo_id="org/sharded", revision="", commit=COMMIT, sizes=sizes, blobs=blobs)
    assert files.cached() == {shard_name(1)}
    assert files.cached_bytes() == sizes[shard_name(1)]
    assert files.missing() == list(ALL_SHARDS)


def test_leftovers_of_killed_downloads_are_removed(cache: Path) -> None:
    blobs, locks = repo_folder("org/x") / "blobs", cache / ".locks" / "models--org--x"
    blobs.mkdir(parents=True)
    begun = {"wanted.begun.incomplete", "other.begun.incomplete"}
    for name in ("old.1234abcd.incomplete", "held.1234abcd.incomplete", "whole", *begun):
        (blobs / name).write_text("x")
        os.utime(blobs / name, (1, 1))
    (blobs / "new.1234abcd.incomplete").write_text("x")
    locks.mkdir(parents=True)
    with FileLock(locks / "held.lock"):
        remove_partial_files("org/x", ["wanted"])
    names = {path.name for path in blobs.iterdir()}
    left = {"held.1234abcd.incomplete", "new.1234abcd.incomplete", "whole"}
    assert names == left | {"wanted.begun.incomplete"}
    remove_partial_files("org/nothing-here")
