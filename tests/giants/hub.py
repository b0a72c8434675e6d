"""A fake hub of repositories that never change, so that nothing of them is hashed twice."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from tests.fake_hub import FakeHub
from tests.giants.models import GIANTS
from tests.giants.parts import write


class StillHub(FakeHub):
    """Serves what it is given as it was at the first request."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.files = cache(super().files)  # type: ignore[method-assign]
        self.commit = cache(super().commit)  # type: ignore[method-assign]


def giants_below(folder: Path, *names: str) -> dict[str, Path]:
    """Write models of `GIANTS` (all of them by default); returns {id: folder}."""
    return {name: write(folder / name, GIANTS[name]()) for name in names or GIANTS}
