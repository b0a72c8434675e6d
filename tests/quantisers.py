"""Weights quantised as the published formats describe it, typed again in numpy: test oracles.

Each maker returns what a checkpoint stores and the float32 values that it stands for. Nothing
here imports the program.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tests.checkpoints import Tensors

Floats = npt.NDArray[np.float32]

E2M1 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]

NF4 = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
]  # fmt: skip
_BNB_FP4 = [0.0, 0.0052083333, 0.66666667, 1.0, 0.33333333, 0.5, 0.16666667, 0.25]
BNB_FP4 = [*_BNB_FP4, *(-value for value in _BNB_FP4)]


def random(seed: int, *shape: int, scale: float = 0.05) -> Floats:
    """Gaussian weights."""
    made = np.random.default_rng(seed).standard_normal(shape) * scale
    return made.astype(np.float32)


def rounded(values: Floats, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    """In the type that the model is loaded in."""
    return torch.from_numpy(np.ascontiguousarray(values)).to(dtype)


def e4m3(byte: int) -> float:
    """The value of an OCP E4M3 byte: 4 bits of exponent (bias 7), 3 of mantissa."""
    sign, exponent, mantissa = byte >> 7, byte >> 3 & 15, byte & 7
    if exponent == 0:
        size = mantissa / 8 * 2.0**-6
    else:
        size = (1 + mantissa / 8) * 2.0 ** (exponent - 7)
    return -size if sign else size


def e2m1(nibble: int) -> float:
    """The value of four bits: a sign and one of eight magnitudes."""
    return -E2M1[nibble & 7] if nibble & 8 else E2M1[nibble]


def fp8(seed: int, *shape: int) -> torch.Tensor:
    """Random finite E4M3 weights."""
    bits = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    bits[(bits & 127) == 127] = 0
    return torch.from_numpy(bits).view(torch.float8_e4m3fn)


def scales(seed: int, *shape: int) -> torch.Tensor:
    """Random positive float32 scales."""
    made = np.random.default_rng(seed).uniform(1e-4, 2e-3, shape)
    return torch.from_numpy(made.astype(np.float32))


def blockwise(weight: torch.Tensor, scale: torch.Tensor, block: tuple[int, int]) -> Floats:
    """FP8 [rows, columns] by one float32 scale a block, an element at a time."""
    stored, grid = weight.view(torch.uint8).numpy(), scale.numpy()
    made = np.zeros(stored.shape, np.float32)
    for i in range(stored.shape[0]):
        for j in range(stored.shape[1]):
            factor = grid[i // block[0], j // block[1]]
            made[i, j] = np.float32(e4m3(int(stored[i, j]))) * factor
    return made


def fp4_bytes(packed: npt.NDArray[np.uint8]) -> Floats:
    """Two e2m1 values a byte, the low bits first."""
    made = [[v for byte in row for v in (e2m1(byte & 15), e2m1(byte >> 4))] for row in packed]
    return np.array(made, np.float32)


def pack_int32(values: npt.NDArray[np.int64], bits: int) -> torch.Tensor:
    """Non-negative integers along the last dimension, 32/bits in each int32, low bits first."""
    each = 32 // bits
    rows, columns = values.shape
    words = np.zeros((rows, -(-columns // each)), np.uint64)
    for i in range(rows):
        for j in range(columns):
            words[i, j // each] |= np.uint64(int(values[i, j]) << (bits * (j % each)))
    return torch.from_numpy(words.astype(np.uint32).view(np.int32).copy())


@dataclass(frozen=True)
class Made:
    """What is stored for one weight, and its values."""

    stored: Tensors
    values: Floats


def compressed_pack(
    seed: int,
    rows: int,
    columns: int,
    group: int,
    *,
    bits: int = 4,
    symmetric: bool = True,
    index: bool = False,
) -> Made:
    """compressed-tensors pack-quantized; `index`: the columns' groups in a random order."""
    rng = np.random.default_rng(seed)
    groups, half = -(-columns // group), 2 ** (bits - 1)
    integers = rng.integers(-half, half, (rows, columns))
    scale = scales(seed + 1, rows, groups)
    zero = np.zeros((rows, groups), np.int64)
    of = np.arange(columns) // group
    stored: Tensors = {
        "weight_packed": pack_int32(integers + half, bits),
        "weight_scale": scale,
        "weight_shape": torch.tensor([rows, columns]),
    }
    if not symmetric:
        zero = rng.integers(-half, half, (rows, groups))
        stored["weight_zero_point"] = pack_int32((zero + half).T, bits).T.contiguous()
    if index:
        of = rng.permutation(of)
        stored["weight_g_idx"] = torch.from_numpy(of.astype(np.int32))
    values = (integers - zero[:, of]).astype(np.float32) * scale.numpy()[:, of]
    return Made(stored, values)


def gptq(
    seed: int, inputs: int, outputs: int, group: int, bits: int, *, v2: bool, act_order: bool
) -> Made:
    """GPTQ of a [outputs, inputs] weight; version 1 stores zero points less one."""
    rng = np.random.default_rng(seed)
    groups, top = inputs // group, 2**bits
    integers = rng.integers(0, top, (inputs, outputs))
    zero = rng.integers(0, top, (groups, outputs))
    scale = scales(seed + 1, groups, outputs).half()
    of = np.arange(inputs) // group
    if act_order:
        of = rng.permutation(of)
    stored: Tensors = {
        "qweight": pack_int32(integers.T, bits).T.contiguous(),
        "qzeros": pack_int32(zero if v2 else (zero - 1) % top, bits),
        "scales": scale,
        "g_idx": torch.from_numpy(of.astype(np.int32)),
    }
    values = (integers - zero[of]).astype(np.float32) * scale.float().numpy()[of]
    return Made(stored, np.ascontiguousarray(values.T))


def bnb_4bit(weight: Floats, book: str, *, nested: bool = False, block: int = 64) -> Made:
    """bitsandbytes 4-bit, high bits first; `nested`: the blocks' magnitudes in 8 bits."""
    code = np.array(NF4 if book == "nf4" else BNB_FP4, np.float32)
    flat = weight.reshape(-1)
    absmax = np.array([abs(flat[i : i + block]).max() for i in range(0, len(flat), block)])
    absmax = absmax.astype(np.float32)
    state: dict[str, Any] = {
        "quant_type": book, "blocksize": block, "dtype": "bfloat16", "shape": list(weight.shape),
    }  # fmt: skip
    stored = {"weight.quant_map": torch.from_numpy(code)}
    if nested:
        absmax = _nest(absmax, stored, state)
    else:
        stored["weight.absmax"] = torch.from_numpy(absmax)
    of = absmax.repeat(block)[: len(flat)]
    index = np.abs(flat[:, None] / of[:, None] - code).argmin(1)
    padded = np.concatenate((index, np.zeros(len(index) % 2, np.int64))).astype(np.uint8)
    stored["weight"] = torch.from_numpy(padded[0::2] << 4 | padded[1::2]).unsqueeze(1)
    text = np.frombuffer(json.dumps(state).encode(), np.uint8).copy()
    stored[f"weight.quant_state.bitsandbytes__{book}"] = torch.from_numpy(text)
    return Made(stored, (code[index] * of).reshape(weight.shape))


def _nest(absmax: Floats, stored: Tensors, state: dict[str, Any], block: int = 256) -> Floats:
    """Quantise the magnitudes around their mean; returns what they decode to."""
    code = np.sort(np.tanh(np.linspace(-3, 3, 256))).astype(np.float32)
    offset = float(absmax.mean())
    state |= {"nested_blocksize": block, "nested_dtype": "float32", "nested_offset": offset}
    apart = absmax - np.float32(offset)
    largest = [abs(apart[i : i + block]).max() for i in range(0, len(apart), block)]
    top = np.array(largest, np.float32)
    of = top.repeat(block)[: len(apart)]
    index = np.abs(apart[:, None] / of[:, None] - code).argmin(1)
    stored["weight.absmax"] = torch.from_numpy(index.astype(np.uint8))
    stored["weight.nested_absmax"] = torch.from_numpy(top)
    stored["weight.nested_quant_map"] = torch.from_numpy(code)
    decoded: Floats = code[index] * of + np.float32(offset)
    return decoded
