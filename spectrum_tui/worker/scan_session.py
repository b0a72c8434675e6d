"""The scan that the user is on: what was asked for, how to go on, and where its scores are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from spectrum_tui.core.requests import ModelSummary, ResultReady
from spectrum_tui.core.settings import Settings
from spectrum_tui.worker.client import ScanRunner


class ScanSession:
    """Remembers a scan across stops and dead workers."""

    def __init__(self, runner: ScanRunner) -> None:
        self._runner = runner
        self._asked: Settings | None = None
        self._branch = ""
        self._partial: Path | None = None
        self._wanted = False

    def start(
        self, summary: ModelSummary, settings: Settings, types: tuple[str, ...], fresh: bool
    ) -> None:
        """Scan these types; the commit that was inspected, even if the hub has moved on since."""
        self._branch = settings.revision
        inspected = replace(settings, model=summary.model, revision=summary.revision)
        self._run(replace(inspected, types=types, fresh=fresh))

    def resume(self) -> None:
        """Go on with what is left: never afresh, even if the scan began so."""
        if self._asked is not None and not self._runner.progress.live:
            self._run(replace(self._asked, fresh=False))

    def partial(self) -> Path | None:
        """The scores of an unfinished scan, if they are on disk as a result.

        Otherwise (the worker died) they are asked for, and `arrived` returns them later.
        """
        if self._partial is None and self._asked is not None and not self._runner.progress.live:
            self._wanted = True
            self._runner.collect(replace(self._asked, fresh=False), self._branch)
        return self._partial

    def arrived(self, ready: ResultReady) -> Path | None:
        """Take note of a result; returns its path if it is to be shown now."""
        path = Path(ready.path)
        show = ready.complete or self._wanted
        self._wanted = False
        self._partial = None if ready.complete else path
        return path if show else None

    def _run(self, asked: Settings) -> None:
        self._asked, self._partial, self._wanted = asked, None, False
        self._runner.scan(asked, self._branch)
