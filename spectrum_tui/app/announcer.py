"""What the terminal is told, outside of the frames, of a scan, a download or a proof."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from spectrum_tui.app.scan_queue import ScanQueue
from spectrum_tui.core.numbers import counted, scored_text
from spectrum_tui.core.requests import DownloadProgress
from spectrum_tui.stdio.terminal_signals import TerminalSignals, short_name
from spectrum_tui.worker.client import ScanRunner
from spectrum_tui.worker.progress import Snapshot

if TYPE_CHECKING:
    from spectrum_tui.app.proof_run import ProofRun, ProofView

POLL_SECONDS = 0.5


class Announcer:
    """Looks at a runner when it is polled, and tells the terminal what it is at."""

    def __init__(
        self,
        runner: ScanRunner,
        signals: TerminalSignals,
        queue: ScanQueue | None = None,
        proof: Callable[[], ProofRun | None] = lambda: None,
    ) -> None:
        self._runner = runner
        self._queue = queue or ScanQueue()
        self._signals = signals
        self._proof = proof
        self._at: Literal["", "scan", "download", "proof"] = ""

    def poll(self) -> None:
        """Show how far the work is, or that it is over."""
        before = self._at
        scan = self._runner.progress.snapshot()
        proof = self._proof()
        proves = proof is not None and proof.live
        downloads = self._runner.is_downloading
        self._at = "scan" if scan.live else "download" if downloads else "proof" if proves else ""
        model = short_name(self._runner.model)
        if scan.live:
            fetching = scan.phase == "fetching"
            self._signals.work(
                scan.share, f"↓ {model}" if fetching else model, failed=scan.failed > 0
            )
        elif self._at == "proof" and proof is not None:
            view = proof.view
            failed = any(one.error for one in view.outcomes)
            self._signals.work(view.share, f"proof of {short_name(view.model)}", failed=failed)
        elif self._at:
            self._signals.work(_share(self._runner.download), f"↓ {model}")
        elif before == "scan" and self._queue.goes_on:
            self._at = before  # the next model begins at once
        elif before == "scan" and self._queue.is_several:
            self._queue_over(scan)
        elif before == "scan":
            said = _end_of_scan(scan)
            failed = scan.phase in ("failed", "died")
            self._signals.over(f"{model}: {said}" if said else "", failed=failed)
        elif before == "proof" and proof is not None:
            self._proof_over(proof.view)
        elif before:
            self._download_over(model)

    def _queue_over(self, scan: Snapshot) -> None:
        """Say how all models came out of it, unless the user ended the last one."""
        stopped = scan.phase == "stopped"
        models = counted(len(self._queue.models), "model")
        said = "" if stopped else f"{models}: {self._queue.words}."
        self._signals.over(said, failed=self._queue.failed and not stopped)

    def _proof_over(self, view: ProofView) -> None:
        """Say what the rows came to, unless the user stopped them."""
        lines = view.proof.verdict.lines if view.proof is not None else ()
        said = {"finished": lines[0] if lines else "all rows are done.", "failed": view.error}
        text = said.get(view.phase, "")
        model = short_name(view.model)
        self._signals.over(f"{model}: {text}" if text else "", failed=view.phase == "failed")

    def _download_over(self, model: str) -> None:
        if self._runner.download is None:  # cancelled
            self._signals.over("")
            return
        failed = _share(self._runner.download) < 1
        said = "the download failed." if failed else "downloaded."
        self._signals.over(f"{model}: {said}", failed=failed)


def _share(download: DownloadProgress | None) -> float:
    return download.done / download.total if download and download.total else 0.0


def _end_of_scan(scan: Snapshot) -> str:
    """Return what the user is told of the end of a scan: nothing where the user ended it."""
    match scan.phase:
        case "finished":
            return f"{scored_text(scan.done, scan.failed)}."
        case "failed" | "died":
            return "the scan could not go on."
    return ""
