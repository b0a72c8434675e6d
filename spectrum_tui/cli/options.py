"""What the commands' parsers share: errors in one line, and the options that mean the same."""

from __future__ import annotations

import argparse
from typing import NoReturn

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.settings import (
    DEFAULT_PERCENT,
    DEMO,
    METRIC,
    METRICS,
    Settings,
    parse_batch_size,
    parse_metric,
    parse_percent,
)


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


def add_missing_option(parser: argparse.ArgumentParser) -> None:
    """`--allow-missing`."""
    parser.add_argument(
        "--allow-missing",
        action="store_true",
        help="write a recipe even where over a tenth of the chosen parameters has no score",
    )


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """A model and how it is scanned: what the app and `scan` are told; read by `settings_of`."""
    add = parser.add_argument
    add("model", nargs="?", metavar="MODEL", help="folder or Hugging Face id of the model")
    add("--model-name", metavar="MODEL", help="the same, as spectrum.py calls it")
    add("--demo", action="store_true", help="a small model made on the spot, nothing to download")
    add_percent_option(parser)
    add_metric_option(parser)
    add("--batch-size", default="auto", metavar="N", help="matrices in work at once (auto)")
    add("--device", default="auto", help="auto, cpu, cuda (every GPU), cuda:0, mps (auto)")
    add(
        "--precision",
        choices=("auto", "exact", "fast"),
        default="auto",
        help="exact: float64; fast: float32 where no rank depends on it (auto: by the device)",
    )
    add("--revision", default="", metavar="R", help="branch, tag or commit on the hub")
    add("--output-dir", default=".", metavar="DIR", help="where the files go (.)")
    add(
        "--model-class",
        default="",
        metavar="CLASS",
        help="transformers class whose parameter names are written (as trainers choose it)",
    )
    add("--allow-gptq", action="store_true", help="scan GPTQ weights, which are a rounded copy")
    add_missing_option(parser)


def settings_of(options: argparse.Namespace) -> Settings:
    """The settings that `add_model_options` asks for; raises InputError."""
    if options.model and options.model_name and options.model != options.model_name:
        raise InputError("Two models are given.", "Give MODEL or --model-name, not both.")
    model = options.model or options.model_name or ""
    if options.demo and model:
        raise InputError("--demo brings its own model.", f"Leave out {model!r}, or --demo.")
    return Settings(
        model=DEMO if options.demo else model,
        revision=options.revision,
        batch_size=parse_batch_size(options.batch_size),
        device=options.device,
        top_percent=parse_percent(options.top_percent),
        output_dir=options.output_dir,
        model_class=options.model_class,
        allow_gptq=options.allow_gptq,
        precision=options.precision,
        metric=parse_metric(options.metric),
        sizes_from=getattr(options, "sizes_from", ""),
        allow_missing=options.allow_missing,
    )
