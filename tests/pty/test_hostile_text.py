"""Hostile text on every screen: what a real terminal is sent holds none of it."""

from __future__ import annotations

import codecs
import json
import os
import re
from pathlib import Path

from spectrum_tui.core.saved.store import save_scores
from tests import made
from tests.checkpoints import llama, save
from tests.hostile import ESCAPES, HIDDEN, JSON_TEXT, TEXT
from tests.pty.terminal import PROGRAM, Terminal

QUIT, CONTINUE = "\x11", "\x0e"
SEEN = r"52;c;aGk="
"""What is left to see of an attempt to set the clipboard."""


def assert_sent_nothing_of_it(terminal: Terminal) -> None:
    received = re.sub(rb"\x1b\]22;[a-z-]*\x07", b"", terminal.received)  # the mouse's shape
    assert b"\x1b]52" not in received
    assert b"\x07" not in received
    assert b"\x9b31m" not in received.replace(b"\xc2\x9b", b"\x9b")
    # A character may be on its way still; all before it is whole.
    text = codecs.getincrementaldecoder("utf-8")().decode(received)
    assert not [hex(ord(c)) for c in text if c in HIDDEN or "\x7f" <= c <= "\x9f"]
    # Textual moves the cursor and sets modes; it neither clears the screen nor goes back a step.
    assert "\x08" not in text
    assert not re.search(r"\x1b\[2J[^\x1b]", text)


def test_a_model(tmp_path: Path) -> None:
    hostile = {"architectures": [JSON_TEXT], "model_type": JSON_TEXT, "torch_dtype": JSON_TEXT}
    folder = save(tmp_path / TEXT, llama(2), config=hostile)
    with Terminal((*PROGRAM, str(folder)), dict(os.environ), cwd=tmp_path) as terminal:
        terminal.wait_for("of matrices")
        terminal.wait_for("28.8 K in 21 tensors")
        terminal.send(CONTINUE)
        terminal.wait_for("down_proj")
        assert_sent_nothing_of_it(terminal)
        terminal.send(QUIT)
        terminal.wait(10)
        assert_sent_nothing_of_it(terminal)


def test_scores_and_a_refusal(tmp_path: Path) -> None:
    result = made.result(layers=4, types=2, names={0: f"model.layers.0.{TEXT}"})
    object.__setattr__(result.provenance, "model", JSON_TEXT)
    scores = save_scores(result, tmp_path).scores
    with Terminal((*PROGRAM, str(scores)), dict(os.environ), cwd=tmp_path) as terminal:
        terminal.wait_for("of 8 layers")
        for keys in ("t", "m", "y", "?", "\x1b", "d", "\x1b", "f", "\x1b", "a", "\x1b", "w", "\r"):
            terminal.send(keys)
            terminal.pump(0.3)
        terminal.wait_for(SEEN)
        terminal.send("\x1b")
        terminal.send(QUIT)
        terminal.wait(10)
        assert_sent_nothing_of_it(terminal)


def test_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / f"{ESCAPES}.yaml"
    lines = [TEXT, f"model.{HIDDEN}", "lm_head.weight"]
    text = "".join(f"- {json.dumps(line)}\n" for line in lines)
    path.write_text(f"unfrozen_parameters:\n{text}", encoding="utf-8")
    with Terminal((*PROGRAM, str(path)), dict(os.environ), cwd=tmp_path) as terminal:
        terminal.wait_for(SEEN)
        for keys in ("t", "w", "\x1b", "\t", "\t"):
            terminal.send(keys)
            terminal.pump(0.3)
        terminal.send(QUIT)
        terminal.wait(10)
        assert_sent_nothing_of_it(terminal)


def test_a_command(tmp_path: Path) -> None:
    """Both streams are the terminal, so what is redrawn is among it."""
    folder = save(tmp_path / TEXT, llama(2), config={"architectures": [JSON_TEXT]})
    arguments = (*PROGRAM, "scan", str(folder), "--signals", "title,progress")
    environment = {**os.environ, "TERM": "xterm-256color"}
    with Terminal(arguments, environment, cwd=tmp_path) as terminal:
        assert terminal.wait(60) in (0, 1)
        assert b" % " in terminal.received
        terminal.pump(0.2)
        assert_sent_nothing_of_it(terminal)
