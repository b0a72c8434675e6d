"""The hub that these tests share, and the cache of this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fake_hub import FakeHub
from tests.online import go_online
from tests.unit.hub.scripts import make_repos


@pytest.fixture(scope="session")
def repos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of repositories that are right and wrong in every way."""
    return make_repos(tmp_path_factory.mktemp("repos"))


@pytest.fixture(scope="session")
def _running(repos: dict[str, Path]) -> Iterator[FakeHub]:
    gated, private = frozenset({"org/gated"}), frozenset({"org/private"})
    with FakeHub(repos, gated=gated, private=private) as running:
        yield running


@pytest.fixture
def fake(_running: FakeHub) -> FakeHub:
    """The hub, with nothing going wrong yet."""
    _running.forget()
    return _running


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache for this process."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def online(fake: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """The hub as this process sees it, with large files at another host and a token in use."""
    go_online(fake, cache, monkeypatch)
    return fake
