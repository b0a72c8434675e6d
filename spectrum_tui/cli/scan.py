"""`spectrum-tui scan`: score a model without a screen."""

from __future__ import annotations

from collections.abc import Sequence

from spectrum_tui.cli.options import Parser, add_model_options, model_settings
from spectrum_tui.core.errors import InputError
from spectrum_tui.stdio.streams import PROGRAM


def run(arguments: Sequence[str]) -> int:
    """Scan and write the files; returns the exit code, raises SpectrumError."""
    settings = model_settings(make_parser().parse_args(arguments))
    if not settings.model:
        hint = "Put MODEL before --types." if settings.types else f"Use {PROGRAM} scan org/name."
        raise InputError("No model is given.", hint)
    from spectrum_tui.cli.scan_model import run_scan_command

    return run_scan_command(settings)


def make_parser() -> Parser:
    """Return the options of this command."""
    parser = Parser(
        prog=f"{PROGRAM} scan",
        description="Score a model without a screen; progress goes to stderr.",
    )
    add_model_options(parser, "scan")
    return parser
