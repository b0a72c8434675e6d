"""The options of adapter recipes: where the medium tier ends, and the ranks."""

from __future__ import annotations

import argparse

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.recipes.choice import RecipeKind, Tiers
from spectrum_tui.core.recipes.kinds import KINDS
from spectrum_tui.core.settings import whole_number

LARGEST_RANK = 65536
"""More than the inputs of any linear module."""
_DEFAULT = Tiers()


def add_tier_options(parser: argparse.ArgumentParser) -> None:
    """`--medium-percent P`, `--high-rank R`, `--medium-rank R`."""
    group = parser.add_argument_group("adapters", "what the peft recipes give to which layers")
    group.add_argument(
        "--medium-percent",
        metavar="P",
        help="where the medium tier ends, counted from the top (50, or half-way from there up)",
    )
    group.add_argument(
        "--high-rank",
        metavar="R",
        help=f"LoRA's rank on the layers of --top-percent ({_DEFAULT.high_rank})",
    )
    group.add_argument(
        "--medium-rank",
        metavar="R",
        help=f"LoRA's rank on the medium tier ({_DEFAULT.medium_rank})",
    )


def parse_tiers(options: argparse.Namespace, kind: RecipeKind, percent: int) -> Tiers:
    """The tiers that were asked for; raises InputError for what the kind has no use for."""
    for option in ("high_rank", "medium_percent", "medium_rank"):
        if getattr(options, option) is not None and option not in kind.options:
            able = ", ".join(one.name for one in KINDS if option in one.options)
            name = f"--{option.replace('_', '-')}"
            raise InputError(f"{name} is not for {kind.name}.", f"It is for {able}.", field="tiers")
    return Tiers(
        _medium_percent(options.medium_percent, percent),
        _rank(options.high_rank, "--high-rank", _DEFAULT.high_rank),
        _rank(options.medium_rank, "--medium-rank", _DEFAULT.medium_rank),
    )


def _medium_percent(given: str | None, percent: int) -> int | None:
    if given is None:
        return None
    text = given.strip().removesuffix("%")
    return whole_number(
        text, percent, 100, "medium_percent", "--medium-percent", f"{percent} to 100"
    )


def _rank(given: str | None, option: str, default: int) -> int:
    if given is None:
        return default
    return whole_number(given, 1, LARGEST_RANK, "rank", option, f"1 to {LARGEST_RANK}")
