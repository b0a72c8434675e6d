"""OpenBLAS by its C interface, for what numpy does not offer.

The package scipy-openblas64 brings the library that numpy's own wheels are built from, and says
where it lies. Two things are taken from it. `syrk` adds the products of a block to one triangle of
a matrix in place, where numpy makes a matrix of products and adds that. And eigenvalues: numpy has
float32 solved in float64, and reduces to tridiagonal form in one stage only, which reads the whole
matrix again and again. At 4096 columns on one core two stages, dense to band to tridiagonal, take
3.2 s for 5.9 s in float64 and 2.1 s in float32.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from spectrum_tui.core.results.results import FloatArray
from spectrum_tui.core.stored_types import Array

ONE_STAGE_BYTES = 2**24
"""Size of a matrix from which two stages are faster: 1,448 columns of float64, 2,048 of float32.
One stage reads the whole matrix for every second column, which a cache of 32 MB hides from two
threads up to here."""

BANDWIDTH = 48
"""Diagonals of the band between the stages: 32 and 64 take 3 to 9 % longer at 2048 and 4096."""

_ROW_MAJOR, _UPPER, _NO_TRANSPOSE, _TRANSPOSE = 101, 121, 111, 112  # of CBLAS
_Int = ctypes.c_int64
_LETTERS = {"float64": "d", "float32": "s"}


@cache
def library() -> ctypes.CDLL | None:
    """Return the library; None where the package or the build for this system is missing."""
    try:
        import scipy_openblas64
    except ImportError:
        return None
    for path in sorted(Path(scipy_openblas64.get_lib_dir()).glob("*scipy_openblas64_*")):
        if path.suffix in {".so", ".dylib", ".dll"}:
            try:
                found = ctypes.CDLL(str(path))
                _ = found.scipy_cblas_dsyrk64_, found.scipy_dsytrd_sb2st_64_
            except (OSError, AttributeError):
                return None
            return found
    return None


def add_products(sums: Array, block: Array) -> None:
    """Add block^T·block to the upper triangle of a matrix, in place.

    `sums` is n x n and C-contiguous, `block` has n columns; both are float64 or both float32.
    """
    letter, n = _LETTERS[sums.dtype.name], len(sums)
    rows, (down, across) = len(block), (stride // block.itemsize for stride in block.strides)
    if across == 1 or n == 1:
        order, stride = _TRANSPOSE, max(down, n)
    elif down == 1 or rows == 1:
        order, stride = _NO_TRANSPOSE, max(across, rows)
    else:
        add_products(sums, np.ascontiguousarray(block))
        return
    given, found = block.ctypes.data, sums.ctypes.data
    _syrk(letter)(_ROW_MAJOR, _UPPER, order, n, rows, 1.0, given, stride, 1.0, found, n)


@cache
def _syrk(letter: str) -> Callable[..., None]:
    real = ctypes.c_double if letter == "d" else ctypes.c_float
    found = getattr(library(), f"scipy_cblas_{letter}syrk64_")
    pointer = ctypes.c_void_p
    found.restype = None
    found.argtypes = [*[ctypes.c_int] * 3, _Int, _Int, real, pointer, _Int, real, pointer, _Int]
    syrk: Callable[..., None] = found
    return syrk


def eigenvalues(matrix: Array) -> FloatArray | None:
    """Return the eigenvalues of a symmetric matrix in ascending order; None where LAPACK fails.

    `matrix` is n x n, C-contiguous, float64 or float32; its upper triangle is read, and all of it
    is overwritten. It is reduced to tridiagonal form in its own type, in one stage (`sytrd`) or in
    two, and solved in float64 by `dsterf`.
    """
    if not np.isfinite(matrix.diagonal()).all():
        return None  # LAPACK may not end
    two_stages = in_two_stages(len(matrix), matrix.dtype.name)
    reduced = _in_two_stages(matrix) if two_stages else _in_one_stage(matrix)
    if reduced is None:
        return None
    diagonal, beside = reduced
    return diagonal if _call("dsterf", (len(matrix), diagonal, beside)) else None


def in_two_stages(short: int, dtype: str) -> bool:
    """Return whether a matrix of so many columns is reduced in two stages."""
    return short * short * np.dtype(dtype).itemsize > ONE_STAGE_BYTES


Tridiagonal = tuple[FloatArray, FloatArray]
"""(the diagonal, the numbers beside it)"""


def _in_one_stage(matrix: Array) -> Tridiagonal | None:
    n, dtype = len(matrix), matrix.dtype
    diagonal, beside, tau = (np.zeros(n, dtype) for _ in range(3))
    # Row by row our upper triangle is LAPACK's lower one, column by column.
    arguments = (b"L", n, matrix, n, diagonal, beside, tau)
    if not _called(f"{_LETTERS[dtype.name]}sytrd", arguments, dtype, works=1):
        return None
    return diagonal.astype(np.float64), beside.astype(np.float64)


def _in_two_stages(matrix: Array) -> Tridiagonal | None:
    """Reduce to a band in the type of the matrix, and the band in float64: in float32 that stage
    would make most of the error (205 eps instead of 16, by the root mean square) and save 5 % of
    the time."""
    n, dtype = len(matrix), matrix.dtype
    band = np.zeros((n, BANDWIDTH + 1), dtype)  # column by column, as LAPACK has it
    to_band = (b"L", n, BANDWIDTH, matrix, n, band, BANDWIDTH + 1, np.zeros(n, dtype))
    if not _called(f"{_LETTERS[dtype.name]}sytrd_sy2sb", to_band, dtype, works=1):
        return None
    wide, diagonal, beside = band.astype(np.float64), np.zeros(n), np.zeros(n)
    arguments = (b"Y", b"N", b"L", n, BANDWIDTH, wide, BANDWIDTH + 1, diagonal, beside)
    if not _called("dsytrd_sb2st", arguments, wide.dtype, works=2):
        return None
    return diagonal, beside


def _called(name: str, arguments: tuple[Any, ...], dtype: np.dtype[Any], works: int) -> bool:
    """Call a routine of LAPACK with as many work arrays, of the sizes that it asks for; return
    whether it succeeded."""
    asked = [np.zeros(1, dtype) for _ in range(works)]
    if not _call(name, (*arguments, *(part for one in asked for part in (one, -1)))):
        return False
    # A size that float32 cannot hold is rounded, perhaps down.
    given = [np.empty(int(float(one[0]) * (1.0 + 2.0**-22)) + 1, dtype) for one in asked]
    return _call(name, (*arguments, *(part for one in given for part in (one, len(one)))))


def _call(name: str, arguments: tuple[Any, ...]) -> bool:
    """Call a routine of Fortran: everything by address, the lengths of texts and the result last.

    Whole numbers have 64 bits. The lock of the interpreter is free meanwhile.
    """
    info = _Int(0)
    given: list[Any] = []
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            given.append(ctypes.c_void_p(argument.ctypes.data))
        elif isinstance(argument, bytes):
            given.append(ctypes.c_char_p(argument))
        else:
            given.append(ctypes.byref(_Int(argument)))
    texts = sum(isinstance(argument, bytes) for argument in arguments)
    routine = getattr(library(), f"scipy_{name}_64_")
    routine.restype = None
    routine(*given, ctypes.byref(info), *[ctypes.c_size_t(1)] * texts)
    return info.value == 0
