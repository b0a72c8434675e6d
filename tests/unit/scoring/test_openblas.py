"""The two things that are taken from OpenBLAS by hand, against numpy in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from spectrum_tui.core.scoring import openblas
from spectrum_tui.core.scoring.on_cpu import Cpu, CpuGram
from spectrum_tui.core.scoring.svd import EPS32, singular_values
from spectrum_tui.core.stored_types import Array, as_numpy
from tests import oracle
from tests.checkpoints import matrix
from tests.unit.scanning.test_fast_precision import InMemory

DTYPES = ("float64", "float32")
needs_library = pytest.mark.skipif(openblas.library() is None, reason="scipy-openblas64 is missing")


def blocks(dtype: str) -> dict[str, Array]:
    """Blocks of 7 columns as they come: rows, strips on their side, every second column."""
    values = np.random.default_rng(1).standard_normal((40, 40)).astype(dtype)
    return {
        "rows": values[:11, :7].copy(),
        "part of longer rows": values[3:14, 5:12],
        "on its side": values[:7, :11].copy().T,
        "part on its side": values[2:9, 4:15].T,
        "every second column": values[:11, :14:2],
        "one row": values[:1, :7],
        "one column on its side": values[:7, :1].T,
        "no rows": values[:0, :7],
    }


@needs_library
@pytest.mark.parametrize("dtype", DTYPES)
def test_products_are_added_to_the_upper_triangle(dtype: str) -> None:
    for name, block in blocks(dtype).items():
        sums = np.full((7, 7), 2.0, dtype)
        openblas.add_products(sums, block)
        wide = block.astype(np.float64)
        wanted = np.triu(2.0 + wide.T @ wide)
        np.testing.assert_allclose(np.triu(sums), wanted, rtol=2e-5, err_msg=name)
        assert (np.tril(sums, -1) == np.tril(np.full((7, 7), 2.0), -1)).all(), name


@needs_library
def test_a_vector_whose_rows_are_one_number() -> None:
    for block in (np.arange(9.0).reshape(9, 1), np.arange(18.0).reshape(9, 2)[:, :1]):
        sums = np.zeros((1, 1))
        openblas.add_products(sums, block)
        assert sums[0, 0] == float((block**2).sum())


def symmetric(n: int, dtype: str) -> tuple[Array, Array]:
    """(a Gram matrix, its eigenvalues in ascending order)"""
    block = np.random.default_rng(n).standard_normal((2 * n, n)).astype(dtype)
    gram = block.astype(np.float64).T @ block.astype(np.float64)
    return gram.astype(dtype), np.linalg.eigvalsh(gram)


@needs_library
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stages", [1, 2])
def test_eigenvalues_in_one_stage_and_in_two(
    dtype: str, stages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openblas, "ONE_STAGE_BYTES", 0 if stages == 2 else 2**40)
    for n in (49, 64, 100, 333):
        gram, wanted = symmetric(n, dtype)
        found = openblas.eigenvalues(np.ascontiguousarray(np.triu(gram)))
        assert found is not None
        assert found.dtype == np.float64
        limit = 1e-14 if dtype == "float64" else 100 * EPS32
        assert np.abs(found - wanted).max() <= limit * wanted[-1]


@needs_library
@pytest.mark.parametrize("n", [1, 2, 3])
def test_eigenvalues_of_the_smallest(n: int) -> None:
    gram, wanted = symmetric(n, "float64")
    found = openblas.eigenvalues(gram.copy())
    assert found is not None
    np.testing.assert_allclose(found, wanted, rtol=1e-13)


@needs_library
def test_what_is_not_finite_has_no_eigenvalues() -> None:
    assert openblas.eigenvalues(np.full((4, 4), np.nan)) is None
    assert openblas.eigenvalues(np.full((4, 4), np.inf)) is None


@pytest.mark.parametrize("precision", ["exact", "fast"])
@pytest.mark.parametrize("shape", [(90, 60), (60, 90), (700, 30)], ids=str)
def test_scores_without_the_library_are_the_same(
    shape: tuple[int, int], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = InMemory(matrix("both", *shape, dtype=torch.bfloat16))
    with_it = singular_values(values, *shape, "cpu", precision)
    monkeypatch.setattr(openblas, "library", lambda: None)
    without = singular_values(values, *shape, "cpu", precision)
    tolerance = 1e-12 if precision == "exact" else 1e-5
    np.testing.assert_allclose(without.values, with_it.values, rtol=tolerance)
    assert without.error < 1e-4


def test_numpy_that_does_not_find_them_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise np.linalg.LinAlgError("Eigenvalues did not converge")

    monkeypatch.setattr(openblas, "library", lambda: None)
    monkeypatch.setattr(np.linalg, "eigvalsh", fail)
    gram = CpuGram(3, "float64")
    gram.add(np.eye(3))
    assert gram.eigenvalues() is None


def test_a_matrix_without_eigenvalues_is_scored_by_qr(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = matrix("no eigenvalues", 30, 20)
    monkeypatch.setattr(CpuGram, "eigenvalues", lambda self: None)
    found = singular_values(InMemory(tensor), 30, 20, "cpu")
    true = oracle.singular_values(as_numpy(tensor).astype(np.float64))
    np.testing.assert_allclose(found.values, true, rtol=1e-12)


def test_a_package_without_its_library_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scipy_openblas64 = pytest.importorskip("scipy_openblas64")
    for made in (None, "notes.txt", "libscipy_openblas64_.so"):
        if made:
            (tmp_path / made).write_text("no library")
        monkeypatch.setattr(scipy_openblas64, "get_lib_dir", lambda: str(tmp_path))
        openblas.library.cache_clear()
        assert openblas.library() is None
    openblas.library.cache_clear()
    assert Cpu().gram(2, "float32").is_finite()
