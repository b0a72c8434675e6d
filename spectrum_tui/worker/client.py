"""The app's side of the worker: sends requests, sorts answers, notices when the worker dies.

Nothing here waits: requests are queued, answers are read on a daemon thread. What comes often
(progress) goes into shared objects that screens poll; what must not be lost is posted to the app.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from textual.message import Message

from spectrum_tui.core import wire
from spectrum_tui.core.events import ScanEnded, ScanEvent, ScanNote, ScanStarted
from spectrum_tui.core.requests import (
    Downloaded,
    DownloadProgress,
    Failed,
    Inspected,
    ModelSummary,
    Named,
    Notice,
    Ready,
    Refined,
    Request,
    ResultReady,
    RunFound,
    Sized,
    Suggestions,
    Task,
)
from spectrum_tui.core.settings import METRIC, OPTIONS, Settings
from spectrum_tui.worker.process import WorkerProcess, default_command
from spectrum_tui.worker.progress import ScanProgress

WorkerAnswer = (
    Inspected
    | Refined
    | Named
    | Sized
    | RunFound
    | Notice
    | Failed
    | Downloaded
    | Suggestions
    | Ready
    | ScanEnded
    | ResultReady
)
MEMORY_SECONDS = 1.0
"""How often the worker's memory is looked up during a scan."""


@dataclass
class WorkerSaid(Message):
    """An answer of the worker; `task` is what a `Failed` belongs to."""

    answer: WorkerAnswer
    task: Task | None = None


@dataclass
class WorkerDied(Message):
    """The worker is gone without being asked: how, its log, and the tasks that are lost."""

    reason: str
    log: str
    lost: frozenset[Task]


