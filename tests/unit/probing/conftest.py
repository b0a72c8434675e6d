"""One thread for torch, and its state as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """A probe sets torch for its process, which here is that of the tests."""
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(1)
    yield
    torch.set_deterministic_debug_mode("default")  # the other way imports the compiler
    torch.set_num_threads(threads)
    torch.set_rng_state(state)
