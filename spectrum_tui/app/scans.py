"""The app's part in scans: one model after the other, how each ends, and what leaving costs."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from textual import on
from textual.message import Message
from textual.screen import ModalScreen

from spectrum_tui.app import messages as ask
from spectrum_tui.app.base import BaseApp
from spectrum_tui.app.handing import hand_checked, has_unsaved
from spectrum_tui.app.scan_queue import Queued, ScanQueue, State, named, unscanned
from spectrum_tui.app.unasked import by_itself
from spectrum_tui.core.events import ScanEnded
from spectrum_tui.core.files import cache_note
from spectrum_tui.core.numbers import counted, scored_text
from spectrum_tui.core.requests import (
    Failed,
    Inspected,
    ModelSummary,
    Notice,
    ResultReady,
    Suggestions,
)
from spectrum_tui.core.settings import Settings
from spectrum_tui.stdio.last_resort import INTERRUPTED
from spectrum_tui.worker.client import ScanRunner, ScanSession

KEPT = "Every finished score is on disk. The next scan of this model continues there."
LOST = "The cache cannot be written: the scores of this scan will be lost."
UNSAVED = "The selection that you shaped by hand is in no file yet."
LACKS_TYPES = "has none of the chosen types: all are scanned"
IN_LIBRARY = "The scores are in the library: ctrl+l on the screens Model and Scan."
FAILURE_SECONDS = 30


class ScanningApp(BaseApp):
    """Owns the worker and the queue of models that it scans."""

    def __init__(self, settings: Settings, worker_command: Sequence[str] | None = None) -> None:
        super().__init__()
        self.settings = settings
        self.runner = ScanRunner(self.post_message, worker_command)
        self.queue = ScanQueue()
        self._session = ScanSession(self.runner)
        self._keeps = not cache_note()
        self._summary: ModelSummary | None = None
        self._suggestions = Suggestions((), ())
        self._later: Message | None = None
        """Results that wait until it is known whether another model is added."""
        self._opening: Path | None = None
        """Results that open by themselves."""

    # -- what the screens ask ------------------------------------------------------------------

    @on(ask.ScanRequested)
    def _scan(self, message: ask.ScanRequested) -> None:
        if self._summary is None or self.runner.progress.live:
            return
        from spectrum_tui.app.screens.scan import ScanScreen

        self.settings = message.settings
        model = Queued(
            summary=self._summary, settings=self.settings, types=message.types, fresh=message.fresh
        )
        self.queue.begin(model)
        self._session.start(model.summary, model.settings, model.types, model.fresh)
        self.close_modals()
        self.push_screen(ScanScreen(self.runner.progress, model.name, self.queue))
        # A full collection takes 70 to 140 ms while a scan uses the cores, and no key is drawn in
        # them; what is there when a scan begins lives on anyway.
        self.call_after_refresh(gc.freeze)

    @on(ask.RecountRequested)
    def _recount(self) -> None:
        self._session.recount()

    @on(ask.StopRequested)
    def _stop(self) -> None:
        self.runner.stop()
        if self.queue.goes_on:
            from spectrum_tui.app.screens.confirm import ConfirmScreen

            self.queue.paused = True
            wait = counted(len(self.queue.waiting), "model that waits", "models that wait")
            detail = f"Next: {named(self.queue.waiting)}. What is scored so far is kept."
            question = ConfirmScreen(f"Go on with the {wait}?", detail, "Go on", "Stop here")
            self.push_screen(question, self._stopped)

    def _stopped(self, go_on: bool | None) -> None:
        if go_on:
            self._go_on()

    @on(ask.ForceStopRequested)
    def _force_stop(self) -> None:
        self.runner.force_stop()
        self._ended("stopped")

    @on(ask.ResumeRequested)
    def _resume(self) -> None:
        if not self.runner.progress.live:
            self.queue.resume()
            self._session.resume()

    @on(ask.NextRequested)
    def _go_on(self) -> None:
        """Let those that wait have their turn, the first of them once nothing is scanned."""
        self.queue.paused = False
        self._begin_next()

    @on(ask.PartialResultsRequested)
    def _open_partial(self) -> None:
        self._opening, path = None, self._session.scores()
        if path is not None:
            self.load(path)

    @on(ask.AddRequested)
    def _ask_model(self) -> None:
        from spectrum_tui.app.screens.add_model import AddModelScreen

        if not isinstance(self.screen, ModalScreen):
            screen = AddModelScreen(
                self._suggestions, self.queue.refusal, types=self.queue.types_words
            )
            self.push_screen(screen, self._add)

    @on(ask.CheckRequested)
    def _check(self, message: ask.CheckRequested) -> None:
        self.runner.check(replace(self.settings, model=message.model, revision=""))

    def _add(self, summary: ModelSummary | None) -> None:
        later, self._later = self._later, None
        if summary is None:
            if later is not None:
                self.post_message(later)
            return
        model = Queued(
            summary=summary,
            settings=replace(self.settings, revision=""),
            types=self.queue.types_for(summary),
            lacks_types=self.queue.lacks_types(summary),
        )
        self.queue.add(model)
        if model.lacks_types:
            self.notify(f"{model.name} {LACKS_TYPES}.", severity="warning", markup=False)
        if not self.runner.progress.live:  # else it has its turn when the others had theirs
            self._go_on()

    # -- how a scan ends -----------------------------------------------------------------------

    def load(self, path: Path) -> None:
        """Read a file and show what is in it."""
        raise NotImplementedError

    def scan_answered(self, answer: object) -> None:
        """Take what the worker says of a scan or a check."""
        match answer:
            case Inspected() | Failed() | Notice():
                hand_checked(self.screen_stack, answer)
            case ScanEnded(reason="stopped", done=0, failed=0):
                self._ended("stopped")  # else a result follows, or why there is none
            case ResultReady():
                self._result_ready(answer)

    def _result_ready(self, ready: ResultReady) -> None:
        self.runner.suggest(self.settings)
        wanted, path = self._session.arrived(ready), Path(ready.path)
        for text in self.runner.progress.snapshot().of_files:
            self.notify(text, severity="warning", timeout=FAILURE_SECONDS, markup=False)
        if not ready.complete:
            self._ended("stopped", path=path)
        else:
            scan = self.runner.progress.snapshot()
            self._ended("done", scored_text(scan.done, scan.failed), path)
            if self.queue.is_running or self.queue.waiting:
                return  # the screen goes on with the next one
            if not self._is_watched():
                self._say_done()
                return
        if wanted is not None:
            self._opening = path if ready.complete else None
            self.load(path)

    def _say_done(self) -> None:
        """Say that the scan is over to who looks at something else."""
        model = self.queue.current
        if model is not None and not self.queue.is_several:  # else it is said already
            self.notify(IN_LIBRARY, title=f"{model.name}: {model.said}", markup=False)

    def _is_watched(self) -> bool:
        """Whether the user looks at the scan, and not at other results meanwhile."""
        from spectrum_tui.app.screens.scan import ScanScreen

        screens = [one for one in self.screen_stack if not isinstance(one, ModalScreen)]
        return isinstance(screens[-1], ScanScreen)

    def scan_failed(self, reason: str) -> None:
        """Note why the model could not be scanned, and go on with the next."""
        self._ended("failed", reason)

    def follows(self, summary: ModelSummary) -> bool:
        """Whether this is the model that is scanned, and not the first one."""
        current = self.queue.current
        return (
            current is not None
            and current is not self.queue.models[0]
            and current.summary.model == summary.model
        )

    def _ended(self, state: State, said: str = "", path: Path | None = None) -> None:
        """Note how a model came out of its scan, say it where there are several, and begin the
        next."""
        model = self.queue.end(state, said, path)
        if model is None or not self.queue.is_several:
            return
        if state == "done":
            self.notify(IN_LIBRARY, title=f"{model.name}: {said}", markup=False)
        elif state == "failed":
            self.notify(
                said,
                title=f"{model.name} was not scanned",
                severity="error",
                timeout=FAILURE_SECONDS,
                markup=False,
            )
        if self.queue.goes_on and self._is_watched():
            by_itself(self.screen)
        self._begin_next()

    def _begin_next(self) -> None:
        model = None if self.runner.progress.live else self.queue.take_next()
        if model is not None:
            self._session.follow(model.summary, model.settings, model.types)

    # -- leaving -------------------------------------------------------------------------------

    async def action_quit(self) -> None:
        """Leave; ask once while a scan runs, models wait, or a selection was shaped and not
        saved."""
        from spectrum_tui.app.screens.confirm import ConfirmScreen

        live = self.runner.progress.live
        unsaved = [UNSAVED] * has_unsaved(self.screen_stack)
        if not (live or self.queue.waiting or unsaved):
            self.exit(return_code=0)
        elif not any(isinstance(screen, ConfirmScreen) for screen in self.screen_stack):
            kept = [KEPT if self._keeps else LOST] if live else []
            detail = "\n".join([*kept, *unscanned(self.queue), *unsaved])
            what, stay = ("while scanning", "Keep scanning") if live else ("the queue", "Keep it")
            if not (live or self.queue.waiting):
                what, stay = "without saving", "Stay"
            question = ConfirmScreen(f"Leave {what}?", detail, "Leave", stay)
            self.push_screen(question, self._leave)

    def _leave(self, leave: bool | None) -> None:
        if leave:
            self.exit(return_code=INTERRUPTED if self.runner.progress.live else 0)
