"""Ranges of remote files: read again where a connection breaks off, as long as that may help.

What can be checked of a range is: that it is one (206, its first and last byte, the file's size),
and that it is of the file that was inspected (the hub announces its hash whenever it signs an
address, a folder on the web its ETag, or else its Last-Modified). The hash of the whole file cannot
be.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from spectrum_tui.core.checkpoint.headers import Tensor
from spectrum_tui.core.checkpoint.sources import Pieces
from spectrum_tui.core.errors import HubError, SpectrumError
from spectrum_tui.core.hub.errors import RateLimitedError, named_wait, not_a_hub, translate
from spectrum_tui.core.hub.guard import Bounds, bounded, check_downgrade, guard_client
from spectrum_tui.core.hub.location import (
    TIMEOUT,
    Location,
    RemoteFile,
    WebLocation,
    changed_there,
    headers_for,
    raise_for_status,
)
from spectrum_tui.core.hub.outage import Outage, lost
from spectrum_tui.core.text import safe

SLOWEST = 1_000
"""Bytes a second below which a connection counts as stalled."""

MOST_ANEW = 4
"""How often a file that comes without ranges is begun: who cuts each answer never ends."""

_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_PASSING = (408, 500, 502, 503, 504)
_REFUSED = (401, 403, 410)
_ERROR_SHOWN = 200


class NoRangesError(HubError):
    """A server that answers a range with the whole file."""


class StalledError(TimeoutError):
    """A connection over which almost nothing comes."""


@dataclass
class Traffic:
    """What has come over the network: bytes, and requests for ranges."""

    nbytes: int = 0
    requests: int = 0


class RangeReader:
    """The values of remote files, `files` by the names in `Tensor.file`; used by many threads.

    `check` is called ten times a second while the network is waited for (`outage.reason`), and
    ends the wait by raising. Raises HubError where it is of no use to go on, and
    ModelChangedError for a file that is not the one that was inspected.
    """

    def __init__(
        self,
        files: Mapping[str, RemoteFile],
        *,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        guard_client()
        self._places = {
            name: (Location if file.commit else WebLocation)(file) for name, file in files.items()
        }
        self.files = frozenset(files)
        self.outage = Outage(check=check)
        self.traffic = Traffic()
        self._gives_ranges: bool | None = None
        self._lock = threading.Lock()

    def read_into(self, tensor: Tensor, pieces: Pieces) -> None:
        """Fill each buffer from its offset in the tensor's file, a request for each."""
        for buffer, offset in pieces:
            self.fetch(tensor.file, offset, buffer)

    def fetch(self, file: str, start: int, buffer: memoryview) -> None:
        """Fill the buffer from byte `start` of a file; a range that breaks off goes on where it
        did."""
        place = self._places[file]
        if start + len(buffer) > place.file.size:
            raise changed_there(place.file)
        _Range(self, place, start, buffer).fill()

    def gives_ranges(self) -> bool:
        """Return whether the server of the first file gives ranges; asks for one byte of it, the
        first time."""
        if self._gives_ranges is None:
            self._gives_ranges = True
            try:
                for name in list(self._places)[:1]:
                    self.fetch(name, 0, memoryview(bytearray(1)))
            except NoRangesError:
                self._gives_ranges = False
        return self._gives_ranges

    def fetch_whole(self, name: str, write: Callable[[Iterator[bytes]], object]) -> None:
        """Have a whole file written, by its pieces; from the start again where the connection
        breaks off, `MOST_ANEW` times at the most."""
        place, waits = self._places[name], self.outage.waits()
        for left in reversed(range(MOST_ANEW)):
            self.outage.hold()
            try:
                return self._whole(place, write)
            except RateLimitedError as exc:
                self.outage.limited(exc, waits)
            except SpectrumError:
                raise
            except OSError:  # of the disk
                raise
            except Exception as exc:
                if not left or not _may_pass(exc):
                    raise lost(exc) from None
                self.outage.wait(exc, waits)
        raise lost(StalledError())

    def _whole(self, place: Location, write: Callable[[Iterator[bytes]], object]) -> None:
        url, file = place.url(), place.file
        self.asked()
        with (
            bounded(Bounds(file.size, file.commit)),
            _client().stream(
                "GET", url, headers=headers_for(url), timeout=TIMEOUT, follow_redirects=False
            ) as response,
        ):
            if response.status_code != 200:
                place.forget(url)
                raise_for_status(response)
                raise not_a_hub()
            _check_mark(file, response)
            write(self._counted(response.iter_raw()))

    def _counted(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.came(len(piece))
            yield piece

    def file(self, name: str) -> RemoteFile:
        """Return what is known of a file, by its name in `Tensor.file`."""
        return self._places[name].file

    def resolves(self) -> int:
        """Return how often addresses of files were asked for."""
        return sum(place.resolves for place in self._places.values())

    def came(self, count: int) -> None:
        """Count bytes from the network."""
        with self._lock:
            self.traffic.nbytes += count
        self.outage.over()

    def asked(self) -> None:
        """Count a request for a range."""
        with self._lock:
            self.traffic.requests += 1


class _Range:
    """One range on its way into a buffer."""

    def __init__(
        self, reader: RangeReader, place: Location, start: int, buffer: memoryview
    ) -> None:
        self._reader, self._place, self._start, self._buffer = reader, place, start, buffer
        self._got = 0
        self._refused = False

    def fill(self) -> None:
        """Ask until all of it is there."""
        wait = self._reader.outage.waits()
        while self._got < len(self._buffer):
            before = self._got
            self._reader.outage.hold()
            try:
                self._ask()
            except RateLimitedError as exc:
                self._reader.outage.limited(exc, wait)
            except SpectrumError:
                raise
            except Exception as exc:
                self._after(exc, wait)
            if self._got > before:
                wait = self._reader.outage.waits()

    def _after(self, exc: Exception, wait: Iterator[float]) -> None:
        """Wait where the failure may pass; raise what it means otherwise."""
        if "certificate" in str(exc).lower():
            raise lost(exc) from None
        if not _may_pass(exc):
            raise translate(exc, self._place.file.repo, self._place.file.commit) from None
        self._reader.outage.wait(exc, wait)

    def _ask(self) -> None:
        file, first = self._place.file, self._start + self._got
        last = self._start + len(self._buffer) - 1
        url = self._place.url()
        headers = {**headers_for(url), "Range": f"bytes={first}-{last}"}
        self._reader.asked()
        with (
            bounded(Bounds(last + 1 - first, file.commit)),
            _client().stream(
                "GET", url, headers=headers, timeout=TIMEOUT, follow_redirects=False
            ) as response,
        ):
            if response.is_redirect:
                self._moved(url, response)
            elif response.status_code != 206:
                self._refuse(url, response)
            else:
                self._check(response, first, last)
                self._take(response)

    def _moved(self, url: str, response: Any) -> None:
        file = self._place.file
        announced = response.headers.get("x-linked-etag", "").strip('"')
        if file.blob and url == file.url and announced != file.blob:
            raise not_a_hub()
        target = urljoin(url, response.headers.get("location", ""))
        check_downgrade(url, target)
        if not self._place.move(url, target):
            raise not_a_hub()

    def _refuse(self, url: str, response: Any) -> None:
        """Raise what an answer without the range means; an address that may have expired is asked
        for anew, once."""
        status, file = response.status_code, self._place.file
        if status == 200:
            raise NoRangesError(
                f"{safe(urlsplit(url).hostname or '')} answers a range with the whole file.",
                "Download the model instead: --download.",
                field="model",
            )
        if status == 416:
            raise changed_there(file)
        if status in _PASSING:
            seconds = named_wait(response.headers)
            if seconds < float("inf"):
                raise RateLimitedError(seconds)
            raise_for_status(response)
        if url == file.url and file.commit:  # the hub itself
            raise_for_status(response)
        if self._refused or status not in _REFUSED:
            raise self._said(url, response)
        self._refused = True
        self._place.forget(url)

    def _said(self, url: str, response: Any) -> HubError:
        """Return the error with what the server says about it, which is data."""
        response.read()
        text = " ".join(safe(response.text).split())[:_ERROR_SHOWN]
        host = safe(urlsplit(url).hostname or "")
        said = f": {text}" if text else ""
        return HubError(
            f"{host} refuses {self._place.file.name} (HTTP {response.status_code}){said}",
            "Try again later, or download the model.",
            field="model",
        )

    def _check(self, response: Any, first: int, last: int) -> None:
        """Raise for a range other than the one that was asked for, or of another file."""
        file = self._place.file
        given = _RANGE.fullmatch(response.headers.get("content-range", ""))
        length = response.headers.get("content-length", str(last + 1 - first))
        if given is None or length != str(last + 1 - first):
            raise not_a_hub()
        if (int(given[1]), int(given[2])) != (first, last):
            raise not_a_hub()
        if int(given[3]) != file.size:
            raise changed_there(file)
        _check_mark(file, response)

    def _take(self, response: Any) -> None:
        """Copy what comes; raises StalledError for a connection that does not get on."""
        since, seen = time.monotonic(), self._got
        for piece in response.iter_raw():  # as it comes: what is gathered is lost with a cut
            end = self._got + len(piece)
            self._buffer[self._got : end] = piece
            self._got = end
            self._refused = False
            self._reader.came(len(piece))
            now = time.monotonic()
            if now - since > TIMEOUT:
                if self._got - seen < SLOWEST * TIMEOUT:
                    raise StalledError
                since, seen = now, self._got


def _check_mark(file: RemoteFile, response: Any) -> None:
    headers = response.headers
    if not file.is_marked(headers.get("etag", ""), headers.get("last-modified", "")):
        raise changed_there(file)


def _client() -> Any:
    from huggingface_hub import get_session

    return get_session()


def _may_pass(exc: Exception) -> bool:
    """Return whether the same request may well succeed later: a server error, a cut connection, a
    network that is away."""
    names = {cls.__name__ for cls in type(exc).__mro__}
    if "LocalProtocolError" in names or "UnsupportedProtocol" in names:
        return False
    if isinstance(exc, RuntimeError) and "closed" in str(exc):
        return True  # the client, by the hub's library after an error elsewhere: there is a new one
    status = getattr(getattr(exc, "response", None), "status_code", 0)
    return bool(status in _PASSING or names & {"TransportError", "TimeoutError"})
