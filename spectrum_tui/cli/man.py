"""`spectrum-tui man`: the manual page, made of the parsers of the commands."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence

from spectrum_tui import __version__
from spectrum_tui.cli.main import COMMANDS, make_parser_of
from spectrum_tui.cli.options import Parser
from spectrum_tui.core.config import CONFIG_VARIABLE
from spectrum_tui.core.files import CACHE_VARIABLE
from spectrum_tui.stdio.streams import PROGRAM, put

_CODES = {
    "0": "done",
    "1": "done, but some layers could not be scored; audit: defects were found",
    "2": "unusable input, said in one line",
    "70": "unexpected error, in one line; details are in a log",
    "130": "interrupted; everything finished is kept",
    "143": "terminated (SIGTERM); everything finished is kept",
}
_ENVIRONMENT = {
    CACHE_VARIABLE: "the folder of finished scores, in place of the system's cache folder",
    CONFIG_VARIABLE: f"the file of your defaults, which {PROGRAM} config shows",
    "HF_HOME, HF_TOKEN, HF_ENDPOINT": "as Hugging Face's own programs read them",
    "NO_COLOR": "no colours",
}


def run(arguments: Sequence[str]) -> int:
    """Print the page on stdout."""
    make_parser().parse_args(arguments)
    put("".join(f"{line}\n" for line in _page()))
    return 0


def make_parser() -> Parser:
    """Return the options of this command: none."""
    return Parser(
        prog=f"{PROGRAM} man",
        description=f"Print the manual page, in roff: {PROGRAM} man | man -l -",
    )


def _page() -> Iterator[str]:
    app = make_parser_of("")
    yield f'.TH {PROGRAM.upper()} 1 "" "{PROGRAM} {__version__}" "User Commands"'
    yield from _section("NAME", [f"{PROGRAM} \\- {_roff(app.description)}"])
    yield ".SH SYNOPSIS"
    for name, takes in [("", "MODEL"), *((name, takes) for name, (takes, _) in COMMANDS.items())]:
        words = [f"\\fB{_roff(PROGRAM)}\\fR", f"\\fB{name}\\fR" if name else "", "[options]"]
        yield from (" ".join(filter(None, [*words, _roff(takes)])), ".br")
    yield ".SH DESCRIPTION"
    yield from _text(
        "Without a command, an app in the terminal opens: on a MODEL (a folder, a Hugging "
        "Face id, an https:// folder or a bucket: s3://, gs://, az://), on saved "
        "scores (RESULTS.json) or on a recipe (FILE.yaml)."
    )
    yield ".SH OPTIONS"
    yield from _options(app)
    yield ".SH COMMANDS"
    for name in COMMANDS:
        yield f".SS {_roff(f'{PROGRAM} {name}')}"
        yield from _command(make_parser_of(name))
    yield ".SH ENVIRONMENT"
    for name, meaning in _ENVIRONMENT.items():
        yield from _entry(_roff(name), meaning)
    yield ".SH EXIT STATUS"
    for code, meaning in _CODES.items():
        yield from _entry(code, meaning)


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f".SH {title}", *lines]


def _command(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield from _text(parser.description or "")
    yield from _options(parser)
    if parser.epilog:
        yield from (".PP", ".nf")
        yield from (_roff(line) for line in parser.epilog.splitlines())
        yield ".fi"


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield every argument but --help, as argparse describes it."""
    for action in parser._actions:
        if action.dest == "help" or action.help == argparse.SUPPRESS:
            continue
        value = action.metavar or "|".join(map(str, action.choices or [action.dest.upper()]))
        takes = "" if action.nargs == 0 else f"\\fI{_roff(str(value))}\\fR"
        names = ", ".join(f"\\fB{_roff(flag)}\\fR" for flag in action.option_strings)
        help = (action.help or "") % {"default": action.default, "prog": parser.prog}
        yield from _entry(f"{names} {takes}".strip(), help)


def _entry(title: str, text: str) -> Iterator[str]:
    yield from (".TP", title)
    yield from _text(text)


def _text(text: str) -> Iterator[str]:
    yield _roff(text)


def _roff(text: str | None) -> str:
    """Return one line of text as it is shown: no backslash of it a command, no dash a hyphen."""
    plain = re.sub(r"\s+", " ", text or "") if "\n" in (text or "") else text or ""
    shown = plain.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{shown}" if shown[:1] in (".", "'") else shown
