"""What a scan may use of a machine: cores, free memory, and when memory has run out.

The memory of a matrix in work is known beforehand, so that a batch is chosen that fits; where
the guess was wrong (another program took the memory meanwhile), the scan falls back instead.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path

from spectrum_tui.core.errors import ScanError
from spectrum_tui.core.naming import Layer
from spectrum_tui.core.numbers import size
from spectrum_tui.core.scoring.svd import CHUNK_ELEMENTS, STRIP_ELEMENTS

SHARE = 0.8
"""How much of the free memory a scan takes: the rest is for allocators and everyone else."""

GRAM_COPIES = 2.5
"""Peak memory in Gram matrices: itself, the solver's copy and its work (measured: 2.4 to 2.6 at
1024 and 2048 columns)."""

_SIGNS = (
    "out of memory",
    "defaultcpuallocator",
    "cannot allocate memory",
    "alloc_failed",  # CUBLAS_STATUS_ALLOC_FAILED, CUSOLVER_STATUS_ALLOC_FAILED
)


def cores() -> int:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def is_out_of_memory(exc: BaseException) -> bool:
    """Whether memory of whatever device ran out: CUDA, its libraries, the CPU's allocator."""
    if isinstance(exc, MemoryError):
        return True
    text = str(exc).lower()
    return isinstance(exc, RuntimeError) and any(sign in text for sign in _SIGNS)


def release(device: str) -> None:
    """Give the blocks that torch's allocator keeps back to the device."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()


def refuse_if_lost(device: str, exc: Exception) -> None:
    """Raise ScanError where a GPU computes nothing any more: after a fault of a kernel, or when
    it fell off the bus, every call of the process fails."""
    if not (device.startswith("cuda") and isinstance(exc, RuntimeError)):
        return
    import torch

    try:
        torch.zeros(1, device=device).add_(1).cpu()
    except RuntimeError as lost:
        line = next(iter(str(lost).strip().splitlines()), type(lost).__name__)
        raise ScanError(
            f"{device} has stopped working ({line}).",
            "Finished scores are kept: the same command goes on from there.",
        ) from None


def free_memory(device: str) -> int:
    """Free bytes of a device by torch's name; of the CPU what is left without swapping, in the
    machine and in this process's own limits (a container, a batch job)."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    known = known_free()
    return _physical() if known is None else known


def known_free() -> int | None:
    """Free bytes of the CPU's memory, None where the system does not say."""
    limits = (_available(Path("/proc/meminfo")), _cgroup_left(Path("/sys/fs/cgroup")))
    return min((left for left in limits if left is not None), default=None)


def _available(meminfo: Path) -> int | None:
    """MemAvailable of Linux, in bytes."""
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvail"))
    except (OSError, ValueError, StopIteration):
        return None


def _cgroup_left(folder: Path) -> int | None:
    """What a container's limit leaves (cgroup v2), where there is one; file cache is free."""
    try:
        limit = int((folder / "memory.max").read_text())  # the word "max" where there is none
        used = int((folder / "memory.current").read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return max(0, limit - used + int(stat.get("inactive_file", "0")))
    except (OSError, ValueError):
        return None


def _physical() -> int:
    """Half of the machine's memory, where the system does not say what is free."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (ValueError, OSError, AttributeError):
        return 4 * 2**30


def memory_need(layer: Layer) -> int:
    """Bytes that one matrix of a layer takes while it is in work.

    2.5 Gram matrices of the shorter side and two chunks in float64, beside what is held of the
    stored values.
    """
    short = min(layer.rows, layer.columns)
    return int(GRAM_COPIES * 8 * short**2 + 2 * 8 * CHUNK_ELEMENTS + held_bytes(layer))


def held_bytes(layer: Layer) -> int:
    """Bytes of the values of one matrix that are held in the CPU's memory: a strip of a wide one,
    all of one that is decoded whole (4 bytes each at most)."""
    rows, columns = layer.rows, layer.columns
    if not all(matrix.values.by_rows for matrix in layer.matrices[:1]):
        return 4 * rows * columns
    if columns <= rows:
        return 0
    whole = layer.nbytes // layer.matrix_count
    return min(whole, whole * STRIP_ELEMENTS // (rows * columns))


def too_large(need: int, free: int | None) -> str:
    """Why a matrix is not begun that no memory is there for; empty where there is enough, or where
    the system does not say. Begun, it would not fail: the system would end the process."""
    if free is None or need <= free:
        return ""
    return f"not enough memory for it: it needs about {size(need)}, and {size(free)} are free"


def how_many_fit(layers: Iterable[Layer], budget: float, most: int) -> int:
    """How many matrices of these layers are in work at once within `budget` bytes: 1 to `most`.

    The largest count, since they are taken first and so are in work together.
    """
    largest = sorted(
        (need for layer in layers for need in [memory_need(layer)] * min(layer.matrix_count, most)),
        reverse=True,
    )[:most]
    if not largest:
        return most
    fitting = sum(total <= budget for total in accumulate(largest))
    return most if fitting == len(largest) else max(1, fitting)
