"""The policy that a command's options ask for, held against the scores."""

from __future__ import annotations

from collections.abc import Sequence

from spectrum_tui.core.config import read_config
from spectrum_tui.core.errors import InputError
from spectrum_tui.core.memory.presets import Training
from spectrum_tui.core.memory.ways import parse_way
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.recipes.choice import Tiers
from spectrum_tui.core.results.policy import Policy, policy_of
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.settings import Settings
from spectrum_tui.core.text import safe
from spectrum_tui.stdio.streams import say

_MOST_SHOWN = 3


def policy_for(settings: Settings, selection: Selection, tiers: Tiers = Tiers()) -> Policy:  # noqa: B008 - frozen
    """Return the policy, its budget filled; raises SpectrumError for one that these scores do not
    allow. Layers of a recipe's policy that are not here are said."""
    from spectrum_tui.core.memory.budget import filled  # later: a scan needs no estimates

    policy = policy_of(settings)
    way_of(settings, tiers)  # said also where no budget needs it
    tell_unmatched(selection.unknown(policy), settings)
    selection.check_blocks(policy)
    return filled(policy, selection, tiers)


def way_of(settings: Settings, tiers: Tiers) -> Training:
    """Return how to train; raises InputError, which names the user's config.toml where that says
    it."""
    try:
        return parse_way(settings.way, tiers)
    except InputError as exc:
        error = InputError(f"way: {exc.message}", exc.hint, field="way")
        blamed = read_config().blamed(error, settings)
        raise (exc if blamed is error else blamed) from None


def tell_unmatched(patterns: Sequence[str], settings: Settings) -> None:
    """Say which patterns match nothing; raises InputError unless they come from a recipe, which
    may be of another model of the family."""
    if not patterns:
        return
    shown = ", ".join(safe(pattern) for pattern in patterns[:_MOST_SHOWN])
    more = ", …" if len(patterns) > _MOST_SHOWN else ""
    if not settings.policy:
        raise InputError(
            f"No layer or type here is called {shown}{more}.",
            "Give names or shell patterns of what is scored: --pin 'model.layers.3.*', "
            "--type-percent 'mlp.*=40'.",
            field="policy",
        )
    count = counted(len(patterns), "choice of the policy matches", "choices of the policy match")
    say(f"note: {count} nothing here: {shown}{more}")
