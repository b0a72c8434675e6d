"""Running the app so that the process always ends and the terminal always comes back.

Textual handles neither SIGTERM nor SIGHUP: both would end the process at once and leave the
terminal in raw mode on the alternate screen. The event loop's own signal handlers are no help
either, because a terminal that has stalled (a dropped line) blocks the loop for ever while it
writes. So: plain `signal.signal`, and a watchdog thread that does not need the loop.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

from spectrum_tui.app.app import SpectrumApp
from spectrum_tui.core.platforms import (
    END_SIGNALS,
    HUNG_UP,
    restore_terminals,
    terminal_settings,
)
from spectrum_tui.stdio.last_resort import unexpected
from spectrum_tui.stdio.terminal_signals import TerminalSignals

END_WAIT = 1.5
"""Seconds the app has to end by itself; with the restoring below the process ends within 2."""

RESTORE = (
    "\x1b[<u"  # kitty keyboard protocol
    "\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?1016l"  # mouse
    "\x1b[?1004l\x1b[?2004l\x1b[?2048l"  # focus, bracketed paste, in-band resize
    "\x1b[?1049l\x1b[?25h\x1b[0m"  # alternate screen, cursor, colours
)


def run_app(app: SpectrumApp) -> int:
    before = terminal_settings()
    old = {number: signal.getsignal(number) for number in END_SIGNALS}
    ended = threading.Event()
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for other in END_SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        threading.Thread(target=_end, args=(app, number, ended, before), daemon=True).start()

    for number in END_SIGNALS:
        signal.signal(number, handle)
    # 0.1 s of the start is garbage collection that finds nothing; the app enables it again after
    # its first frame, and what was imported until now is never looked at again.
    gc.disable()
    gc.freeze()
    try:
        app.run()
    finally:
        app.signals.close()
        app.runner.close()
        ended.set()
        gc.enable()
        for number, handler in old.items():
            signal.signal(number, handler)
    if received:
        return 128 + received[0]  # whatever the app made of a terminal that is gone
    if isinstance(app.failure, OSError) and app.failure.errno in (errno.EIO, errno.EPIPE):
        return HUNG_UP  # gone as well: the signal comes after the failing write
    if app.failure is not None:
        return unexpected(app.failure)
    return app.return_code or 0


def _end(
    app: SpectrumApp, number: int, ended: threading.Event, before: dict[int, list[Any]]
) -> None:
    """Ask the app to end; end the process where it cannot."""
    # From a thread, as the handler may have interrupted the loop in the middle of anything.
    app.request_exit(128 + number)
    if ended.wait(END_WAIT):
        return
    app.runner.kill()
    restoring = threading.Thread(target=_restore, args=(before, app.signals), daemon=True)
    restoring.start()
    restoring.join(0.2)  # a stalled terminal takes no more bytes
    os._exit(128 + number)


def _restore(before: dict[int, list[Any]], signals: TerminalSignals) -> None:
    restore_terminals(before)
    # Textual draws on stderr, so that stdout stays free for data.
    stream = sys.__stderr__
    if stream is not None:
        with contextlib.suppress(OSError, ValueError):
            if os.isatty(stream.fileno()):
                os.write(stream.fileno(), (RESTORE + signals.taken_back()).encode())
