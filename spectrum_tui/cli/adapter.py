"""`spectrum-tui adapter FOLDER`: the ranks that an adapter uses, and what its updates weigh."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spectrum_tui.cli.options import Parser
from spectrum_tui.cli.output import aligned
from spectrum_tui.cli.status_line import StatusLine
from spectrum_tui.core.errors import SpectrumError
from spectrum_tui.core.numbers import counted, finite, part_of, percent, three_digits
from spectrum_tui.core.text import safe
from spectrum_tui.stdio.streams import PROGRAM, put_json, put_lines

if TYPE_CHECKING:
    from spectrum_tui.core.adapters.folder import Adapter
    from spectrum_tui.core.adapters.targets import Update
    from spectrum_tui.core.adapters.usage import LayerUse, TypeUse
    from spectrum_tui.core.naming.parameters import ParameterPlan

_TITLES = ("rank", "stable", "effective", "suggested", "update", "of weight")


@dataclass(frozen=True, kw_only=True)
class _Report:
    adapter: Adapter
    layers: list[LayerUse]
    notes: list[str]


def run(arguments: Sequence[str]) -> int:
    """Print what an adapter has learned on stdout; raises SpectrumError."""
    from spectrum_tui.core.adapters.folder import read_adapter

    options = make_parser().parse_args(arguments)
    adapter = read_adapter(options.adapter)
    report = _report(adapter, options.base, options.revision)
    if options.json:
        put_json(_as_data(report))
    else:
        put_lines(_lines(report))
    return 0


def make_parser() -> Parser:
    """Return the options of this command."""
    parser = Parser(
        prog=f"{PROGRAM} adapter",
        description="Show how much of its ranks an adapter uses, what each update weighs against "
        "its weight, which layers learned nothing, and the ranks that would fit.",
    )
    add = parser.add_argument
    add("adapter", metavar="ADAPTER", help="a folder with adapter_config.json")
    add(
        "--base",
        metavar="MODEL",
        default="",
        help="its base, a folder or a cached id (what the configuration says, if it is here)",
    )
    add("--revision", metavar="R", default="", help="commit, branch or tag of the base")
    add("--json", action="store_true", help="print everything as JSON, with a rank_pattern")
    return parser


def _report(adapter: Adapter, base: str, revision: str) -> _Report:
    from spectrum_tui.core.adapters.usage import uses

    updates, plan, notes = _updates(adapter, base, revision)
    line = StatusLine()
    layers = []
    try:
        for use in uses(updates, plan):
            layers.append(use)
            if line.is_due():
                line.show(part_of(len(layers), len(updates), "adapter"))
    finally:
        line.clear()
    if adapter.config.dora:
        notes.append("DoRA also scales each output; measured is s·B·A alone.")
    return _Report(adapter=adapter, layers=layers, notes=notes)


def _updates(
    adapter: Adapter, base: str, revision: str
) -> tuple[list[Update], ParameterPlan | None, list[str]]:
    """Return the updates, the base's parameters if it is at hand, and what is to be said of it."""
    from spectrum_tui.core.adapters.targets import updates_of
    from spectrum_tui.core.adapters.usage import updates_alone

    try:
        plan = _plan(base or adapter.config.base, revision or adapter.config.revision)
        return updates_of(adapter, plan), plan, []
    except SpectrumError as exc:
        if base:
            raise
        updates, unclear = updates_alone(adapter)
        notes = [f"Without the base there are no shares of weights: {exc.message}"]
        if unclear:
            modules = counted(len(unclear), "module")
            notes.append(f"Left out without the base: {modules}, first {unclear[0]}.")
        return updates, None, notes


def _plan(model: str, revision: str) -> ParameterPlan:
    """Return the parameters of a base on this machine; raises SpectrumError where it is not."""
    from spectrum_tui.core.errors import CheckpointError
    from spectrum_tui.core.hub.cache import find_local
    from spectrum_tui.core.model.inspection import exact_plan, inspect_model
    from spectrum_tui.core.model.named import local_folder

    if model and local_folder(model) is None and find_local(model, revision) is None:
        raise CheckpointError(
            f"{model} is not on this machine.", "Download it, or give it: --base MODEL."
        )
    return exact_plan(inspect_model(model, revision))[1]


# -- as text ---------------------------------------------------------------------------------


