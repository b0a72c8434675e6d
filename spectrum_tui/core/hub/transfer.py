"""Fetching a model into the hub's standard cache, with true progress and a stop that is prompt.

The client runs in a thread of its own, because it looks at nothing while a connection stalls (it
waits 10 s, five times over); `download` returns within about a second of a cancellation whatever
that thread does. Finished files are kept, a file cut short is fetched anew: the client cannot
resume one across calls.
"""

from __future__ import annotations

import glob
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from spectrum_tui.core.errors import HubError
from spectrum_tui.core.hub.cache import HubFiles, remember_revision, remove_leftovers
from spectrum_tui.core.hub.errors import (
    cache_root,
    disk_full,
    hush_client,
    is_transient,
    translate,
)

Progress = Callable[[int, int, float], None]
"""Called with bytes done, bytes in all, and bytes per second."""

CHUNK = 256 * 1024
"""Bytes between two looks at the stop flag; the client's own 10 MB are 10 s at 1 MB/s."""

WORKERS = 4
"""Files fetched at once."""

WAITS = (0.5, 2.0, 8.0)
"""Seconds before each further attempt after a passing failure."""

_TICK = 0.1
_STOP_WAIT = 1.0
_SPEED_WINDOW = 50
"""Ticks over which the speed is taken: 5 s."""


class DownloadCancelled(BaseException):
    """The caller's `cancelled` said so; no Exception, so that no retry swallows it."""


def download(files: HubFiles, *, progress: Progress, cancelled: Callable[[], bool]) -> Path:
    """Fetch what is missing of `files` and return the snapshot folder.

    `progress` and `cancelled` are called from the calling thread, about ten times a second.
    Raises DownloadCancelled, HubError, or OutputError when the disk has no room.
    """
    remove_leftovers(files.repo_id)
    job = _Job(files)
    job.check_space()
    thread = threading.Thread(target=job.run, name="download", daemon=True)
    meter = _Meter(job.done)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_TICK)
            progress(job.done, job.total, meter.speed(job.done))
            if cancelled():
                raise DownloadCancelled
    finally:
        job.stop.set()
        thread.join(_STOP_WAIT)
    _finish(job)
    progress(job.total, job.total, meter.speed(job.total))
    return files.folder


def _finish(job: _Job) -> None:
    files = job.files
    if job.error is not None:
        raise translate(job.error, files.repo_id, files.commit) from None
    missing = files.missing()
    if missing:  # the client settles for a partial snapshot when the hub goes away meanwhile
        raise HubError(
            f"{len(missing)} of {len(files.sizes)} files did not arrive, first {missing[0]}.",
            "Try again; finished files are kept.",
            field="model",
        )
    remember_revision(files.repo_id, files.revision, files.commit)


class _Job:
    """One download: what the client's thread does and what the caller watches."""

    def __init__(self, files: HubFiles) -> None:
        self.files = files
        self.total = files.nbytes
        self.stop = threading.Event()
        self.error: BaseException | None = None
        self._kept = files.cached_bytes()
        self._fetched = 0

    @property
    def done(self) -> int:
        """Bytes that are on this machine, never more than the total."""
        return min(self._kept + self._fetched, self.total)

    def check_space(self) -> None:
        """Raise OutputError when the cache's disk has less room than is needed."""
        needed = self.total - self._kept
        place = cache_root()
        while not place.exists() and place != place.parent:
            place = place.parent
        try:
            free = shutil.disk_usage(place).free
        except OSError:
            return
        if needed > free:
            raise disk_full(needed, free)

    def run(self) -> None:
        """Fetch everything, again after a passing failure; what went wrong is in `error`."""
        for wait in (*WAITS, None):
            try:
                self._fetch()
                return
            except BaseException as exc:  # of any kind: it crosses to the caller's thread
                if wait is None or not is_transient(exc) or self.stop.wait(wait):
                    self.error = exc
                    return

    def _fetch(self) -> None:
        from huggingface_hub import constants, snapshot_download

        hush_client()
        constants.DOWNLOAD_CHUNK_SIZE = CHUNK
        self._fetched, self._kept = 0, self.files.cached_bytes()
        snapshot_download(
            self.files.repo_id,
            revision=self.files.commit,
            allow_patterns=[glob.escape(name) for name in self.files.sizes],
            max_workers=WORKERS,
            tqdm_class=_sink(self),
        )

    def fetched(self, count: int) -> None:
        """One of the client's counters stands at `count` bytes; ends the download when stopped."""
        if self.stop.is_set():
            raise DownloadCancelled
        # Network bytes and bytes written are counted apart; whichever is ahead is the progress.
        self._fetched = max(self._fetched, count)


class _Bar:
    """What the client takes for a progress bar: counts, and draws nothing."""

    job: _Job
    _lock = threading.RLock()

    def __init__(self, *args: object, **options: Any) -> None:
        self.n = options.get("initial") or 0
        self.total = options.get("total") or 0
        self._counts_bytes = options.get("unit") == "B"

    def update(self, n: float | None = 1) -> None:
        """Count `n` more."""
        with self._lock:
            self.n += n or 0
        self.job.fetched(int(self.n) if self._counts_bytes else 0)

    @property
    def format_dict(self) -> dict[str, object]:
        """Asked for a rate that nobody draws."""
        return {"rate": None}

    def _ignore(self, *args: object, **options: object) -> None:
        """A bar's drawing: there is none."""

    refresh = reset = close = _ignore
    set_description = set_description_str = set_postfix = set_postfix_str = _ignore

    def __enter__(self) -> _Bar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to tidy."""

    @classmethod
    def get_lock(cls) -> object:
        """The lock that the client hands to its threads."""
        return cls._lock

    @classmethod
    def set_lock(cls, lock: object) -> None:
        """The lock is the class's own."""


def _sink(job: _Job) -> Any:
    """A class of bars that count for `job`; not of the type that the client declares, tqdm's."""
    return type("_JobBar", (_Bar,), {"job": job})


class _Meter:
    """Bytes per second over the last few seconds."""

    def __init__(self, done: int) -> None:
        self._seen = deque([(time.monotonic(), done)], maxlen=_SPEED_WINDOW)

    def speed(self, done: int) -> float:
        """The speed now that `done` bytes are there."""
        self._seen.append((time.monotonic(), done))
        (start, first), (now, last) = self._seen[0], self._seen[-1]
        return max(last - first, 0) / (now - start) if now > start else 0.0
