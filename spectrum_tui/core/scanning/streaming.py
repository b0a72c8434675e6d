"""A scan of a model that is not on this machine: its values come as they are needed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path

from spectrum_tui.core.checkpoint.headers import Tensor
from spectrum_tui.core.checkpoint.sources import ByteSource, Pieces, served
from spectrum_tui.core.errors import InputError, ModelChangedError
from spectrum_tui.core.events import Fetched, ScanNote
from spectrum_tui.core.files import cache_dir
from spectrum_tui.core.hub.location import RemoteFile, remote_files
from spectrum_tui.core.hub.meter import Meter
from spectrum_tui.core.hub.outage import GivenUpError
from spectrum_tui.core.hub.patience import Patience
from spectrum_tui.core.hub.ranges import RangeReader
from spectrum_tui.core.hub.reader import NoRangesError, Reader
from spectrum_tui.core.hub.web import not_downloaded
from spectrum_tui.core.hub.whole_files import WholeFiles
from spectrum_tui.core.model.inspection import Inspection, as_far_as_known
from spectrum_tui.core.platforms import known_free
from spectrum_tui.core.scanning.read_ahead import POOL, SEGMENT, ReadAhead
from spectrum_tui.core.scanning.read_order import Events, Order, Reading, file_by_file
from spectrum_tui.core.scanning.read_plan import ReadPlan
from spectrum_tui.core.scanning.scratch import Scratch
from spectrum_tui.core.scanning.watch import Watch
from spectrum_tui.core.settings import Settings
from spectrum_tui.core.text import safe

POOL_SHARE = 1 / 8
"""The pool of what is fetched ahead takes this part of the free memory at most."""

NO_RANGES = (
    "The server gives no ranges of files: each is downloaded, scanned and deleted in turn, two of "
    "them on the disk at a time."
)

NO_SCRATCH = (
    "The disk of {} has no room for the wide matrices, which are read in strips: each strip "
    "fetches its whole matrix again."
)

TICK = 0.5
"""Seconds between two reports of what has come."""

WINDOW = 10
"""Reports over which the speed is taken."""


def watched(inspection: Inspection, cancelled: Callable[[], bool]) -> Watch | None:
    """Return what looks at the files again while they are read, where not every change of them is
    seen by reading; None for other places."""
    if not inspection.place.looked_at_again:
        return None
    marked = not any(file.is_unmarked for file in inspection.web.values())
    return Watch(partial(_look_again, inspection), cancelled, marked=marked)


def _look_again(inspection: Inspection, check: Callable[[], None]) -> None:
    """Raise ModelChangedError for other files than were inspected, HubError where none can be
    looked at, and what `check` raises meanwhile."""
    summary = inspection.summary
    now = inspection.place.look(summary.model, summary.revision, Patience(check=check))
    if now.checkpoint.identity != inspection.checkpoint.identity:
        raise ModelChangedError(
            f"The files at {summary.model} have changed during the scan.",
            "Scan again: scores that may mix old and new files are not kept.",
            field="model",
        )


def streams(settings: Settings, inspection: Inspection) -> bool:
    """Return whether a model is scanned without a download, as `ModelSummary.is_streamed` says.

    Raises InputError where both are asked for, or a download for a cluster, HubError for a
    download of what cannot be.
    """
    summary = inspection.summary
    if settings.stream and settings.download:
        raise InputError(
            "--stream and --download are given.", "Give one of them, or none.", field="model"
        )
    if settings.cluster and settings.download and not summary.is_local:
        raise InputError(
            "--cluster and --download are given.",
            "The nodes read the model for themselves: download it there, with hf download.",
            field="model",
        )
    if summary.origin == "web" and settings.download:
        raise not_downloaded(summary.model)
    return summary.is_streamed(settings)


@contextmanager
def streamed(
    inspection: Inspection, cancelled: Callable[[], bool] = lambda: False
) -> Iterator[Reader]:
    """While it lasts, read the values of a model on the hub or on the web from there, but for
    files that are already in the cache."""
    remote = _remote(inspection)
    ended = threading.Event()

    check = partial(_check, lambda: ended.is_set() or cancelled())
    reader = inspection.place.reader(remote, check=check)
    try:
        with served(remote, reader):
            yield reader
    finally:
        ended.set()
        reader.close()


def _check(stopped: Callable[[], bool]) -> None:
    if stopped():
        raise GivenUpError("The scan was stopped while it waited for the network.")


def _remote(inspection: Inspection) -> Mapping[str, RemoteFile]:
    files = inspection.files
    if files is None:
        return inspection.web
    shards = [name for name in inspection.checkpoint.shards if not files.holds(name)]
    return remote_files(files, shards)


def named(inspection: Inspection, settings: Settings) -> Inspection:
    """Return such a model under its exact names, for which some values may be read."""
    try:
        with streamed(inspection):
            return as_far_as_known(inspection, settings)
    except NoRangesError:
        return as_far_as_known(inspection, settings)


def whole_files_folder() -> Path:
    """Return where the files of servers without ranges lie while they are read."""
    return cache_dir() / "whole-files"


@contextmanager
def kept_whole(reader: Reader) -> Iterator[WholeFiles | None]:
    """Provide the place for the files of a server that gives no ranges; None for one that does."""
    if not isinstance(reader, RangeReader) or reader.gives_ranges():
        yield None
        return
    with WholeFiles(reader, whole_files_folder()).opened() as whole:
        yield whole


@contextmanager
def reading_ahead(
    reader: Reader | None, order: Order, whole: WholeFiles | None = None
) -> Iterator[Reading]:
    """Fetch what will be read of these matrices before it is, as long as this lasts; nothing
    without a reader or matrices. `whole` is what `kept_whole` provides, where that outlives it."""
    if reader is None or not order:
        yield Reading(order=order)
        return
    reader.outage.begin()
    if reader.gives_ranges():
        with _in_ranges(reader, order) as reading:
            yield reading
        return
    with kept_whole(reader) if whole is None else nullcontext(whole) as kept:
        assert kept is not None
        with _in_whole_files(reader, order, kept) as reading:
            yield reading


@contextmanager
def _in_ranges(reader: Reader, order: Order) -> Iterator[Reading]:
    plan, events = ReadPlan(order, SEGMENT, reader.files), Events()
    with closing(_scratch(events)) as scratch:
        ahead = ReadAhead(reader, plan, scratch, slots=_slots())
        timed = _Timed(ahead)
        reading = Reading(
            order=order,
            ranges=reader.where,
            unmarked=reader.unmarked,
            scored=ahead.release,
            events=events,
            waited=timed.seconds,
        )
        with served(reader.files, timed), _telling(reader, plan.nbytes, events):
            ahead.start()
            try:
                yield reading
            finally:
                ahead.finish()


class _Timed:
    """A source that knows how long each thread has read from it."""

    def __init__(self, source: ByteSource) -> None:
        self._source, self._own = source, threading.local()

    def read_into(self, tensor: Tensor, pieces: Pieces) -> None:
        """Fill the buffers as the source does."""
        begin = time.perf_counter()
        try:
            self._source.read_into(tensor, pieces)
        finally:
            self._own.seconds = self.seconds() + time.perf_counter() - begin

    def seconds(self) -> float:
        """Return the seconds of the thread that asks."""
        return float(getattr(self._own, "seconds", 0.0))


def _slots() -> int:
    """Return how many segments the pool of what is fetched ahead holds."""
    free = known_free()
    pool = POOL if free is None else min(POOL, int(POOL_SHARE * free))
    return max(2, pool // SEGMENT)


def _scratch(events: Events) -> Scratch:
    folder = cache_dir()
    note = NO_SCRATCH.format(safe(str(folder)))
    return Scratch(folder, SEGMENT, lambda: events.put(ScanNote(note)))


@contextmanager
def _in_whole_files(reader: Reader, order: Order, whole: WholeFiles) -> Iterator[Reading]:
    """Read file by file, each deleted once its matrices are scored."""
    order, needed = file_by_file(order, reader.files)
    total = sum(reader.file(name).size for name in needed)
    timed = _Timed(whole)
    reading = Reading(order=order, waited=timed.seconds)
    reading.events.put(ScanNote(NO_RANGES))
    with served(reader.files, timed), _telling(reader, total, reading.events):
        yield reading


@contextmanager
def _telling(reader: Reader, total: int, events: Events) -> Iterator[None]:
    over = threading.Event()
    work = partial(_tell, reader, total, events, over)
    threading.Thread(target=work, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _tell(reader: Reader, total: int, events: Events, over: threading.Event) -> None:
    """Report what has come until the work is over."""
    before = reader.traffic.nbytes
    meter = Meter(0, WINDOW)
    while not over.wait(TICK):
        came = reader.traffic.nbytes - before
        if reader.outage.reason:
            meter.forget()  # else the time of an outage counted as a slow network
        speed = meter.speed(came)
        events.put(Fetched(min(came, total), total, speed, reader.outage.reason))
