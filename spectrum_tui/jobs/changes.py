"""Which tensors a training has changed: fingerprints of all of them before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback

from spectrum_tui.core import numbers
from spectrum_tui.core.errors import SpectrumError
from spectrum_tui.core.numbers import counted, part_of
from spectrum_tui.core.training.live_names import live_parameters, unique
from spectrum_tui.freeze import Frozen

_CHUNK = 1 << 22
"""Elements that are summed at a time: as int64 they take 32 MB."""
Fingerprint = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a training did: the names that it changed, those that it was to change and did not,
    those that it changed besides, and those that now hold NaN or infinity; `share` of the model's
    elements is trainable."""

    changed: tuple[str, ...]
    broken: tuple[str, ...] = ()
    still: tuple[str, ...]
    besides: tuple[str, ...]
    parameters: int
    share: float

    def __str__(self) -> str:
        frozen = self.parameters - len(self.changed)
        named = len(self.changed) - len(self.besides) + len(self.still)
        done = len(self.changed) - len(self.besides)
        text = (
            f"trained {part_of(done, named, 'tensor')} that the recipe names, "
            f"{numbers.percent(self.share)} of the model; {counted(frozen, 'tensor')} as before"
        )
        listed = (
            ("NOT CHANGED", self.still),
            ("CHANGED BESIDES", self.besides),
            ("NOT FINITE", self.broken),
        )
        for words, names in listed:
            if names:
                text += f"; {words}: {', '.join(names[:5])}" + (" …" if len(names) > 5 else "")
        return text


class Changes(TrainerCallback):  # type: ignore[misc]  # transformers is not typed here
    """Compares every tensor of the model at the end of a training with what it was at its begin.

    `frozen` is what was done to the model, None where all of it trains. Of a sharded model each
    process compares its part.
    """

    def __init__(self, frozen: Frozen | None) -> None:
        self._names = None if frozen is None else set(frozen.matched)
        self._share = 1.0 if frozen is None else frozen.share
        self._before: dict[str, Fingerprint] = {}
        self._shown: Trained | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Take the fingerprints."""
        self._before = _fingerprints(more["model"])

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Take them again."""
        model = more["model"]
        after = _fingerprints(model)
        differs = {name: after.get(name) != one for name, one in self._before.items()}
        changed = _in_any_process(differs, args.device)
        names = set(self._before) if self._names is None else self._names
        self._shown = Trained(
            changed=tuple(changed),
            broken=tuple(_in_any_process(_not_finite(model), args.device)),
            still=tuple(sorted(names - set(changed))),
            besides=tuple(name for name in changed if name not in names),
            parameters=len(self._before),
            share=self._share,
        )

    @property
    def trained(self) -> Trained:
        """What the training did, once it has ended."""
        assert self._shown is not None, "no training has ended"
        return self._shown

    def check(self) -> None:
        """Raise SpectrumError where something has changed that was to stay, or has no number."""
        if broken := self.trained.broken:
            raise SpectrumError(
                f"{counted(len(broken), 'tensor')} of the model that was saved "
                f"{'holds' if len(broken) == 1 else 'hold'} NaN or infinity, first {broken[0]}: "
                "the training diverged.",
                "Lower the learning rate, or take an earlier checkpoint.",
            )
        if self.trained.besides:
            raise SpectrumError(
                f"{counted(len(self.trained.besides), 'tensor')} changed that the recipe does not "
                f"name, first {self.trained.besides[0]}."
            )


def _fingerprints(model: torch.nn.Module) -> dict[str, Fingerprint]:
    """{name as a recipe would call it: fingerprint of what this process has of it}."""
    for module in model.modules():
        if hasattr(module, "reshard"):  # FSDP2 leaves whole what the last forward pass has used
            module.reshard()  # type: ignore[operator]
    return {p.name: _fingerprint(p.parameter.detach()) for p in unique(live_parameters(model))}


@torch.no_grad()
def _fingerprint(tensor: torch.Tensor) -> Fingerprint:
    """Return two sums over the bits, one of them weighted by the place: a training that changes a
    tensor and leaves both is not to be met."""
    local = tensor
    if isinstance(tensor, DTensor):
        local = tensor.to_local()
    bits = local.contiguous().view(-1).view(_INTEGERS[tensor.element_size()])
    plain = weighted = 0
    for start in range(0, bits.numel(), _CHUNK):
        part = bits[start : start + _CHUNK].to(torch.int64)
        places = torch.arange(1, len(part) + 1, device=part.device)
        plain += int(part.sum())
        weighted += int((part * (places % 8191)).sum()) * (start // _CHUNK + 1)
    return plain, weighted


_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@torch.no_grad()
def _not_finite(model: torch.nn.Module) -> dict[str, bool]:
    """{name: whether what this process has of it holds NaN or infinity}"""
    return {p.name: _is_broken(p.parameter.detach()) for p in unique(live_parameters(model))}


def _is_broken(tensor: torch.Tensor) -> bool:
    local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    if not local.is_floating_point():
        return False
    flat = local.reshape(-1)
    starts = range(0, flat.numel(), _CHUNK)
    return any(not flat[at : at + _CHUNK].float().isfinite().all() for at in starts)


def _in_any_process(flags: Mapping[str, bool], device: torch.device) -> list[str]:
    """Return the names that are true in any process."""
    each = [int(flag) for flag in flags.values()]
    if distributed.is_available() and distributed.is_initialized():
        where = "cpu" if distributed.get_backend() == "gloo" else device
        together = torch.tensor(each, device=where)
        distributed.all_reduce(together, distributed.ReduceOp.MAX)
        each = together.tolist()
    return [name for name, one in zip(flags, each, strict=True) if one]
