"""Files of a server without ranges: two at a time, and none that is being read is deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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
