"""Models on the Hugging Face hub: what they hold, from a few kilobytes of each shard's header.

Nothing is written by reading a model here, and nothing that the hub sends is trusted: file names
stay in their folder, sizes are bounded, headers go through the same checks as local files.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from spectrum_tui.core.checkpoint import headers as ck
from spectrum_tui.core.checkpoint.file_state import is_hex_id
from spectrum_tui.core.checkpoint.heads import header_length
from spectrum_tui.core.checkpoint.identity import Identity
from spectrum_tui.core.checkpoint.shards import INDEX_FILE, SINGLE_FILE, choose_shards
from spectrum_tui.core.checkpoint.unbuffered import next_bytes, unbuffered
from spectrum_tui.core.disk import open_regular
from spectrum_tui.core.errors import CheckpointError, SpectrumError
from spectrum_tui.core.hub.cache import (
    HubFiles,
    is_as_announced,
    missing_in_cache,
    snapshot_folder,
)
from spectrum_tui.core.hub.contents import is_blob
from spectrum_tui.core.hub.errors import (
    CutShortError,
    is_refused,
    not_a_hub,
    not_the_file,
    translate,
)
from spectrum_tui.core.hub.guard import Bounds, bounded, guard_client, is_commit, within
from spectrum_tui.core.hub.http import range_in
from spectrum_tui.core.hub.names import validate
from spectrum_tui.core.hub.patience import Patience
from spectrum_tui.core.json_text import WRONG_SHAPE
from spectrum_tui.core.together import each

LIST_BYTES = 600_000
"""Bytes of a long list of files, for how long it may take: 2,000 of them."""

FIRST_READ = 100_000
"""Bytes asked of a shard at first: all of its header but for a few models."""

MAX_REMOTE_JSON = 32_000_000
"""Bytes of a config or index that are read at most; the largest known index has 9 MB."""

MAX_HEADERS = 200_000_000
"""Bytes of all headers of a model together; 163 shards with 92,000 tensors have 12 MB."""

SMALL_JSON = 1_000_000
"""Bytes up to which a model's further .json files (generation_config.json) come along."""

WORKERS = 8
"""Headers read at once."""

_DAMAGED = "The model is damaged on the hub itself: use another revision or repository."
_ODD = (*WRONG_SHAPE, AssertionError)
"""What the client raises for JSON of another shape than a hub's."""


@dataclass(frozen=True)
class RemoteCheckpoint:
    """A model on the hub, described by its headers; the checkpoint's folder may not exist yet."""

    checkpoint: ck.Checkpoint
    files: HubFiles


def read_remote(
    repo_id: str, revision: str = "", patience: Patience | None = None
) -> RemoteCheckpoint:
    """Describe the model `repo_id` on the hub, downloading nothing but its headers.

    Raises HubError when the hub does not give it, CheckpointError when it holds no safetensors
    weights or damaged ones.
    """
    validate(repo_id)
    try:
        return _Reader(repo_id, revision, patience or Patience()).read()
    except SpectrumError:
        raise
    except Exception as exc:  # the client's classes differ by version: told apart by name
        lacks = missing_in_cache(repo_id, revision)
        raise translate(exc, repo_id, revision, lacks) from None


class HeaderBytes:
    """The bytes of all headers of a model, read by several threads."""

    def __init__(self, model: str, hint: str) -> None:
        self._model, self._hint = model, hint
        self._read, self._lock = 0, threading.Lock()

    def add(self, nbytes: int) -> None:
        """Count a header before it is read; raise CheckpointError above `MAX_HEADERS`."""
        with self._lock:
            self._read += nbytes
            too_many = self._read > MAX_HEADERS
        if too_many:
            message = f"The headers of {self._model} are too large for a model."
            raise CheckpointError(message, self._hint, field="model")


