"""What a terminal shows of long work beside what is drawn in it: its title, the progress in its tab
or in the taskbar, and a call at the end.

The title is xterm's OSC 0, between XTPUSHTITLE and XTPOPTITLE. Progress is ConEmu's OSC 9;4, which
some terminals show, and others take for iTerm2's OSC 9, a note: a scan would post a hundred.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType, TracebackType
from typing import Self

from spectrum_tui.core.option_values import AUTO
from spectrum_tui.core.platforms import END_SIGNALS
from spectrum_tui.core.text import safe, shortened
from spectrum_tui.stdio.streams import write_now

PERIOD = 0.4
"""Seconds between two writes: a taskbar shows no more, and over SSH each is a packet."""
LONGEST_NAME = 60
"""Characters of a model's name in a title; a tab shows a third of them."""

_ST = "\x1b\\"
_PUSH, _POP = "\x1b[22;0t", "\x1b[23;0t"
_SILENT = re.compile(r"|dumb|unknown|linux|cons25|emacs|eterm.*")
"""TERM of terminals without a title, which print what they do not know."""
_EVERYWHERE = frozenset({"title", "bell"})
"""What every other terminal understands."""
_KNOWS_PROGRESS = {
    "iTerm.app": (3, 6, 6),
    "iTerm2": (3, 6, 6),
    "WezTerm": (20250101,),
    "ghostty": (),
    "mintty": (),
    "vscode": (),
}
"""The oldest versions that show progress; before, iTerm2 and WezTerm take it for a note."""
_TAKES_NOTES = re.compile(r"iTerm\.app|iTerm2|WezTerm|ghostty|xterm-ghostty|xterm-kitty|foot.*")

_shown: list[TerminalSignals] = []
"""Those that have left something in the terminal that has to be taken back."""


def short_name(model: str) -> str:
    """Return what of a model's name or path tells it from others.

    >>> short_name("Qwen/Qwen3-8B"), short_name("runs/checkpoint-500/")
    ('Qwen3-8B', 'checkpoint-500')
    """
    return re.split(r"[/\\]", model.rstrip("/\\"))[-1] or model


def restore_now() -> None:
    """Take back what a title and a taskbar show, before the process ends without unwinding."""
    for signals in _shown.copy():
        signals.close()


class TerminalSignals:
    """Writes what was `asked` for of `settings.SIGNALS`; nothing where the terminal is dumb, or
    where stdout or stderr is none.

    `write` puts text on the terminal between two frames. As a context it also takes everything
    back where a signal ends the process.
    """

    def __init__(
        self,
        write: Callable[[str], object],
        asked: Sequence[str],
        environment: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._environment = os.environ if environment is None else environment
        self._clock = clock
        self.parts = _parts(asked, self._environment) if _on_terminals() else frozenset[str]()
        self._title = self._progress = ""
        self._wrote = -PERIOD
        self._called = True

    def work(self, share: float, what: str, *, failed: bool = False) -> None:
        """Show how much of `what` is done, 0 to 1; `failed`: something of it is. At most every
        `PERIOD` seconds."""
        now = self._clock()
        if now - self._wrote < PERIOD:
            return
        self._called = False
        percent = int(100 * share)  # 100 % is when it is over
        title = f"{percent} % {shortened(safe(what), LONGEST_NAME)} – spectrum"
        if text := self._changed(title, f"{2 if failed else 1};{percent}"):
            self._wrote = now
            self._write(text)

    def over(self, said: str, *, failed: bool = False) -> None:
        """Give the title back and call the user with what is `said`, unless that is nothing. A
        taskbar keeps the mark of what `failed` until the next work, or the end."""
        kept = self._progress.replace("1;", "2;", 1) if failed else ""
        call = self._call(said) if said and not self._called else ""
        self._called = True
        if text := self._changed("", kept) + call:
            self._write(text)

    def close(self) -> None:
        """Leave nothing in the terminal; past everything that is buffered, or waits for it."""
        if text := self.taken_back():
            write_now(text)

    def taken_back(self) -> str:
        """Return what makes the terminal as it was."""
        return self._changed("", "")

    def _changed(self, title: str, progress: str) -> str:
        """Return what shows these, "" for nothing, where they are not shown already."""
        text = ""
        if "title" in self.parts and title != self._title:
            # Terminals without a stack keep no title at least; tmux has one, and hands it on.
            shown = f"\x1b]0;{title}{_ST}"
            push, pop = (_PUSH if not self._title else ""), (_POP if not title else "")
            text += self._outer(push + shown + pop, tmux=False)
            self._title = title
        if "progress" in self.parts and progress != self._progress:
            text += self._outer(f"\x1b]9;4;{progress or '0;0'}{_ST}")
            self._progress = progress
        if self in _shown:
            _shown.remove(self)
        if self._title or self._progress:
            _shown.append(self)
        return text

    def _call(self, said: str) -> str:
        if "bell" not in self.parts:
            return ""
        if _TAKES_NOTES.fullmatch(_program(self._environment)[0]):
            return self._outer(f"\x1b]9;spectrum: {shortened(safe(said), 200)}{_ST}")
        return "\x07"

    def _outer(self, sequence: str, *, tmux: bool = True) -> str:
        """Return what reaches the terminal outside of tmux or GNU screen; `tmux` False: what tmux
        takes itself."""
        if self._environment.get("TMUX"):
            escaped = sequence.replace("\x1b", "\x1b\x1b")
            return f"\x1bPtmux;{escaped}{_ST}" if tmux else sequence
        if self._environment.get("STY"):
            return "\x1bP" + sequence.replace(_ST, "\x07") + _ST
        return sequence

    # -- as a context --------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._before = {
            number: signal.signal(number, _end)
            for number in END_SIGNALS
            if self.parts and signal.getsignal(number) is signal.SIG_DFL
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if isinstance(exc, Exception):
            self.over("The scan could not go on.")
        self.close()
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:
    """End as without a handler, with the terminal as it was."""
    restore_now()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def _on_terminals() -> bool:
    streams = (sys.__stdout__, sys.__stderr__)
    return all(stream is not None and stream.isatty() for stream in streams)


def _parts(asked: Sequence[str], environment: Mapping[str, str]) -> frozenset[str]:
    if _SILENT.fullmatch(environment.get("TERM", "")):
        return frozenset()
    if AUTO not in asked:
        return frozenset(asked)
    return _EVERYWHERE | ({"progress"} if _shows_progress(environment) else set())


def _program(environment: Mapping[str, str]) -> tuple[str, tuple[int, ...]]:
    """Return the terminal's name and version. LC_TERMINAL is what SSH hands on, tmux too."""
    name = "LC_TERMINAL" if environment.get("LC_TERMINAL") else "TERM_PROGRAM"
    found = environment.get(name, "")
    if found in ("", "tmux"):
        return environment.get("TERM", ""), ()
    version = re.findall(r"\d+", environment.get(f"{name}_VERSION", ""))[:3]
    return found, tuple(int(number) for number in version)


def _shows_progress(environment: Mapping[str, str]) -> bool:
    name, version = _program(environment)
    if name in _KNOWS_PROGRESS:
        return version >= _KNOWS_PROGRESS[name]
    vte = environment.get("VTE_VERSION", "")
    return (
        name == "xterm-ghostty"
        or "WT_SESSION" in environment
        or environment.get("ConEmuANSI") == "ON"
        or (vte.isdecimal() and int(vte) >= 7900)
    )
