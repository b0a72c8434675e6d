"""The store of chunks of a hub, on 127.0.0.1, from which hf_xet reads; it fails on request.

It answers as xet-core's openapi/cas.openapi.yaml has it: where the chunks of a range of a file are,
and ranges of xorbs, which are chunks one after the other, each with a header of 8 bytes. Chunks
here are 1,000 bytes long and not compressed, seven to a xorb.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from tests.fake_hub import GOOD_TOKEN, FakeHub, Headers, oid
from tests.hostile_answers import plain

CHUNK, OF_A_XORB, HEADER = 1000, 7, 8
TOKEN = "cas-token"

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
_FILE = re.compile(r"/v2/reconstructions/(\w+)")
_XORB = re.compile(r"/xorbs/(\w+)/(\d+)\?signature=secret")


@dataclass
class FakeCas:
    """The store of all large files of `repo` on `hub`, which says so while it runs.

    `failures` maps a part of a path to the statuses of its next requests, 0 for none; `cuts` one to
    the bytes after which the connection is closed, each time; a path with `stalled` in it gets no
    answer. `life` are the seconds for which a token is good, `address` is what the hub calls this.
    """

    hub: FakeHub
    repo: str
    life: float = 3600.0
    address: str = ""
    failures: dict[str, list[int]] = field(default_factory=dict)
    cuts: dict[str, int] = field(default_factory=dict)
    stalled: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """The path and the Authorization of each."""
    let_in: list[str] = field(default_factory=list)
    """The tokens with which the hub was asked for one of the store."""
    bytes_sent: int = 0
    here: str = field(init=False)
    _server: ThreadingHTTPServer = field(init=False)

    def __enter__(self) -> Self:
        cas: FakeCas = self

        class Handler(_Handler):
            owner = cas

        self._server = _Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.here = f"http://127.0.0.1:{self._server.server_port}"
        self.address = self.address or self.here
        self.hub.announced = self._announced
        self.hub.hostile[f"GET {self._route}"] = self._let_in
        return self

    def __exit__(self, *_: object) -> None:
        self.stalled = ""
        self._server.shutdown()
        self._server.server_close()

    @property
    def asked(self) -> list[str]:
        """What was asked for, in order: "v2" for where a range is, "xorbs" for bytes."""
        return [path.split("/")[1] for path, _ in self.requests]

    def file(self, name: str) -> Path:
        """The file with this hash."""
        return next(p for p in self.hub.files(self.repo).values() if _xet_hash(p) == name)

    @property
    def _route(self) -> str:
        return f"/api/models/{self.repo}/xet-read-token/{self.hub.commit(self.repo)}"

    def _announced(self, path: Path) -> Headers:
        return {
            "X-Xet-Hash": _xet_hash(path),
            "Link": f'<https://huggingface.co{self._route}>; rel="xet-auth"',
        }

    def _let_in(self, handler: BaseHTTPRequestHandler) -> None:
        self.let_in.append((handler.headers.get("Authorization") or "").removeprefix("Bearer "))
        status = 200 if self.let_in[-1] == GOOD_TOKEN else 401
        plain(
            b"{}",
            status,
            X_Xet_Cas_Url=self.address,
            X_Xet_Access_Token=TOKEN,
            X_Xet_Token_Expiration=str(int(time.time() + self.life)),
        )(handler)


def _xet_hash(path: Path) -> str:
    return hashlib.sha256(f"xet {oid(path)}".encode()).hexdigest()


def _xorb(path: Path, number: int) -> bytes:
    with path.open("rb") as file:
        file.seek(number * OF_A_XORB * CHUNK)
        chunks = iter(lambda: file.read(CHUNK), b"")
        found = [chunk for chunk, _ in zip(chunks, range(OF_A_XORB), strict=False)]
    return b"".join(_head(len(chunk)) + chunk for chunk in found)


def _head(length: int) -> bytes:
    """Version, length in the xorb, how it is compressed (not at all), length."""
    size = length.to_bytes(3, "little")
    return b"\0" + size + b"\0" + size


def _where(path: Path, name: str, start: int, end: int, base: str) -> dict[str, Any]:
    """Where the chunks of a range of a file are."""
    size = path.stat().st_size
    end = min(end, size)
    at, last = start // CHUNK, -(-end // CHUNK)
    terms: list[dict[str, Any]] = []
    xorbs: dict[str, list[dict[str, Any]]] = {}
    while at < last:
        number, first = divmod(at, OF_A_XORB)
        after = min(first + last - at, OF_A_XORB)
        length = min((at + after - first) * CHUNK, size) - at * CHUNK
        xorb = hashlib.sha256(f"{name} {number}".encode()).hexdigest()
        chunks = {"start": first, "end": after}
        low = first * (CHUNK + HEADER)
        high = low + length + (after - first) * HEADER - 1
        terms.append({"hash": xorb, "unpacked_length": length, "range": chunks})
        url = f"{base}/xorbs/{name}/{number}?signature=secret"
        ranges = [{"chunks": chunks, "bytes": {"start": low, "end": high}}]
        xorbs[xorb] = [{"url": url, "ranges": ranges}]
        at += after - first
    into = start - start // CHUNK * CHUNK
    return {"offset_into_first_range": into, "terms": terms, "xorbs": xorbs}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing on stderr for a client that is gone."""


class _Handler(BaseHTTPRequestHandler):
    owner: FakeCas
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args: object) -> None:
        """Nothing on stderr."""

    def do_POST(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        cas = self.owner
        cas.requests.append((self.path, self.headers.get("Authorization") or ""))
        while cas.stalled and cas.stalled in self.path:
            time.sleep(0.02)
        status = next((s.pop(0) for part, s in cas.failures.items() if part in self.path and s), 0)
        if status:
            self._answer(b"", status)
            return
        wanted = _RANGE.fullmatch(self.headers["Range"] or "")
        start, end = map(int, wanted.groups()) if wanted else (0, 0)
        if found := _FILE.fullmatch(self.path):
            base = self.owner.here
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self._answer(b"", 401)
                return
            where = _where(cas.file(found[1]), found[1], start, end + 1, base)
            self._answer(json.dumps(where).encode())
        elif found := _XORB.fullmatch(self.path):
            self._answer(_xorb(cas.file(found[1]), int(found[2]))[start : end + 1], 206)
        else:
            self._answer(b"", 404)

    def _answer(self, body: bytes, status: int = 200) -> None:
        cut = next((count for part, count in self.owner.cuts.items() if part in self.path), None)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut])
        self.owner.bytes_sent += len(body[:cut])
        self.close_connection = cut is not None
