"""A row without torch: `python fake_row.py CONTROL` says what a real one says, and ends as the file
CONTROL wants: a line "KEY how" for the row of a key, "* how" for all; done without one."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from spectrum_tui.core.proof.rows import (
    Bytes,
    Job,
    Losses,
    Outcome,
    Progress,
    job_of,
    message_text,
)
from spectrum_tui.proving.ends import ended


def say(message: Progress | Outcome) -> None:
    sys.stdout.write(f"{message_text(message)}\n")
    sys.stdout.flush()


def fake_outcome(job: Job) -> Outcome:
    """The lower, the further a row is from the rate 2e-4 and the later its seed."""
    row = job.row
    loss = 2 + abs(row.rate / 2e-4 - 1) / 100 + row.seed / 1000 + len(row.method) / 100
    return replace(
        ended(row),
        before=Losses(held_out=3.0, kept=4.0),
        after=Losses(held_out=loss, kept=4.5),
        curve=tuple((step, 3 - step / 100) for step in range(1, row.steps + 1)),
        trained=100,
        memory=Bytes(weights=1, gradients=2, optimizer=3),
        tokens=64 * row.steps,
        density=0.25,
        step_seconds=0.01,
        seconds=1.0,
        device="cpu",
    )


def wanted(control: Path, row: str) -> str:
    lines = [line.split(" ", 1) for line in control.read_text().splitlines()]
    return next((how for name, how in lines if name in ("*", row)), "done")


def main() -> None:
    job = job_of(sys.stdin.readline())
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
    control = Path(sys.argv[1])
    row = job.row
    how = wanted(control, f"{row.method}/{row.seed}")
    with control.with_suffix(".log").open("a") as log:
        log.write(f"{row.method}/{row.seed}{'/trial' if row.trial else ''} {os.getpid()}\n")
    say(Progress(doing="loading"))
    say(Progress(doing="judging", steps=row.steps))
    for step in range(1, row.steps + 1):
        say(Progress(doing="training", step=step, steps=row.steps, loss=3 - step / 100))
    if how == "sleep":
        time.sleep(60)
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "failed":
        say(ended(row, "It would not.", "Do it otherwise."))
    elif how == "broken":
        sys.exit(3)
    else:
        sys.stdout.write("not a message\n")
        say(fake_outcome(job))


if __name__ == "__main__":
    main()
