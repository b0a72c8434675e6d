"""`spectrum-tui memory`: what a selection takes to train under every preset, and what fits."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from spectrum_tui.cli.choosing import policy_for, way_of
from spectrum_tui.cli.options import Parser, add_options, settings_of
from spectrum_tui.cli.output import aligned
from spectrum_tui.cli.scores import load_scores
from spectrum_tui.core import numbers
from spectrum_tui.core.errors import ResultsError
from spectrum_tui.core.memory.estimate import ASSUMPTIONS, Estimate, MemoryTable
from spectrum_tui.core.memory.fit import Fit, fit
from spectrum_tui.core.memory.model import NO_SIZES, ModelSizes
from spectrum_tui.core.memory.presets import (
    PRESETS,
    SHARDINGS,
    Preset,
    Training,
    parse_batch,
    parse_gpus,
    parse_sequence,
    preset_named,
    sharding_named,
)
from spectrum_tui.core.memory.savings import savings
from spectrum_tui.core.policy_values import parse_memory
from spectrum_tui.core.recipes.choice import Tiers
from spectrum_tui.core.recipes.policy_line import OPENING, policy_line
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.settings import POLICY_OPTIONS, Settings
from spectrum_tui.core.text import safe
from spectrum_tui.stdio.streams import PROGRAM, put_json, put_lines

NO_SIZES_HINT = "Name the model they belong to: --sizes-from MODEL, a folder or a cached id."
_PARSERS: dict[str, Callable[[str], Any]] = {
    "preset": preset_named,
    "gpus": parse_gpus,
    "sharding": sharding_named,
    "batch": parse_batch,
    "sequence": parse_sequence,
}
_TITLES = ("", "weights", "gradients", "optimizer", "static", "activations", "sum")


@dataclass(frozen=True, eq=False, kw_only=True)
class _Question:
    result: Result
    table: MemoryTable
    selection: Selection
    training: Training
    policy: Policy


def run(arguments: Sequence[str]) -> int:
    """Print the estimates on stdout; 1 where `--fit` finds nothing, raises SpectrumError."""
    options = make_parser().parse_args(arguments)
    settings = settings_of(options)
    size = settings.card if options.fit is None else options.fit
    limit = parse_memory(size) if size or options.fit is not None else None
    asked = _question(options, settings)
    answer = None if limit is None else _fit(asked, limit)
    if options.fit is not None and answer is not None and answer.percent:
        policy = replace(asked.policy.without_budget(), percent=answer.percent)
        asked = replace(asked, policy=policy)
    if options.json:
        put_json(_as_data(asked, answer))
    else:
        put_lines(_lines(asked, answer))
    return 1 if options.fit is not None and answer is not None and not answer.percent else 0


def _training(options: argparse.Namespace, settings: Settings) -> Training:
    """Return how to train: `--way`, and what other options say of it."""
    training = way_of(settings, Tiers())
    typed = {name: getattr(options, name) for name in _PARSERS}
    said = {name: _PARSERS[name](text) for name, text in typed.items() if text is not None}
    if options.no_checkpointing:
        said["checkpointing"] = False
    return replace(training, **said)


def _question(options: argparse.Namespace, settings: Settings) -> _Question:
    training = _training(options, settings)
    result = load_scores(options, settings)
    if not result.parameters:
        raise ResultsError(NO_SIZES, NO_SIZES_HINT)
    selection = Selection(result.with_metric(settings.metric))
    table = MemoryTable(selection, ModelSizes(result.parameters, result.embeddings))
    policy = policy_for(settings, selection)
    return _Question(
        result=result, table=table, selection=selection, training=training, policy=policy
    )


def _fit(asked: _Question, limit: float) -> Fit:
    return fit(asked.table, limit, asked.policy, asked.training)


def _estimates(asked: _Question) -> Iterator[tuple[str, Estimate]]:
    """(name, estimate) of every preset."""
    for preset in PRESETS:
        training = replace(asked.training, preset=preset)
        yield preset.name, asked.table.estimate(asked.policy, training)


def _lines(asked: _Question, answer: Fit | None) -> Iterator[str]:
    training, result = asked.training, asked.result
    yield f"{safe(result.provenance.model)}: {_trains(asked)}"
    yield f"an estimate {_each_gpu(training)}, {_assumed(training)}"
    yield ""
    yield from aligned([_TITLES, *(_cells(*each) for each in _estimates(asked))])
    yield ""
    yield from savings(asked.table, asked.policy, training).lines
    if answer is not None:
        yield ""
        yield f"{answer.text} ({training.preset.title})."
        yield from (f"  {way.words}: up to the top {way.percent:g} %" for way in answer.ways)
        if not (answer.percent or answer.ways):
            yield "  Nothing here makes it fit: take a smaller model, or shorter sequences."
    yield ""
    yield from (f"{preset.name:<6} {_meaning(preset)}" for preset in PRESETS)
    yield "activations, a rougher estimate:"
    yield from (f"  {text}" for text in ASSUMPTIONS)


def _trains(asked: _Question) -> str:
    trained = asked.table.estimate(asked.policy, Training()).trained
    share = numbers.percent(trained / asked.result.total_parameters)
    embeddings = "with" if asked.selection.heads(asked.policy) else "without"
    return (
        f"{asked.policy.words}, {embeddings} embeddings and head, "
        f"train {numbers.count(trained)} of {numbers.count(asked.result.total_parameters)} "
        f"parameters ({share})"
    )


def _meaning(preset: Preset) -> str:
    return ", ".join(filter(None, (preset.meaning, Training(preset=preset).ranks)))


def _each_gpu(training: Training) -> str:
    if training.gpus == 1:
        return "for one GPU"
    return f"for each of {training.gpus} GPUs, {training.sharding.meaning}"


def _assumed(training: Training) -> str:
    with_or = "with" if training.checkpointing else "without"
    return (
        f"batch {training.batch} of {training.sequence:,} tokens, {with_or} gradient checkpointing"
    )


def _cells(name: str, estimate: Estimate) -> tuple[str, ...]:
    parts = (estimate.weights, estimate.gradients, estimate.optimizer, estimate.static)
    sums = (*parts, estimate.activations, estimate.total)
    return (name, *map(numbers.size, sums))


def _as_data(asked: _Question, answer: Fit | None) -> dict[str, Any]:
    training = asked.training
    return {
        "model": asked.result.provenance.model,
        "top_percent": asked.policy.percent,
        "embeddings": bool(asked.selection.heads(asked.policy)),
        "policy": policy_line(asked.policy, asked.selection.result.scores.metric).removeprefix(
            OPENING
        ),
        "total_parameters": asked.result.total_parameters,
        "trained_parameters": asked.table.estimate(asked.policy, Training()).trained,
        "gpus": training.gpus,
        "sharding": training.divided.name,
        "batch": training.batch,
        "sequence": training.sequence,
        "gradient_checkpointing": training.checkpointing,
        "blocks": asked.table.estimate(asked.policy, training).blocks,
        "bytes_on_each_gpu": {name: _bytes(estimate) for name, estimate in _estimates(asked)},
        "fit": None if answer is None else _fit_data(answer, training),
    }


def _bytes(estimate: Estimate) -> dict[str, float]:
    return {
        **{name: round(nbytes) for name, nbytes in estimate.parts.items()},
        "sum": round(estimate.total),
        "trained_parameters": estimate.trained,
        "blocks_reached_without_checkpointing": estimate.blocks_back,
        "step_of_training_everything": round(estimate.step, 4),
    }


def _fit_data(answer: Fit, training: Training) -> dict[str, Any]:
    return {
        "bytes": round(answer.limit),
        "preset": training.preset.name,
        "top_percent": answer.percent or None,
        "needs": round(answer.needs),
        "instead": [
            {
                "what": way.words,
                "preset": way.training.preset.name,
                "gpus": way.training.gpus,
                "sharding": way.training.divided.name,
                "embeddings": way.embeddings,
                "top_percent": way.percent,
            }
            for way in answer.ways
        ],
    }


def make_parser() -> Parser:
    """Return the options of this command."""
    parser = Parser(
        prog=f"{PROGRAM} memory",
        description="Estimate the memory to train a selection: weights, gradients, optimizer "
        "state and activations, under every preset.",
    )
    add = parser.add_argument
    add("results", metavar="RESULTS.json", help="a saved score file")
    add(
        "--fit",
        metavar="GiB",
        help="find the highest percentage that fits into this much memory per GPU (24, 24GB)",
    )
    presets = ", ".join(preset.name for preset in PRESETS)
    add(
        "--preset",
        help=f"way to train that --fit assumes: {presets} ({PRESETS[0].name})",
    )
    add("--gpus", metavar="N", help="number of GPUs (1)")
    shardings = ", ".join(sharding.name for sharding in SHARDINGS)
    add(
        "--sharding",
        metavar="KIND",
        help=f"how the GPUs share the training: {shardings} (zero3)",
    )
    add("--batch", metavar="N", help="sequences per GPU at a time (1)")
    add("--sequence", metavar="N", help="tokens per sequence (2048)")
    add("--no-checkpointing", action="store_true", help="train without gradient checkpointing")
    add("--json", action="store_true", help="print JSON")
    add_options(parser, *POLICY_OPTIONS, "policy", "sizes_from")
    return parser
