"""Models on the Hugging Face hub: what they hold, from a few kilobytes of each shard's header.

Nothing is written by reading a model here, and nothing that the hub sends is trusted: file names
stay in their folder, sizes are bounded, headers go through the same checks as local files.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from spectrum_tui.core import checkpoint as ck
from spectrum_tui.core.errors import CheckpointError, SpectrumError
from spectrum_tui.core.hub.cache import HubFiles, is_commit, snapshot_folder
from spectrum_tui.core.hub.errors import (
    hush_client,
    is_transient,
    not_a_hub,
    translate,
    validate,
)

T = TypeVar("T")

FIRST_READ = 100_000
"""Bytes asked of a shard at first: all of its header but for a few models."""

MAX_JSON = 100_000_000
"""Bytes of a config or index that are read at most; the largest known index has 9 MB."""

SMALL_JSON = 1_000_000
"""Bytes up to which a model's further .json files (generation_config.json) come along."""

WORKERS = 8
"""Headers read at once."""

WAITS = (0.3, 1.0)
"""Seconds before each further attempt after a passing failure; someone is waiting."""

_DAMAGED = "The model is damaged on the hub itself: use another revision or repository."


@dataclass(frozen=True)
class RemoteCheckpoint:
    """A model on the hub, described by its headers; the checkpoint's folder may not exist yet."""

    checkpoint: ck.Checkpoint
    files: HubFiles

    @property
    def repo_id(self) -> str:
        """The model's id, as it was asked for."""
        return self.files.repo_id

    @property
    def commit(self) -> str:
        """The commit that the revision stands for now."""
        return self.files.commit

    @property
    def config(self) -> Mapping[str, Any]:
        """The model's config.json."""
        return self.checkpoint.config

    @property
    def nbytes(self) -> int:
        """Bytes of all files that a scan needs."""
        return self.files.nbytes

    @property
    def local_bytes(self) -> int:
        """Bytes of them that are in the cache."""
        return self.files.cached_bytes()


def read_remote(repo_id: str, revision: str = "") -> RemoteCheckpoint:
    """Describe the model `repo_id` on the hub, downloading nothing but its headers.

    Raises HubError when the hub does not give it, CheckpointError when it holds no safetensors
    weights or damaged ones.
    """
    validate(repo_id)
    try:
        return _Reader(repo_id, revision).read()
    except SpectrumError:
        raise
    except Exception as exc:  # the client's classes differ by version: told apart by name
        raise translate(exc, repo_id, revision) from None


