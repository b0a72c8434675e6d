"""The values of the base's parameters with the adapter in them, one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from spectrum_tui.core.adapters.arithmetic import Factors, merged_bias, with_rows
from spectrum_tui.core.adapters.targets import Change, Update
from spectrum_tui.core.checkpoint.reading import read_tensor
from spectrum_tui.core.errors import AdapterError
from spectrum_tui.core.naming.parameters import ParameterValues, RuntimeParameter
from spectrum_tui.core.stored_types import as_torch, torch_dtype

if TYPE_CHECKING:
    import torch

_PLAIN = ("F64", "F32", "F16", "BF16")


class NewValues:
    """New values of parameters, computed when they are asked for; `changes` by name."""

    def __init__(self, changes: Mapping[str, Change]) -> None:
        self.changes = changes
        self._factors: tuple[Update, Factors] | None = None

    def whole(
        self, name: str, parameter: RuntimeParameter, values: ParameterValues
    ) -> torch.Tensor:
        """Return all of a parameter as it is under `name`; raises AdapterError where a value would
        not be finite."""
        change = self.changes.get(name, Change())
        if change.whole is not None:
            whole = as_torch(read_tensor(change.whole)).to(_dtype(parameter))
            return _finite(whole, name, "The adapter")
        value = self._beneath(change, parameter, values)
        if change.update is not None:
            value = self._updated(change.update, value)
        if change.added_bias is not None:
            value = merged_bias(value, change.added_bias)
        if change.tokens is not None:
            rows, of_tokens = change.tokens
            value = with_rows(value, rows, as_torch(read_tensor(of_tokens)))
        return _finite(value, name, "The merge") if change != Change() else value

    def expert(
        self, name: str, parameter: RuntimeParameter, values: ParameterValues, index: int
    ) -> torch.Tensor:
        """Return one expert of a fused parameter."""
        value = values.read_expert(index).clone()
        update = self.changes[name].update if name in self.changes else None
        if update is None:
            return value
        made = self._of(update, value.dtype).merged_expert(value, index)
        return _finite(made, f"expert {index} of {name}", "The merge")

    def by_expert(self, name: str, parameter: RuntimeParameter) -> bool:
        """Return whether a parameter changes expert by expert, or not at all."""
        change = self.changes.get(name, Change())
        alone = change.whole is None and change.beneath is None
        return bool(parameter.experts) and alone and (not change.update or _of_experts(change))

    def _beneath(
        self, change: Change, parameter: RuntimeParameter, values: ParameterValues
    ) -> torch.Tensor:
        if change.beneath is not None:
            return as_torch(read_tensor(change.beneath)).to(_dtype(parameter))
        # Converted values are kept for the next who asks, and must not be overwritten.
        return values.read().clone() if change != Change() else values.read()

    def _updated(self, update: Update, value: torch.Tensor) -> torch.Tensor:
        import torch

        factors = self._of(update, value.dtype)
        if update.kind != "experts":
            return factors.merged(value)
        return torch.stack([factors.merged_expert(one, i) for i, one in enumerate(value)])

    def _of(self, update: Update, dtype: torch.dtype) -> Factors:
        """Return the factors of an update, kept for its next expert."""
        if self._factors is None or self._factors[0] is not update:
            self._factors = (update, Factors(update, dtype))
        return self._factors[1]


def _of_experts(change: Change) -> bool:
    return change.update is not None and change.update.kind == "experts"


def _dtype(parameter: RuntimeParameter) -> torch.dtype:
    if parameter.dtype not in _PLAIN:
        raise AdapterError(
            f"{parameter.name} of the base is stored as {parameter.dtype}: nothing can be added "
            "to it.",
            "Merge into the full-precision model: --into MODEL.",
        )
    return torch_dtype(parameter.dtype)


def _finite(value: torch.Tensor, name: str, of: str) -> torch.Tensor:
    import torch

    if not bool(torch.isfinite(value).all()):
        kind = "NaN" if bool(torch.isnan(value).any()) else "infinite values"
        raise AdapterError(
            f"{of} has {kind} in {name}.",
            "The training diverged, or the base is damaged: take an earlier checkpoint.",
        )
    return value
