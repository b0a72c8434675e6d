"""What figures were measured on: the CPU, how busy it is, and the BLAS of the scores."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

from spectrum_tui.core.platforms import cores, cpu_name
from spectrum_tui.core.scoring import openblas


def blas() -> str:
    """The library of products and eigenvalues on a CPU, its version and the kernel that it took."""
    own = openblas.library()
    found = [one for one in threadpool_info() if one["user_api"] == "blas"]
    if own is not None:
        found = [one for one in found if "scipy_openblas64" in Path(one["filepath"]).parts] or found
    if not found:  # such as Accelerate, which does not say
        return f"the BLAS of numpy {np.__version__}"
    one = found[0]
    kernel = f", kernel {one['architecture']}" if "architecture" in one else ""
    return f"{one['internal_api']} {one.get('version')}{kernel}"


def describe() -> str:
    """One line for the top of a benchmark's output."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{cores()} cores of {cpu_name()}{load}; {blas()}"