def _lines(report: _Report) -> Iterator[str]:
    from spectrum_tui.core.adapters.usage import by_type

    config, layers = report.adapter.config, report.layers
    of = f" of {safe(config.base)}" if config.base else ""
    whole = len(report.adapter.whole)
    besides = f", {counted(whole, 'tensor')} trained whole" if whole else ""
    yield f"{safe(report.adapter.folder.name)}: {counted(len(layers), 'adapter')}{of}{besides}"
    yield from (f"note: {safe(note)}" for note in report.notes)
    if not layers:
        return
    yield ""
    yield from aligned([("layer", *_TITLES), *map(_row, layers)])
    yield ""
    yield from aligned([("type", "layers", *_TITLES, "idle"), *map(_type_row, by_type(layers))])
    yield ""
    yield "suggested: the least rank that holds 99 % of the squared singular values of s·B·A"
    yield from _advice(report)


def _row(use: LayerUse) -> tuple[str, ...]:
    rank = f"{use.experts} × {use.rank}" if use.experts else str(use.rank)
    if use.idle:
        return (safe(use.layer), rank, "–", "–", "–", "0", "idle")
    ranks = (f"{use.stable:.1f}", f"{use.effective:.1f}", str(use.suggested))
    return (safe(use.layer), rank, *ranks, _norm(use.norm), _share(use.share))


def _type_row(use: TypeUse) -> tuple[str, ...]:
    least, most = use.ranks
    rank = str(most) if least == most else f"{least}–{most}"
    ranks = (f"{use.stable:.1f}", f"{use.effective:.1f}", f"≤ {use.suggested}")
    weighs = (_norm(use.norm), _share(use.share), f"{use.idle:,}")
    return (safe(use.type), f"{use.layers:,}", rank, *ranks, *weighs)


def _norm(value: float) -> str:
    return three_digits(value) if 0.01 <= value < 1e6 or not value else f"{value:.1e}"


def _share(value: float) -> str:
    return percent(value) if finite(value) is not None else "–"


def _advice(report: _Report) -> Iterator[str]:
    from spectrum_tui.core.adapters.usage import saved_share

    layers = report.layers
    idle = [use for use in layers if use.idle]
    lower = [use for use in layers if not use.idle and use.suggested < use.rank]
    if idle:
        learned = part_of(len(idle), len(layers), "layer")
        yield f"{learned} learned nothing (B is zero), first {safe(idle[0].layer)}: leave them out."
    if lower:
        yield (
            f"{part_of(len(lower), len(layers), 'layer', 'uses', 'use')} less than the rank given; "
            f"ranks that fit would save {percent(saved_share(layers))} of the adapter: take "
            "rank_pattern and alpha_pattern from --json."
        )
    elif not idle:
        yield "Every layer uses its whole rank: a higher one may learn more."


# -- as JSON ---------------------------------------------------------------------------------


def _as_data(report: _Report) -> dict[str, Any]:
    from spectrum_tui.core.adapters.usage import KEPT, by_type, fitting, saved_share

    config = report.adapter.config
    ranks, alphas = fitting(report.layers, config)
    return {
        "adapter": str(report.adapter.folder),
        "base": config.base,
        "revision": config.revision,
        "notes": report.notes,
        "kept_of_squared_singular_values": KEPT,
        "layers": [_layer_data(use) for use in report.layers],
        "types": [_type_data(use) for use in by_type(report.layers)],
        "idle": [use.layer for use in report.layers if use.idle],
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
        "saved_share": finite(saved_share(report.layers)),
    }


def _layer_data(use: LayerUse) -> dict[str, Any]:
    return {
        "layer": use.layer,
        "type": use.type,
        "rank": use.rank,
        "experts": use.experts,
        "scale": use.scale,
        "stable_rank": use.stable,
        "effective_rank": use.effective,
        "suggested_rank": use.suggested,
        "update_norm": use.norm,
        "weight_norm": use.weight,
        "share": finite(use.share),
    }


def _type_data(use: TypeUse) -> dict[str, Any]:
    return {
        "type": use.type,
        "layers": use.layers,
        "ranks": list(use.ranks),
        "stable_rank": use.stable,
        "effective_rank": use.effective,
        "suggested_rank": use.suggested,
        "update_norm": use.norm,
        "share": finite(use.share),
        "idle": use.idle,
    }
