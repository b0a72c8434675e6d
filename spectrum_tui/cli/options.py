"""What the commands' parsers share: errors in one line, and the options that mean the same."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from typing import Any, NoReturn

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.files import output_folder
from spectrum_tui.core.settings import DEMO, OPTIONS, POLICY_OPTIONS, Settings
from spectrum_tui.stdio.streams import PROGRAM

SELECTING = (*POLICY_OPTIONS, "policy")


class Parser(argparse.ArgumentParser):
    """argparse with this program's errors: one line, a hint, exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Raise it, so that it is said as every other error is."""
        hint = f"See {self.prog} --help."
        flag = re.sub(r"^unrecognized arguments: ([^ =]+).*$", r"\1", message, flags=re.DOTALL)
        elsewhere = {option.flag: option.only for option in OPTIONS.values() if option.only}
        if flag in elsewhere:
            command = f"{PROGRAM} scan" if elsewhere[flag] == "scan" else PROGRAM
            hint = f"{flag} belongs to `{command} …`. {hint}"
        raise InputError(f"{message[:1].upper()}{message[1:]}.", hint)


def add_options(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add the options of these settings; those that select layers under a heading of their own."""
    selection = parser.add_argument_group("which layers train")
    for name in names:
        option = OPTIONS[name]
        # What is not typed stays unset: `--policy` may say it, else the default holds.
        how: dict[str, Any] = {"help": option.help, "default": argparse.SUPPRESS}
        if option.takes == "nothing":
            how |= {"action": "store_true"}
        elif option.takes == "several":
            how |= {"nargs": "+", "metavar": option.metavar}
        elif option.takes == "each":
            how |= {"action": "append", "metavar": option.metavar}
        else:
            how |= {"metavar": option.metavar, "choices": option.choices}
        if option.flag.startswith("-"):
            group = selection if name in SELECTING else parser
            group.add_argument(option.flag, dest=name, **how)
        else:
            parser.add_argument(name, nargs="?", **how)


def add_model_options(parser: argparse.ArgumentParser, command: str) -> None:
    """Add a model and how it is scanned, as the app or `scan` takes it; `model_settings` reads
    it."""
    add_options(parser, "model")
    parser.add_argument(
        "--model-name", metavar="MODEL", help="MODEL, by the option name of spectrum.py"
    )
    parser.add_argument(
        "--demo",
        action="store_true",
        help="use a small model made on the spot; nothing to download",
    )
    _, *others = (name for name, option in OPTIONS.items() if option.only in ("", command))
    add_options(parser, *others)


def settings_of(options: argparse.Namespace) -> Settings:
    """Return the settings that these options say, of all others the user's defaults, then ours;
    raises InputError."""
    from spectrum_tui.core.config import read_config  # later: --help reads no file

    typed = {name: value for name, value in vars(options).items() if name in OPTIONS}
    said = {name: OPTIONS[name].value(value) for name, value in typed.items()}
    kept = dict(read_config().values)
    if file := said.get("policy"):  # all of it: what it leaves out is as usual there
        kept = {name: kept[name] for name in kept if name not in POLICY_OPTIONS}
        kept |= _read_policy(file)
    return Settings(**(kept | said))


def _read_policy(file: str) -> dict[str, Any]:
    from spectrum_tui.core.recipes.policy_line import read_policy  # later: it needs numpy

    return read_policy(output_folder(file))


def model_settings(options: argparse.Namespace) -> Settings:
    """Return the settings that `add_model_options` asks for; raises InputError."""
    named = getattr(options, "model", "")
    if named and options.model_name and named != options.model_name:
        raise InputError("Two models are given.", "Give MODEL or --model-name, not both.")
    model = named or options.model_name or ""
    if options.demo and model:
        raise InputError("--demo uses its own model.", f"Leave out {model!r}, or --demo.")
    return replace(settings_of(options), model=DEMO if options.demo else model)
