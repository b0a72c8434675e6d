"""One thread for torch, and tiny models that are written and scanned once in a session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.training.peft_models import DEEP, Prepared, prepare


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """The models are tiny, and tests run side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Models:
    """Prepared models, made when they are first asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._made: dict[tuple[str, torch.dtype], Prepared] = {}

    def __call__(self, name: str, dtype: torch.dtype = torch.float32) -> Prepared:
        if (name, dtype) not in self._made:
            self._made[name, dtype] = prepare(name, self._root / str(dtype), DEEP[name], dtype)
        return self._made[name, dtype]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """All prepared models of this session."""
    return Models(tmp_path_factory.mktemp("training"))
