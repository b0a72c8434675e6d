"""Files of a server without ranges: two at a time, and none that is being read is deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spectrum_tui.core import disk, file_locks
from spectrum_tui.core.errors import OutputError
from spectrum_tui.core.hub import whole_files
from spectrum_tui.core.hub.location import RemoteFile
from spectrum_tui.core.hub.whole_files import WholeFiles, remove_leftovers


class Server:
    """Gives files of one byte, each called by it."""

    def __init__(self) -> None:
        self.asked = ""

    def file(self, name: str) -> RemoteFile:
        return RemoteFile(repo="org/x", name=name, url=f"https://there/{name}", size=1)

    def fetch_whole(self, name: str, write: Callable[[Iterator[bytes]], object]) -> None:
        self.asked += name
        write(iter([name.encode()]))


def test_what_is_being_read_stays(tmp_path: Path) -> None:
    server: Any = Server()
    with WholeFiles(server, tmp_path).opened() as whole:
        with whole._held("a") as first:
            for name in "bcd":
                with whole._held(name) as path:
                    assert path.read_bytes() == name.encode()
            assert first.read_bytes() == b"a"
            assert len(list(first.parent.iterdir())) == 2
        with whole._held("d"):
            pass
        with whole._held("e"):
            assert not first.exists()
        assert server.asked == "abcde"
        remove_leftovers(tmp_path)  # of another process
        assert len(list(first.parent.iterdir())) == 2
    assert not list(tmp_path.iterdir())


def test_who_tidies_up_does_not_take_the_folder_of_one_that_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock can be found between its making and the lock on it: another folder is used then."""
    real, met = disk.open_kept, list[tuple[Path, int | None]]()

    def opened(path: Path, flags: int) -> int:
        handle = real(path, flags)
        if not met:
            met.append((path, None))
            met.append((path, file_locks.take(path)))
        return handle

    monkeypatch.setattr(disk, "open_kept", opened)
    server: Any = Server()
    with WholeFiles(server, tmp_path).opened() as whole, whole._held("a") as first:
        path, handle = met[-1]
        assert handle is not None
        whole_files._remove(path.with_suffix(""))
        file_locks.give_up(path, handle)
        remove_leftovers(tmp_path)
        assert first.exists()
    assert not list(tmp_path.iterdir())


def test_where_another_always_has_the_lock_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_locks, "take", lambda path: None)
    server: Any = Server()
    with (
        pytest.raises(OutputError, match="cannot hold the files"),
        WholeFiles(server, tmp_path).opened(),
    ):
        pass
