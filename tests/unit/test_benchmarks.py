"""What benchmarks say of the machine."""

from __future__ import annotations

import pytest

from spectrum_tui.core.platforms import cores, cpu_name
from spectrum_tui.core.scoring import openblas
from tests.benchmarks import machine

OURS = {
    "user_api": "blas",
    "internal_api": "openblas",
    "filepath": "/x/scipy_openblas64/lib/libscipy_openblas64_.so",
    "version": "0.3.34",
    "architecture": "Zen",
}
NUMPYS = {**OURS, "filepath": "/x/numpy.libs/lib.so", "architecture": "Haswell"}
OPENMP = {"user_api": "openmp", "internal_api": "openmp", "filepath": "/x", "version": None}


def test_the_blas_that_computes_the_scores_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "threadpool_info", lambda: [OPENMP, NUMPYS, OURS])
    monkeypatch.setattr(openblas, "library", object)
    assert machine.blas() == "openblas 0.3.34, kernel Zen"
    monkeypatch.setattr(openblas, "library", lambda: None)
    assert machine.blas() == "openblas 0.3.34, kernel Haswell"
    monkeypatch.setattr(machine, "threadpool_info", lambda: [OPENMP])
    assert machine.blas().startswith("the BLAS of numpy")


def test_the_machine_in_a_line() -> None:
    assert machine.describe().startswith(f"{cores()} cores of {cpu_name()}")
    assert "\n" not in machine.describe()
