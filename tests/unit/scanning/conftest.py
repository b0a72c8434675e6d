"""What the tests of scans ask again and again."""

from __future__ import annotations

import pytest

from tests.scans import spy_on_scores


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the weights whose scores were computed."""
    return spy_on_scores(monkeypatch)
