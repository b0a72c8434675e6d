"""Apps of one process share their parsed styles, and most have a worker that does as it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from spectrum_tui.app import unasked
from spectrum_tui.app.app import SpectrumApp
from spectrum_tui.core.settings import Settings
from tests.styles import styles_are_parsed_once
from tests.ui.real_core import use_real_core
from tests.ui.worker_control import DirectControl

__all__ = ["styles_are_parsed_once"]


@pytest.fixture(autouse=True)
def keys_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take keys as soon as the app has changed something by itself, also before it is drawn."""
    monkeypatch.setattr(unasked, "SECONDS", 0.0)
    monkeypatch.setattr(unasked, "DRAWN_SECONDS", 0.0)


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> DirectControl:
    return DirectControl(monkeypatch)


@pytest.fixture
def app(control: DirectControl, tmp_path: Path) -> SpectrumApp:
    return SpectrumApp(Settings(output_dir=str(tmp_path / "out")))


@pytest.fixture
def real_core(monkeypatch: pytest.MonkeyPatch) -> None:
    use_real_core(monkeypatch)
