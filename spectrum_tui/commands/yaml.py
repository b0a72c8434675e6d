"""`spectrum-tui yaml`: the YAML of saved scores, on stdout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spectrum_tui.arguments import (
    PROGRAM,
    Parser,
    add_embeddings_option,
    add_metric_option,
    add_percent_option,
    add_sizes_option,
)
from spectrum_tui.settings import parse_metric, parse_percent


def run(arguments: Sequence[str]) -> int:
    """Write the YAML; returns the exit code, raises SpectrumError."""
    options = make_parser().parse_args(arguments)
    from spectrum_tui.headless import run_yaml_command

    return run_yaml_command(
        Path(options.results),
        parse_percent(options.top_percent),
        output=options.output,
        head=not options.no_embeddings,
        metric=parse_metric(options.metric),
        sizes_from=options.sizes_from,
    )


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
    add_sizes_option(parser)
    return parser
