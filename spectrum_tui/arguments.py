"""What the commands' parsers share: errors in one line, and the options that mean the same."""

from __future__ import annotations

import argparse
from typing import NoReturn

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.requests import METRIC, METRICS
from spectrum_tui.settings import DEFAULT_PERCENT

PROGRAM = "spectrum-tui"


class Parser(argparse.ArgumentParser):
    """argparse with this program's errors: one line, a hint, exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Raise it, so that it is said as every other error is."""
        raise InputError(f"{message[:1].upper()}{message[1:]}.", f"See {self.prog} --help.")


def add_percent_option(parser: argparse.ArgumentParser) -> None:
    """`--top-percent P`."""
    parser.add_argument(
        "--top-percent",
        default=str(DEFAULT_PERCENT),
        metavar="P",
        help=f"how many of each layer type to train, 1 to 100 ({DEFAULT_PERCENT})",
    )


def add_metric_option(parser: argparse.ArgumentParser) -> None:
    """`--metric NAME`."""
    parser.add_argument(
        "--metric",
        default="",
        metavar="NAME",
        help=f"what layers are ranked by: {', '.join(METRICS)} (a saved file's own, or {METRIC})",
    )


def add_embeddings_option(parser: argparse.ArgumentParser) -> None:
    """`--no-embeddings`."""
    parser.add_argument(
        "--no-embeddings",
        action="store_true",
        help="leave embeddings and output head frozen (spectrum.py always trains them)",
    )


def add_sizes_option(parser: argparse.ArgumentParser) -> None:
    """`--sizes-from MODEL`."""
    parser.add_argument(
        "--sizes-from",
        default="",
        metavar="MODEL",
        help="take sizes and names of imported scores from this folder or cached model "
        "(default: the cached model that the file is named after)",
    )
