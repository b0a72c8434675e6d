"""Samples of the bytes of a model's files: what tells them from others without reading them
whole."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from spectrum_tui.core.checkpoint.file_state import FileState, changed
from spectrum_tui.core.checkpoint.shards import unreadable
from spectrum_tui.core.checkpoint.unbuffered import next_bytes, unbuffered
from spectrum_tui.core.disk import open_regular
from spectrum_tui.core.platforms import no_reading_ahead
from spectrum_tui.core.together import each

BLOCK = 4096
"""Bytes of a sample on each side of its place."""

APART = 2**22
"""Bytes between two samples within a tensor: 33,000 samples of a model of 140 GB."""

MANY = 2**16
"""Samples from which on they lie twice as far apart, and once more: a million would take 20 s."""

SMALL = 2**16
"""Bytes up to which rows of a tensor have no samples of their own: no expert is so small."""

WHOLE = 2**22
"""Bytes up to which a shard is read whole."""

AT_ONCE = 8
"""Threads that read samples: a disk in the network answers each after a millisecond or more."""

_IN_A_JOB = 128
"""Samples that a thread reads one after the other."""

GLIMPSES = 64
"""Samples of a model that each have to be fetched: 8 at once take 1 s where one takes 70 ms."""

_GLIMPSES_IN_A_JOB = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """A shard on this machine, by the hash of its header: its bytes from `start` on, where its
    tensors end among them, and the bytes of one expert in each (0 without)."""

    path: Path
    header: str
    state: FileState
    start: int
    ends: tuple[int, ...]
    experts: tuple[int, ...]


_Blocks = Sequence[tuple[int, int]]


def sampled_ids(shards: Sequence[Contents]) -> list[str]:
    """Return a hash of the samples of each shard.

    Raises ModelChangedError for a shard that is no longer as its `state` says, CheckpointError for
    one that cannot be read.
    """
    apart = _apart(sum(shard.state.size for shard in shards))
    jobs = [(shard, blocks) for shard in shards for blocks in _jobs(shard, apart)]
    return _hashes(shards, jobs)


def glimpsed_ids(shards: Sequence[Contents]) -> list[str]:
    """Return size, time and a hash of few samples of each shard, of files whose every byte is
    fetched over a network once somebody reads it; raises as `sampled_ids`."""
    places = _glimpsed(shards)
    jobs = [(shard, blocks) for shard in shards for blocks in _glimpses(shard, places)]
    hashes = _hashes(shards, jobs)
    return [
        f"{shard.state.size} {shard.state.mtime_ns} {found}"
        for shard, found in zip(shards, hashes, strict=True)
    ]


def _hashes(shards: Sequence[Contents], jobs: Sequence[tuple[Contents, _Blocks]]) -> list[str]:
    """Return a hash for each shard of what its jobs read."""
    hashes = [_hash_of(jobs[0])] if len(jobs) == 1 else each(_hash_of, jobs, AT_ONCE)
    digests = {shard.path: hashlib.sha256() for shard in shards}
    for (shard, _), found in zip(jobs, hashes, strict=True):
        digests[shard.path].update(found)
    return [digest.hexdigest() for digest in digests.values()]


def _apart(nbytes: int) -> int:
    """Return the bytes between two samples within a tensor of a model of this size."""
    return next((step for step in (APART, 2 * APART) if nbytes <= step * MANY), 4 * APART)


def _jobs(shard: Contents, apart: int) -> Iterator[_Blocks]:
    blocks = list(_blocks(shard, apart))
    yield from (blocks[i : i + _IN_A_JOB] for i in range(0, len(blocks), _IN_A_JOB))


def _blocks(shard: Contents, apart: int) -> Iterator[tuple[int, int]]:
    """Yield (begin, end) of the bytes that are read of a shard, in order and without overlaps."""
    size = shard.state.size
    if size <= WHOLE:
        yield shard.start, size
        return
    begin = end = shard.start
    for place in _places(shard, apart):
        if place - BLOCK > end:
            yield begin, end
            begin = place - BLOCK
        end = min(place + BLOCK, size)
    yield begin, end


def _glimpsed(shards: Sequence[Contents]) -> frozenset[tuple[str, int]]:
    """Return the ends of tensors that are looked at, by the headers that they are in: by chance,
    but the same ones each time, as layers repeat in steps."""
    ends = [(shard.header, end) for shard in shards for end in shard.ends]
    ends.sort(key=lambda place: (crc32(f"{place[0]} {place[1]}".encode()), place))
    return frozenset(ends[:GLIMPSES])


def _glimpses(shard: Contents, places: frozenset[tuple[str, int]]) -> Iterator[_Blocks]:
    """Yield (begin, end) of what is read around these places of a shard, backwards from its end.

    hf-mount takes the first read of an opened file, and each one less than 16 MiB further on, for
    the start of reading it all, and fetches 8 to 128 MiB ahead. So each job begins near the end of
    the file, with a page that none has read before: the system answers for those by itself.
    """
    size = shard.state.size
    ends = sorted((end for end in shard.ends if (shard.header, end) in places), reverse=True)
    blocks = [(max(0, end - BLOCK), min(end + BLOCK, size)) for end in ends]
    for job, i in enumerate(range(0, len(blocks), _GLIMPSES_IN_A_JOB), 2):
        page = max(size // BLOCK - job, 0) * BLOCK
        yield [(page, min(page + BLOCK, size)), *blocks[i : i + _GLIMPSES_IN_A_JOB]]


def _places(shard: Contents, apart: int) -> Iterator[int]:
    """Yield where the samples lie, in order."""
    start = shard.start
    for end, expert in zip(shard.ends, shard.experts, strict=True):
        step = expert or max(1, end - start)
        for begin in range(start, max(end, start + 1), step):
            yield from range(begin, max(min(begin + step, end), begin + 1), apart)
        start = end
    yield start


def _hash_of(job: tuple[Contents, _Blocks]) -> bytes:
    shard, blocks = job
    digest = hashlib.sha256()
    try:
        with open_regular(shard.path) as file:
            raw = unbuffered(file)
            if len(blocks) > 1:
                no_reading_ahead(file.fileno())
            for begin, end in blocks:
                digest.update(_bytes(raw, begin, end))
            state = FileState.of(os.fstat(file.fileno()))
    except OSError as exc:
        raise unreadable(shard.path, exc, shard.state.device) from None
    if state != shard.state:
        raise changed(str(shard.path))
    return digest.digest()


def _bytes(file: io.FileIO, begin: int, end: int) -> bytes:
    """Return bytes [begin, end) of a file, fewer where it is shorter."""
    file.seek(begin)
    return next_bytes(file, end - begin)
