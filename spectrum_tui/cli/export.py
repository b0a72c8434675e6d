"""`spectrum-tui export`: saved scores as any kind of recipe, to stdout or into files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from spectrum_tui.cli.choosing import policy_for
from spectrum_tui.cli.options import Parser, add_options, settings_of
from spectrum_tui.cli.output import say_frozen, say_too_small
from spectrum_tui.cli.scores import load_scores
from spectrum_tui.core.errors import InputError, OutputError
from spectrum_tui.core.files import output_folder, refuse_replacing, write_text
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.option import whole_number
from spectrum_tui.core.policy_values import percentage
from spectrum_tui.core.recipes.choice import Choice, RecipeFile, RecipeKind, Tiers
from spectrum_tui.core.recipes.kinds import DEFAULT_KIND, KINDS, OFFERED, kind_named
from spectrum_tui.core.recipes.writing import drafted, is_folder
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.settings import POLICY_OPTIONS
from spectrum_tui.stdio.streams import PROGRAM, put, say

LARGEST_RANK = 65536
"""More than the inputs of any linear module."""
_DEFAULT = Tiers()


def run(arguments: Sequence[str]) -> int:
    """Write a recipe; returns the exit code, raises SpectrumError."""
    return _export(make_parser().parse_args(arguments))


def run_yaml(arguments: Sequence[str]) -> int:
    """Write the YAML, as `spectrum-tui yaml`: `export --as spectrum` by another name."""
    return _export(make_yaml_parser().parse_args(arguments))


def _export(options: argparse.Namespace) -> int:
    kind = kind_named(options.kind)
    choice = _choice(options, kind)
    files = drafted(kind, choice)
    say_too_small(kind.ranked(choice).selection, choice.policy)
    if kind is DEFAULT_KIND:
        say_frozen(choice)
    if options.output is None:
        _print(files)
    else:
        paths = _paths(files, Path(options.output))
        refuse_replacing(paths, Path(options.results), "the scores that it is made from")
        if "policy" in options:
            policy = output_folder(options.policy)
            refuse_replacing(paths, policy, "the recipe that its policy is from")
        _write(files, paths)
    return 0


def _choice(options: argparse.Namespace, kind: RecipeKind) -> Choice:
    """Return what is asked for; raises SpectrumError where it is not to be had."""
    settings = settings_of(options)
    if options.experts and not kind.experts:
        able = ", ".join(k.name for k in KINDS if k.experts)
        raise InputError(
            f"--experts does not work with {kind.name}, which names whole parameters.",
            f"It is for {able}.",
            field="experts",
        )
    tiers = _tiers(options, kind, settings.top_percent)
    selection = Selection(load_scores(options, settings).with_metric(settings.metric))
    return Choice(
        selection=selection,
        policy=policy_for(settings, selection, tiers),
        tiers=tiers,
        experts=options.experts,
        allow_missing=settings.allow_missing,
    )


def _print(files: Sequence[RecipeFile]) -> None:
    put(files[0].text)
    if len(files) > 1:
        further = counted(len(files) - 1, "more file belongs", "more files belong")
        where = "FOLDER" if is_folder(files) else "FILE"
        say(f"{further} to it: -o {where} writes them together")


def _paths(files: Sequence[RecipeFile], first: Path) -> list[Path]:
    """Return where each file goes.

    Of several, one finds the other by its name, so that name must end as it is meant to. Those
    of a folder keep their names, in the folder that is given.
    """
    if is_folder(files):
        return [first / file.ending.partition("/")[2] for file in files]
    ending = Path(files[0].ending).suffix
    if len(files) > 1 and first.suffix != ending:
        raise OutputError(
            f"{first} must end in {ending}: the file beside it looks for that name.",
            f"Give -o {first.stem}{ending}.",
        )
    return [first, *(first.with_suffix(Path(file.ending).suffix) for file in files[1:])]


def _write(files: Sequence[RecipeFile], paths: Sequence[Path]) -> None:
    """Write the first file last, so that it is there only if all went well."""
    for path, file in reversed(list(zip(paths, files, strict=True))):
        write_text(path, file.text)
    if is_folder(files):
        say(f"wrote {paths[0].parent}: {counted(len(paths), 'file')}")
        return
    for path in paths:
        say(f"wrote {path}")


def make_yaml_parser() -> argparse.ArgumentParser:
    """Return what `export` takes for a kind that has no options of its own."""
    parser = Parser(
        prog=f"{PROGRAM} yaml", description="Write the unfrozen_parameters YAML of saved scores."
    )
    _add_common(parser)
    parser.set_defaults(kind=DEFAULT_KIND.name, experts=False)
    parser.set_defaults(high_rank=None, medium_rank=None, medium_percent=None)
    return parser


def make_parser() -> argparse.ArgumentParser:
    """Return the options of this command."""
    width = max(len(kind.name) for kind in OFFERED)
    kinds = "\n".join(f"  {kind.name:<{width}}  {kind.purpose}" for kind in OFFERED)
    parser = Parser(
        prog=f"{PROGRAM} export",
        description="Write saved scores as a recipe that a trainer reads, or as a table.",
        epilog=f"kinds:\n{kinds}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    _add_common(parser)
    add(
        "--as",
        dest="kind",
        default=DEFAULT_KIND.name,
        metavar="KIND",
        help=f"what to write, from the list below ({DEFAULT_KIND.name})",
    )
    able = ", ".join(kind.name for kind in KINDS if kind.experts)
    add(
        "--experts",
        action="store_true",
        help=f"write the best experts of each fused parameter, not whole parameters ({able})",
    )
    _add_tiers(parser)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    """Add what every kind of recipe is made of, and where it goes."""
    add = parser.add_argument
    add("results", metavar="RESULTS.json", help="a saved score file")
    add_options(parser, *POLICY_OPTIONS, "policy", "allow_missing", "sizes_from")
    add(
        "-o",
        "--output",
        metavar="FILE",
        help="write to this file instead of stdout; further files of the recipe go beside it. Of a "
        "training job, the folder",
    )


def _add_tiers(parser: argparse.ArgumentParser) -> None:
    """`--medium-percent P`, `--high-rank R`, `--medium-rank R`."""
    group = parser.add_argument_group("adapters", "tiers and ranks of adapters")
    group.add_argument(
        "--medium-percent",
        metavar="P",
        help=(
            "where the medium tier ends, as a percentage from the top (50; half-way to 100 if "
            "--top-percent is 50 or more)"
        ),
    )
    group.add_argument(
        "--high-rank",
        metavar="R",
        help=f"LoRA rank of the layers in --top-percent ({_DEFAULT.high_rank})",
    )
    group.add_argument(
        "--medium-rank", metavar="R", help=f"LoRA rank of the medium tier ({_DEFAULT.medium_rank})"
    )


def _tiers(options: argparse.Namespace, kind: RecipeKind, percent: float) -> Tiers:
    """Return the tiers that were asked for; raises InputError for what the kind has no use for."""
    for option in ("high_rank", "medium_percent", "medium_rank"):
        if getattr(options, option) is not None and option not in kind.options:
            able = ", ".join(one.name for one in KINDS if option in one.options)
            name = f"--{option.replace('_', '-')}"
            raise InputError(
                f"{name} does not work with {kind.name}.", f"It is for {able}.", field="tiers"
            )
    return Tiers(
        _medium_percent(options.medium_percent, percent),
        _rank(options.high_rank, "--high-rank", _DEFAULT.high_rank),
        _rank(options.medium_rank, "--medium-rank", _DEFAULT.medium_rank),
    )


def _medium_percent(given: str | None, percent: float) -> float | None:
    if given is None:
        return None
    return percentage(given, low=percent, field="medium_percent", what="--medium-percent")


def _rank(given: str | None, option: str, default: int) -> int:
    if given is None:
        return default
    return whole_number(given, 1, LARGEST_RANK, "rank", option, f"1 to {LARGEST_RANK}")
