"""Copying over a line: what the terminal at the other end is told."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path

from spectrum_tui.core.saved.store import save_scores
from tests import made
from tests.pty.terminal import PROGRAM, Terminal

OSC_52 = re.compile(rb"\x1b\]52;c;([A-Za-z0-9+/=]+)(?:\x07|\x1b\\)")


def test_the_terminal_gets_the_yaml(tmp_path: Path) -> None:
    result = made.result(layers=4, types=2)
    scores = save_scores(result, tmp_path).scores
    environment = {**os.environ, "SPECTRUM_TUI_CACHE": str(tmp_path / "cache")}
    with Terminal((*PROGRAM, str(scores)), environment, cwd=tmp_path) as terminal:
        terminal.wait_for("of 8 layers")
        terminal.send("c")
        terminal.wait_for("lines, ")
        (copied,) = OSC_52.findall(terminal.received)
    text = base64.b64decode(copied).decode()
    assert "unfrozen_parameters:\n" in text
    names = re.findall(r"^- (.+)$", text, re.MULTILINE)
    assert set(names) <= {name for row in result.scores.parameters for name in row} | {
        head.name for head in result.embeddings
    }
    assert len(names) >= 4
