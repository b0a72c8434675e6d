"""One row of a proof as a process of its own: the job on stdin, progress and outcome on stdout.

A process, because what one training leaves in memory would be counted for the next, and because
the system may kill it for memory. It ends when its stdin closes.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace

from spectrum_tui.core.disk import write_all
from spectrum_tui.core.errors import SpectrumError
from spectrum_tui.core.gc_pause import import_torch
from spectrum_tui.core.proof.rows import Job, Outcome, Progress, job_of, message_text
from spectrum_tui.proving.answering import asked, end, unexpected
from spectrum_tui.proving.ends import ended, no_memory, not_finite

Tell = Callable[[Progress], None]


def main() -> None:
    """Do the job on stdin; what is printed by anybody else goes to stderr."""
    text, out = asked()
    speaks = os.environ.get("RANK", "0") == "0"
    lock = threading.Lock()

    def say(message: Progress | Outcome) -> None:
        if speaks:
            with lock:
                write_all(out, f"{message_text(message)}\n".encode())

    outcome = run_job(job_of(text), say, text.strip(), say)
    say(outcome)
    end(1 if outcome.error else 0)


def run_job(
    job: Job, tell: Tell, text: str = "", say: Callable[[Outcome], None] = lambda outcome: None
) -> Outcome:
    """Return what came of a job, an error of any kind included.

    Of several processes the others get the job as `text`; where one of them is lost, that is the
    outcome, which `say` gets before this process ends.
    """
    begin = time.perf_counter()
    empty = ended(job.row)

    def lost(code: int) -> None:
        say(replace(empty, error=f"Another process of the row ended with code {code}."))
        end(1)

    tell(Progress(doing="loading"))
    import_torch()
    from spectrum_tui.core.scanning.devices import is_out_of_memory
    from spectrum_tui.proving.loop import NotFiniteError
    from spectrum_tui.proving.machine import start_others
    from spectrum_tui.proving.training import Training

    training: Training | None = None
    try:
        start_others(job.conditions, text, lost)
        training = Training(job, tell)
        training.run()
        problem = ("", "")
    except NotFiniteError as exc:
        problem = not_finite(exc.step, job.row)
    except SpectrumError as exc:
        problem = (exc.message, exc.hint)
    except Exception as exc:  # whatever a model, its kernels or a recipe raise
        traceback.print_exc()
        problem = no_memory(job) if is_out_of_memory(exc) else (unexpected(exc), "")
    done = training.outcome() if training else empty
    shared = training.shared_seconds if training else 0.0
    return replace(
        done,
        seconds=time.perf_counter() - begin - shared,
        finished=time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        error=problem[0],
        hint=problem[1],
    )
