"""`spectrum-tui compare A.json B.json`: how two rankings differ, as a table or as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from spectrum_tui.cli.choosing import policy_for
from spectrum_tui.cli.options import Parser, add_options, settings_of
from spectrum_tui.cli.output import aligned
from spectrum_tui.core.comparison.as_json import as_data
from spectrum_tui.core.comparison.compare import (
    Agreement,
    Comparison,
    change_text,
    compare,
    file_names,
    notes,
    rank_text,
    rho_text,
    share_text,
)
from spectrum_tui.core.files import output_folder
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.recipes.policy_line import read_policy
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.saved.library import record
from spectrum_tui.core.saved.steps import moves_at
from spectrum_tui.core.saved.store import load_result
from spectrum_tui.core.scoring.metrics import described
from spectrum_tui.core.settings import POLICY_OPTIONS, Settings
from spectrum_tui.core.text import safe
from spectrum_tui.stdio.streams import PROGRAM, put_json, put_lines

Policies = tuple[Policy, Policy]
"""What selects in A, and what in B."""
MOVES = 10
"""How many of the largest moves the table ends with."""


def run(arguments: list[str]) -> int:
    """Print the comparison of two score files on stdout; raises SpectrumError."""
    options = make_parser().parse_args(arguments)
    settings = settings_of(options)
    paths = Path(options.a), Path(options.b)
    a, b = map(load_result, paths)
    comparison = compare(a, b, settings.metric)
    for result, path in zip((a, b), paths, strict=True):
        record(result, path)
    policies = _policies(comparison, settings, options.policy_b)
    if options.json:
        put_json(as_data(comparison, *policies))
    else:
        put_lines(_lines(comparison, policies))
    return 0


def _policies(comparison: Comparison, settings: Settings, file_b: str) -> Policies:
    """Return what selects in A and in B: the same, unless B has a recipe of its own."""
    a, b = comparison.selections
    policy = policy_for(settings, a)
    if not file_b:
        return policy, policy_for(settings, b)
    of_b = Settings(**read_policy(output_folder(file_b)))
    return policy, policy_for(replace(of_b, policy=file_b), b)


def make_parser() -> Parser:
    """Return the options of this command."""
    parser = Parser(
        prog=f"{PROGRAM} compare",
        description="Compare two score files: rank changes, and how far the selections agree.",
    )
    parser.add_argument("a", metavar="A.json", help="a saved score file")
    parser.add_argument("b", metavar="B.json", help="another saved score file")
    add_options(parser, *POLICY_OPTIONS, "policy")
    parser.add_argument(
        "--policy-b", metavar="FILE", default="", help="choose in B as this recipe did (as in A)"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    return parser


def _lines(comparison: Comparison, policies: Policies) -> Iterator[str]:
    results = (comparison.a, comparison.b)
    same = len({result.provenance.model for result in results}) == 1
    for label, result, file in zip("AB", results, file_names(comparison), strict=True):
        layers = counted(len(result.scores), "layer")
        where = f", {safe(file)}" if same else ""
        yield f"{label}  {safe(result.provenance.model)}, {layers}{where}"
        if moves := moves_at(Path(result.source)):
            yield f"   adapters at that step: {moves}"
    words = described(comparison.a.scores.metric).words
    yield f"Ranked by {words}; compared are {_compared(policies)}."
    yield from notes(comparison)
    yield ""
    yield from aligned(list(_table(comparison, policies)))
    yield ""
    yield from _moved(comparison, policies)


def _compared(policies: Policies) -> str:
    a, b = (safe(policy.words) for policy in policies)
    return a if a == b else f"{a} in A with {b} in B"


def _table(comparison: Comparison, policies: Policies) -> Iterator[tuple[str, ...]]:
    yield ("type", "in both", "only A", "only B", "Spearman", "top A", "top B", "shared", "Jaccard")
    agreements = comparison.at(*policies)
    for kind, agreement in zip(comparison.types, agreements, strict=True):
        counts = (kind.common, kind.only_a, kind.only_b)
        agreed = _agreed(agreement, agreement.jaccard if kind.common else math.nan)
        yield (safe(kind.name), *map(str, counts), rho_text(kind.rho), *agreed)
    types = [kind for kind in comparison.types if kind.common]
    counts = (len(comparison.pairs), sum(k.only_a for k in types), sum(k.only_b for k in types))
    whole = comparison.whole(*policies)
    agreed = _agreed(whole, whole.jaccard)
    yield ("all types in both", *(f"{n:,}" for n in counts), rho_text(comparison.rho), *agreed)


def _agreed(agreement: Agreement, jaccard: float) -> tuple[str, ...]:
    counts = (agreement.a, agreement.b, agreement.shared)
    return (*(f"{n:,}" for n in counts), share_text(jaccard))


def _moved(comparison: Comparison, policies: Policies) -> Iterator[str]:
    moves = comparison.moves
    if not moves:
        yield "No layer changed rank."
        return
    shown = moves[:MOVES]
    yield f"Layers that changed rank: {len(moves):,}. The largest changes, from A to B:"
    mask_a, mask_b = comparison.masks(*policies)
    for move in shown:
        ranks = f"{rank_text(move.rank_a)} → {rank_text(move.rank_b)} of {move.of}"
        change = change_text(bool(mask_a[move.row_a]), bool(mask_b[move.row_b]))
        layer = safe(comparison.a.scores.layers[move.row_a])
        yield f"  {ranks:<18}{change:<9}{layer}"
