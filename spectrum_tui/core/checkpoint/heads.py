"""The bytes that a shard begins with: a little-endian u64, the length of the header, and that."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path

from spectrum_tui.core.checkpoint.file_state import FileState, changed
from spectrum_tui.core.checkpoint.shards import unreadable
from spectrum_tui.core.checkpoint.unbuffered import next_bytes, unbuffered
from spectrum_tui.core.disk import open_regular
from spectrum_tui.core.errors import CheckpointError
from spectrum_tui.core.platforms import no_reading_ahead

MAX_HEADER = 100_000_000
"""Bytes; the cap of the safetensors library itself."""

_HEAD = 2**17
"""Bytes that are fetched of a shard at first: the headers of 500 tensors, and what Linux asks a
mount for at once."""


def read_head(path: Path, *, on_demand: bool = False) -> tuple[FileState, bytes]:
    """Return a shard's state and its header.

    With `on_demand`, the file is on a mount that fetches what is read, and may fetch more than
    that: hf-mount goes on with 8 MiB where the first read of an opened file is not at its end.

    Raises ModelChangedError for a file that is written to meanwhile, CheckpointError for any other
    that is none.
    """
    device = -1
    try:
        with open_regular(path) as file:
            state = FileState.of(os.fstat(file.fileno()))
            device = state.device
            raw = unbuffered(file)
            first = _first_bytes(raw, state.size) if on_demand else next_bytes(raw, 8)
            end = 8 + header_length(first[:8], path.name, state.size)
            head = first[:end] + next_bytes(raw, end - len(first))
            if FileState.of(os.fstat(file.fileno())) != state:
                raise changed(str(path))
    except OSError as exc:
        raise unreadable(path, exc, device) from None
    return state, head[8:]


def _first_bytes(file: io.FileIO, size: int) -> bytes:
    no_reading_ahead(file.fileno())
    file.seek(max(0, size - 1))
    next_bytes(file, 1)
    file.seek(0)
    return next_bytes(file, _HEAD)


def header_length(head: bytes, name: str, size: int | None) -> int:
    """Return the header's length in bytes, from the first 8 bytes of a shard of `size` bytes."""
    if head.startswith(b"version "):
        raise CheckpointError(
            f"{name} is a Git LFS pointer, not the weights.",
            "Run `git lfs pull` in the model folder.",
            field="model",
        )
    length = int(struct.unpack("<Q", head)[0]) if len(head) == 8 else 0
    if length < 2 or length > MAX_HEADER or (size is not None and length + 8 > size):
        raise CheckpointError(
            f"{name} is not a safetensors file (its header does not fit).",
            "Download it again; the transfer may have been cut short.",
            field="model",
        )
    return length
