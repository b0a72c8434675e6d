"""Ranges of remote files: read again where a connection breaks off, as long as that may help.

What can be checked of a range is: that it is one (206, its first and last byte, the file's size),
and that it is of the file that was inspected (the hub announces its hash whenever it signs an
address, a folder on the web its ETag, or else its Last-Modified). The hash of the whole file cannot
be.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from spectrum_tui.core.errors import HubError, SpectrumError
from spectrum_tui.core.hub.attended import Attempt, Pace, StalledError, attended, attended_pieces
from spectrum_tui.core.hub.errors import (
    PASSING,
    RateLimitedError,
    may_pass_later,
    not_a_hub,
    refuses,
    translate,
)
from spectrum_tui.core.hub.guard import Bounds, bounded, guard_client
from spectrum_tui.core.hub.http import (
    TIMEOUT,
    headers_for,
    next_address,
    raise_for_status,
    range_in,
)
from spectrum_tui.core.hub.location import Location, RemoteFile, WebLocation, changed_there
from spectrum_tui.core.hub.outage import given_up, lost
from spectrum_tui.core.hub.reader import NoRangesError, Reader
from spectrum_tui.core.hub.xet import XetError, XetStore
from spectrum_tui.core.text import safe

MOST_ANEW = 4
"""How often a file that comes without ranges is begun: who cuts each answer never ends."""

_GONE = (404, 410)
_ERROR_SHOWN = 200


class _ExpiredError(Exception):
    """An address that is refused and may have been good before; `response` says how."""

    def __init__(self, response: Any) -> None:
        super().__init__()
        self.response = response


class RangeReader(Reader):
    """The values of files on the hub, or in a folder on the web."""

    def __init__(
        self,
        files: Mapping[str, RemoteFile],
        *,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        guard_client()
        super().__init__(files, check=check)
        self._places = {
            name: (Location if file.on_hub else WebLocation)(file) for name, file in files.items()
        }
        self.xet = XetStore()
        self._gives_ranges: bool | None = None
        self._asking = threading.Lock()

    def _fetch(self, name: str, start: int, buffer: memoryview) -> None:
        _Range(self, self._places[name], start, buffer).fill()

    def gives_ranges(self) -> bool:
        """Return whether the server of the first file gives ranges; asks for one byte of it, the
        first time."""
        with self._asking:
            if self._gives_ranges is None:
                self._gives_ranges = self._gives_one()
            return self._gives_ranges

    def _gives_one(self) -> bool:
        try:
            for name in list(self._places)[:1]:
                self.fetch(name, 0, memoryview(bytearray(1)))
        except NoRangesError:
            return False
        return True

    def fetch_whole(self, name: str, write: Callable[[Iterator[bytes]], object]) -> None:
        """Have a whole file written, by its pieces; from the start again where the connection
        breaks off, `MOST_ANEW` times at the most."""
        with self._ends_all():
            self._fetch_whole(name, write)

    def _fetch_whole(self, name: str, write: Callable[[Iterator[bytes]], object]) -> None:
        place, waits, expired = self._places[name], self.outage.waits(), False
        for left in reversed(range(MOST_ANEW)):
            self.outage.hold()
            try:
                write(attended_pieces(partial(self._whole, place), self.outage.check, place.host))
                return
            except RateLimitedError as exc:
                self.outage.limited(exc, waits)
            except SpectrumError:
                raise
            except Exception as exc:
                if isinstance(exc, OSError) and not isinstance(exc, TimeoutError):
                    raise  # of the disk
                if isinstance(exc, _ExpiredError) and left and not expired:
                    expired = True
                    continue
                if not may_pass_later(exc):
                    raise lost(exc) from None
                if not left:
                    raise given_up(lost(exc)) from None
                self.outage.wait(exc, waits)
        raise given_up(lost(StalledError(place.host)))

    def _whole(self, place: Location) -> Iterator[bytes]:
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
                if _may_have_expired(file, url, response.status_code):
                    raise _ExpiredError(response)
                raise_for_status(response)
                raise not_a_hub()
            _check_mark(file, response)
            pace, got = Pace(), 0
            for piece in response.iter_raw():
                got += len(piece)
                self.came(len(piece))
                if pace.moved(got):
                    self.outage.over()
                yield piece

    def close(self) -> None:
        """End what is under way for reads that nobody waits for."""
        self.xet.close()


class _Range:
    """One range on its way into a buffer."""

    def __init__(
        self, reader: RangeReader, place: Location, start: int, buffer: memoryview
    ) -> None:
        self._reader, self._place, self._start, self._buffer = reader, place, start, buffer
        self._got = 0
        self._refused = False
        self._pace, self._progress = Pace(), 0

    def fill(self) -> None:
        """Ask until all of it is there."""
        outage, wait = self._reader.outage, self._reader.outage.waits()
        while self._got < len(self._buffer):
            progress = self._progress
            outage.hold()
            try:
                self._ask()
            except RateLimitedError as exc:
                outage.limited(exc, wait)
            except XetError as exc:
                self._reader.xet.leave(exc)
            except SpectrumError:
                raise
            except Exception as exc:
                self._after(exc, wait)
            if self._progress > progress:
                wait = outage.waits()
        outage.over()

    def _after(self, exc: Exception, wait: Iterator[float]) -> None:
        """Wait where the failure may pass; raise what it means otherwise."""
        if "certificate" in str(exc).lower():
            raise lost(exc) from None
        if not may_pass_later(exc):
            file = self._place.file
            raise (translate(exc, file.repo, file.commit) if file.on_hub else lost(exc)) from None
        self._reader.outage.wait(exc, wait)

    def _ask(self) -> None:
        """Ask once for what is not there yet; raises XetError where it should have come from the
        store of chunks and did not."""
        place, check = self._place, self._reader.outage.check
        url = place.known or attended(lambda attempt: place.url(), check, place.host)
        first, end = self._start + self._got, self._start + len(self._buffer)
        begun, got = time.monotonic(), self._got
        self._reader.asked()
        store, xet = self._reader.xet, place.xet
        by_xet = xet is not None and store.gives(end - first)
        if xet is not None and by_xet:
            pieces = store.pieces(xet, place.file.size, first, end)
            try:
                attended(partial(self._take, pieces), check, place.host)
            except StalledError:
                raise XetError("it sends nothing") from None
        else:
            attended(partial(self._plain, url, first, end - 1), check, place.host)
        store.took(self._got - got, time.monotonic() - begun, by_xet=by_xet)

    def _plain(self, url: str, first: int, last: int, attempt: Attempt) -> None:
        file = self._place.file
        headers = {**headers_for(url), "Range": f"bytes={first}-{last}"}
        with (
            bounded(Bounds(last + 1 - first, file.commit)),
            _client().stream(
                "GET", url, headers=headers, timeout=TIMEOUT, follow_redirects=False
            ) as response,
        ):
            if response.has_redirect_location:
                self._moved(url, response)
            elif response.status_code != 206:
                self._refuse(url, response)
            else:
                self._check(url, response, first, last)
                # As it comes: what is gathered is lost with a cut.
                self._take(response.iter_raw(), attempt)

    def _moved(self, url: str, response: Any) -> None:
        file = self._place.file
        announced = response.headers.get("x-linked-etag", "").strip('"')
        if file.blob and url == file.url and announced != file.blob:
            raise not_a_hub()
        target = next_address(url, response)
        if not self._place.move(url, target):
            raise _odd(file, url, "sends on in circles")

    def _refuse(self, url: str, response: Any) -> None:
        """Raise what an answer without the range means; an address that may have expired is asked
        for anew, once."""
        status, file = response.status_code, self._place.file
        if status == 200:
            raise NoRangesError(
                f"{safe(urlsplit(url).hostname or '')} answers a range with the whole file.",
                f"Instead, {file.instead}.",
                field="model",
            )
        if status == 416:
            raise changed_there(file)
        if status in PASSING or (url == file.url and file.on_hub):  # the latter: the hub itself
            raise_for_status(response)
        if url == file.url and status in _GONE:
            raise changed_there(file)
        if self._refused or not _may_have_expired(file, url, status):
            raise self._said(url, response)
        self._refused = True
        self._place.forget(url)

    def _said(self, url: str, response: Any) -> HubError:
        """Return the error with what the server says about it, which is data."""
        response.read()
        text = " ".join(safe(response.text).split())[:_ERROR_SHOWN]
        host = safe(urlsplit(url).hostname or "")
        said = f": {text}" if text else "."
        return HubError(
            f"{host} refuses {self._place.file.name} (HTTP {response.status_code}){said}",
            f"Try again later, or {self._place.file.instead}.",
            field="model",
        )

    def _check(self, url: str, response: Any, first: int, last: int) -> None:
        """Raise for a range other than the one that was asked for, or of another file."""
        file = self._place.file
        *given, size = range_in(response.headers)
        length = response.headers.get("content-length", str(last + 1 - first))
        if size < 0 or length != str(last + 1 - first):
            raise _odd(file, url, "does not give the range that it was asked for")
        if given != [first, last]:
            raise _odd(file, url, "gives another range than it was asked for")
        if size != file.size:
            raise changed_there(file)
        _check_mark(file, response)

    def _take(self, pieces: Iterator[bytes], attempt: Attempt) -> None:
        """Copy what comes; raises StalledError where less comes than was announced."""
        for piece in pieces:
            attempt.came(len(piece), partial(self._copy, piece))
        if self._got < len(self._buffer):
            raise StalledError(self._place.host)

    def _copy(self, piece: bytes) -> None:
        end = self._got + len(piece)
        self._buffer[self._got : end] = piece
        self._got = end
        self._refused = False
        self._reader.came(len(piece))
        if self._pace.moved(self._got):
            self._progress += 1
            self._reader.outage.over()


def _may_have_expired(file: RemoteFile, url: str, status: int) -> bool:
    """Return whether an answer may mean that an address is over; a file's own one is not signed."""
    return url != file.url and refuses(status)


def _odd(file: RemoteFile, url: str, what: str) -> HubError:
    """Return the error for a server whose answers cannot be used, by its own name."""
    return HubError(
        f"{safe(urlsplit(url).hostname or 'The server')} {what}.",
        f"Try again later, or {file.instead}.",
        field="model",
    )


def _check_mark(file: RemoteFile, response: Any) -> None:
    headers = response.headers
    if not file.is_marked(headers.get("etag", ""), headers.get("last-modified", "")):
        raise changed_there(file)


def _client() -> Any:
    from huggingface_hub import get_session

    return get_session()
