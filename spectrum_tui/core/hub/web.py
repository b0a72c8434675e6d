"""A model in a folder on the web: any https server that gives ranges of files.

A server cannot be asked what a folder holds, so that config.json and either model.safetensors or
its index must be there. Nothing signs an address, and no token is sent.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit
from zlib import crc32

from spectrum_tui.core.checkpoint import headers as ck
from spectrum_tui.core.checkpoint.heads import header_length
from spectrum_tui.core.checkpoint.identity import Identity
from spectrum_tui.core.checkpoint.shards import INDEX_FILE, SINGLE_FILE, parse_index
from spectrum_tui.core.errors import CheckpointError, HubError, SpectrumError
from spectrum_tui.core.hub.attended import Attempt, attended
from spectrum_tui.core.hub.errors import PASSING, CutShortError
from spectrum_tui.core.hub.guard import Bounds, bounded, guard_client, is_hub
from spectrum_tui.core.hub.http import (
    LOOPBACK,
    MOST_HOPS,
    TIMEOUT,
    headers_for,
    next_address,
    raise_for_status,
    range_in,
)
from spectrum_tui.core.hub.location import RemoteFile, changed_there
from spectrum_tui.core.hub.names import hush_client
from spectrum_tui.core.hub.outage import lost
from spectrum_tui.core.hub.patience import Patience
from spectrum_tui.core.hub.remote import FIRST_READ, MAX_REMOTE_JSON, WORKERS, HeaderBytes
from spectrum_tui.core.text import safe, shortened
from spectrum_tui.core.together import each

SAMPLES = 64
"""Samples of a model's values: 8 at once take 0.4 s where an answer takes 50 ms."""

SAMPLE = 8192
"""Bytes of each, around the end of a tensor."""

MOST_OF_NAME = 96
"""Characters of a name: as many as the hub allows."""

_NEEDED = "It must hold config.json, and model.safetensors or model.safetensors.index.json."


@dataclass(frozen=True)
class WebModel:
    """A model on the web, described by its headers; `files` by the names in `Tensor.file`."""

    checkpoint: ck.Checkpoint
    files: Mapping[str, RemoteFile]


def is_web_folder(model: str) -> bool:
    """Return whether what was typed is an address, other than of a page of the hub."""
    return model.lower().startswith(("https://", "http://")) and not is_hub(model)


def not_downloaded(url: str) -> HubError:
    """Return the error for a folder on the web that is to be downloaded."""
    return HubError(
        f"{safe(url)} can be scanned only without a download.",
        "Leave out --download, or download the folder yourself and give its path.",
        field="model",
    )


def web_name(url: str) -> str:
    """Return what a model at this address is called: the last part of its path, which is never read
    as a path on this machine."""
    parts = urlsplit(url)
    names = (part.strip().lstrip(".~") for part in unquote(parts.path).split("/"))
    name = next(filter(None, reversed([*names])), parts.hostname or "model")
    return shortened(safe(name), MOST_OF_NAME)


def read_web(url: str, patience: Patience | None = None) -> WebModel:
    """Describe the model in a folder on the web, by its headers.

    Raises HubError where the server does not give it, CheckpointError for a damaged model, and for
    an address without encryption or with a password in it.
    """
    guard_client()
    hush_client()
    asked = patience or Patience()

    def part(address: str, start: int, end: int) -> Part | None:
        try:
            work = partial(_part, address, start, end)
            return asked.ask(lambda: attended(work, asked.check, _host(address)))
        except SpectrumError:
            raise
        except Exception as exc:  # the client's classes differ by version
            raise lost(exc) from None

    return Folder(_checked(url), part).read()


