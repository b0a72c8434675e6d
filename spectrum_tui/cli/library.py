"""`spectrum-tui library`: the score files of this machine, as a table or as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from spectrum_tui.cli.options import Parser
from spectrum_tui.cli.output import aligned
from spectrum_tui.core.saved import library
from spectrum_tui.core.text import safe
from spectrum_tui.stdio.streams import PROGRAM, put_json, put_lines, say


def run(arguments: Sequence[str]) -> int:
    """Print the library on stdout, the last used file first; returns the exit code."""
    options = make_parser().parse_args(arguments)
    entries = library.entries()
    if options.json:
        put_json([asdict(entry) | {"gone": entry.is_gone} for entry in entries])
    elif entries:
        put_lines(_lines(entries))
    else:
        say(f"No scan is recorded yet: `{PROGRAM} scan MODEL` makes one.")
    return 0


def make_parser() -> Parser:
    """Return the options of this command."""
    parser = Parser(
        prog=f"{PROGRAM} library",
        description="List the score files that this machine scanned or opened, last used first.",
    )
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    return parser


def _lines(entries: Sequence[library.Entry]) -> Iterator[str]:
    rows = [("model", "used", "scanned", "layers", "metric", "device")]
    rows += map(_row, entries)
    for line, entry in zip(aligned(rows), (None, *entries), strict=True):
        yield f"{line}  {'file' if entry is None else _file(entry)}"


def _row(entry: library.Entry) -> tuple[str, str, str, str, str, str]:
    columns = (entry.last_used, entry.finished, entry.layers_text, entry.metric, entry.device)
    used, scanned, layers, metric, device = (safe(text) or "–" for text in columns)
    return safe(entry.model), used, scanned, layers, metric, device


def _file(entry: library.Entry) -> str:
    note = f"  ({safe(entry.note)})" if entry.note else ""
    return f"{safe(entry.path)}{'  gone' if entry.is_gone else ''}{note}"
