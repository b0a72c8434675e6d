"""`spectrum-tui yaml`: the YAML of saved scores, on stdout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spectrum_tui.arguments import (
    PROGRAM,
    Parser,
    add_embeddings_option,
    add_metric_option,
    add_missing_option,
    add_percent_option,
    add_sizes_option,
)
from spectrum_tui.commands.output import put, say, say_too_small
from spectrum_tui.commands.scores import load_scores
from spectrum_tui.core.files import write_text
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.recipes.kinds import DEFAULT_KIND
from spectrum_tui.core.recipes.writing import drafted
from spectrum_tui.core.selection import Selection
from spectrum_tui.settings import parse_metric, parse_percent


def run(arguments: Sequence[str]) -> int:
    """Write the YAML; returns the exit code, raises SpectrumError."""
    options = make_parser().parse_args(arguments)
    percent, metric = parse_percent(options.top_percent), parse_metric(options.metric)
    choice = Choice(
        Selection(load_scores(options).with_metric(metric)),
        percent,
        head=not options.no_embeddings,
        allow_missing=options.allow_missing,
    )
    text = drafted(DEFAULT_KIND, choice)[0].text
    say_too_small(choice.selection, percent)
    if options.output is None:
        put(text)
    else:
        write_text(Path(options.output), text)
        say(f"wrote {options.output}")
    return 0


def make_parser() -> Parser:
    """The options of this command."""
    parser = Parser(
        prog=f"{PROGRAM} yaml",
        description="Write the unfrozen_parameters YAML of saved scores.",
    )
    parser.add_argument("results", metavar="RESULTS.json", help="a saved score file")
    add_percent_option(parser)
    add_metric_option(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="write here instead of to stdout")
    add_embeddings_option(parser)
    add_missing_option(parser)
    add_sizes_option(parser)
    return parser
