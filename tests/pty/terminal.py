"""A real terminal for tests: a pty with a terminal emulator behind it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pyte

ALT_SCREEN_OFF = b"\x1b[?1049l"
CURSOR_ON = b"\x1b[?25h"
PROGRAM = (sys.executable, "-m", "spectrum_tui")


class Terminal:
    """Runs a program on a pty of `columns` x `rows`; `screen()` is what a person would see.

    The pty's master is read only inside `wait_for`, `pump` and `wait`, so a test decides when
    the terminal stalls.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        cwd: Path,
        columns: int = 80,
        rows: int = 24,
        stdout: Path | None = None,
    ) -> None:
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self.received = b""
        self.status: int | None = None
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            _become(arguments, environment, cwd, stdout)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.modes_before = termios.tcgetattr(self._master)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self.status is None:
            self.signal(signal.SIGKILL)
            self.wait(5)
        self.hang_up()

    def screen(self) -> str:
        """The visible text, lines without trailing blanks."""
        return "\n".join(line.rstrip() for line in self._screen.display)

    def pump(self, seconds: float) -> None:
        """Read what the program draws for this long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not self._read(left):
                return

    def wait_for(self, pattern: str, timeout: float = 20.0) -> str:
        """Read until the screen matches the regular expression; returns what matched."""
        end = time.monotonic() + timeout
        while True:
            found = re.search(pattern, self.screen())
            if found:
                return found.group(0)
            left = end - time.monotonic()
            if left <= 0 or not self._read(min(left, 0.1)):
                raise AssertionError(f"no {pattern!r} on the screen:\n{self.screen()}")

    def wait_for_bytes(self, text: bytes, timeout: float = 20.0) -> None:
        """Read until this has been received, whatever the screen shows of it."""
        end = time.monotonic() + timeout
        while text not in self.received:
            left = end - time.monotonic()
            if left <= 0 or not self._read(min(left, 0.1)):
                raise AssertionError(f"no {text!r} among {len(self.received)} bytes")

    def send(self, keys: str) -> None:
        """Type."""
        os.write(self._master, keys.encode())

    def seconds_until(self, keys: str, text: bytes, timeout: float = 20.0) -> float:
        """How long after these keys the program writes `text`.

        The emulator takes its share of a core for every screen, so it waits until after.
        """
        begin = time.perf_counter()
        self.send(keys)
        written = b""
        while text not in written:
            left = timeout - (time.perf_counter() - begin)
            if not select.select([self._master], [], [], max(0.0, left))[0]:
                self._take(written)
                raise AssertionError(f"no {text!r} among {len(written)} bytes:\n{self.screen()}")
            written += os.read(self._master, 65536)
        seconds = time.perf_counter() - begin
        self._take(written)
        return seconds

    def signal(self, number: int) -> None:
        """Send a signal to the program alone, not to its children."""
        os.kill(self.pid, number)

    def hang_up(self) -> None:
        """Close the terminal, as a dropped line does."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def wait(self, timeout: float) -> int:
        """The exit status (negative: the signal that ended it); fails after `timeout` seconds."""
        end = time.monotonic() + timeout
        while self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > end:
                raise AssertionError(f"still running after {timeout} s:\n{self.screen()}")
            elif self._master >= 0:
                self._read(0.02)
            else:
                time.sleep(0.02)
        return self.status

    def modes(self) -> list[object]:
        """The terminal's modes now (echo, line editing); compare with `modes_before`."""
        return list(termios.tcgetattr(self._master))

    def _read(self, timeout: float) -> bool:
        """Read once; False when the program has closed its side."""
        ready, _, _ = select.select([self._master], [], [], timeout)
        if not ready:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError:
            return False
        self._take(data)
        return bool(data)

    def _take(self, data: bytes) -> None:
        self.received += data
        self._stream.feed(data)


def _become(
    arguments: Sequence[str], environment: Mapping[str, str], cwd: Path, stdout: Path | None
) -> None:
    """In the child: turn into the program; never returns."""
    try:
        os.chdir(cwd)
        if stdout is not None:
            os.dup2(os.open(stdout, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        os.execve(arguments[0], list(arguments), dict(environment))
    finally:
        os._exit(127)


def processes_with(marker: str) -> Iterator[int]:
    """The processes whose environment holds `marker` (the test's own cache folder, say)."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if marker.encode() in environment and state != "Z":
            yield int(entry.name)
