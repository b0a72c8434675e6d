"""The scan as a process of its own: requests as JSON lines on stdin, events on stdout.

A process, because torch inside the app would stall its keys (imports 0.3 s, garbage collection
0.2 s), hold its exit for the matrix in work, and take the screen along when the system kills it
for memory. It ends when its stdin closes; what it finished is in the journal by then.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from spectrum_tui.core import errors, wire
from spectrum_tui.core.disk import write_all
from spectrum_tui.core.events import ScanEnded
from spectrum_tui.core.platforms import lower_priority
from spectrum_tui.core.requests import (
    Downloaded,
    DownloadProgress,
    Failed,
    Inspected,
    Named,
    Notice,
    Ready,
    Refined,
    Request,
    RunFound,
    Sized,
    Suggestions,
)
from spectrum_tui.stdio.streams import own_stdout

HEAD_START = 1.0
"""Seconds that a first request has before the imports begin."""

if TYPE_CHECKING:
    from spectrum_tui.core.hub.patience import Patience
    from spectrum_tui.core.model.inspection import Inspection
    from spectrum_tui.core.model.kept_plans import KeptModel


class Worker:
    """Serves one request after another; "stop" reaches a scan while it runs."""

    def __init__(self, out: int) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._torch_ready = threading.Event()
        self._previewed = threading.Event()
        self._scanning, self._measuring = False, threading.Lock()
        self._asked = self._checked = 0
        self._model: KeptModel | None = None

    def run(self) -> None:
        """Serve until stdin closes."""
        threading.Thread(target=self._import_torch, daemon=True).start()
        threading.Thread(target=self._serve, daemon=True).start()
        for line in sys.stdin:
            with contextlib.suppress(ValueError):
                self._receive(wire.decode(line))
        # A thread may be inside a matrix for seconds, and a normal exit would wait for it.
        os._exit(0)

    def _receive(self, request: Request) -> None:
        match request.task:
            case "stop":
                self._stop.set()
            case "sizes":  # the scores are shown already: not after a scan
                self._beside(request, self._sizes)
            case "check":  # of the next model, while one is scanned
                self._checked = request.number
                self._beside(request, self._check)
            case "inspect":
                self._asked = request.number  # one that still waits for a hub ends
                self._requests.put(request)
            case _:
                self._requests.put(request)

    def _serve(self) -> None:
        while True:
            request = self._requests.get()
            self._guarded(request, partial(self._answer, request))

    def _guarded(self, request: Request, work: Callable[[], None]) -> None:
        """Do the work for a request; whatever goes wrong becomes its answer."""
        try:
            work()
        except errors.SpectrumError as exc:
            self._send(Failed(request.number, errors.to_dict(exc)))
        except BrokenPipeError:
            os._exit(0)
        except Exception as exc:
            traceback.print_exc()
            error = errors.SpectrumError(
                f"Unexpected: {type(exc).__name__}: {exc}", "Details are in the log file."
            )
            self._send(Failed(request.number, errors.to_dict(error)))

    def _answer(self, request: Request) -> None:
        match request.task:
            case "inspect":
                self._inspect(request)
            case "recount":
                self._recount(request)
            case "download":
                self._download(request)
            case "suggest":
                self._suggest(request)
            case "scan":
                with self._measuring:  # which sets the threads of BLAS, as a scan does
                    self._scanning = True
                try:
                    self._scan(request)
                finally:
                    self._scanning = False
            case "names":
                self._names(request)

    def _inspect(self, request: Request) -> None:
        from spectrum_tui.core.files import output_folder
        from spectrum_tui.core.proof.store import is_proof
        from spectrum_tui.core.saved.steps import is_training_run

        folder = output_folder(request.settings.model)
        if is_training_run(folder) or is_proof(folder):
            self._send(RunFound(request.number, str(folder)))
            return
        model = self._look(request, lambda: self._asked == request.number)
        self._send(Inspected(request.number, model.inspection.summary))
        self._previewed.set()
        self._beside(request, partial(self._measure, model=model))
        self._refine_later(request, model)

    def _check(self, request: Request) -> None:
        """Describe a model beside the one that is scanned, which is kept."""
        from spectrum_tui.core.model.inspection import inspect_model

        patience = self._patience(request, lambda: self._checked == request.number)
        found = inspect_model(request.settings.model, request.settings.revision, patience=patience)
        self._send(Inspected(request.number, found.summary))

    def _look(self, request: Request, wanted: Callable[[], bool]) -> KeptModel:
        from spectrum_tui.core.model.inspection import inspect_model

        settings = request.settings
        patience = self._patience(request, wanted)
        return self._keep(
            request, inspect_model(settings.model, settings.revision, patience=patience)
        )

    def _keep(self, request: Request, found: Inspection) -> KeptModel:
        """Keep what was inspected: a scan of it needs no other look."""
        from spectrum_tui.core.model.kept_plans import KeptModel

        self._model = KeptModel(found, request.settings)
        return self._model

    def _patience(self, request: Request, wanted: Callable[[], bool]) -> Patience:
        """Return how long a hub is waited for: as long as the answer is `wanted`, and the user is
        told."""
        from spectrum_tui.core.hub.patience import Patience

        def check() -> None:
            if not wanted():
                raise errors.SpectrumError("Cancelled for another model.")

        return Patience(say=partial(self._notice, request.number), check=check)

    def _notice(self, number: int, text: str) -> None:
        self._send(Notice(number, text))

    def _refine_later(self, request: Request, model: KeptModel) -> None:
        """Find the exact names beside whatever is asked next: the imports take seconds."""
        self._beside(request, partial(self._refine, model=model))

    def _beside(self, request: Request, work: Callable[[Request], None]) -> None:
        guarded = partial(self._guarded, request, partial(work, request))
        threading.Thread(target=guarded, daemon=True).start()

    def _refine(self, request: Request, model: KeptModel) -> None:
        """Send the exact names, unless the user has gone on to another model meanwhile."""
        if model.needs_imports():
            self._torch_ready.wait()
        if model is self._model:
            self._send(Refined(request.number, model.summary()))

    def _recount(self, request: Request) -> None:
        """Describe the model again, with what scans have scored since it was read."""
        self._torch_ready.wait()
        model = self._inspected(request)
        model.recount()
        self._send(Refined(request.number, model.summary()))

    def _download(self, request: Request) -> None:
        local = self._fetched(request, self._inspected(request).inspection, lambda: False)
        self._send(Downloaded(request.number, local.summary))
        self._refine_later(request, self._keep(request, local))

    def _fetched(
        self, request: Request, found: Inspection, cancelled: Callable[[], bool]
    ) -> Inspection:
        """Return the model on this machine, with the progress of its download."""
        from spectrum_tui.core.model.inspection import fetch

        number = request.number

        def progress(done: int, total: int, speed: float, waits: bool) -> None:
            told = DownloadProgress(
                request=number, done=done, total=total, speed=speed, waits=waits
            )
            self._send(told)

        return fetch(
            found,
            progress=progress,
            cancelled=cancelled,
            say=partial(self._notice, number),
            branch=request.branch,
        )

    def _suggest(self, request: Request) -> None:
        from spectrum_tui.core.files import newest_first, output_folder
        from spectrum_tui.core.hub.cache import cached_models

        folder = output_folder(request.settings.output_dir) / "model_snr_results"
        files: list[Path] = []
        with contextlib.suppress(OSError, ValueError):  # ValueError: a path with a NUL
            files = newest_first(folder.glob("*.json"))
        self._send(Suggestions(tuple(cached_models()), tuple(map(str, files))))

    def _names(self, request: Request) -> None:
        from spectrum_tui.core.audit.model_names import model_names

        self._torch_ready.wait()
        names = model_names(request.settings, patience=self._patience(request, lambda: True))
        self._send(Named(request.number, names))

    def _sizes(self, request: Request) -> None:
        from spectrum_tui.core.saved.details import details_text
        from spectrum_tui.core.saved.sizes import load_sized

        patience = self._patience(request, lambda: True)
        result = load_sized(Path(request.scores), request.settings.sizes_from, patience=patience)
        details = details_text(result) if result.scores.has_shapes else ""
        self._send(Sized(request.number, request.scores, details))
        self._previewed.set()

    def _scan(self, request: Request) -> None:
        from spectrum_tui.core.hub.transfer import DownloadStopped
        from spectrum_tui.core.scanning.run import run_scan

        self._stop.clear()
        self._torch_ready.wait()
        try:
            model = self._on_this_machine(request)
        except DownloadStopped:
            self._send(ScanEnded("stopped", 0, 0))
            return
        for event in run_scan(request.settings, model, cancelled=self._stop.is_set):
            self._send(event)

    def _on_this_machine(self, request: Request) -> Inspection:
        """Return the model to scan, downloaded first where it is not there and not to be streamed;
        the app hears of it."""
        from spectrum_tui.core.files import check_writable, output_folder
        from spectrum_tui.core.scanning.run import needs_no_values
        from spectrum_tui.core.scanning.streaming import named, streams

        settings = request.settings
        model = self._inspected(request, lambda: not self._stop.is_set())
        check_writable(output_folder(settings.output_dir))  # before what takes time, not after
        if model.inspection.summary.is_local or settings.cluster:
            return model.exact()
        if streams(settings, model.inspection):
            return named(model.inspection, settings)
        if needs_no_values(settings, model.exact()):
            return model.exact()
        local = self._fetched(request, model.inspection, self._stop.is_set)
        self._send(Downloaded(request.number, local.summary))
        exact = self._keep(request, local).exact()
        self._send(Refined(request.number, exact.summary))
        if not set(settings.types) <= {info.name for info in exact.summary.types}:
            raise errors.ScanError(
                "The downloaded model does not have the layer types that its headers listed.",
                "Go back and choose again.",
            )
        return exact

    def _inspected(self, request: Request, wanted: Callable[[], bool] = lambda: True) -> KeptModel:
        """Return the model as it was inspected; inspected anew if it is another one by now."""
        model = self._model
        if model is not None and model.answers(request.settings):
            return model
        return self._look(request, wanted)

    def _import_torch(self) -> None:
        """Import torch while the user is still choosing, and measure the machine."""
        # A model named on the command line is described first: an import beside it makes the
        # headers, which take 0.1 s alone, take seconds.
        self._previewed.wait(HEAD_START)
        try:
            from spectrum_tui.core.scanning.speed import QUICK

            self._send(_measured(QUICK))
        finally:
            self._torch_ready.set()

    def _measure(self, _request: Request, model: KeptModel) -> None:
        """Measure the machine with what the model has most of, unless a scan has begun."""
        from spectrum_tui.core.scanning.speed import usual_shape

        self._torch_ready.wait()
        with self._measuring:
            if model is self._model and not self._scanning:
                self._send(_measured(usual_shape(model.inspection.model.layers)))

    def _send(self, message: object) -> None:
        data = wire.encode(message).encode() + b"\n"
        with self._lock:
            write_all(self._out, data)


def _measured(shape: tuple[int, int]) -> Ready:
    """Return which devices there are, and how fast they are with a matrix of that shape: per unit
    of the cost in float64, whatever they compute in."""
    from spectrum_tui.core.scanning.devices import available_devices, choose_precision, why_unusable
    from spectrum_tui.core.scanning.speed import seconds_per_cost
    from spectrum_tui.core.scoring import svd

    devices, speeds, fast = available_devices(), {}, []
    for device in devices:
        precision = choose_precision("auto", device)
        if precision == svd.FAST:
            fast.append(device)
        if not why_unusable(device):
            share = svd.cost(*shape, precision) / max(1.0, svd.cost(*shape))
            with contextlib.suppress(RuntimeError, MemoryError):  # a full GPU has no estimate
                speeds[device] = seconds_per_cost(device, shape, precision) * share
    return Ready(devices, speeds, tuple(fast))


def main() -> None:
    """Serve stdin until it closes; what is printed by anybody else goes to stderr."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("spectrum_tui").setLevel(logging.INFO)  # tracebacks of failed layers
    out = own_stdout()
    lower_priority()  # keys of the app stay at 8 ms while every core computes
    Worker(out).run()
