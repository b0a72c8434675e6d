"""Gram matrices, their eigenvalues and QR by torch: on a GPU, or on a CPU whose torch is faster."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from spectrum_tui.core.results.results import FloatArray
from spectrum_tui.core.scoring.on_cpu import PARTS
from spectrum_tui.core.scoring.pinned import on_device
from spectrum_tui.core.scoring.rounding import rounds_products
from spectrum_tui.core.stored_types import Array, as_torch

if TYPE_CHECKING:
    import torch

MIN_BLOCK, MIN_BLOCK_GPU = 64, 512
"""Columns of a block of the Gram matrix below which a call costs more than it saves."""

DEPTH_ELEMENTS = 2**19
"""Elements of the blocks that the products of float32 are summed over at one time, on a GPU too:
those of the CPU (`svd.CHUNK_ELEMENTS`), with which their errors were measured."""

GPU_CHUNKS = 16
"""Chunks of the CPU that a GPU takes as one block: 64 MiB in float64. Each block is a copy and
nine calls, which take 0.1 ms to give."""


class TorchGram:
    """The sum of block^T·block over the blocks of a matrix: its lower triangle at least.

    On a GPU `add` returns before the products are computed, so that the next block is read
    meanwhile; `is_finite` and `eigenvalues` wait for them.
    """

    def __init__(self, short: int, dtype: str, device: str) -> None:
        import torch

        self._device = device
        self._sums = torch.zeros(short, short, dtype=getattr(torch, dtype), device=device)
        self._step = max(MIN_BLOCK if _is_cpu(device) else MIN_BLOCK_GPU, -(-short // 8))
        self._depth = max(1, DEPTH_ELEMENTS // short, short // 8)

    def add(self, block: Array | torch.Tensor) -> None:
        """Add the products of a block of `short` columns, stored in whatever type.

        In eight steps 9/16 of the products; at 4096 columns 0.6 of the time of the whole.
        """
        import torch

        values = _on(block, self._device).to(self._sums.dtype)
        single = self._sums.dtype == torch.float32
        depth = self._depth if single else len(values)
        for start in range(0, len(values), depth):
            self._add(values[start : start + depth])

    def _add(self, rows: torch.Tensor) -> None:
        columns = len(self._sums)
        for start in range(0, columns, self._step):
            end = min(start + self._step, columns)
            self._sums[start:end, :end].addmm_(rows[:, start:end].T, rows[:, :end])

    def add_sum(self, other: TorchGram) -> None:
        """Add what was summed over other blocks of the same matrix."""
        self._sums += other._sums

    def is_finite(self) -> bool:
        """Return whether the sums of squares are: NaN and infinity stay what they are."""
        return bool(self._sums.diagonal().isfinite().all())

    def eigenvalues(self) -> FloatArray | None:
        """Return them in ascending order, float64; None where the solver does not find them.

        They are solved in float64, sums of float32 too. A solver in float32 has no bound that is
        known: MKL's was off by four times `float32_factors` in a steep matrix of 3,072 columns,
        and a GPU has another one up to 512 columns (Jacobi's) than above.
        """
        import torch

        try:
            found = torch.linalg.eigvalsh(self._sums.double(), UPLO="L").cpu()
        except RuntimeError as exc:
            if type(exc).__name__ != "_LinAlgError":  # torch.linalg.LinAlgError, which mypy denies
                raise
            return None
        values: FloatArray = found.numpy()
        return values


class Torch:
    """A device of torch's."""

    def __init__(self, device: str) -> None:
        self._device = device
        on_cpu = _is_cpu(device)
        self.parts = PARTS if on_cpu else 1
        self.chunks = 1 if on_cpu else GPU_CHUNKS

    def takes_float32(self, short: int) -> bool:
        """Return whether float32 has the errors here that `svd.eigenvalue_errors` bounds."""
        return _is_cpu(self._device) or not rounds_products(self._device)

    def gram(self, short: int, dtype: str) -> TorchGram:
        """Return an empty sum of products of `short` columns, float64 or float32."""
        return TorchGram(short, dtype, self._device)

    def float32_factors(self, short: int) -> tuple[float, float]:
        """Return what an eigenvalue of sums in float32 is off by at most, in units of 2^-24: (of
        itself, of the root mean square of all).

        Measured with MKL's sums over normal, trained, shifted, sparse, steep and orthogonal
        matrices of 20 to 3,072 columns: an eighth of it. A GPU sums as many products at one time,
        in another order.
        """
        return 60.0, 20.0

    def is_finite(self, block: Array | torch.Tensor) -> bool:
        """Return whether a block holds neither NaN nor infinity."""
        return bool(_on(block, self._device).isfinite().all())

    def qr_singular_values(self, short: int, blocks: Iterable[Array | torch.Tensor]) -> FloatArray:
        """Return the singular values of stacked blocks, descending, by QR decompositions folded
        over them and an SVD of the last triangle."""
        import torch

        triangle = torch.zeros(0, short, dtype=torch.float64, device=self._device)
        for block in blocks:
            values = _on(block, self._device).double()
            triangle = torch.linalg.qr(torch.cat((triangle, values)), mode="r").R
        found: FloatArray = torch.linalg.svdvals(triangle).cpu().numpy()
        return found


def _is_cpu(device: str) -> bool:
    return device == "cpu"


def _on(block: Array | torch.Tensor, device: str) -> torch.Tensor:
    values = as_torch(block) if isinstance(block, np.ndarray) else block
    if _is_cpu(device) or values.device.type != "cpu":
        return values.to(device)
    return on_device(values, device)
