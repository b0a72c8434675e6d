"""Ranges of files on the hub by hf_xet, from the chunks in which the hub keeps large files.

They come before plain ranges because chunks are stored compressed: SmolLM2-135M, which is bf16, in
87 % of its bytes, float32 in 95 %, float16 and fp8 as they are. All of SmolLM2 over a line with
30 ms of latency, eight ranges of 1.5 MiB at a time, took 9.4 s against 10.8 s at 25 MB/s and 2.4
against 2.7 s at 100 MB/s; 1 s more of the processor a GB, and 80 to 100 MB of memory in a scan.
Where nothing limits, plain ranges are faster, 776 against 526 MB/s over the loopback: each range
asks twice, for its chunks and for their bytes. So both ways are tried: in scans at 10 and 25 MB/s
ranges came at 1.07 to 1.17 of the speed of plain ones, with 0.2 s of latency at 100 MB/s at 0.77,
whatever else the machine did.

hf_xet checks the lengths of chunks and not their hashes: a bit that was changed on the way comes
through. So it verifies no more than plain ranges do, and the provenance says the same. The bounds
of `guard` do not reach into it: what it is told is believed of a store that the hub has named.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from spectrum_tui.core import disk
from spectrum_tui.core.hub.errors import RateLimitedError
from spectrum_tui.core.hub.http import LOOPBACK, raise_for_status, request
from spectrum_tui.core.hub.location import XetFile
from spectrum_tui.core.text import safe

log = logging.getLogger(__name__)

LEAST = 512 * 2**10
"""Bytes of a range below which plain ones are better: whole chunks of 64 KiB come, on average one
more than is read, and compression saves 13 %."""

LONGEST_STREAM = 4 * 2**20
"""Bytes of a stream at the most. Eight at a time of this length take 70 MB more than plain ranges,
one of 1 GiB takes 2 GB."""

TRIAL = 24
"""Ranges that come plain before it is asked, and from it before it is left if they came slower: how
long the real store takes to say where chunks are is not known."""

OLDEST = (1, 7)
"""hf_xet 1.6 holds the interpreter while it waits: for 4.5 s no other thread ran."""

MARGIN = 60.0
"""Seconds before its end at which a token of the store is not used any more."""

CONFIG = {
    "telemetry.enabled": False,
    "client.ac_initial_download_concurrency": 8,
    "client.retry_max_attempts": 2,
    "client.retry_base_delay": "300ms",
    "client.connect_timeout": "20s",
    "client.read_timeout": "20s",
}
"""By default a report of each transfer is sent, and 5 attempts wait for 300 s each. An attempt does
not heed Retry-After, so that few are made."""

_LEFT = "hf_xet is not used any more, plain ranges take its place"


class XetError(Exception):
    """The store, or hf_xet, is of no use; the same bytes come by plain ranges."""


@dataclass
class _Came:
    """What has come in one way: ranges, their bytes, and the seconds of each, added up."""

    count: int = 0
    nbytes: int = 0
    seconds: float = 0.0

    @property
    def speed(self) -> float:
        """Bytes a second of one range."""
        return self.nbytes / max(self.seconds, 1e-9)


class XetStore:
    """The chunks of a model's files, for all threads; given up for good at the first failure, or
    where it turns out to be slow."""

    def __init__(self) -> None:
        self._left = not _is_installed()
        self._is_slow = False
        self._session: Any = None
        self._groups: dict[str, tuple[float, Any]] = {}
        self._came, self._plain = _Came(), _Came()
        self._opening, self._changing = threading.Lock(), threading.Lock()

    def gives(self, nbytes: int) -> bool:
        """Return whether so many bytes of a file should come from it."""
        if self._left or self._is_slow or nbytes < LEAST:
            return False
        return self._plain.count >= TRIAL

    def took(self, nbytes: int, seconds: float, *, by_xet: bool = False) -> None:
        """Note how long a range took, from it or plain."""
        if nbytes < LEAST or self._left:
            return
        way = self._came if by_xet else self._plain
        with self._changing:
            way.count += 1
            way.nbytes += nbytes
            way.seconds += seconds
            is_over = by_xet and way.count == TRIAL
        if is_over and way.speed < self._plain.speed:
            self._is_slow = True  # what is under way may still come
            log.info("%s: it has %.2f of their speed", _LEFT, way.speed / self._plain.speed)

    def pieces(self, file: XetFile, size: int, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from `start` to `end` of a file of `size` bytes; raises XetError, and
        RateLimitedError where the hub gives no token for now."""
        try:
            for first in range(start, end, LONGEST_STREAM):
                yield from self._streamed(file, size, first, min(first + LONGEST_STREAM, end))
        except (GeneratorExit, XetError, RateLimitedError):
            raise
        except BaseException as exc:  # a panic in Rust is no Exception
            raise XetError(f"{type(exc).__name__}: {_without_queries(str(exc))}") from None

    def _streamed(self, file: XetFile, size: int, start: int, end: int) -> Iterator[bytes]:
        group, got = self._group(file.route), 0
        from hf_xet import XetFileInfo

        stream = group.download_stream(XetFileInfo(file.hash, size), start=start, end=end)
        for piece in stream:
            got += len(piece)
            if got > end - start:
                break
            yield piece
        if got != end - start:
            raise XetError(f"gives {got} bytes for {end - start}")

    def leave(self, exc: XetError) -> None:
        """Use it no more, after this failure."""
        if self.close():
            log.info("%s: %s", _LEFT, exc)

    def close(self) -> bool:
        """End all that is under way, at once; returns whether it was in use until now."""
        with self._changing:
            was, self._left = not self._left, True
            session, self._session = self._session, None
            self._groups.clear()
        if session is not None:
            # Leaving a group waits for what its streams wait for, up to 60 s; this takes 1 ms.
            session.sigint_abort()
        return was

    def _group(self, route: str) -> Any:
        """Return what opens streams, with a token that is good for a while."""
        with self._opening:
            if self._left:  # while another thread waited for the hub
                raise XetError("it was left")
            until, group = self._groups.get(route, (0.0, None))
            if time.time() >= until:
                address, token, ends = _access(route)
                if time.time() >= ends - MARGIN:  # by a clock that is wrong each range would ask
                    raise XetError("the token of the store is over as it comes")
                group = self._open_session().new_download_stream_group(
                    endpoint=address, token=token, token_expiry_unix_secs=ends
                )
                self._groups[route] = ends - MARGIN, group
        return group

    def _open_session(self) -> Any:
        with self._changing:
            if self._left:
                raise XetError("it was left")
            if self._session is None:
                self._session = _session()
            return self._session


