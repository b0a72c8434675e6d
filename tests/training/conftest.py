"""The tiny models that train, written and scanned once in a session."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training.peft_models import DEEP, Prepared, prepare


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
    """All prepared models of this session, computed on one thread."""
    torch.set_num_threads(1)
    return Models(tmp_path_factory.mktemp("training"))
