"""The app in a browser, through textual-serve, and every way in which that can end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from spectrum_tui.core.saved.store import save_scores
from tests import made
from tests.pty.terminal import processes_with

pytest.importorskip("textual_serve")
pytest.importorskip("aiohttp")

from tests.web.browser import CHROMIUM, Browser

REPOSITORY = Path(__file__).parents[2]
APP = f"{sys.executable} -m spectrum_tui"
needs_a_browser = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Served:
    """The server of the README's line, in a process."""

    def __init__(self, command: str, folder: Path) -> None:
        self.port = free_port()
        self.cache = folder / "cache"
        readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
        (code,) = re.findall(r"^python -Pc '(.*Server.*)'$", readme, re.MULTILINE)
        assert '"spectrum-tui", "127.0.0.1"' in code
        code = code.replace('"spectrum-tui", "127.0.0.1"', f"{command!r}, '127.0.0.1', {self.port}")
        environment = {**os.environ, "SPECTRUM_TUI_CACHE": str(self.cache)}
        environment["PYTHONPATH"] = str(REPOSITORY)
        self.process = subprocess.Popen(
            [sys.executable, "-Pc", code],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._wait_until_it_answers()

    def _wait_until_it_answers(self) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with socket.socket() as there:
                if there.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        raise AssertionError("the server does not start")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def others(self) -> list[int]:
        """The processes of the app and its worker."""
        return [p for p in processes_with(str(self.cache)) if p != self.process.pid]

    def gone(self, seconds: float = 15.0) -> bool:
        """Whether the app and its worker end, waiting a little."""
        end = time.monotonic() + seconds
        while self.others() and time.monotonic() < end:
            time.sleep(0.1)
        return not self.others()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    scores = save_scores(made.result(layers=10, types=2), tmp_path).scores
    server = Served(f"{APP} {scores} --output-dir {tmp_path / 'out'}", tmp_path)
    yield server
    for pid in (server.process.pid, *server.others()):
        os.kill(pid, signal.SIGKILL)
    server.process.wait(10)


@needs_a_browser
async def test_the_slider_moves_and_the_yaml_is_saved(served: Served, tmp_path: Path) -> None:
    async with Browser(tmp_path / "profile") as browser:
        await browser.open(served.url)
        await browser.wait_for("Top 50 %")
        await browser.press("ArrowRight", 5)
        await browser.wait_for("model.layers.5.")
        await browser.press("+", 5)
        await browser.wait_for("Top 55 %")
        await browser.press("w")
        await browser.wait_for("Save")
        await browser.press("Enter")
        await browser.wait_for("Saved")
        (saved,) = (tmp_path / "out").glob("*_55percent.yaml")
        names = yaml.safe_load(saved.read_text(encoding="utf-8"))["unfrozen_parameters"]
        assert len(names) == 2 * 5 + 2
        await browser.press("q")
        await browser.wait_closed()
    assert served.gone()


@needs_a_browser
async def test_a_page_that_is_closed_ends_its_app(served: Served, tmp_path: Path) -> None:
    async with Browser(tmp_path / "profile") as browser:
        await browser.open(served.url)
        await browser.wait_for("Top 50 %")
        assert served.others()
    assert served.gone()
    assert served.process.poll() is None


class Piped:
    """The app as textual-serve starts it, without a server: packets on pipes."""

    def __init__(self, folder: Path) -> None:
        driver = {"TEXTUAL_DRIVER": "textual.drivers.web_driver:WebDriver"}
        cache = {"SPECTRUM_TUI_CACHE": str(folder / "cache"), "PYTHONPATH": str(REPOSITORY)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "spectrum_tui"],
            cwd=folder,
            env={**os.environ, **driver, **cache},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        assert self.stdout.readline() == b"__GANGLION__\n"
        drawn = b""
        while b"Model" not in drawn:
            drawn += os.read(self.stdout.fileno(), 65536)

    def send(self, kind: bytes, payload: bytes) -> None:
        self.stdin.write(kind + len(payload).to_bytes(4, "big") + payload)
        self.stdin.flush()

    def ended(self) -> tuple[int, bytes]:
        """The exit code and what it said, once its output was read to the end."""
        assert self.process.stderr is not None
        while os.read(self.stdout.fileno(), 65536):
            pass
        return self.process.wait(30), self.process.stderr.read()


@pytest.fixture
def piped(tmp_path: Path) -> Iterator[Piped]:
    app = Piped(tmp_path)
    yield app
    app.process.kill()
    for pid in processes_with(str(tmp_path / "cache")):
        os.kill(pid, signal.SIGKILL)


def test_signals_end_it_with_their_codes(piped: Piped, tmp_path: Path) -> None:
    piped.process.send_signal(signal.SIGTERM)
    assert piped.ended() == (128 + signal.SIGTERM, b"")
    assert not list(processes_with(str(tmp_path / "cache")))


def test_quitting(piped: Piped) -> None:
    piped.send(b"D", b"\x11")
    assert piped.ended() == (0, b"")


def test_a_server_that_quits(piped: Piped) -> None:
    piped.send(b"M", b'{"type": "quit"}')
    assert piped.ended() == (0, b"")


def test_a_server_that_is_killed(piped: Piped, tmp_path: Path) -> None:
    piped.stdout.close()
    piped.stdin.close()
    assert piped.process.wait(30) == 128 + signal.SIGHUP
    assert not list(processes_with(str(tmp_path / "cache")))