def _is_installed() -> bool:
    """Return whether there is an hf_xet that can be used, and the user has not forbidden it."""
    from huggingface_hub import constants

    if constants.HF_HUB_DISABLE_XET:
        return False
    try:
        numbers = re.findall(r"\d+", version("hf_xet"))
    except PackageNotFoundError:
        return False
    return tuple(map(int, numbers[:2])) >= OLDEST


def _session() -> Any:
    from huggingface_hub import constants

    # It writes its log and folders here, and where it cannot, its log to stdout.
    folder = Path(constants.HF_XET_CACHE).expanduser() / "logs"
    disk.make_folder(folder)
    disk.probe(folder)
    from hf_xet import XetConfig, XetSession

    return XetSession(XetConfig().with_config(CONFIG))


def _access(route: str) -> tuple[str, str, int]:
    """Return the address of the store, the token for it and when that ends (seconds since 1970);
    the user's own token goes to the hub alone."""
    response = request("GET", route)
    raise_for_status(response)
    names = ("x-xet-cas-url", "x-xet-access-token", "x-xet-token-expiration")
    address, token, ends = (str(response.headers.get(name, "")) for name in names)
    if not (_is_safe(address) and _is_word(token) and re.fullmatch(r"[0-9]{1,12}", ends)):
        raise XetError("the hub names no store that may be used")
    return address, token, int(ends)


def _is_safe(address: str) -> bool:
    """Return whether an address is one with encryption, or on this machine as the hub is; hf_xet
    would also take `local://FOLDER`, and make that folder."""
    from huggingface_hub import constants

    parts, hub = urlsplit(address), urlsplit(constants.ENDPOINT)
    if not (_is_word(address) and parts.hostname):
        return False
    here = hub.scheme == "http" and hub.hostname in LOOPBACK and parts.hostname in LOOPBACK
    return parts.scheme == "https" or (parts.scheme == "http" and here)


def _is_word(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def _without_queries(text: str) -> str:
    """Return what an error says without what signs its addresses."""
    return safe(re.sub(r"\?[^\s)]*", "", text))
