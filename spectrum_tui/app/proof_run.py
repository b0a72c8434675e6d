"""A proof as the app knows it: run on a thread, or read from a file; looked at by polling."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from spectrum_tui.core.errors import SpectrumError
from spectrum_tui.core.proof.plan import steps_in_all
from spectrum_tui.core.proof.proof import Proof
from spectrum_tui.core.proof.rows import Outcome, Progress, Row

if TYPE_CHECKING:
    from spectrum_tui.proving.preparing import Prepared
    from spectrum_tui.proving.process import RowProcess

ProofPhase = Literal["running", "stopping", "stopped", "finished", "failed", "saved"]
LIVE: tuple[ProofPhase, ...] = ("running", "stopping")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofView:
    """A proof as it is now. `rates` are by method, as far as they are known. `row` is the one that
    runs, the `number`-th of about `expected`, with the training losses of its steps up to now in
    `curve`. `share` is how much of all steps is done, `left` for how many seconds it goes on, NaN
    where nobody knows. `proof` is what it came to, None while it runs."""

    phase: ProofPhase
    model: str
    folder: Path
    scores: str
    methods: tuple[str, ...]
    seeds: int
    outcomes: tuple[Outcome, ...] = ()
    rates: Mapping[str, float] = field(default_factory=dict)
    row: Row | None = None
    number: int = 0
    expected: int = 0
    progress: Progress | None = None
    curve: tuple[tuple[int, float], ...] = ()
    share: float = 0.0
    left: float = math.nan
    estimate: float = math.nan
    notes: tuple[str, ...] = ()
    error: str = ""
    total_parameters: int = 0
    embeddings: bool = True
    proof: Proof | None = None

    @property
    def live(self) -> bool:
        """Whether rows run."""
        return self.phase in LIVE


def saved_view(proof: Proof, folder: Path) -> ProofView:
    """Return a proof that was read from a folder."""
    return ProofView(
        phase="saved",
        model=proof.model,
        folder=folder,
        scores=proof.scores,
        methods=proof.methods,
        seeds=proof.seeds,
        outcomes=proof.outcomes,
        rates=proof.rates,
        total_parameters=proof.total_parameters,
        embeddings=proof.embeddings,
        proof=proof,
    )


class ProofRun:
    """What is left of a proof, run on a thread of its own: a listener of the rows."""

    def __init__(self, prepared: Prepared, start: Callable[[], RowProcess] | None = None) -> None:
        self._prepared = prepared
        self._start = start
        self._lock = threading.Lock()
        self._clock = time.monotonic
        self._total = steps_in_all(prepared.plan.expected())
        self._stop: Callable[[], None] | None = None
        self._stopping = False
        self._reset()

    def _reset(self) -> None:
        self._phase: ProofPhase = "running"
        self._outcomes: list[Outcome] = []
        self._rates: dict[str, float] = {}
        self._row: Row | None = None
        self._number = self._expected = 0
        self._progress: Progress | None = None
        self._curve: list[tuple[int, float]] = []
        self._done = self._ran = 0
        self._began = self._clock()
        self._estimated = (math.nan, 0.0)
        self._notes: list[str] = []
        self._error = ""
        self._proof: Proof | None = None

    # -- from any thread -----------------------------------------------------------------------

    def begin(self, *, again: bool = False) -> None:
        """Run what is left, rows that failed only where they are to run `again`."""
        self._reset()
        self._stopping, self._stop = False, None
        threading.Thread(target=self._run, args=(again,), daemon=True).start()

    def stop(self) -> None:
        """End the running row soon; everything finished is kept."""
        with self._lock:
            if self._phase == "running":
                self._phase = "stopping"
            self._stopping, stop = True, self._stop
        if stop is not None:
            stop()

    @property
    def live(self) -> bool:
        """Whether rows run."""
        return self._phase in LIVE

    @property
    def view(self) -> ProofView:
        """The proof as it is now."""
        asked, plan = self._prepared.asked, self._prepared.plan
        with self._lock:
            step = self._progress.step if self._progress is not None else 0
            done = self._done + step
            total = max(self._total, done)
            return ProofView(
                phase=self._phase,
                model=asked.model,
                folder=asked.folder,
                scores=asked.scores,
                methods=tuple(method.text for method in plan.methods),
                seeds=plan.seeds,
                outcomes=tuple(self._outcomes),
                rates=self._proof.rates if self._proof else {**plan.rates, **self._rates},
                row=self._row,
                number=self._number,
                expected=self._expected,
                progress=self._progress,
                curve=tuple(self._curve),
                share=done / total if total else 0.0,
                left=self._left(total - done, step),
                estimate=self._estimated[0],
                notes=tuple(self._notes),
                error=self._error,
                total_parameters=asked.result.total_parameters,
                embeddings=plan.embeddings,
                proof=self._proof,
            )

    def _left(self, steps: int, step: int) -> float:
        """Return the seconds that are left: by the pace of the rows that ran, or by the estimate
        while the first of them runs. NaN before there is one, and once it has passed."""
        if self._phase not in LIVE:
            return math.nan
        now = self._clock()
        if self._ran:
            return (now - self._began) / (self._ran + step) * steps
        seconds, since = self._estimated
        left = seconds - (now - since)
        return left if left > 0 else math.nan

    # -- the thread ----------------------------------------------------------------------------

    def _run(self, again: bool) -> None:
        from spectrum_tui.proving.process import RowProcess
        from spectrum_tui.proving.runner import Runner, StoppedError

        runner = Runner(self._prepared, self, again=again, start=self._start or RowProcess)
        with self._lock:
            self._stop = runner.stop
            stop = self._stopping
        if stop:
            runner.stop()
        phase: ProofPhase = "finished"
        error = ""
        try:
            runner.run()
        except StoppedError:
            phase = "stopped"
        except SpectrumError as exc:
            phase, error = "failed", str(exc)
        except Exception as exc:  # the thread must not end without a word
            phase, error = "failed", f"The proof cannot go on: {type(exc).__name__}: {exc}"
        with self._lock:
            self._proof = getattr(runner, "proof", None)
            self._row = self._progress = None
            self._phase, self._error = phase, error

    # -- as a listener -------------------------------------------------------------------------

    def on_row(self, row: Row, number: int, expected: int) -> None:
        """Take note that a row begins."""
        with self._lock:
            self._row, self._number, self._expected = row, number, expected
            if not row.trial:  # its method's rate is found
                self._rates[row.method] = row.rate
            self._progress, self._curve = None, []

    def on_progress(self, row: Row, progress: Progress) -> None:
        """Take note of a step."""
        with self._lock:
            if progress.doing == "training":
                self._curve.append((progress.step, progress.loss))
            self._progress = progress

    def on_outcome(self, row: Row, outcome: Outcome, *, kept: bool) -> None:
        """Take note of what came of a row."""
        with self._lock:
            self._outcomes.append(outcome)
            self._done += row.steps
            self._ran += 0 if kept else row.steps
            self._row = self._progress = None
            self._curve = []

    def on_estimate(self, seconds: float) -> None:
        """Take note of how long it takes."""
        with self._lock:
            self._estimated = (seconds, self._clock())

    def on_note(self, text: str) -> None:
        """Take note of a damaged file."""
        with self._lock:
            self._notes.append(text)
