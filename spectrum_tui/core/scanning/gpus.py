"""What a GPU needs of torch: which compute well in float64, a stream for each thread, and what a
fault of its libraries looks like.

torch is imported by the functions: where no GPU is, none of them is called.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

FULL_FLOAT64 = frozenset({(6, 0), (7, 0), (8, 0), (9, 0), (10, 0)})
"""Compute capabilities that do float64 at half the rate of float32: P100, V100, A100, H100 and
H200, B200. All others do at a 32nd or a 64th: those for games, Jetson Thor (11.0), RTX 50 (12.0),
and B300 (10.3: 1.25 TFLOP/s for 37 of a B200)."""

FULL_FLOAT64_AMD = frozenset({"gfx908", "gfx90a", "gfx942", "gfx950"})
"""The same of AMD's: CDNA, that is MI100, MI200, MI300, MI350."""

_FAULTS = (
    "cublas", "cusolver", "cusparse", "cuda error", "cuda driver error", "magma",
    "rocblas", "rocsolver", "hipblas", "hipsolver", "hip error",
    "no kernel image", "invalid device function", "lazy wrapper",
    "undefined symbol", "shared object", "could not load library", "dll load failed", "dlopen",
    "linalg.",  # a solver of the GPU that does not converge; LAPACK's may
)  # fmt: skip
"""Parts of what torch says where a library of a GPU, not the matrix, is at fault."""

_NO_KERNEL = ("no kernel image", "invalid device function")


def has_full_float64(device: str) -> bool:
    """Return whether a GPU does float64 at no less than half the rate of float32."""
    import torch

    if torch.version.hip:
        name = str(torch.cuda.get_device_properties(device).gcnArchName)
        return name.partition(":")[0] in FULL_FLOAT64_AMD
    return torch.cuda.get_device_capability(device) in FULL_FLOAT64


# -- faults -----------------------------------------------------------------------------------


def first_line(exc: BaseException) -> str:
    """Return the first line of what an exception says, its kind where it says nothing."""
    return next(iter(str(exc).strip().splitlines()), type(exc).__name__)


def library_fault(exc: BaseException) -> str:
    """Return in a line what went wrong in a library of a GPU; empty for any other exception."""
    known = isinstance(exc, RuntimeError | ImportError)
    known |= isinstance(exc, OSError) and exc.errno is None  # a library, not a file
    text = str(exc).lower()
    return first_line(exc) if known and any(sign in text for sign in _FAULTS) else ""


def lacks_kernels(exc: BaseException) -> bool:
    """Return whether this torch was built for other GPUs."""
    return any(sign in str(exc).lower() for sign in _NO_KERNEL)


def try_out(device: str) -> None:
    """Compute a product and its eigenvalues on a GPU, in both types; raises what torch raises.

    torch loads its solvers at the first call. Where two threads make it at once, one of them gets
    "lazy wrapper should be called at most once".
    """
    import torch

    for dtype in (torch.float64, torch.float32):
        matrix = torch.eye(2, dtype=dtype, device=device)
        torch.linalg.eigvalsh(matrix @ matrix).cpu()


# -- threads ----------------------------------------------------------------------------------


@contextmanager
def own_stream(device: str) -> Iterator[None]:
    """Make a GPU the current one of torch in this thread, with a stream of its own.

    Its libraries open their handles there, and what one thread copies and computes does not wait
    for what another does.
    """
    import torch

    with ExitStack() as stack:
        stack.enter_context(torch.cuda.device(device))
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stack.enter_context(torch.cuda.stream(stream))
        yield
