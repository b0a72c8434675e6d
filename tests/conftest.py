"""Every test runs as on a bare machine: no user's settings, caches or token, no network."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

_UNSET = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "CLICOLOR", "CLICOLOR_FORCE")
_UNSET_PREFIXES = ("TEXTUAL_", "HF_", "HUGGING", "TRANSFORMERS_", "SPECTRUM_TUI_")
_FIXED = {"COLORTERM": "truecolor", "TERM": "xterm-256color", "HF_HUB_OFFLINE": "1"}


def _is_foreign(name: str) -> bool:
    if name == "TEXTUAL_SNAPSHOT_TEMPDIR":  # the snapshot plugin's own, set before this file
        return False
    return name in _UNSET or name.startswith(_UNSET_PREFIXES)


# Textual and huggingface_hub read their variables when they are imported: before any fixture.
for _name in list(filter(_is_foreign, os.environ)):
    del os.environ[_name]
os.environ.update(_FIXED)
os.environ["HF_HOME"] = str(Path(tempfile.gettempdir()) / f"no-hf-home-{os.getpid()}")


@pytest.fixture(autouse=True)
def _bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Home, caches and terminal of one test; child processes inherit them."""
    for name in list(filter(_is_foreign, os.environ)):
        monkeypatch.delenv(name)
    for name, value in _FIXED.items():
        monkeypatch.setenv(name, value)
    # Beside tmp_path rather than in it, which tests list and compare.
    home = tmp_path.parent / f"{tmp_path.name}-home"
    home.mkdir(exist_ok=True)
    for name, place in (
        ("HOME", ""),
        ("XDG_CACHE_HOME", ".cache"),
        ("XDG_CONFIG_HOME", ".config"),
        ("XDG_DATA_HOME", ".local/share"),
        ("XDG_STATE_HOME", ".local/state"),
        ("HF_HOME", ".cache/huggingface"),
        ("SPECTRUM_TUI_CACHE", ".cache/spectrum-tui"),
    ):
        monkeypatch.setenv(name, str(home / place))
