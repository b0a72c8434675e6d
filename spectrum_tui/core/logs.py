"""Log files: what went wrong in full, beside the one line that a user reads."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from spectrum_tui.core.files import cache_dir

KEPT = 10


@contextlib.contextmanager
def log_file(kind: str) -> Iterator[IO[str] | None]:
    """A new log file among the newest few of its kind; None where none can be written."""
    folder = cache_dir() / "logs"
    name = f"{kind}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in sorted(folder.glob(f"{kind}-*.log"))[: -(KEPT - 1)]:
            old.unlink(missing_ok=True)
        # What is logged may hold any text, also halves of surrogate pairs.
        file = (folder / name).open("a", encoding="utf-8", errors="backslashreplace")
    except OSError:
        yield None
        return
    with file:
        yield file


def keep_log(kind: str, text: str) -> Path | None:
    """Write a log, in the folder for temporary files where the cache takes none; returns its path,
    None where nothing can be written."""
    with contextlib.suppress(OSError), log_file(kind) as file:
        if file is not None:
            file.write(text)
            file.flush()
            return Path(file.name)
    with contextlib.suppress(OSError):
        handle, name = tempfile.mkstemp(prefix=f"spectrum-tui-{kind}-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        return Path(name)
    return None
