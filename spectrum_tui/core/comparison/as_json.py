"""A comparison as plain data, for other programs: what `spectrum-tui compare --json` prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spectrum_tui.core.comparison.compare import Agreement, Comparison, Move
from spectrum_tui.core.numbers import finite
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import BoolArray, Result
from spectrum_tui.core.saved.steps import moves_at


def as_data(comparison: Comparison, policy: Policy, other: Policy | None = None) -> dict[str, Any]:
    """Everything by a policy, of b by the `other` one; a rho or an index that says nothing is
    null."""
    agreements, masks = comparison.at(policy, other), comparison.masks(policy, other)
    return {
        "a": _source(comparison.a),
        "b": _source(comparison.b),
        "metric": comparison.a.scores.metric,
        "top_percent": policy.percent,
        "matched_under_another_name": comparison.pairs.renamed,
        "types_in_both": {
            "in_common": len(comparison.pairs),
            "only_a": sum(kind.only_a for kind in comparison.types if kind.common),
            "only_b": sum(kind.only_b for kind in comparison.types if kind.common),
            "spearman": finite(comparison.rho),
            **_agreement(comparison.whole(policy, other)),
        },
        "types": [
            {
                "type": kind.name,
                "in_common": kind.common,
                "only_a": kind.only_a,
                "only_b": kind.only_b,
                "spearman": finite(kind.rho),
                **_agreement(agreement),
            }
            for kind, agreement in zip(comparison.types, agreements, strict=True)
        ],
        "moves": [_move(comparison, move, *masks) for move in comparison.moves],
    }


def _source(result: Result) -> dict[str, Any]:
    origin = result.provenance
    moves = moves_at(Path(result.source))
    return {
        "file": result.source,
        "model": origin.model,
        "revision": origin.revision,
        "layers": len(result.scores),
        **({"adapters": moves} if moves else {}),
    }


def _agreement(agreement: Agreement) -> dict[str, Any]:
    return {
        "selected_a": agreement.a,
        "selected_b": agreement.b,
        "shared": agreement.shared,
        "jaccard": finite(agreement.jaccard),
    }


def _move(
    comparison: Comparison, move: Move, mask_a: BoolArray, mask_b: BoolArray
) -> dict[str, Any]:
    return {
        "layer": comparison.a.scores.layers[move.row_a],
        "layer_b": comparison.b.scores.layers[move.row_b],
        "type": move.type,
        "rank_a": move.rank_a,
        "rank_b": move.rank_b,
        "of": move.of,
        "selected_a": bool(mask_a[move.row_a]),
        "selected_b": bool(mask_b[move.row_b]),
    }
