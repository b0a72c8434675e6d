"""Log files: what went wrong in full, beside the one line that a user reads."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from typing import IO

from spectrum_tui.core.disk import make_folder, open_kept
from spectrum_tui.core.files import cache_dir

LOGS_KEPT = 10


@contextlib.contextmanager
def log_file(kind: str) -> Iterator[tuple[str, IO[str] | None]]:
    """Yield the path of a new log file among the newest few of its kind, and the file; "" and None
    where none can be written."""
    folder = cache_dir() / "logs"
    path = folder / f"{kind}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    try:
        make_folder(folder)
        for old in sorted(folder.glob(f"{kind}-*.log"))[: -(LOGS_KEPT - 1)]:
            old.unlink(missing_ok=True)
        handle = open_kept(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    except OSError:
        yield "", None
        return
    with _writing(handle) as file:
        yield str(path), file


def keep_log(kind: str, text: str) -> str:
    """Write a log, in the folder for temporary files where the cache takes none; returns its path,
    "" where nothing can be written."""
    with contextlib.suppress(OSError), log_file(kind) as (path, file):
        if file is not None:
            file.write(text)
            file.flush()
            return path
    with contextlib.suppress(OSError):
        handle, name = tempfile.mkstemp(prefix=f"spectrum-tui-{kind}-", suffix=".log")
        with _writing(handle) as file:
            file.write(text)
        return name
    return ""


def _writing(handle: int) -> IO[str]:
    # What is logged may hold any text, also halves of surrogate pairs.
    return os.fdopen(handle, "a", encoding="utf-8", errors="backslashreplace")
