"""Snapshots are pictures: the terminal they show must be the same on every machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.screen import Screen

from spectrum_tui.app.theme import DARK
from tests.snapshots.shown import Prepare, Shown, still
from tests.styles import styles_are_parsed_once

__all__ = ["look", "styles_are_parsed_once"]

Look = Callable[..., None]
CWD = Path("/home/you/work")
"""What the save dialog calls the current folder."""


@pytest.fixture
def look(
    snap_compare: Callable[..., bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Look:
    """Compare a screen at a size with its committed picture."""
    monkeypatch.chdir(tmp_path)

    def compare(
        screen: Screen[Any],
        size: tuple[int, int],
        prepare: Prepare | None = None,
        theme: str = DARK.name,
    ) -> None:
        app = Shown(screen, theme)
        assert snap_compare(app, terminal_size=size, run_before=prepare or still())

    return compare
