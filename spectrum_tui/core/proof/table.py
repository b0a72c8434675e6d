"""A proof as a table, for a terminal and as Markdown with what has to be known beside it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from spectrum_tui.core import numbers
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.proof.methods import parse_method
from spectrum_tui.core.proof.proof import Proof, Texts
from spectrum_tui.core.proof.rates import next_rate, rate_text
from spectrum_tui.core.proof.summary import Summary, summaries, why_not
from spectrum_tui.core.proof.verdict import digits_of, loss_text
from spectrum_tui.core.text import safe

NOTHING = "–"
_MARKS = re.compile(r"([\\`*{}\[\]<>|#]|(?<!\w)_|_(?!\w))")
_ROLES = {
    "train": "Trained on",
    "held_out": "Held out",
    "tuning": "Rates found on",
    "kept": "To keep",
}
_ROUNDED = (
    ". In bfloat16, as trainers have it that load a model as it is stored, an update below about "
    "1/256 of its weight is lost, at low rates most of them: --dtype float32 keeps them"
)


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    cell: Callable[[Summary], str]
    wide: bool = False
    """Left out on a terminal, which has 80 columns."""


def cells(proof: Proof, *, wide: bool) -> list[tuple[str, ...]]:
    """Return the table with its titles, a row for each method in the order that they were asked
    for; columns of which nothing is known are left out."""
    found = summaries(proof.outcomes, proof.methods)
    columns = [one for one in _columns(proof, found) if wide or not one.wide]
    table = [[column.title, *map(column.cell, found)] for column in columns]
    known = [column for column in table if set(column[1:]) - {NOTHING} or column is table[0]]
    return list(zip(*known, strict=True))


def _columns(proof: Proof, found: Sequence[Summary]) -> Iterator[_Column]:
    losses = digits_of(*(one.loss.spread for one in found))
    kept = digits_of(*(one.kept_loss.spread for one in found))
    total, price = proof.total_parameters, proof.price
    yield _Column("method", lambda one: safe(one.method))
    yield _Column("rate", lambda one: rate_text(one.rate) if one.held_out else NOTHING, wide=True)
    yield _Column("held-out loss", lambda one: _loss(one, losses))
    yield _Column("change", lambda one: _change(one.loss.mean - one.before, losses))
    yield _Column(
        "kept loss", lambda one: loss_text(one.kept_loss, kept) if one.kept else NOTHING, wide=True
    )
    yield _Column("kept change", lambda one: _kept_change(one, kept))
    yield _Column("trained", lambda one: numbers.count(one.trained) if one.trained else NOTHING)
    yield _Column(
        "share",
        lambda one: numbers.short_percent(one.trained / total if total else 0),
        wide=True,
    )
    for name in ("weights", "gradients", "optimizer"):
        yield _Column(name, lambda one, name=name: _size(getattr(one.memory, name, 0)), wide=True)  # type: ignore[misc]
    yield _Column("peak", lambda one: _size(one.peak))
    yield _Column("tokens", lambda one: f"{one.tokens:,}" if one.tokens else NOTHING, wide=True)
    yield _Column("step", lambda one: seconds_text(one.step_seconds))
    yield _Column("time", lambda one: _time(one.seconds), wide=True)
    yield _Column(
        "cost", lambda one: _number(one.seconds * price, f"{one.seconds / 3600 * price:.2f}")
    )


def _loss(one: Summary, digits: int) -> str:
    if not one.held_out:
        return safe(why_not(one.failed[0])) if one.failed else NOTHING
    trained, rows = len(one.held_out), len(one.held_out) + len(one.failed)
    some = f" ({trained} of {rows})" if one.failed else ""
    return loss_text(one.loss, digits) + some


def _kept_change(one: Summary, digits: int) -> str:
    return _change(one.kept_loss.mean - one.kept_before, digits)


def _change(value: float, digits: int) -> str:
    return _number(value, f"{value:+.{digits}f}".replace("-", "−"))


def _number(value: float, text: str) -> str:
    return text if math.isfinite(value) and value else NOTHING


def _size(value: float) -> str:
    return numbers.size(value) if value else NOTHING


def _time(seconds: float) -> str:
    return _number(seconds, numbers.duration(seconds)) if math.isfinite(seconds) else NOTHING


def seconds_text(value: float) -> str:
    """Return the time of a step: `840 ms`, `1.25 s`, a dash where it is not known."""
    if not (math.isfinite(value) and value):
        return NOTHING
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


# -- Markdown -------------------------------------------------------------------------------------


def markdown(proof: Proof) -> str:
    """Return proof.md: what may be said, the table, and on what it rests."""
    parts = (
        [f"# Proof: {_escaped(proof.model)}"],
        [*_unfinished(proof), *(f"- {_escaped(line)}" for line in proof.verdict.lines)],
        _table(cells(proof, wide=True)),
        [
            "Losses are means in nats per token, ± the standard deviation over seeds. Memory is "
            "that of the device where it has its own, else of the process."
        ],
        [f"- {line}" for line in _conditions(proof)],
    )
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _unfinished(proof: Proof) -> Iterator[str]:
    run = sum(not one.trial for one in proof.outcomes)
    planned = proof.seeds * sum(not _found_none(proof, method) for method in proof.methods)
    if run < planned:
        rows = numbers.part_of(run, planned, "row", "has run", "have run")
        yield f"- Not finished: {rows}. The same command goes on."


def _found_none(proof: Proof, method: str) -> bool:
    """Return whether the sweep of a method ended without a rate, so that it has no rows."""
    tried = [one for one in proof.outcomes if one.trial and one.method == method]
    is_over = bool(tried) and next_rate(parse_method(method), tried) is None
    return is_over and method not in proof.rates


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(map(_escaped, row))} |" for row in rows]
    ruler = " | ".join(["---", *("---:" for _ in rows[0][1:])])
    return [lines[0], f"| {ruler} |", *lines[1:]]


def _conditions(proof: Proof) -> Iterator[str]:
    had = proof.conditions
    revision = f", revision {_escaped(had.revision)}" if had.revision else ""
    yield f"Model: {_escaped(proof.model)}{revision}, scores {_escaped(proof.scores)}"
    if proof.warning:
        yield f"Note: {_escaped(proof.warning)}"
    yield (
        f"Every row: {counted(proof.steps, 'step')} of {had.batch} × {had.sequence:,} tokens, "
        f"{counted(proof.seeds, 'seed')}; AdamW, warm-up over {had.warmup:.0%} of the steps, then "
        f"linear decay, weight decay {had.weight_decay:g}; embeddings and head "
        f"{'train' if proof.embeddings else 'frozen'}"
    ).replace("%", " %")
    for role, texts in proof.texts.items():
        yield f"{_ROLES.get(role, _escaped(role))}: {_texts(texts)}"
    if found := [_sweep(proof, method) for method in proof.found if method in proof.rates]:
        rates = "; ".join(found)
        yield (
            "Rates found by short trials with seed 0, by the loss on text that no row "
            f"trains on or is judged by: {rates}"
        )
    yield from _dtypes(proof)
    yield from _machine(proof)


def _sweep(proof: Proof, method: str) -> str:
    """Return which rate a sweep decided on, of which it tried."""
    rate = proof.rates[method]
    tried = sorted({one.rate for one in proof.outcomes if one.trial and one.method == method})
    edge = {tried[0]: ", the lowest tried", tried[-1]: ", the highest tried"} if tried else {}
    of = f" of {', '.join(map(rate_text, tried))}" if tried else ""
    return f"{_escaped(method)} {rate_text(rate)}{of}{edge.get(rate, '')}"


def _texts(texts: Texts) -> str:
    files = ", ".join(_escaped(file) for file in texts.files)
    parts = [
        counted(texts.documents, "document"),
        counted(texts.tokens, "token") if texts.tokens else "",
        f"{counted(texts.skipped, 'line')} skipped" if texts.skipped else "",
        f"SHA-256 {_escaped(texts.digest[:12])}",
    ]
    return f"{files}: {', '.join(filter(None, parts))}"


def _machine(proof: Proof) -> Iterator[str]:
    devices = dict.fromkeys(one.device for one in proof.outcomes if one.device)
    versions = dict(pair for one in proof.outcomes for pair in one.versions.items())
    said = [", ".join(devices), *(f"{name} {version}" for name, version in versions.items())]
    made = ", ".join(_escaped(text) for text in (*said, proof.program, proof.written) if text)
    if made:
        yield f"Made on {made}"


def _dtypes(proof: Proof) -> Iterator[str]:
    """Yield in which types the methods held what trains."""
    by_dtype: dict[str, dict[str, None]] = {}
    for one in proof.outcomes:
        if one.dtype:
            by_dtype.setdefault(one.dtype, {})[one.method] = None
    each = (f"{_escaped(name)} ({_escaped(', '.join(of))})" for name, of in by_dtype.items())
    if by_dtype:
        rounded = any("bfloat16" in name for name in by_dtype)
        yield f"What trains is in {', '.join(each)}{_ROUNDED if rounded else ''}"


def _escaped(text: str) -> str:
    return _MARKS.sub(r"\\\1", safe(text))
