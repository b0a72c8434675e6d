"""What a method trains with a seed: the names of parameters, or the files of a recipe."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.memory.budget import filled
from spectrum_tui.core.proof.methods import ADAPTERS, OTHERS, Method
from spectrum_tui.core.proof.rows import Row
from spectrum_tui.core.recipes.choice import Choice, Tiers
from spectrum_tui.core.recipes.kinds import kind_named
from spectrum_tui.core.recipes.policy_line import read_policy
from spectrum_tui.core.recipes.spectrum import named
from spectrum_tui.core.recipes.writing import drafted
from spectrum_tui.core.results.policy import Policy, policy_of
from spectrum_tui.core.results.results import IntArray
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.settings import Settings


def drawn(
    method: Method,
    selection: Selection,
    *,
    seed: int,
    rate: float,
    steps: int,
    embeddings: bool = True,
) -> Row:
    """Return the row of a method with a seed and a rate; raises SpectrumError where these scores
    do not allow the method."""
    files = recipe_files(method, selection, embeddings=embeddings) if method.adapts else ()
    names = () if method.adapts else chosen(method, selection, seed, embeddings=embeddings)
    return Row(
        method=method.text,
        seed=seed,
        rate=rate,
        steps=steps,
        names=names,
        files=files,
    )


def chosen(
    method: Method, selection: Selection, seed: int, *, embeddings: bool = True
) -> tuple[str, ...]:
    """Return the parameters that a method trains with a seed, none for all of them.

    `embeddings` says whether embeddings and heads train, of every method alike. Raises
    SelectionError where no layer is chosen, RecipeError for a policy that cannot be read,
    ResultsError for a metric that these scores do not hold.
    """
    if method.kind == "full":
        return ()
    ranking, policy = ranked(method, selection, embeddings=embeddings)
    if not ranking.selects_any(policy):
        least = ranking.smallest_percent(policy)
        raise SelectionError(
            f"{method.text} trains no layer.",
            f"The smallest percentage that selects one here is {least:g} %."
            if least <= 100
            else "Its layers have no score, or the policy leaves none.",
            field="methods",
        )
    if method.kind in OTHERS:
        rows = other_rows(method, ranking, policy, seed)
        parameters = ranking.result.scores.parameters
        heads = [head.name for head in ranking.heads(policy)]
        names = [*heads, *(n for row in rows for n in parameters[row])]
    else:
        names = named(ranking, policy)
    # What another task has put on the model is not there where it learns language.
    others = {head.name for head in ranking.result.task_head}
    return tuple(name for name in dict.fromkeys(names) if name not in others)


def ranked(method: Method, selection: Selection, *, embeddings: bool) -> tuple[Selection, Policy]:
    """Return the ranking that a method goes by, and the policy; of those in `OTHERS` that of
    `top`."""
    if method.kind == "policy":
        settings = replace(Settings(), **read_policy(Path(method.file)))
        ranking = _by_metric(selection, settings.metric)
        policy = filled(policy_of(settings), ranking, Tiers())
        return ranking, replace(policy, embeddings=embeddings)
    policy = Policy(percent=method.percent, embeddings=embeddings)
    return _by_metric(selection, method.metric), policy


def _by_metric(selection: Selection, metric: str) -> Selection:
    result = selection.result.with_metric(metric)
    return selection if result is selection.result else Selection(result, selection)


def other_rows(method: Method, selection: Selection, policy: Policy, seed: int) -> list[int]:
    """Return rows in place of the best ones: as many of each type; rows of embeddings stay."""
    scores, mask = selection.result.scores, selection.mask(policy)
    free = (selection.rank > 0) & ~selection.in_embeddings
    rows = np.flatnonzero(mask & selection.in_embeddings).tolist()
    sizes = scores.numel if method.is_random else np.zeros(len(scores), np.int64)
    groups = dict.fromkeys(zip(scores.type_ids[free].tolist(), sizes[free].tolist(), strict=True))
    for kind, numel in groups:
        members = np.flatnonzero(free & (scores.type_ids == kind) & (sizes == numel))
        order = (
            _order(len(members), seed, f"{scores.type_names[kind]} {numel}")
            if method.is_random
            else np.argsort(-selection.rank[members], kind="stable")
        )
        rows += members[order[: int(mask[members].sum())]].tolist()
    return sorted(rows)


def _order(count: int, seed: int, name: str) -> IntArray:
    """Return 0 to `count` in an order that a seed and a name decide.

    Sorted by what the bit generator gives: NumPy keeps that stream the same from release to
    release (NEP 19), but not what `Generator` makes of it.
    """
    start = int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest())
    raw = np.random.PCG64(start).random_raw(count)
    return np.asarray(np.argsort(raw, kind="stable"), np.int64)


def recipe_choice(method: Method, selection: Selection, *, embeddings: bool) -> Choice:
    """Return which layers get the adapters of a method, ranked as its kind of recipe ranks."""
    policy = Policy(percent=method.percent, embeddings=embeddings)
    choice = Choice(selection=selection, policy=policy, allow_missing=True)
    return kind_named(ADAPTERS[method.kind]).ranked(choice)


def recipe_files(
    method: Method, selection: Selection, *, embeddings: bool = True
) -> tuple[tuple[str, str], ...]:
    """Return (name, text) of the recipe that trains the adapters, the Python file last: what
    `export` writes, under names by which one finds the other. Raises SelectionError."""
    choice = recipe_choice(method, selection, embeddings=embeddings)
    files = drafted(kind_named(ADAPTERS[method.kind]), choice)
    return tuple((f"recipe{Path(file.ending).suffix}", file.text) for file in files)
