"""An app that opens what is saved: scores, runs, proofs, comparisons and recipes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textual import on
from textual.command import CommandPalette

from spectrum_tui.app import messages as ask
from spectrum_tui.app.handing import hand_sizes
from spectrum_tui.app.loading import (
    RecipeLoaded,
    ResultLoaded,
    ResultSized,
    ScreenLoaded,
    post_comparison,
    post_film,
    post_recipe,
    post_result,
)
from spectrum_tui.app.scans import ScanningApp
from spectrum_tui.app.screens.setup import SetupScreen
from spectrum_tui.app.unasked import by_itself
from spectrum_tui.core.settings import RECIPES

if TYPE_CHECKING:
    from spectrum_tui.core.results.results import Result

HELP_SECONDS = 0.1
"""Between two looks whether the help, or the palette, is closed that results wait for."""


class OpeningApp(ScanningApp):
    """Reads files on threads, and shows what was in them."""

    _results: Path | None = None
    """What was to open at the start."""
    _kind = ""
    """The kind of recipe that was used last."""

    @on(ask.OpenRequested)
    def _open(self, message: ask.OpenRequested) -> None:
        self.settings = message.settings
        if message.film:
            self.read_beside(post_film, message.path)
        else:
            self.load(message.path)

    @on(ask.CompareRequested)
    def _compare(self, message: ask.CompareRequested) -> None:
        self.read_beside(post_comparison, message.a, message.b, message.settings)

    def load(self, path: Path) -> None:
        load = post_recipe if path.suffix in RECIPES else post_result
        self.read_beside(load, path)

    @on(RecipeLoaded)
    def _show_recipe(self, message: RecipeLoaded) -> None:
        self.key_order.listen()
        if message.audit is None:
            self._show_load_error(message.error["message"], message.error["hint"])
            return
        from spectrum_tui.app.screens.audit import AuditScreen

        self.close_modals()
        self.push_screen(AuditScreen(message.path, message.text, message.audit, self.settings))

    @on(ResultLoaded)
    def _show_result(self, message: ResultLoaded) -> None:
        self.key_order.listen()
        if message.result is None:
            self._show_load_error(message.error["message"], message.error["hint"])
            return
        from spectrum_tui.app.screens.add_model import AddModelScreen
        from spectrum_tui.app.screens.help import HelpScreen
        from spectrum_tui.app.screens.result_state import ResultState
        from spectrum_tui.app.screens.results import ResultsScreen
        from spectrum_tui.app.screens.scan import ScanScreen

        if isinstance(self.screen, HelpScreen | CommandPalette):  # whoever is in it closes it
            self.set_timer(HELP_SECONDS, partial(self.post_message, message))
            return
        current = self.queue.current
        scanned = current is not None and current.path == message.path
        if scanned and isinstance(self.screen, AddModelScreen):
            self._later = message
            return
        if message.path == self._opening:
            by_itself(self.screen)
            self._opening = None
        self.close_modals()
        state = ResultState(message.result, self.settings, kind=self._kind)
        state.sizing = self._read_sizes(message.path, message.result)
        screen = ResultsScreen(state)
        over = self.runner.progress.snapshot().phase == "finished" and not self.queue.waiting
        if isinstance(self.screen, ScanScreen) and scanned:
            screen.views.go_to(self.screen.place)
        if isinstance(self.screen, ScanScreen) and scanned and over:
            self.switch_screen(screen)  # there is nothing to come back for
        else:
            self.push_screen(screen)

    def _read_sizes(self, path: Path, result: Result) -> str:
        """Have the sizes read that were asked for or that scores lack; returns of which model."""
        sizes_from = self.settings.sizes_from if path == self._results else ""
        if not sizes_from and result.scores.has_shapes:
            return ""
        self.runner.sizes(path, replace(self.settings, sizes_from=sizes_from))
        return sizes_from or result.provenance.model

    @on(ScreenLoaded)
    def _show_loaded(self, message: ScreenLoaded) -> None:
        self.key_order.listen()
        if message.screen is None:
            self._show_load_error(message.error["message"], message.error["hint"])
            return
        self.close_modals()
        self.push_screen(message.screen(self.settings))

    def read_beside(self, read: Callable[..., None], *arguments: object) -> None:
        """Read files on a thread, which posts what came of it: a plain daemon, as Textual's own
        would hold the exit until it is done."""
        threading.Thread(target=read, args=(*arguments, self.post_message), daemon=True).start()

    @on(ResultSized)
    def _take_sizes(self, message: ResultSized) -> None:
        if hand_sizes(self.screen_stack, message):
            from spectrum_tui.app.screens.memory import MemoryScreen

            self.key_order.listen(until=lambda: isinstance(self.screen, MemoryScreen))

    def _show_load_error(self, text: str, hint: str) -> None:
        if isinstance(self.screen, SetupScreen):
            self.screen.show_error("model", text, hint)
        else:
            self.notify(f"{text} {hint}", severity="error", timeout=30, markup=False)
