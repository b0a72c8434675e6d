"""A store on 127.0.0.1 that gives objects as S3, Google and Azure do, as far as they are alike."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

KEY = "c2VjcmV0IHNlY3JldCBzZWNyZXQ="
TOKEN = "secret-token"
ACCOUNT = "account"

URLS = {scheme: f"{scheme}://models/family/tiny" for scheme in ("s3", "gs", "az")}


class FakeStore:
    """Objects of the bucket `models`, by their keys; `answer` is given instead, after `after`
    requests, where it is set: a status and a body."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.objects: dict[str, bytes] = {}
        self.answer: tuple[int, str] | None = None
        self.after = 0
        self.public = False
        self.headers: list[dict[str, str]] = []

    def put(self, folder: Path, key: str = "family/tiny") -> None:
        """Give the files of a folder."""
        self.objects |= {f"{key}/{path.name}": path.read_bytes() for path in folder.iterdir()}

    def environment(self, scheme: str) -> dict[str, str]:
        """Return the variables that a user would set for it."""
        return {
            "s3": {
                "AWS_ENDPOINT_URL": self.address,
                "AWS_ACCESS_KEY_ID": "key",
                "AWS_SECRET_ACCESS_KEY": KEY,
                "AWS_REGION": "us-east-1",
            },
            "gs": {"GOOGLE_BASE_URL": self.address, "GOOGLE_BEARER_TOKEN": TOKEN},
            "az": {
                "AZURE_STORAGE_ENDPOINT": f"{self.address}/{ACCOUNT}",
                "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
                "AZURE_STORAGE_ACCOUNT_KEY": KEY,
            },
        }[scheme]

    def reply(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of a GET."""
        self.headers.append(headers)
        if self.answer is not None and len(self.headers) > self.after:
            return self.answer[0], {}, self.answer[1].encode()
        if "authorization" not in headers and not self.public:
            return 403, {}, b""
        place = unquote(urlsplit(path).path).removeprefix(f"/{ACCOUNT}").removeprefix("/models/")
        data = self.objects.get(place)
        if data is None:
            return 404, {}, b""
        tag = f'"{hashlib.sha256(data).hexdigest()}"'
        if headers.get("if-match", tag) != tag:
            return 412, {}, b""
        given = re.fullmatch(
            r"bytes=(\d+)-(\d+)", headers.get("range", headers.get("x-ms-range", ""))
        )
        sent = {"ETag": tag, "Last-Modified": "Mon, 30 Nov 2026 00:00:00 GMT"}
        if given is None:
            return 200, sent, data
        start, end = int(given[1]), min(int(given[2]) + 1, len(data))
        sent["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        return 206, sent, data[start:end]


@contextmanager
def fake_store() -> Iterator[FakeStore]:
    """Provide a store for as long as it lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, sent, body = store.reply(self.path, headers)
            self.send_response(status)
            for name, value in (sent | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    store = FakeStore(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
