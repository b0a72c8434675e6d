"""A command line whose every byte is looked at, for tests with hostile text."""

from __future__ import annotations

import pytest

from spectrum_tui.cli.main import main
from tests.hostile import assert_plain

Bytes = pytest.CaptureFixture[bytes]


class Shell:
    """Runs a command here and looks at every byte that it writes."""

    def __init__(self, streams: Bytes) -> None:
        self._streams = streams

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        try:
            code = main(arguments)
        except SystemExit as exc:
            code = int(exc.code or 0)
        out, err = self._streams.readouterr()
        assert_plain(out)
        assert_plain(err)
        assert code in (0, 1, 2), err.decode()
        return code, out.decode(), err.decode()
