"""The command line: arguments, terminal checks, exit codes. Imports neither Textual nor torch.

Exit codes: 0 done; 1 finished, but some layers failed and are listed; 2 unusable input, said in
one line with a hint; 130 interrupted, with everything finished kept.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from spectrum_tui import __version__
from spectrum_tui.arguments import (
    PROGRAM,
    Parser,
    add_embeddings_option,
    add_metric_option,
    add_percent_option,
    add_sizes_option,
)
from spectrum_tui.core.errors import InputError, SpectrumError
from spectrum_tui.core.requests import DEMO
from spectrum_tui.settings import (
    Settings,
    parse_batch_size,
    parse_metric,
    parse_percent,
)

_DESCRIPTION = "Pick the layers worth training: signal-to-noise ratios of a model's weights."
_EPILOG = """\
commands without a screen (each has its own --help):
  spectrum-tui scan MODEL              score a model, write the score files and the YAML
  spectrum-tui yaml RESULTS.json       the YAML of saved scores, on stdout
  spectrum-tui memory RESULTS.json     what a selection takes to train, and what fits into N GB

MODEL is a folder or a Hugging Face id; a saved RESULTS.json opens its scores.
exit codes: 0 done, 1 done but some layers failed, 2 unusable input, 130 interrupted
"""


def run() -> NoReturn:
    """The command `spectrum-tui`: run it and end the process with its exit code.

    Where torch was imported, its end is not waited for: taking it down takes 0.5 s, and a scan in
    several processes would wait for matrices in work and for connections to processes that are
    gone. Every file is closed by then.
    """
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    if "torch" in sys.modules:
        os._exit(code)
    sys.exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        command = _COMMANDS.get(arguments[0]) if arguments else None
        return command(arguments[1:]) if command else _app(arguments)
    except SpectrumError as exc:
        report(exc)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our stdout is gone (`| head`): nothing left to say, and Python's own
        # flush at exit must not fail on it either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0


def report(error: SpectrumError) -> None:
    """Say an error on stderr in one line."""
    sys.stderr.write(f"{PROGRAM}: {error}\n")


def _app(arguments: list[str]) -> int:
    options = _app_parser().parse_args(arguments)
    settings = _settings(options)
    results = _results_file(settings.model)
    if settings.sizes_from and results is None:
        raise InputError(
            "--sizes-from is for saved scores.", "Give a RESULTS.json to open.", field="model"
        )
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InputError(
            "The app needs a terminal on stdin and stderr.",
            f"Without one, use `{PROGRAM} scan {settings.model or 'MODEL'}`.",
        )
    # Collections while importing cost 0.06 s before the first frame; the app turns them on again.
    gc.disable()
    from spectrum_tui.app import SpectrumApp
    from spectrum_tui.terminal import run_app

    return run_app(SpectrumApp(settings, results=results, demo=options.demo))


def _scan(arguments: list[str]) -> int:
    options = _scan_parser().parse_args(arguments)
    settings = _settings(options)
    if not settings.model:
        hint = "Put MODEL before --types." if options.types else f"Say {PROGRAM} scan org/name."
        raise InputError("No model is given.", hint)
    from spectrum_tui.headless import run_scan_command

    return run_scan_command(
        settings,
        patterns=options.types,
        as_json=options.json,
        fresh=options.fresh,
        head=not options.no_embeddings,
    )


def _yaml(arguments: list[str]) -> int:
    options = _yaml_parser().parse_args(arguments)
    from spectrum_tui.headless import run_yaml_command

    return run_yaml_command(
        Path(options.results),
        parse_percent(options.top_percent),
        output=options.output,
        head=not options.no_embeddings,
        metric=parse_metric(options.metric),
        sizes_from=options.sizes_from,
    )


def _memory(arguments: list[str]) -> int:
    from spectrum_tui.commands.memory import run_memory

    return run_memory(arguments)


_COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "scan": _scan,
    "yaml": _yaml,
    "memory": _memory,
}
"""What the first argument may be, apart from a model; each imports what it needs when called."""


def _settings(options: argparse.Namespace) -> Settings:
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
    )


def _results_file(model: str) -> Path | None:
    """The saved scores that were meant, if MODEL names a file of them."""
    try:
        path = Path(model).expanduser()
        is_file = path.is_file()
    except (OSError, ValueError, RuntimeError):  # an unknown ~user, 300 characters
        raise InputError(
            f"{model!r} is not a usable path.", "Give a folder or a model id.", field="model"
        ) from None
    if model.endswith(".json") or is_file:
        if not is_file:
            raise InputError(f"There is no file {model}.", "Check the path.", field="model")
        if path.suffix == ".json":
            return path
    return None


def _app_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=PROGRAM,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    _add_model_options(parser)
    add_sizes_option(parser)
    return parser


def _scan_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=f"{PROGRAM} scan",
        description="Score a model without a screen; progress goes to stderr.",
    )
    _add_model_options(parser)
    parser.add_argument(
        "--types",
        nargs="+",
        metavar="PATTERN",
        default=[],
        help="layer types to score, as shell patterns: 'mlp.*' (default: every type of matrices)",
    )
    parser.add_argument("--fresh", action="store_true", help="ignore scores of earlier scans")
    parser.add_argument("--json", action="store_true", help="print the results as JSON on stdout")
    add_embeddings_option(parser)
    return parser


def _yaml_parser() -> argparse.ArgumentParser:
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


def _add_model_options(parser: argparse.ArgumentParser) -> None:
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
