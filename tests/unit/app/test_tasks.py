"""The palette and the help name every key of the screens that have tasks, and no other."""

from __future__ import annotations

import pytest

from spectrum_tui.app.key_names import bindings_of
from spectrum_tui.app.tasks import TASKS

NAMES = {name for names in TASKS.values() for name in names}


@pytest.mark.parametrize("screen", sorted({name.partition(".")[0] for name in NAMES}))
def test_every_key_of_a_screen_has_its_task(screen: str) -> None:
    named = {name for name in NAMES if name.startswith(f"{screen}.")}
    assert named == {binding.id for binding in bindings_of(screen)}
