"""Whether a file is the one that the hub announced: by the hash that is its id."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spectrum_tui.core.disk import open_regular

_CHUNK = 1 << 20


def hasher(blob: str, nbytes: int) -> Any:
    """The hash whose hex digits are the id `blob`, of a file of `nbytes` bytes.

    64 digits are the SHA-256 of the contents (large file storage), 40 git's SHA-1 of a blob, which
    begins with the kind and the size.
    """
    if len(blob) == 64:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % nbytes, usedforsecurity=False)


def is_blob(data: bytes, blob: str) -> bool:
    """Whether `blob` is the id of these contents."""
    digest = hasher(blob, len(data))
    digest.update(data)
    return bool(digest.hexdigest() == blob)


def file_is_blob(path: Path, blob: str, counted: Callable[[int], None]) -> bool:
    """Whether `blob` is the id of the contents of `path`; `counted` gets the bytes of each step."""
    with open_regular(path) as file:
        digest = hasher(blob, os.fstat(file.fileno()).st_size)
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            counted(len(chunk))
    return bool(digest.hexdigest() == blob)
