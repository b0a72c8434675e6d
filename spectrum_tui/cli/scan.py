"""`spectrum-tui scan`: score a model without a screen."""

from __future__ import annotations

from collections.abc import Sequence

from spectrum_tui.cli.options import (
    Parser,
    add_embeddings_option,
    add_model_options,
    settings_of,
)
from spectrum_tui.core.errors import InputError
from spectrum_tui.stdio.streams import PROGRAM

FRESH = """compute the scores of these types again: the old ones stay until the new ones are there,
and those of other types for good"""


def run(arguments: Sequence[str]) -> int:
    """Scan and write the files; returns the exit code, raises SpectrumError."""
    options = make_parser().parse_args(arguments)
    settings = settings_of(options)
    if not settings.model:
        hint = "Put MODEL before --types." if options.types else f"Say {PROGRAM} scan org/name."
        raise InputError("No model is given.", hint)
    from spectrum_tui.cli.headless import run_scan_command

    return run_scan_command(
        settings,
        patterns=options.types,
        as_json=options.json,
        fresh=options.fresh,
        head=not options.no_embeddings,
    )


def make_parser() -> Parser:
    """The options of this command."""
    parser = Parser(
        prog=f"{PROGRAM} scan",
        description="Score a model without a screen; progress goes to stderr.",
    )
    add_model_options(parser)
    parser.add_argument(
        "--types",
        nargs="+",
        metavar="PATTERN",
        default=[],
        help="layer types to score, as shell patterns: 'mlp.*' (default: every type of matrices)",
    )
    parser.add_argument("--fresh", action="store_true", help=FRESH)
    parser.add_argument("--json", action="store_true", help="print the results as JSON on stdout")
    add_embeddings_option(parser)
    return parser
