"""Answers of a hub that means harm, or of what answers in its place.

Each is given to `FakeHub.hostile` and answers one request instead of the hub. Those without an end
go on until the client hangs up.
"""

from __future__ import annotations

import json
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler
from pathlib import Path

Answer = Callable[[BaseHTTPRequestHandler], None]

PAUSE = 0.02
"""Seconds between two bytes of a drip: each read of the client gets one in time."""

BOMB = 200_000_000
"""Bytes that a bomb becomes when it is unpacked."""


def plain(body: bytes, status: int = 200, length: int | None = None, **headers: str) -> Answer:
    """`body` with these headers; a `length` other than its own is announced, then it breaks off."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(body)
        handler.close_connection = length is not None

    return answer


def as_json(value: object) -> Answer:
    """An answer of the API that is well-formed JSON."""
    return plain(json.dumps(value).encode(), Content_Type="application/json")


def _pieces(handler: BaseHTTPRequestHandler, pieces: Iterator[bytes], status: int) -> None:
    handler.send_response(status)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.close_connection = True
    if handler.command == "GET":
        for piece in pieces:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            handler.wfile.flush()


def endless(status: int = 200) -> Answer:
    """A body that never ends, as fast as it goes."""

    def pieces() -> Iterator[bytes]:
        while True:
            yield b" " * 1_000_000

    return lambda handler: _pieces(handler, pieces(), status)


def drip(handler: BaseHTTPRequestHandler) -> None:
    """A byte at a time, for ever."""

    def pieces() -> Iterator[bytes]:
        while True:
            time.sleep(PAUSE)
            yield b" "

    _pieces(handler, pieces(), 200)


def part_drip(handler: BaseHTTPRequestHandler) -> None:
    """The range that was asked for, as it seems, a byte at a time."""
    first, last = _asked(handler)
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes {first}-{last}/{_size(handler)}")
    handler.send_header("Content-Length", str(last + 1 - first))
    handler.end_headers()
    for _ in range(first, last + 1):
        handler.wfile.write(b"a")
        time.sleep(PAUSE)


def halved(handler: BaseHTTPRequestHandler) -> None:
    """Half of the range that was asked for, without a length, as HTTP/1.0 has it."""
    first, last = _asked(handler)
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes {first}-{last}/{_size(handler)}")
    handler.end_headers()
    handler.wfile.write(_path(handler).read_bytes()[first : (first + last) // 2])
    handler.close_connection = True


def packed_part(how: str) -> Answer:
    """The range that was asked for, said to be packed in a way that nobody asked for."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        first, last = _asked(handler)
        given = f"bytes {first}-{last}/{_size(handler)}"
        data = _path(handler).read_bytes()[first : last + 1]
        plain(data, 206, Content_Range=given, Content_Encoding=how)(handler)

    return answer


def nothing(handler: BaseHTTPRequestHandler) -> None:
    """The head of the range that was asked for, and not one byte of it."""
    first, last = _asked(handler)
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes {first}-{last}/{_size(handler)}")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"0\r\n\r\n")


def _asked(handler: BaseHTTPRequestHandler) -> tuple[int, int]:
    first, _, last = handler.headers["Range"].removeprefix("bytes=").partition("-")
    return int(first), min(int(last), _size(handler) - 1)


def _size(handler: BaseHTTPRequestHandler) -> int:
    return _path(handler).stat().st_size


def _path(handler: BaseHTTPRequestHandler) -> Path:
    """The file that is asked for; of all hubs."""
    repos: dict[str, Path] = handler.owner.repos  # type: ignore[attr-defined]
    name = handler.path.partition("?")[0].rpartition("/")[2]
    repo = next(repo for repo in repos if f"/{repo}/" in handler.path)
    return repos[repo] / name


def head_drip(handler: BaseHTTPRequestHandler) -> None:
    """A head of an answer that never ends, a byte at a time."""
    handler.close_connection = True
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while True:
        handler.wfile.write(b"a")
        time.sleep(PAUSE)


@cache
def _packed() -> bytes:
    packer = zlib.compressobj(1, wbits=31)
    blanks = b" " * 1_000_000
    return b"".join(packer.compress(blanks) for _ in range(BOMB // len(blanks))) + packer.flush()


def bomb(status: int = 200) -> Answer:
    """A small body that is large when it is unpacked."""
    return plain(_packed(), status, Content_Encoding="gzip", Content_Type="application/json")


def reset(handler: BaseHTTPRequestHandler) -> None:
    """The connection is torn down in the middle of a body."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\nabc")
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def silence(handler: BaseHTTPRequestHandler) -> None:
    """Nothing at all, for longer than anybody waits."""
    handler.connection.settimeout(60)
    handler.connection.recv(1)  # until the client hangs up
    handler.close_connection = True


def redirect(to: str = "{path}") -> Answer:
    """Sent elsewhere; in a circle, to the same path of another host, or to any address."""
    return lambda handler: plain(b"", 302, Location=to.format(path=handler.path))(handler)
