"""The process of a probe: the job on stdin, its plan, progress and outcome on stdout.

It ends when its stdin closes.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable

from spectrum_tui.core.disk import write_all
from spectrum_tui.core.errors import SpectrumError
from spectrum_tui.core.gc_pause import import_torch
from spectrum_tui.core.probing.records import Probed, ProbeJob, Said, job_of, said_text
from spectrum_tui.proving.answering import asked, end, unexpected


def main() -> None:
    """Do the job on stdin; what is printed by anybody else goes to stderr."""
    text, out = asked()

    def say(said: Said) -> None:
        write_all(out, f"{said_text(said)}\n".encode())

    outcome = probe(job_of(text), say)
    say(outcome)
    end(1 if outcome.error else 0)


def probe(job: ProbeJob, say: Callable[[Said], None]) -> Probed:
    """Return what came of a job, an error of any kind included."""
    import_torch()
    from spectrum_tui.core.scanning.devices import is_out_of_memory
    from spectrum_tui.proving.probing.work import Probing

    try:
        return Probing(job, say).run()
    except SpectrumError as exc:
        return Probed(error=exc.message, hint=exc.hint)
    except Exception as exc:  # whatever a model or its kernels raise
        traceback.print_exc()
        if is_out_of_memory(exc):
            hint = "Give less at a time: --batch 1, a shorter --sequence, or less --memory."
            return Probed(error="Memory ran out.", hint=hint)
        return Probed(error=unexpected(exc))
