"""Another rank for an adapter in the middle of a training, and what its optimizer keeps of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from spectrum_tui.core.adapters.low_rank import best_pair, grown

if TYPE_CHECKING:
    import torch

    from spectrum_tui.core.training.live_adapters import LiveAdapter


def resize(
    adapter: LiveAdapter,
    rank: int,
    optimizer: Any = None,
    *,
    gaussian: bool = False,
    generator: torch.Generator | None = None,
) -> None:
    """Give an adapter another rank; its scale stays.

    More rank leaves the output as it is (`low_rank.grown`), less leaves the best approximation of
    B·A (`low_rank.best_pair`). What the optimizer knows of the factors follows: grown factors keep
    the moments of what was there, and those of new rows and columns are zero (Adam's first steps
    for these are up to (1-β1)/√(1-β2) = 3.2 times as long as at the start of a training, for it no
    longer corrects the bias). Shrunk factors are mixtures of the old ones, for which the second
    moment says nothing: their state is dropped, and starts anew with the next step.
    """
    if rank == adapter.rank:
        return
    downs, ups = adapter.factors()
    shapes = tuple(adapter.down.shape), tuple(adapter.up.shape)
    shrinks = rank < adapter.rank
    if shrinks:
        downs, ups = best_pair(downs, ups, rank)
    if downs.shape[1] < rank:  # a layer may have fewer inputs than the rank that is asked for
        downs, ups = grown(downs, ups, rank, gaussian=gaussian, generator=generator)
    adapter.fill(downs, ups)
    if optimizer is None:
        return
    for parameter, shape, more in zip(
        (adapter.down, adapter.up), shapes, (_more_rows, _more_columns), strict=True
    ):
        if shrinks or not _enlarge(optimizer.state.get(parameter, {}), shape, adapter, more):
            optimizer.state.pop(parameter, None)


def switch(adapter: LiveAdapter, on: bool, optimizer: Any = None) -> None:
    """Let an adapter train or not. One that is switched off keeps what it has learned, and adds
    it to the weight as before; the optimizer forgets its moments."""
    for parameter in (adapter.down, adapter.up):
        if on == parameter.requires_grad:
            continue
        parameter.requires_grad_(on)
        parameter.grad = None
        if optimizer is not None:
            optimizer.state.pop(parameter, None)


def _enlarge(
    state: dict[str, Any],
    shape: tuple[int, ...],
    adapter: LiveAdapter,
    more: Callable[[torch.Tensor, LiveAdapter], torch.Tensor],
) -> bool:
    """Enlarge every tensor of an optimizer's state by zeros; False where one is not of the shape
    of its parameter (8-bit moments, factored ones)."""
    tensors = {key: value for key, value in state.items() if getattr(value, "ndim", 0)}
    if any(tuple(v.shape) != shape or not v.is_floating_point() for v in tensors.values()):
        return False
    state.update({key: more(value, adapter) for key, value in tensors.items()})
    return True


def _more_rows(value: torch.Tensor, adapter: LiveAdapter) -> torch.Tensor:
    import torch

    rows = value.reshape(adapter.experts, -1, value.shape[-1])
    zeros = rows.new_zeros(adapter.experts, adapter.rank - rows.shape[1], rows.shape[2])
    return torch.cat([rows, zeros], 1).reshape(-1, value.shape[-1])


def _more_columns(value: torch.Tensor, adapter: LiveAdapter) -> torch.Tensor:
    import torch

    columns = value.reshape(value.shape[0], -1, adapter.experts)
    missing = adapter.rank - columns.shape[1]
    zeros = columns.new_zeros(columns.shape[0], missing, adapter.experts)
    return torch.cat([columns, zeros], 1).reshape(value.shape[0], -1)
