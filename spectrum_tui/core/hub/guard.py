"""Bounds on what a hub may answer, in the one HTTP client that every request goes through.

A hub is whoever HF_ENDPOINT names, or who answers in its place. The client's library trusts it: it
joins an ETag to the path of its cache, reads error bodies and pages without end, unpacks whatever
is packed, and waits as long as one byte a second comes. Here every answer is looked at before the
library sees it. Errors are `HubError`s, which the library neither retries nor hides.
"""

from __future__ import annotations

import contextlib
import math
import re
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

from spectrum_tui.core.checkpoint.file_state import is_hex_id
from spectrum_tui.core.errors import HubError
from spectrum_tui.core.hub.errors import (
    PASSING,
    RateLimitedError,
    named_wait,
    not_a_hub,
    not_the_file,
)
from spectrum_tui.core.hub.names import host, hush_client
from spectrum_tui.core.text import safe

T = TypeVar("T")

MAX_ANSWER = 32_000_000
"""Bytes of an answer that is no file; the list of a repository of 10,000 files has 3 MB."""

MAX_ERROR = 64_000
"""Bytes of an error's or redirect's body that are read; the rest is left where it is."""

LEAST_SECONDS = 30.0
BYTES_A_SECOND = 20_000
"""A request as a whole may take these seconds, and one more for each so many bytes of it."""

_CHECK_HUB = "Check HF_ENDPOINT, or try again later."
_PIECE = 1 << 16
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the answers to some requests may be.

    `most` bytes of a body once it is unpacked. Of a file also the `commit` it must be of, and the
    `blob` that was announced for it: its id in the cache, "" where nothing was announced. `seen`
    gets the bytes of each piece, and may end the request by raising.
    """

    most: int = MAX_ANSWER
    commit: str = ""
    blob: str = ""
    seen: Callable[[int], None] = lambda count: None


_bounds: ContextVar[Bounds] = ContextVar("_bounds", default=Bounds())  # noqa: B039 (frozen)


@contextlib.contextmanager
def bounded(bounds: Bounds) -> Iterator[None]:
    """Hold the requests of this thread to `bounds` within the block."""
    before = _bounds.set(bounds)
    try:
        yield
    finally:
        _bounds.reset(before)


def is_commit(text: str) -> bool:
    """Return whether `text` is the full name of a commit."""
    return _COMMIT.fullmatch(text) is not None


def within(request: Callable[[], T], nbytes: int = 0, patience: float = 0.0) -> T:
    """`request()`, or TimeoutError after the seconds that `nbytes` may take on a slow line.

    `patience` are seconds that the user allows at least. The request runs in a thread that is
    left behind then: silence, a byte a second and headers without end are not told to anyone.
    """
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(request())
        except BaseException as exc:  # of any kind: it crosses to the caller's thread
            answer.set_exception(exc)

    threading.Thread(target=run, name="hub-request", daemon=True).start()
    return answer.result(max(LEAST_SECONDS, patience) + nbytes / BYTES_A_SECOND)


@cache
def guard_client() -> None:
    """Put the bounds into the library's client, once, for all requests of this process."""
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    def guarded() -> Any:
        client = default_client_factory()
        hooks = client.event_hooks
        client.event_hooks = {
            "request": [*hooks["request"], _before_request],
            "response": [_on_answer, *hooks["response"]],
        }
        return client

    hush_client()
    set_client_factory(guarded)


def _before_request(request: Any) -> None:
    """Ask for plain bytes, which can be counted, and send the token to the hub alone."""
    request.headers["accept-encoding"] = "identity"
    if not is_hub(str(request.url)):
        request.headers.pop("authorization", None)


def is_hub(url: str) -> bool:
    """Return whether an address is of the host that the user chose, by the same or a safer
    protocol."""
    from huggingface_hub import constants

    try:
        hub, target = urlsplit(constants.ENDPOINT), urlsplit(url)
        same = (hub.scheme, hub.hostname, hub.port) == (target.scheme, target.hostname, target.port)
        safer = target.scheme == "https" and target.port in (None, 443)
        return same or (safer and hub.hostname == target.hostname)
    except ValueError:  # a port that is no number
        return False


def _on_answer(response: Any) -> None:
    """Check the head of an answer, and bound its body."""
    url = str(response.request.url)
    where = "" if is_hub(url) else urlsplit(url).hostname or ""
    _check_limit(response, where)
    if response.is_redirect and url.startswith("https:"):
        check_downgrade(url, urljoin(url, response.headers.get("location", "")))
    if "x-xet-cas-url" in response.headers:  # hf_xet takes http:// and local://FOLDER too
        check_downgrade(url, response.headers["x-xet-cas-url"])
    bounds = _bounds.get()
    _check_commit(response.headers, bounds)
    if response.request.method == "HEAD" and response.status_code < 400:
        _check_blob(response, bounds)
        _check_refresh(response)
    packed = response.headers.get("content-encoding", "identity").lower()
    if packed != "identity":
        # The library would unpack all that comes at once: 1.5 MB become 1.5 GB.
        for name in ("content-encoding", "content-length"):
            response.headers.pop(name, None)
    is_answer = 200 <= response.status_code < 300
    stream = _bounded_stream(type(response).__module__.partition(".")[0])
    response.stream = stream(response.stream, packed, bounds, where, cut=not is_answer)


