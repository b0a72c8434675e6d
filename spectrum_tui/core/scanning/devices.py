"""The devices of a machine: which there are, how precisely they compute, and what they can hold.

Cores, precision, free memory, what running out of it looks like, torch's threads and its current
device: everything that a scan asks of a device. Importing this loads neither torch nor numpy, so
that the setup screen can check a device's name before its first paint.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from spectrum_tui.core.errors import InputError, ScanError
from spectrum_tui.core.gc_pause import import_torch
from spectrum_tui.core.numbers import size
from spectrum_tui.core.platforms import cores, half_of_memory, known_free, may_have_gpu

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
    return devices, ()


def is_cuda(device: str) -> bool:
    """Return whether a device, by torch's name, is a GPU that CUDA (or ROCm) drives."""
    return device.startswith("cuda")


# -- how precisely and how many at once --------------------------------------------------------


def choose_precision(wanted: str, device: str) -> str:
    """Return `exact` or `fast`; for "auto" that is `exact` unless the device has slow float64.

    GPUs for computing (compute capability x.0: P100, V100, A100, H100, B200) do float64 at half
    the rate of float32; those for games at a 32nd or a 64th.
    """
    from spectrum_tui.core.scoring.svd import EXACT, FAST

    if wanted != "auto":
        return wanted
    if not is_cuda(device):
        return EXACT
    import torch

    _, minor = torch.cuda.get_device_capability(device)
    return EXACT if minor == 0 else FAST


def default_batch_size(device: str) -> int:
    """Return one matrix for each core (single-threaded eigenvalue solvers beat threaded ones);
    two for a GPU, so that one is read while the other computes."""
    return cores() if device == CPU else 2


# -- threads and streams -----------------------------------------------------------------------


def load_solvers(device: str) -> None:
    """Have torch load a GPU's solvers, which it does at the first call; where two threads make it
    at once, one of them gets "lazy wrapper should be called at most once"."""
    if is_cuda(device):
        import torch

        torch.linalg.eigvalsh(torch.zeros(1, 1, device=device))


def current(device: str) -> AbstractContextManager[object]:
    """Make a GPU the current one of torch in this thread: its libraries open their handles
    there."""
    if not is_cuda(device):
        return nullcontext()
    import torch

    return torch.cuda.device(device)


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
        line = next(iter(str(lost).strip().splitlines()), type(lost).__name__)
        raise ScanError(
            f"{device} has stopped working ({line}).",
            "Finished scores are kept: the same command goes on from there.",
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