class _Reader:
    """One repository at one commit: its list of files, and ranges of bytes out of them.

    The hub counts each look-up of a file (3,000 in 5 minutes), not what is read at the signed
    address that it answers with: the rest of a long header is asked for there.
    """

    def __init__(self, repo_id: str, revision: str, patience: Patience) -> None:
        guard_client()
        self.repo_id, self.revision, self.patience = repo_id, revision, patience
        self._signed: dict[str, str] = {}
        try:
            self._list(patience.ask(lambda: within(self._ask, LIST_BYTES, 3 * _timeout())))
        except _ODD as exc:
            # The client's own errors are of the same families; a bad token is said as one.
            if type(exc).__module__ != "builtins" or isinstance(exc, UnicodeEncodeError):
                raise
            raise not_a_hub() from None
        self.folder = snapshot_folder(repo_id, self.commit)
        self._headers = HeaderBytes(repo_id, _DAMAGED)

    def _ask(self) -> Any:
        from huggingface_hub import HfApi

        return HfApi().model_info(
            self.repo_id, revision=self.revision or None, files_metadata=True, timeout=_timeout()
        )

    def _list(self, info: Any) -> None:
        """Take in the files' names, sizes and ids; None and "" where the hub names none."""
        self.commit: str = info.sha
        self.sizes: dict[str, int | None] = {}
        self.blobs: dict[str, str] = {}
        if not is_commit(self.commit):
            raise not_a_hub()
        for file in info.siblings or []:
            size = file.lfs.size if file.lfs else file.size
            blob = (file.lfs.sha256 if file.lfs else file.blob_id) or ""
            if not (size is None or (type(size) is int and size >= 0)):
                raise not_a_hub()
            if blob and not is_hex_id(blob):
                raise not_a_hub()
            if file.rfilename.isprintable():
                self.sizes[file.rfilename], self.blobs[file.rfilename] = size, blob

    def read(self) -> RemoteCheckpoint:
        """Return the whole description."""
        config, shards = self._config(), self._shards()
        checkpoint = ck.Checkpoint.unread(self.folder, config, shards, self.sizes)
        headers = each(self._header, shards, WORKERS)
        checkpoint = checkpoint.with_headers(headers, self.repo_id)
        published = checkpoint.fingerprint_of(self._ids(shards), headers)
        checkpoint = checkpoint.known_as(Identity(published=published))
        sizes = {name: self.sizes[name] or 0 for name in self._needed(shards)}
        blobs = {name: self.blobs[name] for name in sizes}
        files = HubFiles(
            repo_id=self.repo_id,
            revision=self.revision,
            commit=self.commit,
            sizes=sizes,
            blobs=blobs,
        )
        return RemoteCheckpoint(checkpoint, files)

    def _ids(self, shards: list[str]) -> list[str]:
        """Return what the hub calls the contents of each shard; without that, by the commit."""
        ids = [self.blobs[name] for name in shards]
        return ids if all(ids) else [f"{self.commit} {name}" for name in shards]

    def _config(self) -> dict[str, Any] | None:
        name = "config.json"
        return ck.parse_config(self._json(name)) if name in self.sizes else None

    def _shards(self) -> list[str]:
        if SINGLE_FILE in self.sizes:
            return [SINGLE_FILE]
        index = self._json(INDEX_FILE) if INDEX_FILE in self.sizes else None
        return choose_shards(self.sizes, index, self.repo_id, _DAMAGED)

    def _needed(self, shards: list[str]) -> Iterator[str]:
        """Yield the files to download: the shards, and the small ones that describe the model."""
        yield from shards
        for name, size in self.sizes.items():
            small = name.endswith(".json") and "/" not in name and (size or 0) <= SMALL_JSON
            if small or name in ("config.json", INDEX_FILE):
                yield name

    def _json(self, name: str) -> bytes:
        size = self.sizes[name]
        if size is not None and size > MAX_REMOTE_JSON:
            message = f"{name} is too large for a file of its kind ({size:,} bytes)."
            raise CheckpointError(message, _DAMAGED, field="model")
        return self._bytes(name, 0, MAX_REMOTE_JSON if size is None else size, whole=True)

    def _header(self, name: str) -> ck.Header:
        """Return the header of one shard."""
        size = self.sizes[name]
        head = self._bytes(name, 0, min(FIRST_READ, FIRST_READ if size is None else size))
        try:
            end = 8 + header_length(head[:8], name, size)
            self._headers.add(end)
            if end > len(head):
                head += self._bytes(name, len(head), end)
            tensors = ck.parse_header(head[8:end], str(self.folder / name), size)
            return ck.Header(tensors=tensors, digest=hashlib.sha256(head[8:end]).hexdigest())
        except CheckpointError as exc:
            raise CheckpointError(exc.message, _DAMAGED, field="model") from None

    def _bytes(self, name: str, start: int, end: int, *, whole: bool = False) -> bytes:
        """Bytes [start, end) of a file, from the cache where it is there; fewer at its end.

        Those of a `whole` file must be what the hub announced.
        """
        if end <= start:
            return b""
        if is_as_announced(self.folder, name, self.blobs[name]):
            with contextlib.suppress(OSError), open_regular(self.folder / name) as file:
                raw = unbuffered(file)
                raw.seek(start)
                return next_bytes(raw, end - start)
        data = self.patience.ask(
            lambda: within(lambda: self._fetch(name, start, end), end - start, 3 * _timeout())
        )
        if whole and self.blobs[name] and not is_blob(data, self.blobs[name]):
            raise not_the_file(name)
        return data

    def _fetch(self, name: str, start: int, end: int) -> bytes:
        from huggingface_hub import hf_hub_url

        signed = self._signed.pop(name, "")
        if signed:
            try:
                return self._get(name, signed, start, end)
            except Exception as exc:  # told apart by name: the client's classes differ by version
                if not is_refused(exc):
                    raise
        # Signed for an hour, and refused once it is over: the hub signs another one.
        return self._get(name, hf_hub_url(self.repo_id, name, revision=self.commit), start, end)

    def _get(self, name: str, url: str, start: int, end: int) -> bytes:
        from huggingface_hub import get_session
        from huggingface_hub.utils import (  # type: ignore[attr-defined]
            build_hf_headers,
            hf_raise_for_status,
        )

        headers = {**build_hf_headers(), "Range": f"bytes={start}-{end - 1}"}
        got = bytearray()
        with (
            bounded(Bounds(end + FIRST_READ, self.commit)),
            get_session().stream(
                "GET", url, headers=headers, timeout=_timeout(), follow_redirects=True
            ) as response,
        ):
            hf_raise_for_status(response)
            # The range may not be heeded; then the answer is the whole file.
            skip, least = start, 0
            if response.status_code == 206:
                skip = 0
                least = self._checked_range(name, response.headers, start)
                self._signed[name] = str(response.url)
            for chunk in response.iter_bytes():
                got += chunk
                if len(got) >= skip + end - start:
                    break
        if len(got) < min(least, end - start):  # an answer without a length
            raise CutShortError(urlsplit(url).hostname or "")
        return bytes(got[skip : skip + end - start])

    def _checked_range(self, name: str, headers: Mapping[str, str], start: int) -> int:
        """Return how many bytes a part has; raise HubError for one that begins elsewhere, or is of
        a file of another size."""
        first, last, size = range_in(headers)
        if first != start:
            raise not_a_hub()
        if self.sizes[name] is not None and size != self.sizes[name]:
            raise not_the_file(name)
        return last + 1 - start


def _timeout() -> float:
    """Seconds without an answer; HF_HUB_ETAG_TIMEOUT sets it as for every look-up."""
    from huggingface_hub import constants

    return float(constants.HF_HUB_ETAG_TIMEOUT)
