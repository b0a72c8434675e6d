"""`spectrum-tui yaml`: `export --as spectrum` by another name."""

from __future__ import annotations

from collections.abc import Sequence

from spectrum_tui.cli import export
from spectrum_tui.cli.options import Parser
from spectrum_tui.core.recipes.kinds import DEFAULT_KIND
from spectrum_tui.stdio.streams import PROGRAM


def run(arguments: Sequence[str]) -> int:
    """Write the YAML; returns the exit code, raises SpectrumError."""
    return export.write(make_parser().parse_args(arguments))


def make_parser() -> Parser:
    """What `export` takes for a kind that has no options of its own."""
    parser = Parser(
        prog=f"{PROGRAM} yaml",
        description="Write the unfrozen_parameters YAML of saved scores.",
    )
    export.add_options(parser)
    parser.set_defaults(kind=DEFAULT_KIND.name, experts=False)
    parser.set_defaults(high_rank=None, medium_rank=None, medium_percent=None)
    return parser
