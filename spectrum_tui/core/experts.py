"""What makes a parameter one of experts: every pattern and rule that says so is in this file.

Mixture-of-experts models hold their experts in one of two ways: a list of modules, with a number
for each (`mlp.experts.17.down_proj`), or fused into one 3-D parameter whose first dimension counts
them (`mlp.experts.down_proj`), in which gate and up may share a matrix. transformers 5 fuses what
older checkpoints list. A router chooses which experts work on a token.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Shape = tuple[int, ...]

GATE_AND_UP = ("gate", "up")
"""The parts of a matrix that joins two, in this order."""

TYPE = r"experts?(\.|$|_)|(^|\.)router(\.|$)|(^|\.)(block_sparse_moe|mlp|feed_forward|mixer)\.gate$"
"""Layer types of experts and of the routers before them; letter case aside."""

_PART = re.compile(r"(^|\.)experts?(\.|$)")
_LISTED = re.compile(r"(^|\.)experts?\.(\d{1,6})\.")
_NUMBER = re.compile(r"(?:(?<=experts[._])|(?<=expert[._]))\d+(?=\.|$)")
_FUSED = re.compile(r"(^|\.)experts\.[a-z_]+$")
_FUSED_LINEAR = re.compile(r"(^|\.)experts?\.(gate_up_proj|down_proj|up_proj)$")
_ROUTER = re.compile(r"(^|\.)(router|gate|wg)(\.\w+)?$")
_LINEAR_PARTS = frozenset(("gate", "gate_proj", "up_proj", "down_proj", "w1", "w2", "w3"))
_JOINED = (("gate_up_proj", "down_proj"), ("input_linear", "output_linear"))
"""(gate and up in one, the matrix that leads back) as transformers' classes name them."""
_LABEL = re.compile(r"expert (\d+)( |$)")


# -- names -------------------------------------------------------------------------------------


def is_of_experts(name: str) -> bool:
    """Return whether a name leads through a module of experts, fused or listed."""
    return bool(_PART.search(name))


def mentions_experts(name: str) -> bool:
    """Return whether a name speaks of experts at all, also of those that all tokens share."""
    return "expert" in name


def listed_expert(name: str) -> int:
    """Return the number of the expert that a parameter of a list belongs to; -1 for any other.

    >>> listed_expert("mlp.experts.17.down_proj.weight"), listed_expert("mlp.experts.down_proj")
    (17, -1)
    """
    found = _LISTED.search(name)
    return int(found[2]) if found else -1


def without_numbers(path: str, instead: str) -> str:
    """Return the path with `instead` for the number of an expert, which says nothing of its role.

    >>> without_numbers("a.3.experts.17.w1", "*"), without_numbers("a.3.experts.expert_17.w1", "*")
    ('a.3.experts.*.w1', 'a.3.experts.expert_*.w1')
    """
    return _NUMBER.sub(instead, path) if mentions_experts(path) else path


def is_fused(name: str) -> bool:
    """Return whether a name is that of all experts in one parameter, which has no `.weight` after
    it."""
    return bool(_FUSED.search(name))


def parent_is_experts(name: str) -> bool:
    """Return whether what a name leads to stands directly in a module called `experts`."""
    return name.rpartition(".")[0].rpartition(".")[2] == "experts"


def is_fused_linear(name: str) -> bool:
    """Return whether a name is that of fused linear layers, as most models call theirs."""
    return bool(_FUSED_LINEAR.search(name))


def is_router(module: str) -> bool:
    """Return whether a module may be a router, whose class is often no linear layer."""
    return bool(_ROUTER.search(module))


def is_expert_part(part: str) -> bool:
    """Return whether the last part of a module's name is one that the linear layers of experts
    have.

    PEFT (0.21, `transformers_weight_conversion.py`) takes such names for those of older experts.
    """
    return part in _LINEAR_PARTS


# -- fused parameters --------------------------------------------------------------------------


def experts_in(name: str, shape: Shape, module: Any = None) -> int:
    """Return how many experts are fused in a parameter; 0 where it is none of experts."""
    if len(shape) != 3 or hasattr(module, "kernel_size"):
        return 0
    return shape[0] if is_of_experts(name) or "Experts" in type(module).__name__ else 0


@dataclass(frozen=True, slots=True)
class GateUpSplit:
    """How a fused expert matrix holds its gate and up parts.

    `axis` of the `[experts, a, b]` parameter along which they lie; `interleaved` when they
    alternate (gate, up, gate, up) instead of following each other.
    """

    axis: int
    interleaved: bool = False

    def cut(self, expert: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (gate, up) of one expert's matrix, as views."""
        axis, size = self.axis - 1, expert.shape[self.axis - 1]
        if self.interleaved:
            gate, up = (expert.movedim(axis, 0)[i::2].movedim(0, axis) for i in (0, 1))
            return gate, up
        return expert.narrow(axis, 0, size // 2), expert.narrow(axis, size // 2, size // 2)


def gate_up_split(
    name: str,
    shape: Shape,
    shape_of: Callable[[str], Shape | None],
    *,
    module: Any = None,
    model_type: str = "",
) -> GateUpSplit | None:
    """Return how gate and up lie in a fused parameter; None where it is not both of them.

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
        return GateUpSplit(axis, not concatenated) if axis and shape[axis] % 2 == 0 else None
    return None


def _axis(shape: Shape, back: Shape | None, module: Any) -> int:
    """1 or 2; 0 where the sizes say that this is one matrix under the name of two."""
    if back is None or len(back) != 3:
        return 2 if getattr(module, "is_transposed", False) else 1
    if (shape[1], shape[2]) == (2 * back[2], back[1]):
        return 1
    return 2 if (shape[1], shape[2]) == (back[2], 2 * back[1]) else 0


# -- the labels of their matrices --------------------------------------------------------------


def label(expert: int, part: str = "") -> str:
    """Return what tells a matrix from the others of a fused parameter.

    >>> label(17), label(17, "gate")
    ('expert 17', 'expert 17 gate')
    """
    return f"expert {expert} {part}".rstrip()


def expert_of(text: str) -> int:
    """Return the number of the expert that a label names; -1 where it names none."""
    found = _LABEL.match(text)
    return int(found[1]) if found else -1
