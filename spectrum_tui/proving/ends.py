"""How a row ends that has no losses to show, in words: without torch, for both processes."""

from __future__ import annotations

from spectrum_tui.core.proof.methods import parse_method
from spectrum_tui.core.proof.rows import DIVERGED, KILLED, OUT_OF_MEMORY, Job, Outcome, Row


def ended(row: Row, error: str = "", hint: str = "") -> Outcome:
    """Return an outcome of which nothing is known but the row and the error."""
    return Outcome(
        method=row.method,
        seed=row.seed,
        rate=row.rate,
        steps=row.steps,
        trial=row.trial,
        error=error,
        hint=hint,
    )


def no_memory(job: Job) -> tuple[str, str]:
    """Return the error of a row that memory ran out in, and what would need less."""
    conditions, method = job.conditions, parse_method(job.row.method)
    ways = [
        f"--batch {conditions.batch // 2}" if conditions.batch > 1 else "",
        f"--sequence {conditions.sequence // 2}" if conditions.sequence > 128 else "",
        "" if conditions.checkpointing else "--checkpointing",
        "" if method.adapts or method.kind != "full" else "a part of the layers, as top:25",
        "" if method.kind == "qlora" else "qlora",
    ]
    return OUT_OF_MEMORY, f"Less is needed with {_or(list(filter(None, ways)))}."


def killed(job: Job) -> tuple[str, str]:
    """Return the error of a row whose process was killed, as Linux does where memory runs out."""
    _, hint = no_memory(job)
    return KILLED, f"{hint} The same command tries it again."


def not_finite(step: int, row: Row) -> tuple[str, str]:
    """Return the error of a row that diverged in a step, 0 for where it is judged."""
    where = f"In step {step} of {row.steps}" if step else "Where it is judged"
    return DIVERGED, f"{where}. Give a lower rate: --lr {row.method}={row.rate / 3:.1g}."


def _or(ways: list[str]) -> str:
    *others, last = ways or ["a smaller model"]
    return f"{', '.join(others)} or {last}" if others else last
