"""The process of a probe: the job on stdin, its plan, progress and outcome on stdout.

It ends when its stdin closes.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback

from spectrum_tui.core.errors import SpectrumError
from spectrum_tui.core.gc_pause import import_torch
from spectrum_tui.core.platforms import lower_priority
from spectrum_tui.core.probing.records import Probed, ProbeJob, Said, job_of, said_text
from spectrum_tui.stdio.streams import plain_stderr


def main() -> None:
    """Do the job on stdin; what is printed by anybody else goes to stderr."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    out = os.dup(1)
    os.dup2(2, 1)
    sys.stderr = plain_stderr()
    lower_priority()
    job = job_of(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def say(said: Said) -> None:
        data = f"{said_text(said)}\n".encode()
        while data:
            data = data[os.write(out, data) :]

    outcome = probe(job, say)
    say(outcome)
    os._exit(1 if outcome.error else 0)  # a normal end takes torch 0.5 s


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def probe(job: ProbeJob, say: object) -> Probed:
    """Return what came of a job, an error of any kind included."""
    import_torch()
    from spectrum_tui.core.scanning.devices import is_out_of_memory
    from spectrum_tui.proving.probing.work import Probing

    try:
        return Probing(job, say).run()  # type: ignore[arg-type]
    except SpectrumError as exc:
        return Probed(error=exc.message, hint=exc.hint)
    except Exception as exc:  # whatever a model or its kernels raise
        traceback.print_exc()
        if is_out_of_memory(exc):
            hint = "Give less at a time: --batch 1, a shorter --sequence, or less --memory."
            return Probed(error="Memory ran out.", hint=hint)
        said = " ".join(str(exc).split())[:500].rstrip(".")
        return Probed(error=f"Unexpected {type(exc).__name__}: {said}.")
