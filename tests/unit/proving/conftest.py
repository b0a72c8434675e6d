"""Tiny models on disk, made once in a session, and one thread for torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.unit.proving.tiny_language import save_model


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """A row sets torch for its process, which here is that of the tests."""
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(1)
    yield
    torch.set_deterministic_debug_mode("default")
    torch.set_num_threads(threads)
    torch.set_rng_state(state)


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model("llama", tmp_path_factory.mktemp("llama"))
