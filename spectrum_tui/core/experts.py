"""Which parameters hold many experts in one, and where in them gate and up lie."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from spectrum_tui.core.naming.parameters import Halves

_EXPERTS = re.compile(r"(^|\.)experts?(\.|$)")
_JOINED = (("gate_up_proj", "down_proj"), ("input_linear", "output_linear"))
"""(gate and up in one, the matrix that leads back) as transformers' classes name them."""

Shape = tuple[int, ...]


def is_convolution(shape: Shape, module: Any = None) -> bool:
    """Whether a weight is that of a convolution; without its module, judged by dimensions."""
    if len(shape) < 3:
        return False
    return hasattr(module, "kernel_size") if module is not None else True


def experts_in(name: str, shape: Shape, module: Any = None) -> int:
    """How many experts are fused in a parameter; 0 when it is none of experts."""
    if len(shape) != 3 or hasattr(module, "kernel_size"):
        return 0
    named = _EXPERTS.search(name) or "Experts" in type(module).__name__
    return shape[0] if named else 0


def halves_in(
    name: str,
    shape: Shape,
    shape_of: Callable[[str], Shape | None],
    *,
    module: Any = None,
    model_type: str = "",
) -> Halves | None:
    """How gate and up lie in a fused parameter; None when it is not both of them.

    The axis follows from the matrix that leads back: `[E, 2I, H]` goes with `[E, H, I]`,
    `[E, H, 2I]` with `[E, I, H]`, and no sizes fit both.
    """
    for joined, back in _JOINED:
        parent, found, leaf = name.rpartition(joined)
        if not found or leaf not in ("", ".weight"):
            continue
        other = shape_of(f"{parent}{back}{leaf}")
        axis = _axis(shape, other, module)
        # Before 5.14 the experts did not say it themselves; this is the one that interleaves.
        concatenated = getattr(module, "is_concatenated", model_type != "gpt_oss")
        return Halves(axis, not concatenated) if axis and shape[axis] % 2 == 0 else None
    return None


def _axis(shape: Shape, back: Shape | None, module: Any) -> int:
    """1 or 2; 0 where the sizes say that this is one matrix under the name of two."""
    if back is None or len(back) != 3:
        return 2 if getattr(module, "is_transposed", False) else 1
    if (shape[1], shape[2]) == (2 * back[2], back[1]):
        return 1
    return 2 if (shape[1], shape[2]) == (back[2], 2 * back[1]) else 0
