"""`spectrum-tui export`: saved scores as any kind of recipe, to stdout or into files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from spectrum_tui.cli.options import (
    Parser,
    add_embeddings_option,
    add_metric_option,
    add_missing_option,
    add_percent_option,
    add_sizes_option,
)
from spectrum_tui.cli.output import say_frozen, say_too_small
from spectrum_tui.cli.scores import load_scores
from spectrum_tui.cli.tier_options import add_tier_options, parse_tiers
from spectrum_tui.core.errors import InputError, OutputError
from spectrum_tui.core.files import write_text
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.recipes.choice import Choice, RecipeFile, RecipeKind
from spectrum_tui.core.recipes.kinds import DEFAULT_KIND, KINDS, kind_named
from spectrum_tui.core.recipes.writing import drafted
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.settings import parse_metric, parse_percent
from spectrum_tui.stdio.streams import PROGRAM, put, say


def run(arguments: Sequence[str]) -> int:
    """Write a recipe; returns the exit code, raises SpectrumError."""
    return write(make_parser().parse_args(arguments))


def write(options: argparse.Namespace) -> int:
    """Write what these options ask for, as `run`."""
    kind = kind_named(options.kind)
    choice = _choice(options, kind)
    files = drafted(kind, choice)
    say_too_small(kind.ranked(choice).selection, choice.percent)
    if kind is DEFAULT_KIND:
        say_frozen(choice)
    if options.output is None:
        _print(files)
    else:
        _write(files, Path(options.output))
    return 0


def _choice(options: argparse.Namespace, kind: RecipeKind) -> Choice:
    """What is asked for; raises SpectrumError where it is not to be had."""
    percent, metric = parse_percent(options.top_percent), parse_metric(options.metric)
    if options.experts and not kind.experts:
        able = ", ".join(k.name for k in KINDS if k.experts)
        raise InputError(
            f"--experts is not for {kind.name}, which names whole parameters.",
            f"It is for {able}.",
            field="experts",
        )
    ranked = load_scores(options).with_metric(metric)
    head = not options.no_embeddings
    tiers = parse_tiers(options, kind, percent)
    return Choice(
        Selection(ranked),
        percent,
        head,
        tiers,
        experts=options.experts,
        allow_missing=options.allow_missing,
    )


def _print(files: Sequence[RecipeFile]) -> None:
    put(files[0].text)
    if len(files) > 1:
        further = counted(len(files) - 1, "more file belongs", "more files belong")
        say(f"{further} to it: -o FILE writes them together")


def _write(files: Sequence[RecipeFile], first: Path) -> None:
    """The first file last, so that it is there only if all went well.

    Of several, one finds the other by its name, so that name must end as it is meant to.
    """
    ending = Path(files[0].ending).suffix
    if len(files) > 1 and first.suffix != ending:
        raise OutputError(
            f"{first} must end in {ending}: another file beside it looks for that.",
            f"Give -o {first.stem}{ending}.",
        )
    paths = [first, *(first.with_suffix(Path(file.ending).suffix) for file in files[1:])]
    for path, file in reversed(list(zip(paths, files, strict=True))):
        write_text(path, file.text)
    for path in paths:
        say(f"wrote {path}")


def make_parser() -> argparse.ArgumentParser:
    """The options of this command."""
    width = max(len(kind.name) for kind in KINDS)
    kinds = "\n".join(f"  {kind.name:<{width}}  {kind.purpose}" for kind in KINDS)
    parser = Parser(
        prog=f"{PROGRAM} export",
        description="Write saved scores as a recipe that a trainer reads.",
        epilog=f"kinds:\n{kinds}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add_options(parser)
    add(
        "--as",
        dest="kind",
        default=DEFAULT_KIND.name,
        metavar="KIND",
        help=f"what to write, one of those below ({DEFAULT_KIND.name})",
    )
    able = ", ".join(kind.name for kind in KINDS if kind.experts)
    add(
        "--experts",
        action="store_true",
        help=f"the best experts of each fused parameter, not whole parameters ({able})",
    )
    add_tier_options(parser)
    return parser


def add_options(parser: argparse.ArgumentParser) -> None:
    """What every kind of recipe is made of, and where it goes."""
    add = parser.add_argument
    add("results", metavar="RESULTS.json", help="a saved score file")
    add_percent_option(parser)
    add_metric_option(parser)
    add_embeddings_option(parser)
    add_missing_option(parser)
    add_sizes_option(parser)
    add(
        "-o",
        "--output",
        metavar="FILE",
        help="write here instead of to stdout; further files of the kind lie beside it",
    )
