"""Python imports this first where its folder is on PYTHONPATH: it takes away what Windows lacks."""

from __future__ import annotations

import asyncio  # noqa: F401  # which asks this system's calls as it is imported, from Python 3.12 on
import os
import pathlib
import signal
import subprocess
import sys
from typing import Any

MODULES = ("termios", "tty", "fcntl", "resource", "pwd", "grp", "pty")
CALLS = (
    *("preadv", "pread", "pwrite", "pwritev", "readv", "writev", "posix_fadvise", "set_blocking"),
    *("fchmod", "fchown", "geteuid", "getegid", "mkfifo", "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW"),
    *("O_NONBLOCK", "killpg", "getpgid", "getpgrp", "setpgid", "setsid", "nice", "setpriority"),
    *("sysconf", "sched_getaffinity", "openpty", "statvfs", "getloadavg"),
)
OTHERS = ("fork", "register_at_fork", "getuid")
"""What libraries call on this system: it stays, and is no call of ours."""
SIGNALS = ("SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGTSTP", "SIGCONT", "SIGWINCH", "SIGUSR1")


def take_away() -> None:
    """Leave Python without them; `/proc` and `/sys` cannot be read as text."""
    for module in MODULES:
        sys.modules[module] = None  # type: ignore[assignment]
    for call in CALLS:
        delattr(os, call)
    for name in SIGNALS:
        delattr(signal, name)
    subprocess.Popen.kill = subprocess.Popen.terminate  # type: ignore[method-assign]
    real: Any = pathlib.Path.read_text

    def read_text(path: pathlib.Path, *arguments: Any, **named: Any) -> Any:
        if str(path).startswith(("/proc/", "/sys/")):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return real(path, *arguments, **named)

    setattr(pathlib.Path, "read_text", read_text)  # noqa: B010


if __name__ == "sitecustomize":
    take_away()
