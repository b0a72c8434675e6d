"""`spectrum-tui scan`: score models without a screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from spectrum_tui.cli.options import Parser, add_model_options, model_settings
from spectrum_tui.core.errors import InputError
from spectrum_tui.stdio.streams import PROGRAM


def run(arguments: Sequence[str]) -> int:
    """Scan and write the files; returns the exit code, raises SpectrumError."""
    options = make_parser().parse_intermixed_args(arguments)
    settings = model_settings(options)
    if not settings.model:
        hint = "Put MODEL before --types." if settings.types else f"Use {PROGRAM} scan org/name."
        raise InputError("No model is given.", hint)
    from spectrum_tui.cli.scan_queue import run_queue

    return run_queue([settings, *(replace(settings, model=model) for model in options.more)])


def make_parser() -> Parser:
    """Return the options of this command."""
    parser = Parser(
        prog=f"{PROGRAM} scan",
        description="Score models without a screen; progress goes to stderr.",
        epilog="Several models are scanned one after the other; a failure does not stop the next "
        "one, the exit code is the worst, and --json prints one line for each.",
    )
    add_model_options(parser, "scan")
    parser.add_argument("more", nargs="*", metavar="MODEL", help="further models")
    return parser