def _check_limit(response: Any, where: str) -> None:
    """Raise RateLimitedError for an answer that asks to wait: the library would do that itself, in
    silence and for any time, or ask again at once."""
    status, seconds = response.status_code, named_wait(response.headers)
    if status == 429 or (status in PASSING and seconds < math.inf):
        raise RateLimitedError(seconds, where, status)


def check_downgrade(url: str, target: str) -> None:
    """Raise HubError where an address leads from https to anything else."""
    schemes = urlsplit(url).scheme, urlsplit(target).scheme
    if schemes[1] != "https" and schemes != ("http", "http"):
        raise HubError(
            f"{safe(urlsplit(url).hostname or '')} sends on to an address without encryption.",
            "It is not used: check HF_ENDPOINT, or the address of the folder.",
            field="model",
        )


def _check_commit(headers: Any, bounds: Bounds) -> None:
    """Check a name of which the library makes a folder."""
    commit = headers.get("x-repo-commit")
    if commit is not None and (commit != bounds.commit if bounds.commit else not is_commit(commit)):
        raise not_a_hub()


def _check_blob(response: Any, bounds: Bounds) -> None:
    """Check the two headers that name a file of the library."""
    headers = response.headers
    linked, tag = headers.get("x-linked-etag"), headers.pop("etag", None)
    if linked is None and response.is_redirect:
        return  # the answer that counts is the next one
    name = (linked or tag or "").removeprefix("W/").strip('"')
    if not name:
        return
    if not is_hex_id(name):
        raise not_a_hub()
    size = headers.get("x-linked-size", str(bounds.most))
    if bounds.blob and (name != bounds.blob or size != str(bounds.most)):
        raise not_the_file()
    headers["x-linked-etag"] = f'"{name}"'


def _check_refresh(response: Any) -> None:
    """Leave out the faster storage where it would have the token sent elsewhere."""
    links = (link.get("url", "") for link in response.links.values())
    routes = [*links, response.headers.get("x-xet-refresh-route", "")]
    if "x-xet-hash" in response.headers and not all(map(_is_route, filter(None, routes))):
        response.headers.pop("x-xet-hash")


def _is_route(url: str) -> bool:
    # The library puts the user's endpoint in the place of the hub's own address.
    return is_hub(url) or url.startswith("https://huggingface.co/")


class _Bounded:
    """A body that ends: with an error at its bound, or just there where it is `cut`. It comes from
    the host `where`, "" for the hub."""

    def __init__(self, body: Any, packed: str, bounds: Bounds, where: str, *, cut: bool) -> None:
        self._body, self._packed, self._bounds, self._cut = body, packed, bounds, cut
        self._where = where

    def __iter__(self) -> Iterator[bytes]:
        most = left = MAX_ERROR if self._cut else self._bounds.most
        if self._cut and self._packed != "identity":
            return
        for piece in _unpacked(self._body, self._packed, self._where):
            left -= len(piece)
            if left < 0 and self._cut:
                return
            if left < 0:
                raise too_much(most, self._where)
            self._bounds.seen(len(piece))
            yield piece

    def close(self) -> None:
        """Give the connection back."""
        self._body.close()


def _unpacked(body: Any, packed: str, where: str) -> Iterator[bytes]:
    """Yield the pieces of a body, each of a size that can be looked at before the next is made."""
    if packed == "identity":
        yield from body
        return
    if packed not in ("gzip", "x-gzip", "deflate"):
        raise _oddly_packed(where)
    unzip = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        for piece in body:
            while piece:
                yield unzip.decompress(piece, _PIECE)
                piece = unzip.unconsumed_tail  # noqa: PLW2901
        yield unzip.flush(_PIECE)
    except zlib.error:
        raise _oddly_packed(where) from None


def _oddly_packed(where: str) -> HubError:
    if not where:
        return not_a_hub()
    return HubError(
        f"{safe(where)} sends what cannot be unpacked.",
        "Try again later; check any proxy in between.",
        field="model",
    )


@cache
def _bounded_stream(library: str) -> Any:
    """`_Bounded` as the HTTP library wants its bodies; that is `httpx` or `httpx2` by version."""
    return type("BoundedStream", (_Bounded, import_module(library).SyncByteStream), {})


def too_much(most: int, where: str) -> HubError:
    """Return the error for an answer of the host `where`, "" for the hub, that exceeds its
    limit."""
    from spectrum_tui.core import numbers

    sender = safe(where) or host()
    message = f"{sender} sent more than {numbers.size(most)}, the limit for this answer."
    hint = "Try again later; check any proxy in between." if where else _CHECK_HUB
    return HubError(message, hint, field="model")