class ScanRunner:
    """Owns the worker process; a dead one is replaced at the next request.

    `post` must be safe to call from any thread (`App.post_message`).
    """

    def __init__(
        self, post: Callable[[Message], object], command: Sequence[str] | None = None
    ) -> None:
        self._post = post
        self._command = list(command) if command is not None else default_command()
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self._worker: WorkerProcess | None = None
        self._open: dict[int, Task] = {}
        self._refining = 0
        self._stop_when_started = False
        self._closed = False
        self.progress = ScanProgress()
        self.download: DownloadProgress | None = None
        self.model = ""
        """Of the scan or download that was asked for last."""

    @property
    def is_downloading(self) -> bool:
        """Whether a download that was asked for, not a scan's own, is at it."""
        with self._lock:
            return "download" in self._open.values()

    @property
    def pid(self) -> int | None:
        """The worker's process id, None while there is none."""
        worker = self._worker
        return worker.pid if worker is not None else None

    def start(self) -> None:
        """Start a worker if there is none, so that its imports are done when it is needed."""
        with self._lock:
            if self._worker is None and not self._closed:
                self._worker = WorkerProcess(self._command, self)

    def inspect(self, settings: Settings) -> int:
        """Read a model's headers; an earlier inspection's answer is dropped from now on."""
        return self._ask(Request(task="inspect", settings=settings))

    def check(self, settings: Settings) -> int:
        """Read a model's headers beside a scan; an earlier check's answer is dropped."""
        return self._ask(Request(task="check", settings=settings))

    def recount(self, settings: Settings) -> None:
        """Read again what is scored of a model; the answer is a `Refined`."""
        self._refining = self._ask(Request(task="recount", settings=settings))

    def names(self, settings: Settings) -> int:
        """Find a model's parameters."""
        return self._ask(Request(task="names", settings=settings))

    def sizes(self, scores: Path, settings: Settings) -> int:
        """Find sizes for a file of scores: of `settings.sizes_from`, or of the model at hand that
        the file is named after."""
        return self._ask(Request(task="sizes", settings=settings, scores=str(scores)))

    def fetch(self, settings: Settings, branch: str | None = None) -> int:
        """Download a model; `branch` is the name by which it is found again."""
        self.download, self.model = None, settings.model
        return self._ask(Request(task="download", settings=settings, branch=branch))

    def suggest(self, settings: Settings) -> None:
        """Ask for local models and earlier results."""
        self._send(Request(task="suggest", settings=settings))

    def scan(self, settings: Settings, branch: str | None = None) -> int:
        """Start or go on with a scan; its events go to `progress`.

        A model that is only on the hub is downloaded first, as by `fetch`.
        """
        self._stop_when_started = False
        self.model = settings.model
        self.progress.begin(settings.metric or METRIC)
        return self._ask(Request(task="scan", settings=settings, branch=branch))

    def collect(self, settings: Settings, branch: str | None = None) -> int:
        """Have the scores that a dead worker left behind written as a result.

        A scan that stops as soon as it has started: it reads the journal and keeps what is there.
        """
        number = self.scan(settings, branch)
        self._stop_when_started = True
        return number

    def stop(self) -> None:
        """End the scan after the matrices in work."""
        self.progress.stopping()
        self._send(Request(task="stop"))

    def force_stop(self) -> None:
        """End the scan now: what is in work is lost, everything finished is on disk."""
        self.progress.end("stopped", "Ended at once; the matrices in progress were not kept.")
        self._replace_worker()

    def cancel_download(self) -> None:
        """End a download now; whole files that are there stay there."""
        with self._lock:
            if "download" in self._open.values():
                self.download = None
                self._replace_worker()

    def close(self) -> None:
        """End the worker for good; takes half a second at the most."""
        worker = self._retire()
        if worker is not None:
            worker.close()

    def kill(self) -> None:
        """End the worker for good and at once."""
        worker = self._retire()
        if worker is not None:
            worker.kill()

    def _retire(self) -> WorkerProcess | None:
        with self._lock:
            self._closed = True
            worker, self._worker = self._worker, None
            return worker

    def _replace_worker(self) -> None:
        with self._lock:
            worker, self._worker = self._worker, None
            self._open.clear()
            if worker is not None:
                worker.kill()
            self.start()

    def _ask(self, request: Request) -> int:
        number = next(self._numbers)
        with self._lock:
            if request.task != "sizes":  # of several files at a time; all else is of one model
                self._settle_task(request.task)
            self._open[number] = request.task
            self._send(replace(request, number=number))
        return number

    def _send(self, request: Request) -> None:
        with self._lock:
            self.start()
            if self._worker is not None:
                self._worker.send(request)

    # -- called on the worker's threads --------------------------------------------------------

    def on_idle(self, process: WorkerProcess) -> float | None:
        """Look up the memory while a scan runs; otherwise sleep until there is a request."""
        if not self.progress.live:
            return None
        self.progress.set_memory(process.memory())
        return MEMORY_SECONDS

    def on_line(self, process: WorkerProcess, line: str) -> None:
        """Sort one line of the worker; anything that is no message is ignored."""
        try:
            message = wire.decode(line)
        except (ValueError, TypeError):
            return
        with self._lock:
            if process is self._worker:
                self._take(message)

    def on_end(self, process: WorkerProcess, reason: str) -> None:
        """Tell the app, unless the process was ended on purpose."""
        with self._lock:
            if process is not self._worker:
                return
            self._worker = None
            lost = frozenset(self._open.values())
            self._open.clear()
            self.download = None
            if "scan" in lost:
                self.progress.end("died", f"The scan process {reason}.")
        self._post(WorkerDied(reason, process.log, lost))

    def _take(self, message: object) -> None:
        if isinstance(message, ScanEvent):
            self.progress.feed(message)
        match message:
            case ScanStarted() if self._stop_when_started:
                self.stop()
            case ScanEnded():
                if not message.done and not message.failed:
                    self._settle_task("scan")  # nothing was scored: no result will come
                self._post(WorkerSaid(message))
            case DownloadProgress() | Notice() | Downloaded():
                self._of_the_hub(message)
            case ResultReady():
                self._settle_task("scan")
                self._post(WorkerSaid(message))
            case Inspected() | Named() | Sized() | RunFound() | Failed():
                self._settle(message)
            case Refined():
                if self._open.get(message.request) == "recount":  # a scan only begins with it
                    del self._open[message.request]
                if message.request == self._refining:
                    self._post(WorkerSaid(message, "inspect"))
            case Suggestions() | Ready():
                self._post(WorkerSaid(message))

    def _of_the_hub(self, message: DownloadProgress | Notice | Downloaded) -> None:
        """Note a download that was asked for, or that a scan begins with."""
        task = self._open.get(message.request)
        match message:
            case DownloadProgress() if task == "scan":
                self.progress.downloading(message)
            case DownloadProgress() if task is not None:
                self.download = message
            case Notice() if task == "scan":
                self.progress.feed(ScanNote(message.text))
            case Notice() if task is not None:
                self._post(WorkerSaid(message, task))
            case Downloaded() if task == "scan":
                self._refining = message.request  # the exact names follow, and then the scan
                self._post(WorkerSaid(message, task))
            case Downloaded():
                self._settle(message)

    def _settle(self, answer: Inspected | Downloaded | Named | Sized | RunFound | Failed) -> None:
        """Post an answer that is still wanted."""
        task = self._open.pop(answer.request, None)
        if task is None and answer.request == self._refining:
            task = "inspect"  # the exact names could not be had
        if task is None:
            return
        if isinstance(answer, Inspected | Downloaded) and task != "check":
            self._refining = answer.request  # the exact names follow
        if task == "scan" and isinstance(answer, Failed):
            error = answer.error
            reason = f"{error.get('message', '')} {error.get('hint', '')}".strip()
            self.progress.end("failed", reason, changed=error.get("kind") == "ModelChangedError")
        self._post(WorkerSaid(answer, task))

    def _settle_task(self, task: Task) -> None:
        self._open = {number: what for number, what in self._open.items() if what != task}


