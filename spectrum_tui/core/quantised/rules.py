"""Which tensors make up one weight in each format, and the decoder that puts them together.

A rule is asked for each stored tensor, and answers for the one that carries the values; the
others are its companions. Shapes are checked here, from the headers: a decoder can rely on them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

from spectrum_tui.core.checkpoint.headers import Tensor
from spectrum_tui.core.json_text import WRONG_SHAPE
from spectrum_tui.core.naming.parameters import StoredSource
from spectrum_tui.core.quantised import detect
from spectrum_tui.core.quantised.companions import (
    DTYPES,
    Stored,
    block_length,
    block_shape,
    broken,
    matrix,
    misfit,
    positive,
    row_aligned,
)
from spectrum_tui.core.quantised.decoders import (
    Blocks,
    Bnb4Bit,
    BnbInt8,
    Cast,
    Gptq,
    Integers,
    Mxfp4,
    PackedIntegers,
)

_FP8_SCALES = ("weight_scale_inv", "weight_scale", "scale", "qscale_weight")
"""What formats with FP8 weights call the scales of `weight`."""


def _fp8(tensor: Tensor, stored: Stored) -> StoredSource | None:
    """`weight` or a fused parameter in FP8, or in FP4 two a byte, and its scales."""
    if not _is_fp8(tensor) and tensor.dtype != "I8":
        return None
    scale = _fp8_scale(tensor, stored)
    if scale is None or len(tensor.shape) < 2:
        return _unscaled(tensor, stored)
    packed = tensor.dtype == "I8"
    shape = (*tensor.shape[:-1], tensor.shape[-1] * (2 if packed else 1))
    configured = stored.settings.get("weight_block_size")
    block = block_shape(tensor.name, shape, scale, configured)
    decoder = Blocks(block, stored.dtype, packed_fp4=packed)
    aligned = row_aligned(shape, scale)
    return _source(tensor.name, shape, (tensor, scale), decoder, row_aligned=aligned)


def _fp8_scale(tensor: Tensor, stored: Stored) -> Tensor | None:
    if tensor.name.rpartition(".")[2] == "weight":
        return stored.beside(tensor, *_FP8_SCALES)
    return stored.appended(tensor, "_scale_inv", "_scale")


def _unscaled(tensor: Tensor, stored: Stored) -> StoredSource | None:
    """Return an FP8 tensor that is its own values; a weight that lost its scales is an error."""
    if not _is_fp8(tensor) or _is_scale(tensor):
        return None
    if tensor.name.endswith(".weight") and len(tensor.shape) > 1:
        raise broken(f"{tensor.name} is stored as FP8 without its scales.")
    return _raw_fp8(tensor, stored)


def _raw_fp8(tensor: Tensor, stored: Stored) -> StoredSource | None:
    if not _is_fp8(tensor):
        return None
    return _source(tensor.name, tensor.shape, (tensor,), Cast(stored.dtype))


def _mxfp4(tensor: Tensor, stored: Stored) -> StoredSource | None:
    """`…_blocks` and `…_scales`, as the parameter without the ending."""
    name = tensor.name.removesuffix("_blocks")
    if name == tensor.name or tensor.dtype != "U8" or len(tensor.shape) != 4:
        return None
    scale = stored.needed(tensor, name.rpartition(".")[2] + "_scales")
    if scale.shape != tensor.shape[:-1] or scale.dtype != "U8":
        raise misfit(name, tensor.shape, scale.shape)
    experts, rows, groups, width = tensor.shape
    shape = (experts, groups * width * 2, rows)
    return _source(name, shape, (tensor, scale), Mxfp4(stored.dtype))


def _compressed(tensor: Tensor, stored: Stored) -> StoredSource | None:
    """`weight_packed`, or `weight` in FP8 or 8-bit integers, and what is beside it."""
    leaf = tensor.name.rpartition(".")[2]
    if leaf == "weight_packed":
        return _compressed_packed(tensor, stored)
    scale = stored.beside(tensor, "weight_scale") if leaf == "weight" else None
    if scale is None or not (_is_fp8(tensor) or tensor.dtype == "I8"):
        return None
    block = block_shape(tensor.name, tensor.shape, scale, _group_block(stored.settings))
    aligned = row_aligned(tensor.shape, scale)
    parts: tuple[Tensor, ...] = (tensor, scale)
    decoder: Integers | Blocks = Blocks(block, stored.dtype, by_scale_type=True)
    if tensor.dtype == "I8":
        matrix(tensor)
        decoder = Integers(block, stored.dtype)
        zero = stored.beside(tensor, "weight_zero_point")
        if zero is not None:
            _check(tensor.name, tensor.shape, zero, numel=scale.numel)
            parts = (*parts, zero)
    return _source(tensor.name, tensor.shape, parts, decoder, row_aligned=aligned)


def _compressed_packed(tensor: Tensor, stored: Stored) -> StoredSource:
    name = tensor.name.removesuffix("_packed")
    rows, _ = matrix(tensor)
    scale = stored.needed(tensor, "weight_scale")
    described = stored.beside(tensor, "weight_shape")
    sizes = _integers(stored.bytes_of(described), described.dtype) if described else ()
    bits = _packed_width(tensor, sizes, stored.settings)
    shape = rows, sizes[-1] if sizes else tensor.shape[1] * 32 // bits
    block = block_shape(name, shape, scale, _group_block(stored.settings))
    zero = stored.beside(tensor, "weight_zero_point")
    if zero is not None:
        per_column = scale.shape[0] if scale.numel > 1 else 1
        packed_rows = -(-per_column * bits // 32) if zero.dtype == "I32" else per_column
        _check(name, shape, zero, numel=packed_rows * scale.numel // per_column)
    index = stored.beside(tensor, "weight_g_idx")
    if index is not None:
        _check(name, shape, index, numel=shape[1])
    decoder = PackedIntegers(
        bits=bits,
        columns=shape[1],
        block=block,
        dtype=stored.dtype,
        has_zero=zero is not None,
        grouped_by_index=index is not None,
    )
    parts = tuple(part for part in (tensor, scale, zero, index) if part is not None)
    aligned = row_aligned(shape, scale) and len(parts) == 2
    return _source(name, shape, parts, decoder, row_aligned=aligned)


def _check(name: str, shape: tuple[int, ...], companion: Tensor, *, numel: int) -> None:
    """Raise CheckpointError unless a companion of the weight has `numel` elements."""
    if companion.numel != numel:
        raise misfit(name, shape, companion.shape)


def _packed_width(tensor: Tensor, sizes: tuple[int, ...], settings: Mapping[str, Any]) -> int:
    """Return the bits of a value: of the configured ones, those that give the packed columns."""
    widths = detect.packed_bits(settings) or {2, 4, 8}
    if sizes:
        widths = {w for w in widths if -(-sizes[-1] * w // 32) == tensor.shape[1]}
    if len(widths) != 1 or (sizes and sizes[0] != tensor.shape[0]):
        raise broken(f"The width of the integers in {tensor.name} cannot be determined.")
    return widths.pop()


def _group_block(settings: Mapping[str, Any]) -> tuple[int, int] | None:
    """(rows, columns) that share a scale, where all groups of the config agree."""
    found: set[tuple[int, int]] = set()
    for scheme in detect.weight_schemes(settings):
        block, size = scheme.get("block_structure"), positive(scheme.get("group_size"))
        if isinstance(block, list) and len(block) == 2:
            found.add((positive(block[0]), positive(block[1])))
        elif size:
            found.add((1, size))
    return found.pop() if len(found) == 1 else None


def _gptq(tensor: Tensor, stored: Stored) -> StoredSource | None:
    """`qweight` as the `weight` that was packed, and what is beside it."""
    if not tensor.name.endswith(".qweight"):
        return None
    name = tensor.name.removesuffix("qweight") + "weight"
    packed, outputs = matrix(tensor)
    bits = int(stored.settings["bits"])
    shape = outputs, packed * 32 // bits
    zeros, scale = stored.needed(tensor, "qzeros"), stored.needed(tensor, "scales")
    groups, _ = matrix(scale)
    group = block_length(shape[1], groups, positive(stored.settings.get("group_size")))
    if group is None:
        raise misfit(name, shape, scale.shape)
    _check(name, shape, scale, numel=groups * outputs)
    _check(name, shape, zeros, numel=groups * -(-outputs * bits // 32))
    index = stored.beside(tensor, "g_idx")
    if index is not None:
        _check(name, shape, index, numel=shape[1])
    first_version = stored.settings.get("checkpoint_format") != "gptq_v2"
    decoder = Gptq(
        bits=bits,
        group=group,
        dtype=stored.dtype,
        zero_less_one=first_version,
        grouped_by_index=index is not None,
    )
    parts = (tensor, zeros, scale) if index is None else (tensor, zeros, scale, index)
    return _source(name, shape, parts, decoder, row_aligned=False)


def _bnb_8bit(tensor: Tensor, stored: Stored) -> StoredSource | None:
    """`weight` in 8-bit integers, and the largest magnitude of each row."""
    if tensor.dtype != "I8" or not tensor.name.endswith(".weight"):
        return None
    rows, _ = matrix(tensor)
    scale = stored.needed(tensor, "SCB")
    layout = stored.beside(tensor, "weight_format")
    _check(tensor.name, tensor.shape, scale, numel=rows)
    if layout is not None and any(stored.bytes_of(layout)):
        raise broken(f"{tensor.name} is stored in the tile order of a GPU.")
    return _source(tensor.name, tensor.shape, (tensor, scale), BnbInt8(stored.dtype))


def _bnb_4bit(tensor: Tensor, stored: Stored) -> StoredSource | None:
    """Return a packed tensor beside which a quantisation state is stored, in the state's shape."""
    state = stored.appended(
        tensor, ".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4"
    )
    if state is None:
        return None
    endings = (".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map")
    parts = [part for ending in endings if (part := stored.appended(tensor, ending))]
    try:
        decoder = _bnb_decoder(json.loads(stored.bytes_of(state)), nested=len(parts) == 4)
    except WRONG_SHAPE:
        raise broken(f"{state.name} cannot be understood.") from None
    if len(parts) not in (2, 4) or tensor.nbytes != (prod(decoder.shape) + 1) // 2:
        raise misfit(tensor.name, decoder.shape, tensor.shape)
    blocks = -(-prod(decoder.shape) // decoder.block)
    nested = -(-blocks // decoder.nested_block) if decoder.nested_block else 0
    for part, numel in zip(parts, (blocks, 16, nested, 256), strict=False):
        _check(tensor.name, decoder.shape, part, numel=numel)
    return _source(tensor.name, decoder.shape, (tensor, *parts), decoder, row_aligned=False)


def _bnb_decoder(state: Mapping[str, Any], *, nested: bool) -> Bnb4Bit:
    shape = tuple(int(size) for size in state["shape"])
    block, dtype = int(state["blocksize"]), DTYPES[str(state["dtype"]).removeprefix("torch.")]
    nested_block = int(state["nested_blocksize"]) if nested else 0
    if min(block, *shape) < 1 or (nested and nested_block < 1):
        raise ValueError(state)
    offset = float(state["nested_offset"]) if nested else 0.0
    return Bnb4Bit(
        shape=shape, block=block, dtype=dtype, nested_block=nested_block, nested_offset=offset
    )


def _source(
    name: str,
    shape: tuple[int, ...],
    parts: tuple[Tensor, ...],
    decode: Blocks | Bnb4Bit | BnbInt8 | Cast | Gptq | Integers | Mxfp4 | PackedIntegers,
    *,
    row_aligned: bool = True,
) -> StoredSource:
    return StoredSource(
        name=name,
        shape=shape,
        dtype=decode.dtype,
        parts=parts,
        decode=decode,
        row_aligned=row_aligned,
    )


def _is_fp8(tensor: Tensor) -> bool:
    return tensor.dtype.startswith(("F8_E4M3", "F8_E5M2"))


def _is_scale(tensor: Tensor) -> bool:
    return tensor.name.endswith(("scale", "scale_inv", "_scales"))


def _integers(data: bytes, dtype: str) -> tuple[int, ...]:
    width = 4 if dtype == "I32" else 8
    starts = range(0, len(data), width)
    return tuple(int.from_bytes(data[at : at + width], "little", signed=True) for at in starts)


Rule = Callable[[Tensor, Stored], StoredSource | None]

RULES: Mapping[str, Rule] = {
    detect.FP8: _fp8,
    detect.RAW_FP8: _raw_fp8,
    detect.MXFP4: _mxfp4,
    detect.COMPRESSED_TENSORS: _compressed,
    detect.GPTQ: _gptq,
    detect.BNB_8BIT: _bnb_8bit,
    detect.BNB_4BIT: _bnb_4bit,
}
