"""EVIDENCE.md, made of proofs: whatever their numbers are, it says no more than they do.

usage: python -m tests.benchmarks.evidence_page                     write EVIDENCE.md
       python -m tests.benchmarks.evidence_page --take FOLDER       keep a small copy of a proof
       python -m tests.benchmarks.evidence_page --time SEEDS STEPS  say how long evidence.sh takes
"""

from __future__ import annotations

import json
import math
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from spectrum_tui.core.numbers import counted, duration, part_of
from spectrum_tui.core.platforms import cpu_name
from spectrum_tui.core.proof.comparing import HELD_OUT, KEPT
from spectrum_tui.core.proof.methods import parse_method
from spectrum_tui.core.proof.proof import Comparison, Proof, proof_text
from spectrum_tui.core.proof.rates import FEWEST_STEPS
from spectrum_tui.core.proof.statistics import LEVEL, least_t
from spectrum_tui.core.proof.store import read_proof
from spectrum_tui.core.proof.summary import Summary, summaries
from spectrum_tui.core.proof.table import markdown
from tests.benchmarks.evidence_sources import HEAD, INPUTS, SOURCES

KEPT_HERE = Path(__file__).parent / "evidence"
FIRST = "first_run.json"
PAGE = Path(__file__).parents[2] / "EVIDENCE.md"
_TITLES = {
    "smollm2-pydoc": "SmolLM2-135M on Python's documentation",
    "smollm2-speeches": "SmolLM2-135M on the presidents' addresses",
    "minilm-pydoc": "MiniLM (masked) on Python's documentation",
    "minilm-speeches": "MiniLM (masked) on the presidents' addresses",
    "small-pydoc": "The first small run, repeated by `prove`",
}
"""The proofs that evidence.sh makes, in the order of the page."""


# -- the small copies ------------------------------------------------------------------------------


def take(folder: Path) -> Path:
    """Keep what the page needs of a proof, and on which processor it was made; returns where."""
    proof = small(read_proof(folder), machine())
    path = KEPT_HERE / f"{folder.name}.json"
    path.write_text(proof_text(proof), encoding="utf-8")
    return path


def small(proof: Proof, made_on: Mapping[str, str]) -> Proof:
    """Return a proof without curves and without the folders of the machine."""
    conditions = proof.conditions
    outcomes = (replace(one, curve=()) for one in proof.outcomes)
    return replace(
        proof,
        scores=Path(proof.scores).name,
        conditions=replace(
            conditions,
            model=Path(conditions.model).name,
            train=Path(conditions.train).name,
            held_out=Path(conditions.held_out).name,
            kept=Path(conditions.kept).name,
        ),
        texts={name: replace(one, files=_names(one.files)) for name, one in proof.texts.items()},
        outcomes=tuple(replace(o, versions={**o.versions, **made_on}) for o in outcomes),
    )


