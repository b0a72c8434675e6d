"""A model hub on 127.0.0.1 that serves folders as repositories, and fails on request.

Only what the hub's client asks for when it reads or downloads a model: the model's description,
and its files with their ETags and byte ranges. Point HF_ENDPOINT at `FakeHub.url` before
huggingface_hub is imported.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.hostile_answers import Answer

GOOD_TOKEN = "hf_goodgoodgood"
CHUNK = 64 * 1024
GIANT = 200_000_000
"""Bytes of a file above which it is one of `tests.giants`, and holds a header alone."""

_API = re.compile(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?/?")
_FILE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_SIGNED = re.compile(r"/signed/([^/]+/[^/]+)/(.+)")
_WEB = re.compile(r"/web/([^/]+/[^/]+)/(.+)")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_IS_LFS = (".safetensors", ".bin", ".gguf")

Headers = dict[str, str]


@dataclass(frozen=True)
class Request:
    """One request that the hub answered."""

    method: str
    path: str
    range: str
    status: int
    token: str = ""
    host: str = ""


class RefusedError(Exception):
    """An answer other than success, with the hub's own error code in a header."""

    def __init__(self, status: int, code: str = "", message: str = "", **headers: str) -> None:
        super().__init__(status, code)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if code or message:
            self.headers |= {"X-Error-Code": code, "X-Error-Message": message or code}


@dataclass
class FakeHub:
    """The hub; a context manager. What it shall do wrong may be changed while it runs.

    `hostile` maps "GET /path" to what answers that request instead; "READ" asks for a part of a
    file by its first and last byte, as for a header. `failures` maps a part of "GET /path" to the
    statuses of its next requests, 0 for none, a 429 with `retry_after`, a 503 with `busy_for`.
    `cuts` maps a part of a path to the bytes after which the connection is closed, once. `delay` is
    the time between two chunks of a file. A path with `stalled` in it gets one chunk and then
    silence. `no_ranges` answers every range with the whole file. With `signed_seconds`, large files
    are answered as by the real hub: with a redirect to another host, whose addresses are good for
    so long; `cut_each` then closes each connection to it after so many bytes of a body. `rate` are
    the bytes a second that all connections share; `web_marks` what a folder on the web says of a
    file besides its size; `announced` more headers of a large file.
    """

    repos: Mapping[str, Path]
    gated: frozenset[str] = frozenset()
    private: frozenset[str] = frozenset()
    hostile: dict[str, Answer] = field(default_factory=dict)
    failures: dict[str, list[int]] = field(default_factory=dict)
    retry_after: str = "7"
    busy_for: str = ""
    cuts: dict[str, int] = field(default_factory=dict)
    delay: float = 0.0
    stalled: str = ""
    no_ranges: bool = False
    signed_seconds: float = 0.0
    cut_each: int = 0
    rate: float = 0.0
    web_marks: tuple[str, ...] = ("ETag", "Last-Modified")
    announced: Callable[[Path], Headers] = lambda path: {}
    requests: list[Request] = field(default_factory=list)
    bytes_sent: int = 0
    _server: ThreadingHTTPServer | None = None
    _free_at: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        """The endpoint, while the hub runs."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        hub: FakeHub = self

        class Handler(_Handler):
            owner = hub

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        # The default poll of 0.5 s is what shutting down would wait for.
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def forget(self) -> None:
        """Start counting anew, with nothing going wrong."""
        self.requests.clear()
        self.hostile.clear()
        self.failures.clear()
        self.cuts.clear()
        self.bytes_sent, self.delay, self.no_ranges, self.signed_seconds = 0, 0.0, False, 0.0
        self.stalled, self.retry_after, self.cut_each, self.rate = "", "7", 0, 0.0
        self.busy_for, self.web_marks = "", ("ETag", "Last-Modified")
        self.announced = lambda path: {}

    def fetched(self, name: str) -> list[Request]:
        """The requests that were for the contents of the file `name`."""
        return [r for r in self.requests if r.method == "GET" and r.path.endswith(f"/{name}")]

    def ranges(self, name: str) -> list[tuple[int, int]]:
        """The first and last bytes that were sent of a large file at the other host."""
        return [
            (int(match[1]), int(match[2]))
            for request in self.requests
            if request.status == 206 and urlsplit(request.path).path.endswith(f"/{name}")
            if request.path.startswith("/signed/") and (match := _RANGE.fullmatch(request.range))
        ]

    def take(self, count: int) -> None:
        """Wait until so many bytes may pass the line that all connections share."""
        if not self.rate:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now - 0.02) + count / self.rate
            wait = self._free_at - now
        time.sleep(max(wait, 0.0))

    def files(self, repo: str) -> dict[str, Path]:
        """The files of a repository by their names in it."""
        folder = self.repos[repo]
        paths = sorted(p for p in folder.rglob("*") if p.is_file())
        return {p.relative_to(folder).as_posix(): p for p in paths}

    def commit(self, repo: str) -> str:
        """The one commit of a repository: a hash of its contents."""
        digest = hashlib.sha1(repo.encode())
        for name, path in self.files(repo).items():
            digest.update(f"{name} {oid(path)}".encode())
        return digest.hexdigest()

    def signed(self, repo: str, name: str) -> str:
        """The address of a large file on another host, for as long as it is good."""
        assert self._server is not None
        place = f"http://localhost:{self._server.server_port}/signed/{quote(repo)}/{quote(name)}"
        return f"{place}?expires={time.time() + self.signed_seconds}"

    def check(self, repo: str, token: str, revision: str, *, contents: bool) -> None:
        """Raise what the real hub answers to someone with this `token`."""
        if token and token != GOOD_TOKEN:
            raise RefusedError(401, "", "Invalid credentials in Authorization header")
        if repo not in self.repos or (repo in self.private and not token):
            raise RefusedError(404 if token else 401, "RepoNotFound", "Repository not found")
        if contents and repo in self.gated:
            raise RefusedError(
                403 if token else 401, "GatedRepo", f"Access to {repo} is restricted."
            )
        if revision not in ("main", self.commit(repo)):
            raise RefusedError(404, "RevisionNotFound", f"Invalid rev id: {revision}")

    def describe(self, repo: str) -> dict[str, object]:
        """The model's description with the sizes of its files."""
        return {
            "_id": "1",
            "id": repo,
            "modelId": repo,
            "sha": self.commit(repo),
            "private": repo in self.private,
            "gated": "manual" if repo in self.gated else False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": [
                {"rfilename": name, "size": path.stat().st_size, "blobId": oid(path), **lfs(path)}
                for name, path in self.files(repo).items()
            ],
        }


