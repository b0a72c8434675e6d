"""Where the bytes of a remote file are: the address that a hub signs for it, asked for once in its
life.

A hub answers a request for a large file with an address at another host that is valid for an hour.
It counts such requests (3,000 in 5 minutes without a token), while the other host counts nothing:
one request a range would keep a model of 90,000 tensors waiting for 90 minutes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from spectrum_tui.core.checkpoint.file_state import is_hex_id
from spectrum_tui.core.errors import ModelChangedError
from spectrum_tui.core.hub.cache import HubFiles
from spectrum_tui.core.hub.errors import not_a_hub
from spectrum_tui.core.hub.guard import Bounds, bounded, is_hub, within
from spectrum_tui.core.hub.http import MOST_HOPS, next_address, raise_for_status, request

LIFE = 50 * 60.0
"""Seconds after which a signed address is asked for anew; they are valid for 3,600."""

MOST_MOVES = 100
"""Times that one address may be given up for another: several threads may meet the same one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """One file of one commit of the repository `repo`, or in a folder on the web of that address.

    `url` is where it is asked for, `blob` its id on the hub (the SHA-256 of a large file; "" on the
    web), `tag` and `modified` the ETag and Last-Modified that it had on the web, "" without one.
    """

    repo: str
    name: str
    url: str
    size: int
    commit: str = ""
    blob: str = ""
    tag: str = ""
    modified: str = ""

    @property
    def on_hub(self) -> bool:
        """Whether it is of a commit on the hub, rather than in a folder on the web or a bucket."""
        return bool(self.commit)

    @property
    def is_unmarked(self) -> bool:
        """Whether nothing but its contents tells that a file is still the same."""
        return not (self.on_hub or self.tag or self.modified)

    @property
    def where(self) -> str:
        """Where it is, in the words of a provenance: the commit, or the folder's address."""
        return f"commit {self.commit[:12]}" if self.on_hub else self.repo.rstrip("/")

    @property
    def instead(self) -> str:
        """What helps where its server gives no usable ranges."""
        folder = "download the folder and give its path"
        return "download the model: --download" if self.on_hub else folder

    def is_marked(self, tag: str, modified: str) -> bool:
        """Return whether an answer with this ETag and Last-Modified is of this file: one that is
        not sent any more is not the same."""
        return tag == self.tag if self.tag else modified == (self.modified or modified)


def remote_files(files: HubFiles, names: Iterable[str]) -> dict[str, RemoteFile]:
    """Return the files of these names, by where they would lie on this machine: as their tensors
    name them."""
    from huggingface_hub import hf_hub_url

    def file(name: str) -> RemoteFile:
        url = hf_hub_url(files.repo_id, name, revision=files.commit)
        return RemoteFile(
            repo=files.repo_id,
            name=name,
            url=url,
            size=files.sizes[name],
            commit=files.commit,
            blob=files.blobs[name],
        )

    return {str(files.folder / name): file(name) for name in names}


@dataclass(frozen=True, slots=True)
class XetFile:
    """A file in the hub's store of chunks: its hash there, and where the hub lets one in."""

    hash: str
    route: str


class Location:
    """The address of one file, for all threads that read it.

    `xet` is the same file in the store of chunks, where the hub has one, once `url` was asked for.
    """

    def __init__(self, file: RemoteFile) -> None:
        self.file = file
        self._lock = threading.Lock()
        self._url = ""
        self._until = 0.0
        self._moves = 0
        self.xet: XetFile | None = None

    def url(self) -> str:
        """Return the address to read from; asks the hub where none is known or its time is up.

        Raises ModelChangedError where the hub announces another file than it did, HubError, and
        what the HTTP client raises.
        """
        with self._lock:
            if not self._url or time.monotonic() > self._until:
                self._moves = 0
                self._url = self._resolved()
                self._until = time.monotonic() + LIFE
            return self._url

    @property
    def known(self) -> str:
        """The address to read from, where nobody needs to be asked for it; else ""."""
        return "" if time.monotonic() > self._until else self._url

    @property
    def host(self) -> str:
        """The host that is read from, or where its address is asked for."""
        return urlsplit(self._url or self.file.url).hostname or ""

    def move(self, url: str, target: str) -> bool:
        """Take the address that a server sends on to; False after too many of them."""
        with self._lock:
            self._moves += 1
            if self._url == url:
                self._url = target
            return self._moves <= MOST_MOVES

    def forget(self, url: str) -> None:
        """Ask for another address at the next read: this one is not valid any more."""
        with self._lock:
            if self._url == url:
                self._url = ""

    def _resolved(self) -> str:
        url = self.file.url
        for _ in range(MOST_HOPS):
            response = self._ask(url)
            announced = "x-linked-etag" in response.headers
            if announced:
                self.xet = _xet_of(response)
            if not response.has_redirect_location:
                if self.file.blob and not announced:
                    raise not_a_hub()
                return url
            target = next_address(url, response)
            if announced:
                return target
            url = target
        raise not_a_hub()

    def _ask(self, url: str) -> Any:
        """Return the answer of a hub; the guard raises where it announces another file."""
        file = self.file

        def ask() -> Any:
            with bounded(Bounds(file.size, file.commit, file.blob)):
                return request("HEAD", url)

        response = within(ask)  # all threads that read the file wait for this one
        if response.is_error:
            raise_for_status(response)
        return response


def _xet_of(response: Any) -> XetFile | None:
    """Return where else the hub has a file, as far as the guard has left that in its answer."""
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        parse_xet_file_data_from_response,
    )

    found = parse_xet_file_data_from_response(response)
    if found is None or len(found.file_hash) != 64 or not is_hex_id(found.file_hash):
        return None
    return XetFile(found.file_hash, found.refresh_route) if is_hub(found.refresh_route) else None


class WebLocation(Location):
    """The address of a file in a folder on the web, which signs nothing: each range tells whether
    it still is that file."""

    def _resolved(self) -> str:
        return self.file.url


def changed_there(file: RemoteFile) -> ModelChangedError:
    """Return the error for a file that is not the one that was inspected any more."""
    return ModelChangedError(
        f"{file.name} has changed on its server since the model was inspected.",
        "Scan again; no score mixes old and new files.",
        field="model",
    )
