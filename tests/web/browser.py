"""A headless Chromium for tests, driven over the DevTools protocol.

What the page is sent over its WebSocket is what the app draws, so that is what `screen` shows.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import pyte

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--remote-debugging-port=0", "--window-size=1000,700",
    # The page asks for a font elsewhere; nothing but this machine is to be reached.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip
KEYS = {"ArrowRight": 39, "Enter": 13, "Escape": 27}


class Browser:
    """One page of a browser; an asynchronous context manager."""

    def __init__(self, profile: Path) -> None:
        self._profile = profile
        self._screen = pyte.Screen(200, 60)
        self._stream = pyte.ByteStream(self._screen)
        self._number = self._done = 0
        self.closed = False

    async def __aenter__(self) -> Self:
        self._process = subprocess.Popen(
            [CHROMIUM, *FLAGS, f"--user-data-dir={self._profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._session = aiohttp.ClientSession()
        port = await self._port()
        async with self._session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            pages = [one for one in await answer.json() if one["type"] == "page"]
        self._socket = await self._session.ws_connect(
            pages[0]["webSocketDebuggerUrl"], max_msg_size=0
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._session.close()
        os.killpg(self._process.pid, 9)
        self._process.wait(10)

    async def _port(self) -> str:
        file = self._profile / "DevToolsActivePort"
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if file.exists() and (lines := file.read_text().splitlines()):
                return lines[0]
            await asyncio.sleep(0.1)
        raise AssertionError("the browser does not start")

    async def do(self, method: str, **parameters: Any) -> None:
        """Have a command of the DevTools protocol done."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        end = time.monotonic() + 20
        while self._done < self._number:
            assert time.monotonic() < end, method
            await self._receive()

    async def open(self, url: str) -> None:
        """Go to a page."""
        await self.do("Network.enable")
        await self.do("Page.navigate", url=url)

    async def press(self, key: str, times: int = 1) -> None:
        """Press a key of `KEYS`, or type a letter; what the page draws on has the focus."""
        await self.do("Runtime.evaluate", expression="document.querySelector('textarea').focus()")
        await self.do("Emulation.setFocusEmulationEnabled", enabled=True)
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        code = KEYS.get(key, ord(key[0].upper()))
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        down = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
        for _ in range(times):
            await self.do("Input.dispatchKeyEvent", **common, **down)
            await self.do("Input.dispatchKeyEvent", **common, type="keyUp")

    def screen(self) -> str:
        """The text that the app drew."""
        return "\n".join(line.rstrip() for line in self._screen.display)

    async def wait_for(self, pattern: str, timeout: float = 60.0) -> None:
        """Until the screen matches."""
        end = time.monotonic() + timeout
        while not re.search(pattern, self.screen()):
            assert not self.closed and time.monotonic() < end, f"no {pattern!r}:\n{self.screen()}"
            await self._receive()

    async def wait_closed(self, timeout: float = 20.0) -> None:
        """Until the server has closed the connection."""
        end = time.monotonic() + timeout
        while not self.closed:
            assert time.monotonic() < end, f"still open:\n{self.screen()}"
            await self._receive()

    async def _receive(self) -> None:
        try:
            message = await self._socket.receive(timeout=0.5)
        except TimeoutError:
            return
        event = message.json()
        self._done = event.get("id", self._done)
        match event.get("method"):
            case "Network.webSocketFrameReceived" if event["params"]["response"]["opcode"] == 2:
                self._stream.feed(base64.b64decode(event["params"]["response"]["payloadData"]))
            case "Network.webSocketClosed":
                self.closed = True
