"""Locks on files: one process has it, no file stays, and none that stays stops anybody."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from spectrum_tui.core import file_locks, platforms
from spectrum_tui.core.file_locks import NoLocksError, give_up, take


def test_one_has_it_and_then_another(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("of somebody who was killed")
    first = take(path)
    assert first is not None and take(path) is None
    give_up(path, first)
    assert not path.exists()
    second = take(path)
    assert second is not None
    give_up(path, second)


def test_a_file_that_was_removed_meanwhile_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever ends removes it between the look and the lock of another, who would have the lock of
    a file that nobody finds."""
    path = tmp_path / "lock"
    before = take(path)
    assert before is not None
    real, handles = platforms.lock, list[int]()

    def lock(handle: int) -> bool:
        if not handles:
            give_up(path, before)
        handles.append(handle)
        return real(handle)

    monkeypatch.setattr(file_locks, "lock", lock)
    mine = take(path)
    assert mine is not None and len(handles) == 2
    assert take(path) is None
    give_up(path, mine)


def test_where_there_are_no_locks_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[int] = []

    def lock(handle: int) -> bool:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    real = os.close

    def close(handle: int) -> None:
        closed.append(handle)
        real(handle)

    monkeypatch.setattr(file_locks, "lock", lock)
    monkeypatch.setattr(os, "close", close)
    with pytest.raises(NoLocksError):
        take(tmp_path / "lock")
    assert len(closed) == 1
