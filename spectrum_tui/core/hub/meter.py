"""How fast bytes come."""

from __future__ import annotations

import time
from collections import deque


class Meter:
    """Bytes per second over the last few looks, `window` of them, from `done` bytes on."""

    def __init__(self, done: int, window: int) -> None:
        self._seen = deque([(time.monotonic(), done)], maxlen=window)

    def forget(self) -> None:
        """Leave out the time until now, in which nothing could come."""
        self._seen.clear()

    def speed(self, done: int) -> float:
        """Return the speed now that `done` bytes are there."""
        self._seen.append((time.monotonic(), done))
        (start, first), (now, last) = self._seen[0], self._seen[-1]
        return max(last - first, 0) / (now - start) if now > start else 0.0
