"""The rows of a proof, one after the other, each in a process of its own: without torch.

Every finished row is on disk before the next one begins, so that whatever ends this process, the
same command goes on from there.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from spectrum_tui import __version__
from spectrum_tui.core.errors import OutputError
from spectrum_tui.core.journal.lock import ScanLock
from spectrum_tui.core.proof.methods import Method
from spectrum_tui.core.proof.plan import found_rates, seconds_in_all
from spectrum_tui.core.proof.plot import plot
from spectrum_tui.core.proof.proof import Proof, Texts
from spectrum_tui.core.proof.rates import FIRST
from spectrum_tui.core.proof.rows import Job, Outcome, Progress, Row
from spectrum_tui.core.proof.store import keep_row, kept_row, write_proof
from spectrum_tui.core.proof.summary import summaries
from spectrum_tui.core.proof.table import markdown
from spectrum_tui.core.proof.verdict import verdict
from spectrum_tui.proving.preparing import Prepared
from spectrum_tui.proving.process import RowProcess

STEPS_TIMED = 4
"""Steps of the first row that the time of all others is estimated from."""


class Listener(Protocol):
    """Who hears of the rows, on the thread that runs them. What it raises ends the run, with
    everything finished kept."""

    def on_row(self, row: Row, number: int, expected: int) -> None:
        """Take note that a row begins, the `number`-th of about `expected`."""

    def on_progress(self, row: Row, progress: Progress) -> None:
        """Take note of what a row does."""

    def on_outcome(self, row: Row, outcome: Outcome, *, kept: bool) -> None:
        """Take note of what came of a row; `kept` where that was known from an earlier run."""

    def on_estimate(self, seconds: float) -> None:
        """Take note of how long all rows that are left will take, once the first has begun."""

    def on_note(self, text: str) -> None:
        """Take note of a damaged file of an earlier run."""


class StoppedError(Exception):
    """The run was stopped by `Runner.stop`; what was finished is in `proof`."""


class Runner:
    """Runs what is left of a proof."""

    def __init__(
        self,
        prepared: Prepared,
        listener: Listener,
        *,
        again: bool = False,
        start: Callable[[], RowProcess] = RowProcess,
    ) -> None:
        self._prepared = prepared
        self._listener = listener
        self._again = again
        self._start = start
        self._lock = threading.Lock()
        self._process: RowProcess | None = None
        self._stopped = False
        self._number = 0
        self._more = 0  # trials and rows, beyond those that were expected
        self._estimated = False
        self._outcomes: list[Outcome] = []
        self._rates: dict[str, float] = dict(prepared.plan.rates)

    def stop(self) -> None:
        """End the running row, from any thread: `run` then raises StoppedError."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.end()

    def run(self) -> Proof:
        """Run all rows that are not kept, and write the proof, also where the run is interrupted;
        raises SpectrumError, StoppedError, and what a listener raises."""
        plan = self._prepared.plan
        with self._alone():
            self._prepared.write_texts()
            try:
                for method, seed in plan.turns():
                    if not seed and method in plan.swept:
                        self._sweep(method)
                    if method.text in self._rates:
                        self._done(plan.row(method, seed, self._rates[method.text]))
            finally:
                self.proof = self._proof()
                if self._outcomes:
                    folder = self._prepared.asked.folder
                    write_proof(folder, self.proof, markdown(self.proof), plot(self.proof))
        return self.proof

    def _sweep(self, method: Method) -> None:
        """Look for the rate of a method, directly before its first row: the first result comes
        before all the other sweeps."""
        tried: list[Outcome] = []
        while (row := self._prepared.plan.next_trial(method, tried)) is not None:
            self._more += 1 if len(tried) >= FIRST else 0
            tried.append(self._done(row))
        found = found_rates(tried)
        self._rates |= found
        self._more -= max(0, FIRST - len(tried)) + (0 if found else self._prepared.plan.seeds)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep a second run out of the folder."""
        folder = self._prepared.asked.folder
        with ScanLock(folder / "prove") as lock:
            if holder := lock.take_soon():
                raise OutputError(
                    f"Another run works in {folder} ({holder}).",
                    "Wait for it, or give another folder: -o FOLDER.",
                    field="output_dir",
                )
            yield

    # -- rows ----------------------------------------------------------------------------------

    def _done(self, row: Row) -> Outcome:
        """Return what came of a row, now or earlier."""
        folder = self._prepared.asked.folder
        job = self._prepared.job(row)
        self._number += 1
        outcome, problem = kept_row(folder, job.key)
        if problem:
            self._listener.on_note(problem)
        kept = outcome is not None and not (outcome.error and self._again)
        if outcome is None or not kept:
            self._listener.on_row(row, self._number, self._expected())
            outcome = self._run(job)
        self._outcomes.append(outcome)
        self._listener.on_outcome(row, outcome, kept=kept)
        return outcome

    def _run(self, job: Job) -> Outcome:
        with self._lock:
            if self._stopped:
                raise StoppedError
            process = self._process = self._start()
        clock = _Clock()

        def tell(progress: Progress) -> None:
            self._listener.on_progress(job.row, progress)
            clock.tick(progress)
            if len(clock.steps) == STEPS_TIMED:
                self._estimate(job.row, clock)

        outcome, lasts = process.run(job, tell)
        if outcome is None:
            raise StoppedError
        if lasts:
            keep_row(self._prepared.asked.folder, job.key, outcome)
        if clock.steps and not outcome.error:
            self._estimate(job.row, clock)
        return outcome

    def _expected(self) -> int:
        return max(self._number, len(self._prepared.plan.expected()) + self._more)

    # -- how long it will take -----------------------------------------------------------------

    def _estimate(self, row: Row, clock: _Clock) -> None:
        """Say once how long everything that is left takes, by the first row's first steps."""
        if self._estimated:
            return
        self._estimated = True
        memory = self._prepared.memory(half=False)
        costs = {method: estimate.step for method, estimate in memory.items()}
        step = clock.step / (costs.get(row.method) or 1.0)
        beside = max(clock.before, self._beside())
        seconds = seconds_in_all(self._left(row), step, row_seconds=beside, costs=costs)
        self._listener.on_estimate(seconds)

    def _beside(self) -> float:
        """Return the seconds of a row that is kept, beside its steps."""
        found = [one.seconds - one.steps * one.step_seconds for one in self._outcomes if one.after]
        return statistics.median(found) if found else 0.0

    def _left(self, now: Row) -> list[Row]:
        """Return the rows that are not on disk, with the one that runs."""
        prepared = self._prepared
        jobs = map(prepared.job, prepared.plan.expected(self._rates))
        folder = prepared.asked.folder
        rows = [job.row for job in jobs if kept_row(folder, job.key)[0] is None]
        return rows if now in rows else [now, *rows]

    # -- what it comes to ----------------------------------------------------------------------

    def _proof(self) -> Proof:
        prepared, plan, asked = self._prepared, self._prepared.plan, self._prepared.asked
        methods = tuple(method.text for method in plan.methods)
        found = verdict(summaries(self._outcomes, methods))
        swept = {method.text for method in plan.swept}
        return Proof(
            model=asked.model,
            scores=asked.scores,
            conditions=prepared.conditions,
            texts=self._texts(),
            methods=methods,
            seeds=plan.seeds,
            steps=plan.steps,
            rates=self._rates,
            total_parameters=asked.result.total_parameters,
            embeddings=plan.embeddings,
            found=tuple(name for name in self._rates if name in swept),
            outcomes=tuple(self._outcomes),
            verdict=found,
            program=f"spectrum-tui {__version__}",
            written=time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
            price=asked.price,
            warning=prepared.warning,
        )

    def _texts(self) -> dict[str, Texts]:
        """Return the texts, their tokens counted by what the rows made of a part of them."""
        prepared = self._prepared
        share = next((one.density for one in self._outcomes if one.density), 0.0)
        return {
            name: replace(one, tokens=round(share * prepared.characters(name)))
            for name, one in prepared.texts.items()
        }


class _Clock:
    """When a row did what, by what it says."""

    def __init__(self) -> None:
        self._begin = self._last = time.monotonic()
        self.before = 0.0
        self.steps: list[float] = []

    @property
    def step(self) -> float:
        """Seconds of a step; the first one is not counted, in which everything is made."""
        return statistics.median(self.steps)

    def tick(self, progress: Progress) -> None:
        """Take note of the time. What comes before the first step is about what a later row has
        beside its steps: it loads, and judges after the last one."""
        now = time.monotonic()
        if progress.doing == "training" and progress.step == 1:
            self.before = now - self._begin
        elif progress.doing == "training":
            self.steps.append(now - self._last)
        self._last = now