_oids: dict[tuple[str, int, int], str] = {}


def oid(path: Path) -> str:
    """`_oid`, made once for each state of a file."""
    stat = path.stat()
    key = str(path), stat.st_size, stat.st_mtime_ns
    if key not in _oids:
        _oids[key] = _oid(path)
    return _oids[key]


def _oid(path: Path) -> str:
    """The file's name among the blobs of the cache: git's own id, or the hash of a large file; of
    one that is only as large as a giant's, the hash of its name and size."""
    if (size := path.stat().st_size) > GIANT:
        return hashlib.sha256(f"{path.name} {size}".encode()).hexdigest()
    data = path.read_bytes()
    if path.name.endswith(_IS_LFS):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0%s" % (len(data), data)).hexdigest()


def lfs(path: Path) -> dict[str, dict[str, object]]:
    """What the hub adds for a file that is kept in large file storage."""
    if not path.name.endswith(_IS_LFS):
        return {}
    return {"lfs": {"sha256": oid(path), "size": path.stat().st_size, "pointerSize": 134}}


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing on stderr for a client that is killed."""


class _Handler(BaseHTTPRequestHandler):
    owner: FakeHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two packets: 40 ms between them

    def log_message(self, *args: object) -> None:
        """Nothing on stderr."""

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        try:
            if self._is_hostile(path):
                return
            self._fail_if_asked(path)
            if match := _WEB.fullmatch(path):
                self._serve_from_web(match[1], match[2])
            elif match := _SIGNED.fullmatch(path):
                self._serve_signed(match[1], match[2], parts.query)
            elif match := _API.fullmatch(path):
                self._serve_api(match[1], match[2] or "main")
            elif match := _FILE.fullmatch(path):
                self._serve_file(match[1], match[2], match[3])
            else:
                raise RefusedError(404)
        except RefusedError as refused:
            self._answer(refused.status, b"{}", refused.headers)
        except OSError:  # the client hung up: a cancelled download
            self.close_connection = True

    def _is_hostile(self, path: str) -> bool:
        part_of_file = _RANGE.fullmatch(self.headers.get("Range") or "")
        method = "READ" if part_of_file and part_of_file[2] else self.command
        answer = self.owner.hostile.get(f"{method} {path}")
        if answer is not None:
            answer(self)
        return answer is not None

    def _fail_if_asked(self, path: str) -> None:
        for part, statuses in self.owner.failures.items():
            if part in f"{self.command} {path}" and statuses:
                status = statuses.pop(0)
                if status:
                    raise RefusedError(status, **self._after(status))

    def _after(self, status: int) -> Headers:
        named = {429: self.owner.retry_after, 503: self.owner.busy_for}.get(status, "")
        return {"Retry_After": named} if named else {}

    def _token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def _serve_api(self, repo: str, revision: str) -> None:
        hub = self.owner
        hub.check(repo, self._token(), revision, contents=False)
        answer = json.dumps(hub.describe(repo)).encode()
        self._answer(200, answer, {"Content-Type": "application/json"})

    def _serve_file(self, repo: str, revision: str, name: str) -> None:
        hub = self.owner
        hub.check(repo, self._token(), revision, contents=True)
        path = hub.files(repo).get(name)
        if path is None:
            raise RefusedError(404, "EntryNotFound", "Entry not found")
        etag = f'"{oid(path)}"'
        headers = {"ETag": etag, "X-Repo-Commit": hub.commit(repo), "Accept-Ranges": "bytes"}
        if name.endswith(_IS_LFS):
            headers |= {"X-Linked-ETag": etag, "X-Linked-Size": str(path.stat().st_size)}
            headers |= hub.announced(path)
            if hub.signed_seconds:
                self._answer(302, b"", {**headers, "Location": hub.signed(repo, name)})
                return
        self._serve_range(path, headers)

    def _serve_from_web(self, repo: str, name: str) -> None:
        """Serve a folder as any web server does, without anything of a hub's."""
        path = self.owner.files(repo).get(name)
        if path is None:
            raise RefusedError(404)
        state = path.stat()
        marks = {
            "ETag": f'"{state.st_mtime_ns:x}-{state.st_size:x}"',
            "Last-Modified": self.date_time_string(int(state.st_mtime)),
        }
        given = {name: marks[name] for name in self.owner.web_marks}
        self._serve_range(path, {**given, "Accept-Ranges": "bytes"})

    def _serve_signed(self, repo: str, name: str, query: str) -> None:
        """Serve what a redirect led to, on the other host; a token must not come along."""
        if float(parse_qs(query)["expires"][0]) < time.time():
            raise RefusedError(403, message="Request has expired")
        path = self.owner.files(repo)[name]
        self._serve_range(path, {"ETag": f'"{oid(path)}"', "Accept-Ranges": "bytes"})

    def _serve_range(self, path: Path, headers: Headers) -> None:
        size = path.stat().st_size
        wanted = _RANGE.fullmatch(self.headers.get("Range") or "")
        if wanted is None or self.owner.no_ranges:
            self._answer(200, path.read_bytes(), headers)
            return
        start, end = int(wanted[1]), min(int(wanted[2] or size) + 1, size)
        if start >= size:
            raise RefusedError(416)
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        with path.open("rb") as file:
            file.seek(start)
            self._answer(206, file.read(end - start), headers)

    def _answer(self, status: int, body: bytes, headers: Headers) -> None:
        wanted = self.headers.get("Range") or ""
        host = (self.headers.get("Host") or "").partition(":")[0]
        self.owner.requests.append(
            Request(self.command, self.path, wanted, status, self._token(), host)
        )
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self._send(body, self._cut() if status < 300 else None)

    def _cut(self) -> int | None:
        if self.owner.cut_each and self.path.startswith("/signed/"):
            return self.owner.cut_each
        part = next((p for p in self.owner.cuts if p in self.path), None)
        return None if part is None else self.owner.cuts.pop(part)

    def _send(self, body: bytes, cut: int | None) -> None:
        for start in range(0, len(body), CHUNK):
            chunk = body[start : start + CHUNK][: None if cut is None else max(cut - start, 0)]
            self.owner.take(len(chunk))
            self.wfile.write(chunk)
            self.owner.bytes_sent += len(chunk)
            if cut is not None and start + CHUNK >= cut:
                self.close_connection = True
                return
            time.sleep(self.owner.delay)
            while self.owner.stalled and self.owner.stalled in self.path:
                time.sleep(0.02)
