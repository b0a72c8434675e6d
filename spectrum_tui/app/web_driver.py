"""The app in a browser, through textual-serve: a driver on pipes that ends as a terminal's does."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import Protocol, cast

from textual.drivers.web_driver import WebDriver

from spectrum_tui.core.platforms import HUNG_UP


class Endable(Protocol):
    """An app that can be told to end."""

    def request_exit(self, code: int) -> None:
        """End with this exit code; safe to call from any thread."""


class ServedDriver(WebDriver):
    """Textual's driver for the web, with our signals, and an end where the server is gone."""

    def start_application_mode(self) -> None:
        """Start, and leave the signals to the handlers that were there: Textual's own need the
        event loop, and end with 0."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        super().start_application_mode()
        loop = asyncio.get_running_loop()
        for number, handler in before.items():
            with contextlib.suppress(NotImplementedError):  # on Windows, where there are none
                loop.remove_signal_handler(number)
            signal.signal(number, handler)

    def stop_application_mode(self) -> None:
        """Stop; the server may be gone already."""
        with contextlib.suppress(OSError):
            super().stop_application_mode()

    def run_input_thread(self) -> None:
        """Read until the app ends; the end of stdin is that of the server."""
        super().run_input_thread()
        if not self.exit_event.is_set():
            cast("Endable", self._app).request_exit(HUNG_UP)