class ScanSession:
    """The scan that the user is on, across stops and dead workers: what was asked for, how to go
    on, and where its scores are."""

    def __init__(self, runner: ScanRunner) -> None:
        self._runner = runner
        self._asked: Settings | None = None
        self._branch = ""
        self._inspected: Settings | None = None
        self._path: Path | None = None
        self._wanted = False
        self._uncounted = False

    def start(
        self, summary: ModelSummary, settings: Settings, types: tuple[str, ...], fresh: bool
    ) -> None:
        """Scan these types; the commit that was inspected, even if the hub has moved on since."""
        self._branch = settings.revision
        self._inspected = replace(settings, model=summary.model, revision=summary.revision)
        self._uncounted = True
        self._run(replace(self._inspected, types=types, since=OPTIONS["since"].value(fresh)))

    def follow(
        self, summary: ModelSummary, settings: Settings, types: tuple[str, ...] = ()
    ) -> None:
        """Scan another model after the first: these types, or those scanned by default."""
        self._branch = settings.revision
        asked = replace(settings, model=summary.model, revision=summary.revision)
        self._run(replace(asked, types=types, since=OPTIONS["since"].value(False)))

    def resume(self) -> None:
        """Go on with what is left, of a scan that began afresh what is not yet computed again."""
        if self._asked is not None and not self._runner.progress.live:
            self._run(self._asked)

    def recount(self) -> None:
        """Ask how many layers of the first model have a score by now, once after a scan."""
        if self._inspected is not None and self._uncounted and not self._runner.progress.live:
            self._uncounted = False
            self._runner.recount(self._inspected)

    def scores(self) -> Path | None:
        """Return the scores of the scan, if they are on disk as a result.

        Otherwise (the worker died) they are asked for, and `arrived` returns them later.
        """
        if self._path is None and self._asked is not None and not self._runner.progress.live:
            self._wanted = True
            self._runner.collect(self._asked, self._branch)
        return self._path

    def arrived(self, ready: ResultReady) -> Path | None:
        """Take note of a result; returns its path if it is to be shown now."""
        self._path = Path(ready.path)
        show = ready.complete or self._wanted
        self._wanted = False
        return self._path if show else None

    def _run(self, asked: Settings) -> None:
        self._asked, self._path, self._wanted = asked, None, False
        self._runner.scan(asked, self._branch)
