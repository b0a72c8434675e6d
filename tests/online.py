"""A hub on 127.0.0.1 in the place of the real one, for this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fake_hub import GOOD_TOKEN, FakeHub


def go_online(hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask this hub from now on, with a token and an empty cache; its large files are signed."""
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session  # type: ignore[attr-defined]

    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("HF_TOKEN", GOOD_TOKEN)
    close_session()
    hub.signed_seconds = 3600.0
