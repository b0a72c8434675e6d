"""Blocks on their way to a GPU, through memory that its copying engine reads by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

BUFFERS = 2
"""Of a thread: one is filled while the other is copied."""

BUFFER_BYTES = 2**24
"""Of one buffer: pinned memory is nobody else's, and a thread has two."""


class Event(Protocol):
    """A place in the work of a stream."""

    def record(self) -> None:
        """Set it behind what the stream has been given so far."""
        ...

    def synchronize(self) -> None:
        """Wait until the stream is past it; at once if it was never set."""
        ...


class Copies:
    """Buffers in turn, through which blocks go to a device without this thread waiting for them.

    A buffer is filled again only when its copy has ended.
    """

    def __init__(self, device: str, *, pin: bool, event: Callable[[], Event]) -> None:
        import torch

        self._device = device
        self._buffers = [
            torch.empty(BUFFER_BYTES, dtype=torch.uint8, pin_memory=pin) for _ in range(BUFFERS)
        ]
        self._events = [event() for _ in range(BUFFERS)]
        self._turn = 0

    def send(self, block: torch.Tensor) -> torch.Tensor:
        """Return a 2-D block of the CPU as it will be on the device, in the work of its stream."""
        import torch

        if block.stride(0) < block.stride(1):  # columns of a matrix that is stored by rows
            return self.send(block.T).T
        found = torch.empty(block.shape, dtype=block.dtype, device=self._device)
        rows = max(1, BUFFER_BYTES // max(1, block.shape[1] * block.element_size()))
        for start in range(0, len(block), rows):
            self._send_rows(found[start : start + rows], block[start : start + rows])
        return found

    def _send_rows(self, target: torch.Tensor, rows: torch.Tensor) -> None:
        nbytes = rows.numel() * rows.element_size()
        if nbytes > BUFFER_BYTES:  # a single row
            target.copy_(rows)
            return
        buffer, event = self._buffers[self._turn], self._events[self._turn]
        self._turn = (self._turn + 1) % BUFFERS
        event.synchronize()
        held = buffer[:nbytes].view(rows.dtype).view(rows.shape)
        held.copy_(rows)
        target.copy_(held, non_blocking=True)
        event.record()


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.copies: dict[str, Copies | None] = {}


_of_thread = _OfThread()


def on_device(block: torch.Tensor, device: str) -> torch.Tensor:
    """Return a block on a GPU, through this thread's buffers; as torch copies where the system has
    no memory to pin."""
    if device not in _of_thread.copies:
        _of_thread.copies[device] = _copies_to(device)
    copies = _of_thread.copies[device]
    return block.to(device) if copies is None else copies.send(block)


def _copies_to(device: str) -> Copies | None:
    try:
        return Copies(device, pin=True, event=lambda: _OnStream(device))
    except RuntimeError:
        return None


class _OnStream:
    """An event of the stream that is current on a device, be it the current device or not."""

    def __init__(self, device: str) -> None:
        import torch

        self._device = device
        self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._current = torch.cuda.current_stream

    def record(self) -> None:
        self._event.record(self._current(self._device))

    def synchronize(self) -> None:
        self._event.synchronize()
