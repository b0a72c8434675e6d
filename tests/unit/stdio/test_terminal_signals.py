"""What a terminal is told beside what is drawn in it: the sequences, and where there are none."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.option_values import AUTO, SIGNALS, parse_signals
from spectrum_tui.stdio import terminal_signals
from spectrum_tui.stdio.terminal_signals import PERIOD, TerminalSignals
from tests.hostile import HIDDEN
from tests.pty.terminal import Terminal

PUSH, POP, ST = "\x1b[22;0t", "\x1b[23;0t", "\x1b\\"
XTERM = {"TERM": "xterm-256color"}
WINDOWS = {**XTERM, "WT_SESSION": "1"}
"""A terminal that shows progress, and takes no note."""
GHOSTTY = {"TERM": "xterm-ghostty"}


def title(text: str) -> str:
    return f"\x1b]0;{text}{ST}"


def progress(text: str) -> str:
    return f"\x1b]9;4;{text}{ST}"


class Shown(TerminalSignals):
    """Signals whose writes are kept, with a clock that the test moves."""

    def __init__(self, environment: dict[str, str], asked: tuple[str, ...] = (AUTO,)) -> None:
        self.written: list[str] = []
        self.now = 0.0
        super().__init__(self.written.append, asked, environment, lambda: self.now)

    def later(self, share: float, what: str = "m", *, failed: bool = False) -> str:
        self.now += PERIOD
        self.work(share, what, failed=failed)
        return self.taken()

    def taken(self) -> str:
        text = "".join(self.written)
        self.written.clear()
        return text


@pytest.fixture(autouse=True)
def on_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal_signals, "_on_terminals", lambda: True)
    monkeypatch.setattr(terminal_signals, "_shown", [])


def test_a_scan_from_its_start_to_its_end() -> None:
    signals = Shown(WINDOWS)
    assert signals.later(0.3699, "Qwen3-8B") == (
        PUSH + title("36 % Qwen3-8B – spectrum") + progress("1;36")
    )
    assert signals.later(0.3699, "Qwen3-8B") == ""
    assert signals.later(0.37, "Qwen3-8B") == title("37 % Qwen3-8B – spectrum") + progress("1;37")
    signals.over("all scored.")
    assert signals.taken() == title("") + POP + progress("0;0") + "\x07"
    signals.over("all scored.")
    assert (signals.taken(), signals.taken_back()) == ("", "")


def test_a_failure_is_marked_until_the_end() -> None:
    signals = Shown(WINDOWS, ("progress",))
    assert signals.later(0.5, failed=True) == progress("2;50")
    signals.later(0.6)
    signals.over("it died.", failed=True)
    assert signals.taken() == progress("2;60")
    assert signals.later(0.6) == progress("1;60")
    assert signals.taken_back() == progress("0;0")


def test_what_the_user_has_ended_calls_nobody() -> None:
    signals = Shown(WINDOWS, ("bell",))
    signals.over("never begun.")
    assert signals.later(0.5) == ""
    signals.over("")
    signals.over("over long ago.")
    assert signals.taken() == ""


def test_a_few_writes_a_second_at_the_most() -> None:
    signals = Shown(XTERM)
    for step in range(1000):
        signals.now += 0.01
        signals.work(step / 1000, "m")
    assert len(signals.written) <= 10 / PERIOD + 1
    assert len(signals.written) > 5


@pytest.mark.parametrize("part", SIGNALS)
def test_each_part_can_be_had_alone(part: str) -> None:
    signals = Shown(WINDOWS, (part,))
    text = signals.later(0.5)
    signals.over("done.")
    text += signals.taken()
    signs = zip(SIGNALS, (PUSH, "9;4", "\x07"), strict=True)
    assert [name for name, sign in signs if sign in text] == [part]


@pytest.mark.parametrize("term", ["", "dumb", "linux", "eterm-color"])
def test_nothing_for_a_dumb_terminal(term: str) -> None:
    signals = Shown({"TERM": term, "WT_SESSION": "1"}, SIGNALS)
    assert signals.later(0.5) == ""
    signals.over("done.")
    assert signals.taken() + signals.taken_back() == ""


ITERM = {**XTERM, "TERM_PROGRAM": "iTerm.app"}


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        (XTERM, False),
        (WINDOWS, True),
        (GHOSTTY, True),
        ({**ITERM, "TERM_PROGRAM_VERSION": "3.6.6"}, True),
        ({**ITERM, "TERM_PROGRAM_VERSION": "3.5.14"}, False),
        ({**ITERM, "TERM_PROGRAM_VERSION": "3.10.0"}, True),
        ({**XTERM, "LC_TERMINAL": "iTerm2", "LC_TERMINAL_VERSION": "3.4"}, False),
        (ITERM, False),
        ({"TERM": "xterm-kitty"}, False),
        ({"TERM": "foot"}, False),
        ({"TERM_PROGRAM": "WezTerm", "TERM_PROGRAM_VERSION": "20240203-110809-x", **XTERM}, False),
        ({"TERM_PROGRAM": "WezTerm", "TERM_PROGRAM_VERSION": "20250301-110809-x", **XTERM}, True),
        ({**XTERM, "VTE_VERSION": "7900"}, True),
        ({**XTERM, "VTE_VERSION": "6800"}, False),
        ({**XTERM, "VTE_VERSION": "²"}, False),
        ({**XTERM, "ConEmuANSI": "ON"}, True),
    ],
)
def test_progress_only_where_it_is_no_note(environment: dict[str, str], shown: bool) -> None:
    assert ("9;4" in Shown(environment).later(0.5)) is shown
    assert "9;4" in Shown(environment, ("progress",)).later(0.5)  # asked for


@pytest.mark.parametrize(
    ("environment", "called"),
    [
        (XTERM, "\x07"),
        (ITERM, f"\x1b]9;spectrum: m: done.{ST}"),
        ({"TERM": "xterm-kitty"}, f"\x1b]9;spectrum: m: done.{ST}"),
    ],
)
def test_a_note_in_place_of_the_bell(environment: dict[str, str], called: str) -> None:
    signals = Shown(environment, ("bell",))
    signals.later(0.5)
    signals.over("m: done.")
    assert signals.taken() == called


def test_through_tmux() -> None:
    signals = Shown({**GHOSTTY, "TERM": "tmux-256color", "TMUX": "/tmp/x,1,0"}, SIGNALS)
    through = "\x1bPtmux;\x1b\x1b]9;4;1;50\x1b\x1b\\\x1b\\"
    assert signals.later(0.5) == PUSH + title("50 % m – spectrum") + through


def test_through_gnu_screen() -> None:
    signals = Shown({"TERM": "screen", "STY": "1.x"}, SIGNALS)
    assert signals.later(0.5) == (
        f"\x1bP{PUSH}\x1b]0;50 % m – spectrum\x07{ST}\x1bP\x1b]9;4;1;50\x07{ST}"
    )


def test_a_name_controls_nothing() -> None:
    signals = Shown(ITERM, SIGNALS)
    name = f"x{HIDDEN}\x1b]52;c;aGk=\x07\x9c\n" + "y" * 300
    text = signals.later(0.5, name)
    shown = text.removeprefix(PUSH + "\x1b]0;").partition(ST)[0]
    assert shown.isprintable() and len(shown) < 100
    signals.over(name)
    note = signals.taken().rpartition("\x1b]9;")[2].removesuffix(ST)
    assert note.isprintable() and len(note) < 300


@pytest.mark.parametrize(
    ("typed", "value"),
    [("none", ()), ("auto", (AUTO,)), ("Title, bell", ("title", "bell"))],
)
def test_the_option(typed: str, value: tuple[str, ...]) -> None:
    assert parse_signals(typed) == value


@pytest.mark.parametrize("typed", ["", "titel", "none,title", "title,"])
def test_an_option_that_is_nothing(typed: str) -> None:
    with pytest.raises(InputError, match=r"There is no signal .*title, progress, bell"):
        parse_signals(typed)


# -- on a terminal -----------------------------------------------------------------------------

BEGIN = """
import signal, sys, time, os
from spectrum_tui.stdio import last_resort
from spectrum_tui.stdio.streams import draw
from spectrum_tui.stdio.terminal_signals import TerminalSignals

