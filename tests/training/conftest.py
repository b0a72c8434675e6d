"""One thread for torch, and tiny models that are written and scanned once in a session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.training.peft_models import DEEP, Prepared, prepare

_HERE = Path(__file__).parent
NO_PACKAGES = {"test_measure.py", "test_memory.py", "test_proof_ends.py"}
"""What the whole suite runs of this folder: all of it, or much, needs no package for training."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The rest is run where this folder is named, as `tests/training.sh` does: the whole suite
    takes twice as long with it, where all packages are installed."""
    named = (Path(arg.partition("::")[0]).resolve() for arg in config.args)
    if any(_HERE in (path, *path.parents) for path in named):
        return None
    is_rest = collection_path.match("test_*.py") and collection_path.name not in NO_PACKAGES
    return True if is_rest else None


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
