"""One row of a proof as a process of its own: the job on stdin, progress and outcome on stdout.

A process, because what one training leaves in memory would be counted for the next, and because
the system may kill it for memory. It ends when its stdin closes.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

from spectrum_tui.core.errors import SpectrumError
from spectrum_tui.core.gc_pause import import_torch
from spectrum_tui.core.platforms import lower_priority
from spectrum_tui.core.proof.rows import Job, Outcome, Progress, job_of, message_text
from spectrum_tui.proving.ends import ended, no_memory, not_finite
from spectrum_tui.stdio.streams import plain_stderr

Tell = Callable[[Progress], None]


def main() -> None:
    """Do the job on stdin; what is printed by anybody else goes to stderr."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    out = os.dup(1)
    os.dup2(2, 1)
    sys.stderr = plain_stderr()
    lower_priority()  # the keys of the app stay fast while every core trains
    text = sys.stdin.readline()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    speaks = os.environ.get("RANK", "0") == "0"
    lock = threading.Lock()

    def say(message: Progress | Outcome) -> None:
        if speaks:
            with lock:
                _write(out, f"{message_text(message)}\n".encode())

    outcome = run_job(job_of(text), say, text.strip(), say)
    say(outcome)
    _end(1 if outcome.error else 0)


def _end_with_parent() -> None:
    sys.stdin.read()
    _end(1)


def _end(code: int) -> NoReturn:
    os._exit(code)  # a normal end waits for threads inside a matrix, and takes torch 0.5 s


def _write(out: int, data: bytes) -> None:
    while data:
        data = data[os.write(out, data) :]


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
        _end(1)

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
        problem = no_memory(job) if is_out_of_memory(exc) else _unexpected(exc)
    done = training.outcome() if training else empty
    return replace(
        done,
        seconds=time.perf_counter() - begin,
        finished=time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        error=problem[0],
        hint=problem[1],
    )


def _unexpected(exc: Exception) -> tuple[str, str]:
    said = " ".join(str(exc).split())[:500].rstrip(".")
    return f"Unexpected {type(exc).__name__}: {said}.", ""