def work():
    signals.work(0.5, "m")
    draw("begun ")

signals = TerminalSignals(draw, ("title", "progress"))
"""


def on_a_terminal(
    folder: Path, code: str, then: Callable[[Terminal], None] = lambda terminal: None
) -> tuple[str, int]:
    program = (sys.executable, "-c", BEGIN + code)
    with Terminal(program, XTERM, cwd=folder) as terminal:
        terminal.wait_for("begun")
        then(terminal)
        status = terminal.wait(10)
        terminal.pump(0.1)
        return terminal.received.decode(), status


CTRL_C = "os.kill(os.getpid(), signal.SIGINT)"
TAKEN_BACK = title("") + POP + progress("0;0")


@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP"])
def test_a_signal_leaves_nothing_behind(number: str, tmp_path: Path) -> None:
    wanted = signal.Signals[number]
    code = "with signals: work(); time.sleep(20)"
    text, status = on_a_terminal(tmp_path, code, lambda terminal: terminal.signal(wanted))
    assert text.endswith(TAKEN_BACK)
    assert status == -wanted


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("with signals: work()", 0),
        ("with signals: work(); sys.exit(2)", 2),
        ("with signals: work(); 1 / 0", 1),
        ("work(); last_resort.end_now()", 130),
        (f"last_resort.prepare(); work()\ntry: {CTRL_C}\nfinally: {CTRL_C}", 130),
    ],
)
def test_no_end_leaves_anything_behind(code: str, status: int, tmp_path: Path) -> None:
    text, ended = on_a_terminal(tmp_path, code)
    assert TAKEN_BACK in text
    assert ended == status


def test_no_write_waits_for_a_terminal_that_has_stalled(tmp_path: Path) -> None:
    stop = "import termios; termios.tcflow(2, termios.TCOOFF)"
    text, status = on_a_terminal(tmp_path, f"work(); {stop}; last_resort.end_now()")
    assert (POP in text, status) == (False, 130)
