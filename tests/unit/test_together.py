"""Threads that nobody has to wait for."""

from __future__ import annotations

import _thread
import threading
from pathlib import Path
from typing import BinaryIO

import pytest

from spectrum_tui.core import disk
from spectrum_tui.core.checkpoint import heads
from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.together import aside, each
from tests.checkpoints import llama, save


def test_answers_are_in_the_order_of_the_items() -> None:
    assert each(lambda x: 2 * x, range(100), 8) == list(range(0, 200, 2))


def test_an_answer_and_an_error_come_from_aside() -> None:
    assert aside(lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        aside(lambda: 1 // 0)


def test_ctrl_c_leaves_a_thread_that_hangs() -> None:
    hangs, begun = threading.Event(), threading.Event()

    def hang() -> bool:
        begun.set()
        return hangs.wait(60)

    def interrupt() -> None:
        begun.wait()
        _thread.interrupt_main()

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        aside(hang)
    hangs.set()


def test_a_folder_is_read_in_a_thread_that_may_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers = set()

    def opened(path: Path) -> BinaryIO:
        readers.add(threading.current_thread())
        return disk.open_regular(path)

    monkeypatch.setattr(heads, "open_regular", opened)
    read_checkpoint(save(tmp_path, llama(1)))
    assert readers and threading.main_thread() not in readers
