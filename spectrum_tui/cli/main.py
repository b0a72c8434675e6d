"""The command line: arguments, terminal checks, exit codes. Imports neither Textual nor torch.

Exit codes: 0 done; 1 finished, but some layers failed and are listed; 2 unusable input, said in
one line with a hint; 70 what nobody foresaw, in one line, the rest in a log; 130 interrupted, 143
terminated (SIGTERM), with everything finished kept.
"""

from __future__ import annotations

import argparse
import gc
import shlex
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NoReturn

from spectrum_tui import __version__
from spectrum_tui.cli.options import Parser, add_model_options, model_settings
from spectrum_tui.core.errors import InputError, SpectrumError
from spectrum_tui.core.settings import RECIPES, Settings
from spectrum_tui.stdio import last_resort
from spectrum_tui.stdio.streams import PROGRAM, is_served

_DESCRIPTION = "Pick the layers to train by the signal-to-noise ratios of a model's weights."
COMMANDS = {
    "scan": ("MODEL ...", "score models, write the score files and the YAML"),
    "yaml": ("RESULTS.json", "print the YAML of saved scores"),
    "export": ("RESULTS.json", "write saved scores as a recipe: axolotl, a TRL script, LoRA"),
    "audit": ("FILE.yaml", "check a recipe and correct it"),
    "memory": ("RESULTS.json", "estimate the memory to train a selection; fit it into N GiB"),
    "probe": ("MODEL", "add metrics that need data: gradients, activations"),
    "prove": ("SCORES.json", "train in several ways on your own data, and compare"),
    "adapter": ("ADAPTER", "show how much of its ranks a LoRA adapter uses"),
    "merge": ("ADAPTER", "merge a LoRA adapter into its 16-bit base, file by file"),
    "compare": ("A.json B.json", "compare two rankings and their selections"),
    "library": ("", "list the score files of this machine, the last used first"),
    "config": ("", "show your defaults: theme, percentage, card, keys, …"),
    "completion": ("SHELL", "print what bash, zsh or fish need to complete all this"),
    "man": ("", "print the manual page"),
}
"""What the first argument may be, apart from a model: a module beside this one, imported when it
is called; what it takes and what it does."""
_ELSEWHERE = {"yaml": ("export", "run_yaml", "make_yaml_parser")}
"""(module, what runs it, what makes its parser) of commands that have no module of their own."""

FILES = (".json", *RECIPES)
"""How the names of files end that open in the app: scores, recipes."""

_EPILOG = """\
commands without a screen (each has its own --help):
{commands}

MODEL is a folder, a Hugging Face id, an https:// folder or a bucket (s3://, gs://,
az://); a saved RESULTS.json opens its scores, a recipe FILE.yaml its audit, a proof.json
its table and curves, and the folder of a training run the scores of each step.
exit codes: 0 done, 1 done but some layers failed, 2 unusable input,
70 unexpected error (one line; details in a log), 130 interrupted,
143 terminated
"""


