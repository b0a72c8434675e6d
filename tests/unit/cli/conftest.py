"""What the tests of commands ask again and again."""

from __future__ import annotations

import sys

import pytest

from spectrum_tui.stdio.streams import plain_stderr
from tests.unit.cli.hostile_shell import Bytes, Shell


@pytest.fixture
def shell(capfdbinary: Bytes, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setattr(sys, "stderr", plain_stderr())
    return Shell(capfdbinary)
