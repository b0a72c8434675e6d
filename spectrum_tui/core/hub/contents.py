"""Whether the contents of a file are those that were announced, by the id that names them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spectrum_tui.core.checkpoint.unbuffered import next_bytes, unbuffered
from spectrum_tui.core.disk import open_regular

_PIECE = 1 << 20


def hasher(blob: str, nbytes: int) -> Any:
    """Return the hash whose hex digits are the id `blob`, of a file of `nbytes` bytes.

    64 digits are the SHA-256 of the contents (large file storage), 40 git's SHA-1 of a blob, which
    begins with the kind and the size.
    """
    if len(blob) == 64:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % nbytes, usedforsecurity=False)


def is_blob(data: bytes, blob: str) -> bool:
    """Return whether `blob` is the id of these contents."""
    digest = hasher(blob, len(data))
    digest.update(data)
    return bool(digest.hexdigest() == blob)


def file_is_blob(path: Path, blob: str, counted: Callable[[int], None]) -> bool:
    """Return whether `blob` is the id of the contents of `path`; `counted` gets the bytes of each
    step."""
    with open_regular(path) as file:
        digest = hasher(blob, os.fstat(file.fileno()).st_size)
        raw = unbuffered(file)
        while chunk := next_bytes(raw, _PIECE):
            digest.update(chunk)
            counted(len(chunk))
    return bool(digest.hexdigest() == blob)
