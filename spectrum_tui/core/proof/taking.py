"""What a method trains as a choice of layers, to go on with it where layers are chosen."""

from __future__ import annotations

from dataclasses import dataclass

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.proof.draw import other_rows, ranked, recipe_choice
from spectrum_tui.core.proof.methods import ADAPTERS, OTHERS, Method
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.selection import Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Layers ranked by a `metric` and chosen by a `policy`, for a `kind` of recipe, "" for any."""

    metric: str
    policy: Policy
    kind: str = ""


def taken(method: Method, selection: Selection, *, embeddings: bool) -> Taken:
    """Return the choice of a method; layers that no ranking gives are pinned, of a random draw
    those of seed 0. Raises SelectionError for `full`, and what a policy that is read raises."""
    if method.kind == "full":
        raise SelectionError(
            "full trains every parameter: that is no selection.", "Take another row.",
            field="methods",
        )  # fmt: skip
    if method.adapts:
        choice = recipe_choice(method, selection, embeddings=embeddings)
        metric = choice.selection.result.scores.metric
        return Taken(metric=metric, policy=choice.policy, kind=ADAPTERS[method.kind])
    ranking, policy = ranked(method, selection, embeddings=embeddings)
    scores = ranking.result.scores
    if method.kind in OTHERS:
        pins = tuple(scores.layers[row] for row in other_rows(method, ranking, policy, seed=0))
        nothing = (("*", 0.0),)
        policy = Policy(
            percent=policy.percent, embeddings=embeddings, type_percents=nothing, pins=pins
        )
    return Taken(metric=scores.metric, policy=policy)
