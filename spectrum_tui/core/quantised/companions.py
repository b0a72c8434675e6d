"""What belongs to a stored weight, and whether it fits: scales, zero points, descriptions.

Nothing is decoded here; only what decides a shape is read (16 to some hundred bytes a weight,
and only where the header does not say).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from math import prod
from typing import Any

from spectrum_tui.core import numbers
from spectrum_tui.core.checkpoint.headers import Checkpoint, Tensor
from spectrum_tui.core.checkpoint.reading import read_stored
from spectrum_tui.core.errors import CheckpointError
from spectrum_tui.core.quantised.detect import SCAN_INSTEAD, Quantisation

DTYPES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}
"""Types that a model is loaded in, by their names in a config."""

_SCALE_TYPES = {"F64", "F32", "F16", "BF16", "F8_E8M0", "U8"}


@dataclass
class Stored:
    """A checkpoint's tensors by name, while its weights are dequantised."""

    checkpoint: Checkpoint
    quantisation: Quantisation
    described: set[str] = field(default_factory=set)
    """Tensors that only say how others are stored."""

    def __post_init__(self) -> None:
        self._tensors = {tensor.name: tensor for tensor in self.checkpoint.tensors}
        self.dtype = loaded_dtype(self.checkpoint.config)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The quantisation entry of the config."""
        return self.quantisation.settings

    def beside(self, tensor: Tensor, *leaves: str) -> Tensor | None:
        """Return the first of `leaves` that exists in the same module."""
        module = tensor.name.rpartition(".")[0]
        names = (f"{module}.{leaf}" if module else leaf for leaf in leaves)
        return next((self._tensors[name] for name in names if name in self._tensors), None)

    def appended(self, tensor: Tensor, *endings: str) -> Tensor | None:
        """Return the first tensor named as this one and an ending."""
        names = (tensor.name + ending for ending in endings)
        return next((self._tensors[name] for name in names if name in self._tensors), None)

    def needed(self, tensor: Tensor, leaf: str) -> Tensor:
        """Return the tensor `leaf` of the same module, without which this one cannot be decoded."""
        found = self.beside(tensor, leaf)
        if found is None:
            raise broken(f"{tensor.name} is stored without its {leaf}.")
        return found

    def bytes_of(self, tensor: Tensor) -> bytes:
        """Return the data of a small tensor that describes another."""
        self.described.add(tensor.name)
        return read_stored(tensor, 0, tensor.nbytes)


def loaded_dtype(config: Mapping[str, Any]) -> str:
    """Return the type that transformers loads the model in; bfloat16 where the config names
    none."""
    text = config.get("text_config")
    for part in (config, text if isinstance(text, Mapping) else {}):
        named = part.get("dtype", part.get("torch_dtype"))
        if isinstance(named, str):
            return DTYPES.get(named.removeprefix("torch."), "BF16")
    return "BF16"


def matrix(tensor: Tensor) -> tuple[int, int]:
    """Rows and columns of what must be a matrix."""
    if len(tensor.shape) != 2:
        found = numbers.counted(len(tensor.shape), "dimension")
        raise broken(f"{tensor.name} has {found} where 2 were expected.")
    return tensor.shape[0], tensor.shape[1]


def row_aligned(shape: tuple[int, ...], scale: Tensor) -> bool:
    """Return whether each slice of the first dimension has its own scales."""
    return len(scale.shape) > 0 and scale.shape[0] == shape[0]


def block_shape(
    name: str, shape: tuple[int, ...], scale: Tensor, configured: object
) -> tuple[int, int]:
    """(rows, columns) of a block, of which the scales are a grid; the last may be cut short."""
    grid = _grid(shape, scale.shape)
    wanted = configured if isinstance(configured, list | tuple) and len(configured) == 2 else ()
    known = [positive(wish) for wish in wanted] or [0, 0]
    sizes = [
        block_length(length, count, wish)
        for length, count, wish in zip(shape[-2:], grid, known, strict=True)
    ]
    if scale.dtype not in _SCALE_TYPES or sizes[0] is None or sizes[1] is None:
        raise misfit(name, shape, scale.shape)
    return sizes[0], sizes[1]


def _grid(shape: tuple[int, ...], scales: tuple[int, ...]) -> tuple[int, int]:
    """Return how many blocks there are along the rows and the columns of each matrix; (0, 0):
    none."""
    if prod(scales) == 1:
        return 1, 1
    if len(scales) == 1:
        scales = (*scales, *(1,) * (len(shape) - 1))
    return (scales[-2], scales[-1]) if scales[:-2] == shape[:-2] else (0, 0)


@cache
def block_length(length: int, count: int, configured: int) -> int | None:
    """Return the size of which `count` blocks cover `length`; None where there is no such size.

    The configured one where it does, then a power of two, as all formats have: the length over
    the count would be wrong for a last block that is cut short.
    """
    if count == 1:
        return max(1, length)
    powers = (2**power for power in range(length.bit_length()))
    exact = length // count if count > 0 and length % count == 0 else 0
    candidates = (configured, *powers, exact)
    return next((n for n in candidates if n and -(-length // n) == count), None)


def positive(value: object) -> int:
    """Return a configured size; 0 for none (null, -1)."""
    return value if isinstance(value, int) and value > 0 else 0


def misfit(name: str, shape: tuple[int, ...], scales: tuple[int, ...]) -> CheckpointError:
    """Return the error for a weight and companions whose shapes disagree."""
    return broken(
        f"The scales of {name} ({numbers.shape(*scales)}) do not fit it ({numbers.shape(*shape)})."
    )


def broken(message: str) -> CheckpointError:
    """Return the error for a weight that cannot be put together."""
    return CheckpointError(message, SCAN_INSTEAD, field="model")
