"""Fetching a model into the hub's standard cache, with true progress and a stop that is prompt.

The client runs in a thread of its own, because it looks at nothing while a connection stalls (it
waits 10 s, five times over); `download` returns within about a second of a cancellation whatever
that thread does. Finished files are kept, and what came of a file in order: `begun` goes on with
it, which the client cannot across calls. What comes by Xet may have gaps, and is fetched anew.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from spectrum_tui.core import disk
from spectrum_tui.core.errors import HubError
from spectrum_tui.core.hub.begun import BegunFile, begun_bytes
from spectrum_tui.core.hub.cache import HubFiles, remember_revision, remove_partial_files
from spectrum_tui.core.hub.contents import file_is_blob
from spectrum_tui.core.hub.errors import disk_full, not_the_file, translate
from spectrum_tui.core.hub.guard import Bounds, bounded, guard_client
from spectrum_tui.core.hub.meter import Meter
from spectrum_tui.core.hub.names import cache_root, host
from spectrum_tui.core.hub.outage import TOLD_AFTER
from spectrum_tui.core.hub.patience import Patience
from spectrum_tui.core.numbers import part_of
from spectrum_tui.core.together import each

Progress = Callable[[int, int, float, bool], None]
"""Called with bytes done, bytes in all, bytes per second, and whether the network is waited for."""

CHUNK = 256 * 1024
"""Bytes between two looks at the stop flag; the client's own 10 MB are 10 s at 1 MB/s."""

WORKERS = 4
"""Files fetched at once."""

DOWNLOAD_WAITS = (0.5, 2.0, 8.0)
"""Seconds before each further attempt after a passing failure."""

TOO_LITTLE_FOR = 60.0
LEAST_BYTES = 60_000
"""A download that gets fewer bytes than these in as many seconds is given up."""

MOST_ANEW = 4
"""How often the bytes of a file may come: who cuts each answer and begins anew never ends."""

MAX_UNANNOUNCED = 50_000_000_000
"""Bytes of a file whose size the hub does not tell; the largest shards have 50 GB."""

_CLOCK = 2.0
"""Seconds by which the times of files may be behind this clock; FAT counts in steps of two."""

_TICK = 0.1
_STOP_WAIT = 1.0
_SPEED_WINDOW = 50
"""Ticks over which the speed is taken: 5 s."""


class DownloadStopped(BaseException):
    """The caller's `cancelled` returned true; not an Exception, so that no retry swallows it."""


def download(
    files: HubFiles,
    *,
    progress: Progress,
    cancelled: Callable[[], bool],
    say: Callable[[str], None] = lambda text: None,
) -> Path:
    """Fetch what is missing of `files` and return the snapshot folder.

    Every file that comes is checked against the id that the hub announced for it. `progress` and
    `cancelled` are called from the calling thread, about ten times a second; `say` gets a line
    when the hub asks to wait. Raises DownloadStopped, HubError, or OutputError when the disk has
    no room.
    """
    remove_partial_files(files.repo_id, files.blobs.values())
    job = _Job(files, say)
    job.check_space()
    meter, watch = Meter(job.done, _SPEED_WINDOW), _Watch()
    with _in_a_thread(job) as thread:
        while thread.is_alive():
            thread.join(_TICK)
            waits = watch.look(job.moved, waiting=job.patience.waiting)
            progress(job.done, job.total, meter.speed(job.done), waits)
            if cancelled():
                raise DownloadStopped
    _finish(job)
    remove_partial_files(files.repo_id)
    progress(job.total, job.total, meter.speed(job.total), False)
    return files.folder


