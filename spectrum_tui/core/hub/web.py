"""A model in a folder on the web: any https server that gives ranges of files.

A server cannot be asked what a folder holds, so that config.json and either model.safetensors or
its index must be there. Nothing signs an address, and no token is sent.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from spectrum_tui.core.checkpoint import headers as ck
from spectrum_tui.core.checkpoint.identity import Identity
from spectrum_tui.core.checkpoint.shards import INDEX_FILE, SINGLE_FILE, parse_index
from spectrum_tui.core.errors import CheckpointError, HubError, SpectrumError
from spectrum_tui.core.hub.errors import hush_client
from spectrum_tui.core.hub.guard import Bounds, bounded, check_downgrade, guard_client, is_hub
from spectrum_tui.core.hub.location import (
    MOST_HOPS,
    TIMEOUT,
    RemoteFile,
    headers_for,
)
from spectrum_tui.core.hub.outage import lost
from spectrum_tui.core.hub.patience import Patience, each
from spectrum_tui.core.hub.remote import FIRST_READ, MAX_REMOTE_JSON, WORKERS
from spectrum_tui.core.text import safe

_RANGE = re.compile(r"bytes 0-(\d{1,18})/(\d{1,18})")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
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
        f"{safe(url)} can be scanned without a download alone.",
        "Leave out --download, or download the folder yourself and give its path.",
        field="model",
    )


def web_name(url: str) -> str:
    """Return what a model at this address is called: the last part of its path."""
    parts = urlsplit(url)
    names = [part for part in unquote(parts.path).split("/") if part]
    return safe(names[-1]) if names else safe(parts.hostname or "model")


def read_web(url: str, patience: Patience | None = None) -> WebModel:
    """Describe the model in a folder on the web, by its headers.

    Raises HubError where the server does not give it, CheckpointError for a damaged model, and for
    an address without encryption or with a password in it.
    """
    guard_client()
    hush_client()
    asked = patience or Patience()

    def begin(address: str, count: int) -> Part | None:
        try:
            return asked.ask(lambda: _beginning(address, count))
        except SpectrumError:
            raise
        except Exception as exc:  # the client's classes differ by version
            raise lost(exc) from None

    return Folder(_checked(url), begin).read()


def check_seen(url: str) -> None:
    """Raise HubError for an address with characters that are not seen, or spaces."""
    if not url.isprintable() or " " in url:
        raise HubError(f"{url!r} is no usable address.", "Check it.", field="model")


def _checked(url: str) -> str:
    check_seen(url)
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise HubError("This is no usable address.", "Check it.", field="model") from None
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise HubError(
            f"{safe(parts.hostname or 'The address')} is given without encryption.",
            "Give an address that begins with https://.",
            field="model",
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise HubError(
            "A folder on the web is an address without user, password, ? and #.",
            "Give https://HOST/FOLDER.",
            field="model",
        )
    return f"{url.rstrip('/')}/"


@dataclass(frozen=True, slots=True)
class Part:
    """The beginning of a file: its bytes, and the size and tag of the whole."""

    data: bytes
    size: int
    tag: str


class Folder:
    """One folder that cannot be listed, by the beginnings of the files in it.

    `begin` returns that of the file at an address, at most so many bytes; None where there is none.
    """

    def __init__(self, base: str, begin: Callable[[str, int], Part | None]) -> None:
        self.base, self._at = base, begin

    def read(self) -> WebModel:
        """Return the model in it."""
        config = self._small("config.json")
        if config is None:
            raise self._lacks("config.json")
        single = self._begin(SINGLE_FILE, FIRST_READ)
        shards = [SINGLE_FILE] if single else self._indexed()
        parts = each(self._header, shards, WORKERS)
        files = {self._url(name): part[1] for name, part in zip(shards, parts, strict=True)}
        found = [header for header, _ in parts]
        read = ck.parse_config(config)
        checkpoint = ck.Checkpoint.unread(Path(web_name(self.base)), read, shards, (INDEX_FILE,))
        checkpoint = checkpoint.with_headers(found, safe(self.base))
        ids = [f"{file.size} {file.tag or self.base}" for file in files.values()]
        published = checkpoint.fingerprint_of(ids, found)
        return WebModel(checkpoint.known_as(Identity(published=published)), files)

    def _indexed(self) -> list[str]:
        index = self._small(INDEX_FILE)
        if index is None:
            raise self._lacks(f"{SINGLE_FILE} and {INDEX_FILE}")
        return parse_index(index, INDEX_FILE)

    def _header(self, name: str) -> tuple[ck.Header, RemoteFile]:
        part = self._begin(name, FIRST_READ)
        if part is None:
            raise self._lacks(name)
        end = 8 + ck.header_length(part.data[:8], name, part.size)
        if end > len(part.data):
            part = self._begin(name, end) or part
        url = self._url(name)
        blob = part.data[8:end]
        digest = hashlib.sha256(blob).hexdigest()
        header = ck.Header(tensors=ck.parse_header(blob, url, part.size), digest=digest)
        return header, RemoteFile(
            repo=safe(self.base), name=name, url=url, size=part.size, tag=part.tag
        )

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
        return self._at(self._url(name), count)

    def _url(self, name: str) -> str:
        return f"{self.base}{quote(name)}"

    def _lacks(self, name: str) -> CheckpointError:
        return CheckpointError(f"There is no {name} at {safe(self.base)}.", _NEEDED, field="model")


def _beginning(url: str, count: int) -> Part | None:
    for _ in range(MOST_HOPS):
        with bounded(Bounds(count)), _opened(url, count) as response:
            if response.is_redirect:
                target = urljoin(url, str(response.headers.get("location", "")))
                check_downgrade(url, target)
                url = target
                continue
            if response.status_code in (404, 410):
                return None
            given = _RANGE.fullmatch(response.headers.get("content-range", ""))
            if response.status_code != 206 or given is None:
                raise _refused(url, response)
            tag = response.headers.get("etag", "")
            return Part(b"".join(response.iter_raw()), int(given[2]), tag)
    raise HubError(
        f"{safe(urlsplit(url).hostname or '')} only sends on.",
        "Check the address.",
        field="model",
    )


@contextlib.contextmanager
def _opened(url: str, count: int) -> Iterator[Any]:
    from huggingface_hub import get_session

    headers = {**headers_for(url), "Range": f"bytes=0-{count - 1}"}
    with get_session().stream(
        "GET", url, headers=headers, timeout=TIMEOUT, follow_redirects=False
    ) as response:
        yield response


def _refused(url: str, response: Any) -> HubError:
    host = safe(urlsplit(url).hostname or "")
    if response.status_code == 200:
        return HubError(
            f"{host} answers a range with the whole file.",
            "Download the folder and give its path.",
            field="model",
        )
    return HubError(
        f"{host} does not give the model (HTTP {response.status_code}).",
        "Check the address, and whether it needs a login.",
        field="model",
    )