def _names(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(Path(path).name for path in paths)


def machine() -> dict[str, str]:
    """Return what a training on the CPU depends on."""
    import torch

    has_mkl = torch._C.has_mkl
    return {
        "Python": platform.python_version(),
        "CPU": f"{cpu_name()}, {os.cpu_count()} cores",
        "BLAS": "MKL" if has_mkl else "not MKL",
    }


def kept() -> dict[str, Proof]:
    """Return the proofs that are kept, by name."""
    paths = {path.stem: path for path in KEPT_HERE.glob("*.json") if path.name != FIRST}
    ordered = [*(name for name in _TITLES if name in paths), *sorted(paths.keys() - _TITLES.keys())]
    return {name: read_proof(paths[name]) for name in ordered}


# -- the page --------------------------------------------------------------------------------------


def page(proofs: Mapping[str, Proof], first: Mapping[str, Any]) -> str:
    """Return EVIDENCE.md."""
    return (
        "\n\n".join(
            [
                HEAD,
                "## What is known",
                "\n".join(f"- {line}" for line in _known(proofs, first)),
                *_runs(proofs),
                *_first_run(first),
                SOURCES,
                INPUTS,
            ]
        )
        + "\n"
    )


def _known(proofs: Mapping[str, Proof], first: Mapping[str, Any]) -> Iterator[str]:
    yield from _in_all(proofs.values())
    missing = [title for name, title in _TITLES.items() if name not in proofs]
    for name, proof in proofs.items():
        yield f"**{_title(name)}** ({_progress(proof)}). {' '.join(_summary(proof))}"
    if missing:
        yield f"Not run by `prove` yet: {'; '.join(missing)}."
    yield f"**A first small run, by a script.** {' '.join(_of_first(first))}"
    yield "What selections save in memory and time: also [measured](README.md#memory-to-train)."


def _title(name: str) -> str:
    return _TITLES.get(name, name)


def _progress(proof: Proof) -> str:
    rows = [one for one in proof.outcomes if not one.trial]
    planned = proof.seeds * len(proof.methods)
    done = part_of(len(rows), planned, "row", "has run", "have run")
    return f"{counted(proof.steps, 'step')}, {counted(proof.seeds, 'seed')}; {done}"


def _summary(proof: Proof) -> Iterator[str]:
    """Yield in words what the comparisons with random layers found, and what was saved."""
    compared = _with_random([proof])
    if not compared:
        yield "Nothing can be said of selections against random layers."
    for text, title in (
        (HELD_OUT, "Held-out loss against random layers of the same share"),
        (KEPT, "Loss on the kept text against them"),
    ):
        of_text = [one for one in compared if one.text == text]
        by_side = {side: [one.one for one in of_text if _side(one) == side] for side in _SIDES}
        if of_text:
            said = (f"{_SIDES[side]} {_listed(each)}" for side, each in by_side.items() if each)
            yield f"{title}: {'; '.join(said)}."
    yield from _saved(proof)


_SIDES = {-1: "lower", 1: "higher", 0: "no difference found"}


def _with_random(proofs: Iterable[Proof]) -> list[Comparison]:
    every = (one for proof in proofs for one in proof.verdict.comparisons)
    return [one for one in every if parse_method(one.other).is_random]


def _side(one: Comparison) -> int:
    """Return -1 where a lower loss was found, 1 where a higher one was, 0 where neither."""
    return 0 if not one.found else -1 if one.difference < 0 else 1


def _in_all(proofs: Iterable[Proof]) -> Iterator[str]:
    """Yield a line for each score: how often it did better or worse than random layers."""
    by_score: dict[str, list[Comparison]] = {}
    for one in _with_random(proofs):
        if one.text == HELD_OUT:
            by_score.setdefault(one.one.rpartition(":")[0], []).append(one)
    for score, each in by_score.items():
        lower, higher = (sum(_side(one) == side for one in each) for side in (-1, 1))
        yield (
            f"`{score}` against random layers of the same share, {counted(len(each), 'comparison')}"
            f": learned more in {lower}, less in {higher}, no difference found in "
            f"{len(each) - lower - higher}."
        )


def _listed(methods: Sequence[str]) -> str:
    return ", ".join(f"`{method}`" for method in methods)


def _saved(proof: Proof) -> Iterator[str]:
    """Yield what each method takes of the memory and time of training everything; times are not
    known of rows that ran at the same time."""
    found = {one.method: one for one in summaries(proof.outcomes, proof.methods) if one.held_out}
    whole = found.get("full") or found.get("top:100")
    if whole is None:
        return
    for title, of in (("Peak memory", _peak), ("Time of a step", _step)):
        shares = [
            f"`{one.method}` {of(one) / of(whole):.0%}".replace("%", " %")
            for one in found.values()
            if one is not whole and of(one) and of(whole)
        ]
        if shares:
            yield f"{title}, as a share of `{whole.method}`: {', '.join(shares)}."


def _peak(one: Summary) -> float:
    return one.peak


def _step(one: Summary) -> float:
    return one.step_seconds


def _runs(proofs: Mapping[str, Proof]) -> Iterator[str]:
    yield "## Runs"
    if not proofs:
        yield "None has been made by `prove` yet."
    for name, proof in proofs.items():
        body = markdown(proof).strip().split("\n", 1)[1].strip()
        dates = sorted(one.finished for one in proof.outcomes if one.finished)
        when = f"Rows of {dates[0]} to {dates[-1]} UTC.\n\n" if dates else ""
        yield f"### {_title(name)}\n\n{when}{body}"


# -- the first small run ---------------------------------------------------------------------------

_TEXTS = ("documentation", "prose")


def _of_first(first: Mapping[str, Any]) -> Iterator[str]:
    """Yield how each selection lies to all random draws of its size and rate, in every order."""
    rows = first["rows"]
    by_chance = {(r["percent"], r["rate"]): r for r in rows if r["by"] == "random"}
    for text in _TEXTS:
        placed: dict[str, list[str]] = {"lower": [], "higher": [], "neither": []}
        for row in rows:
            other = by_chance.get((row["percent"], row["rate"]))
            if other is None or other is row or text not in row or text not in other:
                continue
            name = f"{row['by']} {row['percent']} % at {row['rate']}"
            placed[_place(row[text], other[text])].append(name)
        said = (
            ("lower than with every random draw", placed["lower"]),
            ("higher than with every random draw", placed["higher"]),
            ("neither", placed["neither"]),
        )
        parts = [f"{words}: {', '.join(names)}" for words, names in said if names]
        if parts:
            yield f"Loss on the {text} {'; '.join(parts)}."
    rose = [row["by"] for row in rows if any(x > 0 for x in _changes(row))]
    nothing = "no row: nothing was forgotten"
    yield f"The loss on texts that were not trained on rose for {', '.join(rose) or nothing}."
    yield f"{first['orders']} orders of the data, few draws, no test of chance."


def _changes(row: Mapping[str, Any]) -> Iterator[float]:
    for order in row.get("kept", []):
        for draw in order:
            yield from draw


def _place(mine: Sequence[Sequence[float]], chance: Sequence[Sequence[float]]) -> str:
    pairs = list(zip(mine, chance, strict=True))
    if all(max(one) < min(other) for one, other in pairs):
        return "lower"
    return "higher" if all(min(one) > max(other) for one, other in pairs) else "neither"


def _first_run(first: Mapping[str, Any]) -> Iterator[str]:
    before = first["before"]
    yield "## A first small run"
    yield (
        f"Made on {first['date']} by a script, before this program had `prove`: SmolLM2-135M, 64 "
        "steps of 2 × 128 tokens, AdamW without weight decay, warm-up over 6 steps and linear "
        "decay, blocks only, one seed for each order of the data. The gradients are those of 8 "
        "batches of the text that were neither trained on nor judged by. Loss after, order 0 / "
        f"order 1; {before['documentation']:.3f} (Python's documentation) and "
        f"{before['prose']:.3f} (English prose) before. The last columns are the change of the "
        "loss on prose and on quotations after training on the documentation."
    )
    titles = ["selected by", "share", "rate", "documentation", "prose", "kept prose", "quotations"]
    lines = [f"| {' | '.join(titles)} |", "|---|" + "---:|" * (len(titles) - 1)]
    lines += [f"| {' | '.join(_cells(row))} |" for row in first["rows"]]
    yield "\n".join(lines)


def _cells(row: Mapping[str, Any]) -> list[str]:
    losses = [_orders(row.get(text), "{:.3f}") for text in _TEXTS]
    kept_at = row.get("kept", [])
    changes = [
        _orders([[draw[place] for draw in order] for order in kept_at], "{:+.3f}")
        for place in (0, 1)
    ]
    return [row["by"], f"{row['percent']} %", row["rate"], *losses, *changes]


def _orders(orders: Sequence[Sequence[float]] | None, form: str) -> str:
    each = (", ".join(form.format(value) for value in draws) for draws in orders or ())
    return " / ".join(each).replace("-", "−") or "–"


# -- how long it takes -----------------------------------------------------------------------------

_SECONDS = {"smollm2": (1.7, 80.0), "minilm": (0.3, 20.0)}
"""Of one core: a step of 2 × 128 tokens that trains everything, and what a row takes to load and to
judge four times 64 sequences."""
_METHODS, _SMALL, _TRIALS, _SHARE = 12, 8, 4, 0.85
"""Methods, those of the small run, trials of each method, cost of the methods' mean step."""
_COMPARISONS = 18
"""Of one run, on both texts."""


def expected_seconds(seeds: int, steps: int, cores: int) -> float:
    """Return about how long evidence.sh takes; a second core saves 0.4 of the time."""
    rows, trials = _METHODS * seeds, _METHODS * _TRIALS
    spent = 0.0
    for step, beside in _SECONDS.values():
        stepped = rows * steps + trials * max(FEWEST_STEPS, steps // 4)
        # A trial is judged on one text.
        spent += 2 * (stepped * step * _SHARE + (rows + trials / 2) * beside)
    step, beside = _SECONDS["smollm2"]
    spent += _SMALL * seeds * (64 * step * _SHARE + beside / 2)
    return spent * (1.0 if cores < 2 else 0.6)


def what_it_takes(seeds: int, steps: int, cores: int) -> str:
    """Return in a line how long the runs take, and what they can find."""
    line = f"all of it takes about {duration(expected_seconds(seeds, steps, cores))}"
    if seeds < 2:
        return f"{line}; one seed finds no difference"
    least = least_t(LEVEL / _COMPARISONS, seeds - 1) / math.sqrt(seeds)
    return f"{line}; {seeds} seeds find differences of {least:.1f} times their spread or more"


def main(arguments: Sequence[str]) -> None:
    """Do what is asked for."""
    if arguments[:1] == ["--time"]:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        seeds, steps = map(int, arguments[1:3])
        print(what_it_takes(seeds, steps, cores), file=sys.stderr)
        return
    if arguments[:1] == ["--take"]:
        take(Path(arguments[1]))
    first = json.loads((KEPT_HERE / FIRST).read_text(encoding="utf-8"))
    PAGE.write_text(page(kept(), first), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
