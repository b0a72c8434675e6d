"""The app: owns the scan runner, and leads from one screen to the next.

Imports neither numpy nor torch, and the later screens only when they are shown: the first frame
is due 600 ms after the process started.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from textual import on
from textual.css.query import NoMatches
from textual.screen import Screen

from spectrum_tui.app import messages as ask
from spectrum_tui.app.announcer import POLL_SECONDS, Announcer
from spectrum_tui.app.handing import (
    hand_machine,
    hand_names,
    hand_no_names,
    hand_no_sizes,
    hand_to_audit,
)
from spectrum_tui.app.loading import post_sized
from spectrum_tui.app.proofs import ProvingApp
from spectrum_tui.app.screens.setup import SetupScreen
from spectrum_tui.app.unasked import by_itself
from spectrum_tui.core.events import ScanEnded
from spectrum_tui.core.requests import (
    Downloaded,
    Failed,
    Inspected,
    ModelSummary,
    Named,
    Notice,
    Ready,
    Refined,
    ResultReady,
    RunFound,
    Sized,
    Suggestions,
    Task,
)
from spectrum_tui.core.settings import DEMO, Settings
from spectrum_tui.stdio.terminal_signals import TerminalSignals
from spectrum_tui.worker.client import WorkerDied, WorkerSaid

WAIT_SECONDS = 10
"""How long it is shown why a hub is waited for."""


class SpectrumApp(ProvingApp):
    """Model › layers › scan › results."""

    def __init__(
        self,
        settings: Settings,
        *,
        results: Path | None = None,
        other: Path | None = None,
        demo: bool = False,
        keys: Mapping[str, Mapping[str, str]] | None = None,
        worker_command: Sequence[str] | None = None,
    ) -> None:
        """`results` (a file, or the folder of a training run) open at the start, compared with the
        `other` file where there is one. Raises InputError for `keys` and a theme that cannot be."""
        super().__init__(settings, worker_command)
        self.set_theme(settings.theme)
        if keys:
            self.set_keys(keys)
        if demo or results is not None:
            settings = replace(settings, model=DEMO if demo else "")
        self.settings = settings
        self.signals = TerminalSignals(self.write_beside, settings.signals)
        self._announcer = Announcer(self.runner, self.signals, self.queue, lambda: self.proof)
        opening = results.name if results is not None else ""
        self.setup_screen = SetupScreen(settings, lambda: self.runner.download, opening)
        self._results, self._other = results, other
        if results is not None:
            self.key_order.listening = False
        self._machine: Ready | None = None

    def get_default_screen(self) -> Screen[Any]:
        return self.setup_screen

    @property
    def output_dir(self) -> str:
        """Where pictures go: the folder for the files that are written."""
        return self.settings.output_dir

    def export_screenshot(self, *, title: str | None = None, simplify: bool = False) -> str:
        """Return what is shown as SVG. Not every reader keeps spaces at the start of a text, by
        which columns stand where they belong, unless it is told to: librsvg does not."""
        svg = super().export_screenshot(title=title, simplify=simplify)
        return svg.replace("<svg ", '<svg xml:space="preserve" ', 1)

    def on_mount(self) -> None:
        """Start the worker once the first frame is drawn."""
        self.call_after_refresh(self._start)
        if self.signals.parts:
            self.set_interval(POLL_SECONDS, self._announcer.poll)

    def _start(self) -> None:
        gc.enable()  # off until the first frame, see `cli.main`
        gc.freeze()
        self.runner.suggest(self.settings)
        if self._results is not None and self._other is not None:
            self._compare(ask.CompareRequested(self._results, self._other, self.settings))
        elif self._results is not None:
            self.load(self._results)

    def on_unmount(self) -> None:
        """End the worker: it has a session of its own, and nobody else would."""
        self.end_proof()
        self.runner.close()

    # -- what the screens ask ------------------------------------------------------------------

    @on(ask.InspectRequested)
    def _inspect(self, message: ask.InspectRequested) -> None:
        self.runner.cancel_download()
        self.runner.inspect(self._asked_for(message.model, message.revision))

    @on(ask.DownloadRequested)
    def _download(self, message: ask.DownloadRequested) -> None:
        branch = self.setup_screen.settings.revision
        self.runner.fetch(self._asked_for(message.model, message.revision), branch)

    def _asked_for(self, model: str, revision: str) -> Settings:
        return replace(self.settings, model=model, revision=revision)

    @on(ask.DownloadCancelled)
    def _cancel_download(self) -> None:
        self.runner.cancel_download()

    @on(ask.LibraryRequested)
    def _show_library(self, message: ask.LibraryRequested) -> None:
        from spectrum_tui.app.screens.library import LibraryScreen

        self.push_screen(LibraryScreen(message.settings or self.settings))

    @on(ask.NamesRequested)
    def _find_names(self, message: ask.NamesRequested) -> None:
        self.runner.names(self._asked_for(message.model, self.settings.revision))

    @on(ask.LayersRequested)
    def _choose_layers(self, message: ask.LayersRequested) -> None:
        from spectrum_tui.app.screens.layers import LayersScreen

        if self.screen is self.setup_screen:
            self.settings, self._summary = message.settings, self._newest(message.summary)
            self.push_screen(LayersScreen(self._summary, self.settings))
            if self._machine is not None:
                hand_machine(self.screen_stack, self._machine)

    def _newest(self, summary: ModelSummary) -> ModelSummary:
        """Return what is known of a model by now: its exact names may have come since."""
        newest = self.setup_screen.summary
        same = newest is not None and newest.model == summary.model
        return newest if newest is not None and same else summary

    @on(ask.ExactNamesRequested)
    def _ask_exact_names(self, message: ask.ExactNamesRequested) -> None:
        self.runner.recount(self._asked_for(message.summary.model, message.summary.revision))

    @on(ask.SizesRequested)
    def _ask_sizes(self, message: ask.SizesRequested) -> None:
        self.runner.sizes(message.scores, replace(self.settings, sizes_from=message.model))

    @on(ask.KindUsed)
    def _remember_kind(self, message: ask.KindUsed) -> None:
        self._kind = message.kind

    # -- what the worker says ------------------------------------------------------------------

    @on(WorkerSaid)
    def _worker_said(self, message: WorkerSaid) -> None:
        # While the app ends, the screens that an answer is for may be half gone.
        with contextlib.suppress(NoMatches):
            self._answer(message)

    def _answer(self, message: WorkerSaid) -> None:
        if message.task == "check" or isinstance(message.answer, ScanEnded | ResultReady):
            self.scan_answered(message.answer)
            return
        match message.answer:
            case Downloaded(summary=summary) | Refined(summary=summary) if self.follows(summary):
                pass  # the other screens are of the first model
            case Inspected(summary=summary) | Downloaded(summary=summary):
                self.setup_screen.show_summary(summary)
            case Refined(summary=summary):
                self._refine(summary)
            case Notice(text=text):
                self.setup_screen.show_notice(text)
                if self.screen is not self.setup_screen:
                    self.notify(text, timeout=WAIT_SECONDS, markup=False)
            case Named(names=names):
                hand_to_audit(self.screen_stack, names)
            case Sized():
                self._sized(message.answer)
            case RunFound(folder=folder):
                self.setup_screen.open_run(Path(folder))
            case Failed():
                self._failed(message.answer, message.task)
            case Suggestions():
                self._suggestions = message.answer
                self.setup_screen.set_suggestions(message.answer)
            case Ready():
                self._set_machine(message.answer)

    def _sized(self, sized: Sized) -> None:
        if sized.details:
            self.read_beside(post_sized, sized)
        else:
            hand_no_sizes(self.screen_stack, sized.scores)

    def _failed(self, failed: Failed, task: Task | None) -> None:
        match task:
            case "names":
                hand_to_audit(self.screen_stack, failed)
            case "scan":
                error = failed.error
                self.scan_failed(f"{error['message']} {error['hint']}")
                self._scan_refused(failed)
            case "sizes":
                self._no_sizes(failed.error["message"], failed.error["hint"])
            case _:
                self._show_failure(failed)

    def _no_sizes(self, text: str, hint: str) -> None:
        """Say why there are no sizes, where somebody asked for them."""
        from spectrum_tui.app.screens.model_sizes import ModelSizesScreen

        hand_no_sizes(self.screen_stack)
        if isinstance(self.screen, ModelSizesScreen):
            self.screen.refuse(f"{text} {hint}")
        elif self.settings.sizes_from:
            self._show_load_error(text, hint)

    def _scan_refused(self, failed: Failed) -> None:
        """Say why a scan never began, in the field of the first screen that is at fault."""
        scan = self.runner.progress.snapshot()
        began = scan.layers or scan.download.total or self.queue.is_several
        if began or not failed.error.get("field"):
            return  # the scan screen says it
        by_itself(self.screen)
        self.close_modals()
        while self.screen is not self.setup_screen:
            self.pop_screen()
        self.setup_screen.show_failure(failed)

    def _refine(self, summary: ModelSummary) -> None:
        """Take over a trainer's names; the layers screen does so in place."""
        if self.setup_screen.summary is not None:  # else the user has gone on to another model
            self.setup_screen.show_summary(summary)
        if self._summary is None:
            return
        self._summary = summary
        hand_names(self.screen_stack, summary)

    def _show_failure(self, failure: Failed) -> None:
        hand_no_names(self.screen_stack)
        self.setup_screen.show_failure(failure)
        if self.screen is not self.setup_screen:  # the user has gone on meanwhile
            error = failure.error
            text = f"{error['message']} {error['hint']}"
            self.notify(text, severity="error", timeout=30, markup=False)

    @on(WorkerDied)
    def _worker_died(self, message: WorkerDied) -> None:
        # The scan screen sees it by itself; the next request starts another worker.
        text = f"The scan process {message.reason}."
        hint = f"Try again; details may be in {message.log}." if message.log else "Try again."
        hand_no_names(self.screen_stack)
        lost = message.lost - {"sizes"}  # the scores are open without them
        if "sizes" in message.lost:
            hand_no_sizes(self.screen_stack)
        if "scan" in lost:
            self.scan_failed(text)
        if "check" in lost:
            self.scan_answered(Failed(0, {"message": text, "hint": hint}))
        if "names" in lost:
            error = {"message": text, "hint": hint}
            hand_to_audit(self.screen_stack, Failed(0, error))
        elif lost - {"scan", "check"}:
            self.setup_screen.show_error("model", text, hint)
        if not lost or (lost == {"recount"} and self.screen is not self.setup_screen):
            self.notify(f"{text} {hint}", severity="warning", markup=False)

    def _set_machine(self, ready: Ready) -> None:
        self._machine = ready
        hand_machine(self.screen_stack, ready)