@contextlib.contextmanager
def _in_a_thread(job: _Job) -> Iterator[threading.Thread]:
    """Run a job beside the block, and have it stop at its end."""
    thread = threading.Thread(target=job.run, name="download", daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        job.stop.set()
        thread.join(_STOP_WAIT)


def free_space() -> int | None:
    """Return the free bytes of the cache's disk, None where the system does not tell."""
    place = cache_root()
    while not place.exists() and place != place.parent:
        place = place.parent
    return disk.free_space(place)


def _finish(job: _Job) -> None:
    files = job.files
    if job.error is not None:
        raise translate(job.error, files.repo_id, files.commit) from None
    missing = files.missing()
    if missing:  # the client settles for a partial snapshot when the hub goes away meanwhile
        raise HubError(
            f"{part_of(len(missing), len(files.sizes), 'file')} did not arrive, "
            f"first {missing[0]}.",
            "Try again; finished files are kept.",
            field="model",
        )
    remember_revision(files.repo_id, files.revision, files.commit)


class _Job:
    """One download: what the client's threads do and what the caller watches.

    `moved` grows with every byte that comes or is checked, with some twice.
    """

    def __init__(self, files: HubFiles, say: Callable[[str], None]) -> None:
        self.files = files
        self.total = files.nbytes
        self.stop = threading.Event()
        self.error: BaseException | None = None
        self.moved = 0
        self.patience = Patience(DOWNLOAD_WAITS, say=say, check=self.check)
        self._kept = files.cached_bytes()
        self._fetched = begun_bytes(files)
        self._all: dict[str, int] = {}
        self._since: dict[str, float] = {}
        self._whole: set[str] = set()

    @property
    def done(self) -> int:
        """Bytes that are on this machine, never more than the total."""
        return min(self._kept + sum(self._fetched.copy().values()), self.total)

    def check(self) -> None:
        """End the thread that asks when the download was stopped."""
        if self.stop.is_set():
            raise DownloadStopped

    def check_space(self) -> None:
        """Raise OutputError when the cache's disk has less room than is needed."""
        needed, free = self.total - self.done, free_space()
        if free is not None and needed > free:
            raise disk_full(needed, free)

    def run(self) -> None:
        """Fetch everything; what went wrong is in `error`."""
        from huggingface_hub import constants

        guard_client()
        constants.DOWNLOAD_CHUNK_SIZE = CHUNK
        try:
            each(self._file, self.files.missing(), WORKERS, self.stop.set)
        except BaseException as exc:  # of any kind: it crosses to the caller's thread
            self.error = exc

    def _file(self, name: str) -> None:
        """Bring one file into the cache; its contents are checked unless they were there."""
        was_there = self.files.has_blob(name)
        path = self.patience.ask(lambda: self._fetch(name))
        if not was_there and name not in self._whole:
            self._verify(name, path)
        BegunFile(self.files, name).forget()

    def _fetch(self, name: str) -> Path:
        from huggingface_hub import hf_hub_download

        self.check()
        self._since.pop(name, None)
        if BegunFile(self.files, name).go_on(partial(self.fetched, name), self._checked):
            self._whole.add(name)
        self._since[name] = time.time()
        files, most = self.files, self.files.sizes[name] or MAX_UNANNOUNCED
        came = partial(self._came, name)
        with bounded(Bounds(most, files.commit, files.blobs.get(name, ""), came)):
            return Path(
                hf_hub_download(
                    files.repo_id, name, revision=files.commit, tqdm_class=_sink(self, name)
                )
            )

    def _verify(self, name: str, path: Path) -> None:
        """Take a file out of the cache again, and raise, where it is not what was announced."""
        linked = Path(os.path.realpath(path.parent), path.readlink()) if path.is_symlink() else path
        blob = self.files.blobs.get(name) or linked.name
        if not file_is_blob(path, blob, self._checked):
            path.unlink(missing_ok=True)
            linked.unlink(missing_ok=True)
            raise not_the_file(name)

    def _checked(self, count: int) -> None:
        self.check()
        self.moved += count

    def _came(self, name: str, count: int) -> None:
        """Count bytes of a file from the network, also those that come again."""
        self._checked(count)
        self._all[name] = self._all.get(name, 0) + count
        if self._all[name] > MOST_ANEW * (self.files.sizes[name] or MAX_UNANNOUNCED):
            message = f"{host()} keeps breaking off while it sends {name}."
            raise HubError(message, "Try again; finished files are kept.", field="model")

    def fetched(self, name: str, count: int) -> None:
        """One of the client's counters of a file stands at `count` bytes; raises when stopped."""
        self.check()
        # Network bytes and bytes written are counted apart; whichever is ahead is the progress.
        before = self._fetched.get(name, 0)
        self._fetched[name] = max(before, count)
        self.moved += max(count - before, 0)
        # What the client counts beside the bytes of its requests comes by Xet, in any order.
        in_order = self._all.get(name, 0) >= count >= CHUNK
        if in_order and (since := self._since.pop(name, None)) is not None:
            BegunFile(self.files, name).keep(since - _CLOCK)


class _Bar:
    """What the client takes for a progress bar of one file: counts, and draws nothing."""

    job: _Job
    name: str
    _lock = threading.RLock()

    def __init__(self, *args: object, **options: Any) -> None:
        self.n = options.get("initial") or 0
        self.total = options.get("total") or 0

    def update(self, n: float | None = 1) -> None:
        """Count `n` more bytes; fewer where the client begins anew."""
        with self._lock:
            self.n += n or 0
        self.job.fetched(self.name, int(self.n))

    @property
    def format_dict(self) -> dict[str, object]:
        """The rate that the client asks for; it is never drawn."""
        return {"rate": None}

    def _ignore(self, *args: object, **options: object) -> None:
        """Draw nothing."""

    refresh = reset = close = _ignore
    set_description = set_description_str = set_postfix = set_postfix_str = _ignore

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing to tidy."""

    @classmethod
    def get_lock(cls) -> object:
        """Return the lock that the client hands to its threads."""
        return cls._lock

    @classmethod
    def set_lock(cls, lock: object) -> None:
        """Keep the lock in the class."""


def _sink(job: _Job, name: str) -> Any:
    """Return a class of bars that count for a file of `job`; not of the type that the client
    declares."""
    return type("_FileBar", (_Bar,), {"job": job, "name": name})


class _Watch:
    """Gives a download up that does not get on: each read may take its time, not all of them."""

    def __init__(self) -> None:
        self._since, self._seen = time.monotonic(), 0
        self._moved, self._at = 0, self._since

    def look(self, moved: int, *, waiting: bool) -> bool:
        """Return whether nothing has moved for a while, or the hub has named a time (`waiting`,
        which is no stall); raise HubError when too little has for too long."""
        now = time.monotonic()
        if moved != self._moved:
            self._moved, self._at = moved, now
        if waiting or moved - self._seen >= LEAST_BYTES:
            self._since, self._seen = now, moved
        elif now - self._since > TOO_LITTLE_FOR:
            message = f"{host()} has sent almost nothing for {TOO_LITTLE_FOR:.0f} s."
            raise HubError(message, "Try again; finished files are kept.", field="model")
        return waiting or now - self._at > TOLD_AFTER
