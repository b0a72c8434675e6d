"""The devices of a machine: which there are, how precisely they compute, and what they can hold.

Cores, precision, free memory, what running out of it looks like, torch's threads and its current
device: everything that a scan asks of a device. Importing this loads neither torch nor numpy, so
that the setup screen can check a device's name before its first paint.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress

from spectrum_tui.core.errors import InputError, ScanError
from spectrum_tui.core.events import KEPT
from spectrum_tui.core.gc_pause import import_torch
from spectrum_tui.core.numbers import size
from spectrum_tui.core.platforms import cores, half_of_memory, known_free, may_have_gpu
from spectrum_tui.core.scanning import gpus
from spectrum_tui.core.scoring import rounding

CPU = "cpu"

SHARE = 0.8
"""How much of the free memory a scan takes: the rest is for allocators and everyone else."""

_SIGNS = (
    "out of memory",
    "defaultcpuallocator",
    "cannot allocate memory",
    "alloc_failed",  # CUBLAS_STATUS_ALLOC_FAILED, CUSOLVER_STATUS_ALLOC_FAILED
)

# -- which devices there are -------------------------------------------------------------------


def available_devices() -> tuple[str, ...]:
    """Return the devices of this machine by torch's names, the CPU first.

    torch, whose import takes a second, is asked only where there may be another.
    """
    if not may_have_gpu():
        return (CPU,)
    import_torch()
    import torch

    devices = [CPU]
    if torch.cuda.is_available():
        devices += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return tuple(devices)


def pick_devices(wanted: str, available: Sequence[str]) -> tuple[str, ...]:
    """Return the devices that `wanted` names, by torch's names; raise InputError for another.

    `auto` and `cuda` are all GPUs at once, `cuda:1` is that one.

    >>> pick_devices("auto", ["cpu", "cuda:0", "cuda:1"]), pick_devices("CUDA:1", ["cuda:1"])
    (('cuda:0', 'cuda:1'), ('cuda:1',))
    """
    wanted = wanted.strip().lower() or "auto"
    gpus = tuple(device for device in available if is_cuda(device))
    if wanted == "auto":
        return gpus or (CPU,)
    if wanted == "cuda" and gpus:
        return gpus
    if wanted not in available:
        raise InputError(
            f"There is no device {wanted!r} here.",
            f"Give auto or one of: {', '.join(available)}.",
            field="device",
        )
    return (wanted,)


def choose_devices(wanted: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (devices to compute on, notes for the user); raise InputError for one not there."""
    devices = pick_devices(wanted, available_devices())
    if devices == ("mps",):
        return (CPU,), ("MPS has no float64: the scan runs on the CPU.",)
    faults = {device: fault for device in devices if (fault := why_unusable(device))}
    left = tuple(device for device in devices if device not in faults)
    then = "the scan goes on without it" if left else "the scan runs on the CPU"
    said = tuple(f"{device} cannot compute here ({why}): {then}." for device, why in faults.items())
    return left or (CPU,), said


def is_cuda(device: str) -> bool:
    """Return whether a device, by torch's name, is a GPU that CUDA (or ROCm) drives."""
    return device.startswith("cuda")


def why_unusable(device: str) -> str:
    """Return why nothing can be computed on a GPU, such as a torch that was built for others;
    empty where it can, and for the CPU."""
    if not is_cuda(device):
        return ""
    try:
        gpus.try_out(device)
    except (RuntimeError, ImportError, OSError) as exc:
        return "" if is_out_of_memory(exc) else gpus.first_line(exc)
    return ""


# -- how precisely and how many at once --------------------------------------------------------


def choose_precision(wanted: str, device: str) -> str:
    """Return `exact` or `fast`; for "auto" that is `exact` unless the device has slow float64."""
    from spectrum_tui.core.scoring.svd import EXACT, FAST

    if wanted != "auto":
        return wanted
    return EXACT if not is_cuda(device) or gpus.has_full_float64(device) else FAST


ON_A_GPU = ((1024, 8), (2048, 4))
"""Columns, and how many matrices up to there are in work on a GPU at once."""


def default_batch_size(device: str, columns: int = 0) -> int:
    """Return how many matrices are in work at once on a device, the largest of `columns` columns.

    One for each core: single-threaded eigenvalue solvers beat threaded ones. On a GPU the solver
    is a row of small calls that leave most of it idle, so several; two where one matrix fills it,
    so that one is read while the other computes. Above four there is a core for each, to read.
    """
    if device == CPU:
        return cores()
    most = next((count for limit, count in ON_A_GPU if columns <= limit), 2)
    return min(most, max(4, cores()))


# -- threads and streams -----------------------------------------------------------------------


def load_solvers(device: str) -> None:
    """Have torch load a GPU's solvers before several threads ask for them. Where it cannot, each
    matrix will say so."""
    if is_cuda(device):
        with suppress(RuntimeError, ImportError, OSError):
            gpus.try_out(device)


def current(device: str) -> AbstractContextManager[object]:
    """Make a GPU the current one of torch in this thread, with a stream of its own."""
    return gpus.own_stream(device) if is_cuda(device) else nullcontext()


def full_float32(devices: Iterable[str]) -> AbstractContextManager[object]:
    """While it lasts, torch multiplies float32 as float32 where there is a GPU among the devices,
    whatever it was told before."""
    return rounding.full_float32() if any(map(is_cuda, devices)) else nullcontext()


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let every call of BLAS, LAPACK and torch compute with one thread for a while: there is a
    matrix for each core, and more threads would sum in another order."""
    from threadpoolctl import threadpool_limits

    from spectrum_tui.core.scoring import openblas

    openblas.library()  # what is loaded later would not be limited
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    with threadpool_limits(1, "blas"):
        if torch:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(before)


# -- memory ------------------------------------------------------------------------------------


def is_out_of_memory(exc: BaseException) -> bool:
    """Return whether memory of whatever device ran out: CUDA, its libraries, the CPU's
    allocator."""
    if isinstance(exc, MemoryError):
        return True
    text = str(exc).lower()
    return isinstance(exc, RuntimeError) and any(sign in text for sign in _SIGNS)


def release(device: str) -> None:
    """Give the blocks that torch's allocator keeps back to the device."""
    if is_cuda(device):
        import torch

        torch.cuda.empty_cache()


def refuse_if_lost(device: str, exc: Exception) -> None:
    """Raise ScanError where a GPU computes nothing any more: after a fault of a kernel, or when
    it fell off the bus, every call of the process fails."""
    if not (is_cuda(device) and isinstance(exc, RuntimeError)):
        return
    import torch

    try:
        torch.zeros(1, device=device).add_(1).cpu()
    except RuntimeError as lost:
        if gpus.lacks_kernels(lost):
            return
        raise ScanError(
            f"{device} has stopped working ({gpus.first_line(lost)}).",
            KEPT,
        ) from None


def free_memory(device: str) -> int:
    """Return the free bytes of a device by torch's name; of the CPU what is left without
    swapping, in the machine and in this process's own limits (a container, a batch job)."""
    if is_cuda(device):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    known = known_free()
    return half_of_memory() if known is None else known


def too_large(need: int, free: int | None) -> str:
    """Return why a matrix that needs `need` bytes is not started; empty if there is enough memory
    or the system does not say. If started, it would not fail: the system would kill the process."""
    if free is None or need <= free:
        return ""
    return f"not enough memory for it: it needs about {size(need)}, and {size(free)} are free"
