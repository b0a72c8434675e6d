"""What of a hub model is already on this machine, by the layout of the hub's standard cache.

`models--org--name/{blobs,refs,snapshots}`: a ref names a commit, a snapshot folder of that commit
holds links into the blobs. Read directly, because the client's own look-ups answer for a partial
snapshot too, and its scan of the whole cache takes seconds on a large one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from spectrum_tui.core.checkpoint.file_state import FileState
from spectrum_tui.core.checkpoint.identity import published_ids
from spectrum_tui.core.checkpoint.shards import (
    INDEX_FILE,
    expected_shards,
    leads_below,
    shard_names,
)
from spectrum_tui.core.disk import read_regular
from spectrum_tui.core.errors import CheckpointError, OutputError
from spectrum_tui.core.files import write_text
from spectrum_tui.core.hub.guard import is_commit
from spectrum_tui.core.hub.names import cache_root, is_model_id
from spectrum_tui.core.numbers import part_of

LEFTOVER_AGE = 60.0
"""Seconds without a write after which a partial file belongs to no running download."""

BEGUN = ".begun.incomplete"
"""How the second name of a file ends that is coming, after its id."""

_PREFIX = "models--"


@dataclass(frozen=True, kw_only=True)
class HubFiles:
    """The files of one commit that a scan needs: `sizes` in bytes, `blobs` their cache names.

    `revision` is the name under which the commit was asked for, "" for the main branch.
    """

    repo_id: str
    revision: str
    commit: str
    sizes: Mapping[str, int]
    blobs: Mapping[str, str]

    @property
    def folder(self) -> Path:
        """Where they are once they are downloaded."""
        return snapshot_folder(self.repo_id, self.commit)

    @property
    def nbytes(self) -> int:
        """Bytes of all of them."""
        return sum(self.sizes.values())

    def cached(self) -> frozenset[str]:
        """Those that need no download; a blob of another commit counts: it is only linked."""
        return frozenset(
            name for name in self.sizes if (self.folder / name).is_file() or self.has_blob(name)
        )

    def has_blob(self, name: str) -> bool:
        """Return whether the contents of a file are in the cache, under whatever name."""
        blob = self.blobs.get(name)
        return bool(blob) and (repo_folder(self.repo_id) / "blobs" / str(blob)).is_file()

    def cached_bytes(self) -> int:
        """Bytes of those that need no download."""
        return sum(self.sizes[name] for name in self.cached())

    def holds(self, name: str) -> bool:
        """Return whether the snapshot folder has a file, and nobody wrote to it since it came."""
        return is_as_announced(self.folder, name, self.blobs[name])

    def missing(self) -> list[str]:
        """Those that the snapshot folder lacks."""
        return [name for name in self.sizes if not (self.folder / name).is_file()]


def is_as_announced(folder: Path, name: str, blob: str) -> bool:
    """Return whether a file of a snapshot is the `blob` that the hub announces, by its link."""
    try:
        state = FileState.of((folder / name).stat())
    except OSError:
        return False
    return published_ids(folder, {name: state}) == [blob]


def repo_folder(repo_id: str) -> Path:
    """Return where the cache keeps `repo_id`."""
    return cache_root() / (_PREFIX + repo_id.replace("/", "--"))


def snapshot_folder(repo_id: str, commit: str) -> Path:
    """Return where the cache keeps the files of one commit."""
    return repo_folder(repo_id) / "snapshots" / commit


def cached_models() -> list[str]:
    """Ids of the models in the cache that have safetensors files, newest first; never fails."""
    found: list[tuple[float, str]] = []
    with contextlib.suppress(OSError, ImportError):
        for folder in cache_root().iterdir():
            model = folder.name.removeprefix(_PREFIX).replace("--", "/")
            if folder.name.startswith(_PREFIX) and is_model_id(model):
                found.extend((changed, model) for changed in _last_change(folder))
    return [model for _, model in sorted(found, key=lambda item: (-item[0], item[1]))]


def _last_change(folder: Path) -> list[float]:
    """When the newest snapshot with weights changed, as a list of one; else empty."""
    try:
        snapshots = [s for s in (folder / "snapshots").iterdir() if any(s.glob("*.safetensors"))]
        return [max(s.stat().st_mtime for s in snapshots)] if snapshots else []
    except OSError:
        return []


def find_local(repo_id: str, revision: str = "") -> tuple[Path, str] | None:
    """Return the snapshot folder and commit of `repo_id`, if every shard of it is in the cache."""
    if not is_model_id(repo_id):
        return None
    try:
        commit = _commit(repo_id, revision or "main")
        folder = snapshot_folder(repo_id, commit)
        return (folder, commit) if commit and is_complete(folder) else None
    except (OSError, ValueError):  # ValueError: a revision with a null byte, a ref that is not text
        return None


def missing_in_cache(repo_id: str, revision: str = "") -> str:
    """Return what a snapshot in the cache lacks, "" where there is none: `1 of 3 shards, first
    X`."""
    try:
        commit = _commit(repo_id, revision or "main")
        folder = snapshot_folder(repo_id, commit)
        if not commit or not folder.is_dir():
            return ""
        index = folder / INDEX_FILE
        shards = expected_shards(
            {path.name for path in folder.iterdir()},
            read_regular(index) if index.is_file() else None,
        )
    except (OSError, ValueError, CheckpointError):
        return ""
    gone = [name for name in shards if not (folder / name).is_file()]
    if not shards:
        return "its weights (*.safetensors)"
    return f"{part_of(len(gone), len(shards), 'shard')}, first {gone[0]}" if gone else ""


def _commit(repo_id: str, revision: str) -> str:
    """Return the commit that `revision` stood for when it was last asked of the hub, or ""."""
    if is_commit(revision):
        return revision
    ref = _ref(repo_id, revision)
    commit = ref.read_text(encoding="utf-8").strip() if ref and ref.is_file() else ""
    return commit if is_commit(commit) else ""


def _ref(repo_id: str, revision: str) -> Path | None:
    """Return the file of a ref; None for a name that would lead out of the folder of refs."""
    return repo_folder(repo_id) / "refs" / revision if leads_below(revision) else None


def remember_revision(repo_id: str, revision: str, commit: str) -> None:
    """Note which commit `revision` is, so that it is found again without the hub."""
    ref = _ref(repo_id, revision or "main")
    if ref is not None and revision != commit:
        with contextlib.suppress(OutputError):  # the model is there all the same
            write_text(ref, commit)


def is_complete(folder: Path) -> bool:
    """Return whether `folder` has every shard of its model."""
    try:
        return all((folder / name).is_file() for name in shard_names(folder))
    except CheckpointError:
        return False


def blob_lock(repo_id: str, blob: str) -> Path:
    """Return the lock of whoever brings a file, as the client names it."""
    return cache_root() / ".locks" / repo_folder(repo_id).name / f"{blob}.lock"


def remove_partial_files(repo_id: str, wanted: Collection[str] = ()) -> None:
    """Delete what killed downloads of `repo_id` left behind, but what of the `wanted` blobs can be
    gone on from: the client never resumes a partial file.

    Only files whose lock is free and which nobody wrote to for a minute: on some network file
    systems the lock is free for everyone, but a running download writes all the time.
    """
    from filelock import FileLock, Timeout

    folder = repo_folder(repo_id)
    for part in (folder / "blobs").glob("*.incomplete"):
        blob = part.name.split(".")[0]
        if blob in wanted and part.name == blob + BEGUN:
            continue
        lock = blob_lock(repo_id, blob)
        with contextlib.suppress(OSError, Timeout, NotImplementedError):
            if time.time() - part.stat().st_mtime > LEFTOVER_AGE:
                lock.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(lock, timeout=0):
                    part.unlink()