def check_address(url: str) -> SplitResult:
    """Return the parts of an address; raise HubError for one with a password or a signature in it,
    which is not quoted, or with characters that are not seen."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise HubError("This is no usable address.", "Check it.", field="model") from None
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise HubError(
            "A folder on the web or in a bucket is an address without user, password, ? and #.",
            "Give https://HOST/FOLDER or s3://BUCKET/FOLDER.",
            field="model",
        )
    if not url.isprintable() or " " in url or not parts.hostname:
        raise HubError(f"{url!r} is no usable address.", "Check it.", field="model")
    return parts


def _checked(url: str) -> str:
    parts = check_address(url)
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise HubError(
            f"{safe(parts.hostname or 'The address')} is given without encryption.",
            "Give an address that begins with https://.",
            field="model",
        )
    return f"{url.rstrip('/')}/"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a file: its bytes, and the size, ETag and Last-Modified of the whole."""

    data: bytes
    size: int
    tag: str
    modified: str


@dataclass(frozen=True, slots=True)
class _Shard:
    """A shard's header, the file, and a hash of the values that came with the header."""

    header: ck.Header
    file: RemoteFile
    values: str


class Folder:
    """One folder that cannot be listed, by parts of the files in it.

    `part` returns bytes [start, end) of the file at an address, fewer at its end; None where there
    is no such file.
    """

    def __init__(self, base: str, part: Callable[[str, int, int], Part | None]) -> None:
        self.base, self._at = base, part
        self._headers = HeaderBytes(safe(base), "Check the address.")

    def read(self) -> WebModel:
        """Return the model in it."""
        config = self._small("config.json")
        if config is None:
            raise self._lacks("config.json")
        single = self._begin(SINGLE_FILE, FIRST_READ)
        shards = [SINGLE_FILE] if single else self._indexed()
        read_shards = each(self._shard, shards, WORKERS)
        found = [shard.header for shard in read_shards]
        read = ck.parse_config(config)
        checkpoint = ck.Checkpoint.unread(Path(web_name(self.base)), read, shards, (INDEX_FILE,))
        checkpoint = checkpoint.with_headers(found, safe(self.base))
        published = checkpoint.fingerprint_of(self._ids(read_shards), found)
        files = {shard.file.url: shard.file for shard in read_shards}
        return WebModel(checkpoint.known_as(Identity(published=published)), files)

    def _ids(self, shards: Sequence[_Shard]) -> list[str]:
        """Return what tells the contents of each shard from others. An ETag alone does not: nginx
        makes it of time and size."""
        tensors = [tensor for shard in shards for tensor in shard.header.tensors]
        tensors = [tensor for tensor in tensors if tensor.end > FIRST_READ]
        # By chance, but the same ones each time: layers repeat in steps.
        tensors.sort(key=lambda tensor: (crc32(tensor.name.encode()), tensor.file, tensor.end))
        files = {shard.file.url: shard.file for shard in shards}
        tensors = tensors[:SAMPLES]
        samples = {url: hashlib.sha256() for url in files}
        work = partial(self._sample, files)
        for tensor, sample in zip(tensors, each(work, tensors, WORKERS), strict=True):
            samples[tensor.file].update(sample)
        return [
            f"{url} {shard.file.size} {shard.file.tag} {shard.file.modified} {shard.values} "
            f"{samples[url].hexdigest()}"
            for url, shard in zip(files, shards, strict=True)
        ]

    def _sample(self, files: Mapping[str, RemoteFile], tensor: ck.Tensor) -> bytes:
        """Return the end of a tensor, and the beginning of what follows in its file."""
        file = files[tensor.file]
        start, end = max(0, tensor.end - SAMPLE // 2), min(tensor.end + SAMPLE // 2, file.size)
        part = self._at(file.url, start, end)
        if part is None or part.size != file.size or not file.is_marked(part.tag, part.modified):
            raise changed_there(file)
        return part.data

    def _indexed(self) -> list[str]:
        index = self._small(INDEX_FILE)
        if index is None:
            raise self._lacks(f"{SINGLE_FILE} and {INDEX_FILE}")
        return parse_index(index, INDEX_FILE)

    def _shard(self, name: str) -> _Shard:
        part = self._begin(name, FIRST_READ)
        if part is None:
            raise self._lacks(name)
        end = 8 + header_length(part.data[:8], name, part.size)
        self._headers.add(end)
        if end > len(part.data):
            part = self._begin(name, end) or part
        url = self._url(name)
        blob = part.data[8:end]
        digest = hashlib.sha256(blob).hexdigest()
        header = ck.Header(tensors=ck.parse_header(blob, url, part.size), digest=digest)
        file = RemoteFile(
            repo=safe(self.base),
            name=name,
            url=url,
            size=part.size,
            tag=part.tag,
            modified=part.modified,
        )
        return _Shard(header, file, hashlib.sha256(part.data[end:]).hexdigest())

    def _small(self, name: str) -> bytes | None:
        """Return a whole file of JSON; None where there is none."""
        part = self._begin(name, MAX_REMOTE_JSON)
        if part is not None and part.size > len(part.data):
            raise CheckpointError(
                f"{name} is too large for a file of its kind ({part.size:,} bytes).",
                "Check the address.",
                field="model",
            )
        return None if part is None else part.data

    def _begin(self, name: str, count: int) -> Part | None:
        return self._at(self._url(name), 0, count)

    def _url(self, name: str) -> str:
        return f"{self.base}{quote(name)}"

    def _lacks(self, name: str) -> CheckpointError:
        return CheckpointError(f"There is no {name} at {safe(self.base)}.", _NEEDED, field="model")


def _part(url: str, start: int, end: int, attempt: Attempt) -> Part | None:
    for _ in range(MOST_HOPS):
        with bounded(Bounds(end - start)), _opened(url, start, end) as response:
            if response.has_redirect_location:
                url = next_address(url, response)
                continue
            if response.status_code in (404, 410):
                return None
            return _read(url, start, end, response, attempt)
    raise HubError(
        f"{safe(urlsplit(url).hostname or '')} only sends on.",
        "Check the address.",
        field="model",
    )


def _read(url: str, start: int, end: int, response: Any, attempt: Attempt) -> Part:
    """Return what an answer holds; raises HubError for one without bytes [start, end) of a file,
    and what may pass."""
    if response.status_code in PASSING:
        raise_for_status(response)
    headers = response.headers
    if response.status_code == 416 and start == 0:  # an empty file
        return Part(b"", 0, headers.get("etag", ""), headers.get("last-modified", ""))
    first, last, size = range_in(headers)
    if response.status_code != 206 or (first, last) != (start, min(end, size) - 1):
        raise _refused(url, response)
    data = bytearray()
    for piece in response.iter_raw():
        attempt.came(len(piece))
        data += piece
    if len(data) < last + 1 - first:  # an answer without a length
        raise CutShortError(_host(url))
    if len(data) > last + 1 - first:
        raise _refused(url, response)
    return Part(bytes(data), size, headers.get("etag", ""), headers.get("last-modified", ""))


@contextlib.contextmanager
def _opened(url: str, start: int, end: int) -> Iterator[Any]:
    from huggingface_hub import get_session

    headers = {**headers_for(url), "Range": f"bytes={start}-{end - 1}"}
    with get_session().stream(
        "GET", url, headers=headers, timeout=TIMEOUT, follow_redirects=False
    ) as response:
        yield response


def _host(url: str) -> str:
    return safe(urlsplit(url).hostname or "")


def _refused(url: str, response: Any) -> HubError:
    host = _host(url)
    if response.status_code == 200:
        return HubError(
            f"{host} answers a range with the whole file.",
            "Download the folder and give its path.",
            field="model",
        )
    if response.status_code == 206:
        return HubError(
            f"{host} does not give the range that it was asked for.",
            "Check the address and any proxy in between, or download the folder and give its path.",
            field="model",
        )
    refused = response.status_code in (401, 403)
    return HubError(
        f"{host} does not give the model (HTTP {response.status_code}).",
        "Such folders are read without a login: download this one and give its path."
        if refused
        else "Check the address.",
        field="model",
    )