def run() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    last_resort.prepare()
    try:
        code = main()
    except SystemExit as exc:  # --help, --version
        code = int(exc.code or 0)
    except KeyboardInterrupt:  # while an error is told, and what it held is freed
        code = last_resort.INTERRUPTED
    last_resort.end(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments and arguments[0] in COMMANDS:
            return int(_of_command(arguments[0], "run")(arguments[1:]))
        return _app(arguments)
    except SpectrumError as exc:
        last_resort.report_error(exc)
        return 2
    except KeyboardInterrupt:
        return last_resort.INTERRUPTED
    except BrokenPipeError:
        return last_resort.broken_pipe()
    except Exception as exc:
        if last_resort.was_interrupted():
            return last_resort.INTERRUPTED
        return last_resort.unexpected(exc)


def _app(arguments: list[str]) -> int:
    options = _app_parser().parse_intermixed_args(arguments)
    settings = model_settings(options)
    results = _last_used(settings.model) if options.last else _results_file(settings.model)
    other = _compared_file(results, options.other) if options.other else None
    run = _training_run(settings) if results is None else None
    if settings.sizes_from and (results is None or other is not None):
        raise InputError(
            "--sizes-from is for one file of saved scores.",
            "Give one RESULTS.json to open.",
            field="model",
        )
    if settings.cluster and results is None and run is None:
        from spectrum_tui.core.scanning.ray_connection import check_ray

        check_ray()
    if not is_served() and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InputError(
            "The app needs a terminal on stdin and stderr.",
            f"Without one, {_headless(settings.model, results, other, run)}.",
        )
    # Collections while importing cost 0.06 s before the first frame; the app turns them on again.
    gc.disable()
    from spectrum_tui.app.app import SpectrumApp
    from spectrum_tui.app.run import run_app
    from spectrum_tui.core.config import read_config
    from spectrum_tui.core.files import usable_cache

    config, opened = read_config(), results or run
    with usable_cache():
        try:
            app = SpectrumApp(
                settings, results=opened, other=other, demo=options.demo, keys=config.keys
            )
        except InputError as exc:
            raise config.blamed(exc, settings) from None
        return run_app(app)


def _headless(model: str, results: Path | None, other: Path | None, run: Path | None) -> str:
    """Return what takes without a screen what would be opened: a command, of a proof its table."""
    from spectrum_tui.core.proof.store import PROOF, TABLE, is_proof

    if run is not None:
        return f"read {run / TABLE}" if is_proof(run) else f"use `{PROGRAM} compare A.json B.json`"
    if results is None:
        command = ["scan", model or "MODEL"]
    elif other is not None:
        command = ["compare", str(results), str(other)]
    elif results.name == PROOF:
        return f"read {results.with_name(TABLE)}"
    else:
        command = ["audit" if results.suffix in RECIPES else "yaml", str(results)]
    return f"use `{PROGRAM} {shlex.join(command)}`"


def _results_file(model: str) -> Path | None:
    """Return the saved scores or the recipe that were meant, if MODEL names a file of them."""
    try:
        path = Path(model).expanduser()
        is_file = path.is_file()
    except (OSError, ValueError, RuntimeError):  # an unknown ~user, 300 characters
        raise InputError(
            f"{model!r} is not a usable path.", "Give a folder or a model id.", field="model"
        ) from None
    if model.endswith(FILES) or is_file:
        if not is_file:
            what = f"{model} is not a file." if path.exists() else f"There is no file {model}."
            raise InputError(what, "Check the path.", field="model")
        if path.suffix in FILES:
            return path
    return None


def _compared_file(first: Path | None, other: str) -> Path:
    """Return the second of two score files that are compared."""
    found = _results_file(other)
    if any(path is None or path.suffix in RECIPES for path in (first, found)) or found is None:
        raise InputError(
            f"{other!r} is one argument too many.", "Two are for comparing: A.json B.json."
        )
    return found


def _training_run(settings: Settings) -> Path | None:
    """Return the folder of a training run or of a proof, if MODEL names one."""
    from spectrum_tui.core.files import output_folder
    from spectrum_tui.core.proof.store import is_proof
    from spectrum_tui.core.saved.steps import is_training_run

    folder = output_folder(settings.model)
    if settings.model and is_proof(folder):
        return folder
    if not settings.model or not is_training_run(folder):
        return None
    if settings.metric:
        raise InputError(
            "--metric is not for a training run.", "Its files hold the scores of one metric."
        )
    return folder


def _last_used(model: str) -> Path:
    """Return the score file that `--last` opens."""
    if model:
        raise InputError("--last opens a file of the library.", f"Leave out {model!r}, or --last.")
    from spectrum_tui.core.saved.library import last_there

    entry = last_there()
    if entry is None:
        hint = f"Scan a model, or open a RESULTS.json; `{PROGRAM} library` lists them."
        raise InputError("The library has no score file that is still there.", hint)
    return Path(entry.path)


def _of_command(name: str, what: Literal["run", "make_parser"]) -> Callable[..., Any]:
    """Return a function of the module of a command."""
    module, run, make_parser = _ELSEWHERE.get(name, (name, "run", "make_parser"))
    function = run if what == "run" else make_parser
    found: Callable[..., Any] = getattr(import_module(f"spectrum_tui.cli.{module}"), function)
    return found


def make_parser_of(command: str) -> argparse.ArgumentParser:
    """Return the parser of a command, of the app for ""."""
    parser: argparse.ArgumentParser
    parser = _of_command(command, "make_parser")() if command else _app_parser()
    return parser


def _app_parser() -> Parser:
    commands = (
        f"  {PROGRAM} {f'{name} {takes}':<22}  {does}" for name, (takes, does) in COMMANDS.items()
    )
    parser = Parser(
        prog=PROGRAM,
        description=_DESCRIPTION,
        epilog=_EPILOG.format(commands="\n".join(commands)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    parser.add_argument(
        "--last", action="store_true", help="open the scores that were scanned or opened last"
    )
    add_model_options(parser, "app")
    parser.add_argument(
        "other", nargs="?", metavar="B.json", help="saved scores to compare those of MODEL with"
    )
    return parser
