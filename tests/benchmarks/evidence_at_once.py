"""Run the rows of a proof several at a time, on a GPU that one small model leaves mostly idle.

usage: python -m tests.benchmarks.evidence_at_once ROWS SECONDS PROVE-ARGUMENTS…

The rows are those of `spectrum-tui prove` with the same arguments, which finds them in the folder;
after so many seconds what is finished is written as a proof. Rows that share a GPU take each
other's time, so times are left out.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Connection

from spectrum_tui.cli.prove import prepared_by
from spectrum_tui.core.proof.methods import Method
from spectrum_tui.core.proof.plan import found_rates
from spectrum_tui.core.proof.rows import DIVERGED, Job, Outcome, Progress, Row, job_of, job_text
from spectrum_tui.core.proof.store import keep_row, kept_row
from spectrum_tui.proving.preparing import Prepared
from spectrum_tui.proving.row import run_job
from spectrum_tui.proving.runner import Runner, StoppedError

_LOADED = ("torch", "transformers", "peft", "spectrum_tui.proving.training")
"""What a process imports once for all rows: 5 s each otherwise. None of it opens the GPU."""


class AtOnce:
    """Rows of one proof, each in a process that a server of processes forks."""

    def __init__(self, prepared: Prepared, rows: int, end: float) -> None:
        self._prepared = prepared
        self._end = end
        self._pool = ThreadPoolExecutor(rows)
        # Set before CUDA begins: its matrix products are not repeatable otherwise.
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        # What is asked of CUDA before a fork, were it only whether it is there, bars it after.
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
        self._processes = multiprocessing.get_context("forkserver")
        self._processes.set_forkserver_preload(list(_LOADED))

    def run(self) -> None:
        """Run what is not kept yet, each method's trials first, then one seed after the other."""
        plan = self._prepared.plan
        rates = {method: self._pool.submit(self._rate, method) for method in plan.methods}
        for seed in range(plan.seeds):
            for method in plan.methods:
                self._pool.submit(self._row, method, seed, rates[method])
        self._pool.shutdown(wait=True)

    def _rate(self, method: Method) -> float | None:
        plan = self._prepared.plan
        if method.text in plan.rates:
            return plan.rates[method.text]
        tried: list[Outcome] = []
        while (row := plan.next_trial(method, tried)) is not None:
            outcome = self._outcome(row)
            if outcome is None:
                return None
            tried.append(outcome)
        return found_rates(tried).get(method.text)

    def _row(self, method: Method, seed: int, rate: Future[float | None]) -> None:
        found = rate.result()
        if found is not None:
            self._outcome(self._prepared.plan.row(method, seed, found))

    def _outcome(self, row: Row) -> Outcome | None:
        """Return what came of a row, now or earlier; None where the time is over."""
        job, folder = self._prepared.job(row), self._prepared.asked.folder
        outcome, _ = kept_row(folder, job.key)
        if outcome is None and (outcome := self._forked(job)) is not None:
            if outcome.error in ("", DIVERGED):
                keep_row(folder, job.key, outcome)
            loss = outcome.after.held_out if outcome.after else outcome.error
            print(folder.name, row.method, row.seed, row.rate, row.trial, loss, flush=True)
        return outcome

    def _forked(self, job: Job) -> Outcome | None:
        left = self._end - time.monotonic()
        if left <= 0:
            return None
        receiver, sender = self._processes.Pipe(duplex=False)
        process = self._processes.Process(target=_run, args=(job_text(job), sender))
        process.start()
        sender.close()
        outcome: Outcome | None = None
        try:
            if receiver.poll(left):
                outcome = receiver.recv()
        except EOFError:
            print(f"{job.row.method}: the process ended without an outcome", flush=True)
        process.terminate()
        process.join()
        return outcome and replace(outcome, step_seconds=0.0, seconds=0.0)


def _run(text: str, sender: Connection) -> None:
    def unheard(progress: Progress) -> None:
        pass

    sender.send(run_job(job_of(text), unheard))
    sender.close()


class _KeptOnly:
    """Ends a run at the first row that is not kept."""

    def on_row(self, row: Row, number: int, expected: int) -> None:
        raise StoppedError

    def on_progress(self, row: Row, progress: Progress) -> None:
        pass

    def on_outcome(self, row: Row, outcome: Outcome, *, kept: bool) -> None:
        pass

    def on_estimate(self, seconds: float) -> None:
        pass

    def on_note(self, text: str) -> None:
        print(text, flush=True)


def main(arguments: Sequence[str]) -> None:
    """Run rows, and write the proof of those that are finished."""
    rows, seconds = int(arguments[0]), float(arguments[1])
    prepared = prepared_by(arguments[2:])
    prepared.write_texts()
    AtOnce(prepared, rows, time.monotonic() + seconds).run()
    try:
        Runner(prepared, _KeptOnly()).run()
    except StoppedError:
        print(f"{prepared.asked.folder.name}: not all rows have run", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