class _Reader:
    """One repository at one commit: its list of files, and ranges of bytes out of them."""

    def __init__(self, repo_id: str, revision: str) -> None:
        from huggingface_hub import HfApi

        hush_client()
        self.repo_id, self.revision = repo_id, revision
        info = _retried(
            lambda: HfApi().model_info(
                repo_id, revision=revision or None, files_metadata=True, timeout=_timeout()
            )
        )
        self.commit = info.sha or ""
        if not is_commit(self.commit):
            raise not_a_hub()
        self.sizes: dict[str, int | None] = {}
        self.blobs: dict[str, str] = {}
        for file in info.siblings or []:
            self.sizes[file.rfilename] = file.lfs.size if file.lfs else file.size
            self.blobs[file.rfilename] = (file.lfs.sha256 if file.lfs else file.blob_id) or ""
        self.folder = snapshot_folder(repo_id, self.commit)

    def read(self) -> RemoteCheckpoint:
        """The whole description."""
        config = self._config()
        shards = self._shards()
        indexed = bool({ck.SINGLE_FILE, ck.INDEX_FILE} & self.sizes.keys())
        digest = hashlib.sha256(self.commit.encode())
        with ThreadPoolExecutor(WORKERS) as pool:
            read = list(pool.map(self._header, shards))
        for blob, _ in read:
            digest.update(blob)
        headers = zip(shards, (header for _, header in read), strict=True)
        tensors = ck.joined(headers, self.repo_id, indexed=indexed)
        sizes = {name: self.sizes[name] or 0 for name in self._needed(shards)}
        blobs = {name: self.blobs[name] for name in sizes}
        return RemoteCheckpoint(
            ck.Checkpoint(
                self.folder,
                config or {},
                tuple(shards),
                tensors,
                digest.hexdigest(),
                has_config=config is not None,
                indexed=indexed,
                has_adapter=ck.ADAPTER_FILE in self.sizes,
            ),
            HubFiles(self.repo_id, self.revision, self.commit, sizes, blobs),
        )

    def _config(self) -> dict[str, Any] | None:
        name = "config.json"
        return ck.parse_config(self._json(name)) if name in self.sizes else None

    def _shards(self) -> list[str]:
        if ck.SINGLE_FILE in self.sizes:
            return [ck.SINGLE_FILE]
        index = self._json(ck.INDEX_FILE) if ck.INDEX_FILE in self.sizes else None
        return ck.choose_shards(self.sizes, index, self.repo_id, _DAMAGED)

    def _needed(self, shards: list[str]) -> Iterator[str]:
        """The files to download: the shards, and the small ones that describe the model."""
        yield from shards
        for name, size in self.sizes.items():
            small = name.endswith(".json") and "/" not in name and (size or 0) <= SMALL_JSON
            if small or name in ("config.json", ck.INDEX_FILE):
                yield name

    def _json(self, name: str) -> bytes:
        size = self.sizes[name]
        if size is not None and size > MAX_JSON:
            message = f"{name} is too large to be one ({size:,} bytes)."
            raise CheckpointError(message, _DAMAGED, field="model")
        return self._bytes(name, 0, MAX_JSON if size is None else size)

    def _header(self, name: str) -> tuple[bytes, list[ck.Tensor]]:
        """The header of one shard as it is stored, and the tensors that it names."""
        size = self.sizes[name]
        head = self._bytes(name, 0, min(FIRST_READ, FIRST_READ if size is None else size))
        try:
            end = 8 + ck.header_length(head[:8], name, size)
            if end > len(head):
                head += self._bytes(name, len(head), end)
            return head[8:end], ck.parse_header(head[8:end], name, size)
        except CheckpointError as exc:
            raise CheckpointError(exc.message, _DAMAGED, field="model") from None

    def _bytes(self, name: str, start: int, end: int) -> bytes:
        """Bytes [start, end) of a file, from the cache where it is there; fewer at its end."""
        if end <= start:
            return b""
        with contextlib.suppress(OSError), (self.folder / name).open("rb") as file:
            file.seek(start)
            return file.read(end - start)
        return _retried(lambda: self._fetch(name, start, end))

    def _fetch(self, name: str, start: int, end: int) -> bytes:
        from huggingface_hub import get_session, hf_hub_url
        from huggingface_hub.utils import (  # type: ignore[attr-defined]
            build_hf_headers,
            hf_raise_for_status,
        )

        url = hf_hub_url(self.repo_id, name, revision=self.commit)
        headers = build_hf_headers()
        # Compressed, the range would be one of the compressed bytes.
        headers |= {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        got = bytearray()
        with get_session().stream(
            "GET", url, headers=headers, timeout=_timeout(), follow_redirects=True
        ) as response:
            if response.status_code >= 400:
                response.read()
                hf_raise_for_status(response)
            skip = start if response.status_code == 200 else 0  # the range was not heeded
            for chunk in response.iter_bytes():
                got += chunk
                if len(got) >= skip + end - start:
                    break
        return bytes(got[skip : skip + end - start])


def _timeout() -> float:
    """Seconds without an answer; HF_HUB_ETAG_TIMEOUT sets it as for every look-up."""
    from huggingface_hub import constants

    return float(constants.HF_HUB_ETAG_TIMEOUT)


def _retried(request: Callable[[], T]) -> T:
    """`request()`, again after each failure that may pass by itself."""
    for wait in WAITS:
        try:
            return request()
        except Exception as exc:
            if not is_transient(exc):
                raise
        time.sleep(wait)
    return request()
