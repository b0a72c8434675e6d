"""How a parameter comes from what is stored, in a few words."""

from __future__ import annotations

from collections.abc import Sequence

from spectrum_tui.core.experts import GateUpSplit
from spectrum_tui.core.naming.groups import Group
from spectrum_tui.core.numbers import counted

_OPERATIONS = {
    "Transpose": "transposed",
    "Interleave": "reordered",
    "PermuteForRope": "reordered for rotary embeddings",
    "Conv3dToLinear": "flattened",
    "LinearToConv3d": "unflattened",
}


def how_made(name: str, group: Group, experts: int = 0, split: GateUpSplit | None = None) -> str:
    """Such as "128 experts merged, gate and up joined"; "as stored" for a parameter that is."""
    words = []
    if any(source.decode for source in group.sources):
        words.append("dequantised")
    if group.converter is None:
        stored = group.sources[0].name
        words.append("as stored" if stored == name else f"stored as {stored}")
        return ", ".join(words)
    for operation in group.converter.operations:
        words.append(_operation(operation, group, experts, split))
    return ", ".join(words)


def _operation(operation: str, group: Group, experts: int, split: GateUpSplit | None) -> str:
    parts = len(group.by_pattern)
    match operation:
        case "MergeModulelist":
            count = experts or len(group.sources) // max(parts, 1)
            return f"{counted(count, 'expert')} merged"
        case "Concatenate":
            return (
                "gate and up joined" if split and parts == 2 else f"{counted(parts, 'part')} joined"
            )
        case "Chunk" | "Split":
            return f"a part of {group.sources[0].name}"
    return _OPERATIONS.get(operation, f"converted ({operation})")


def size(shape: Sequence[int]) -> str:
    """`4096 × 1024`; a scalar is 1."""
    return " × ".join(str(n) for n in shape) or "1"
