"""`spectrum-tui completion`: what a shell needs to complete commands, options and file names."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from spectrum_tui.cli.main import COMMANDS, make_parser_of
from spectrum_tui.cli.options import Parser
from spectrum_tui.core.memory.presets import PRESETS, SHARDINGS
from spectrum_tui.core.policy_values import RULES
from spectrum_tui.core.recipes.kinds import OFFERED
from spectrum_tui.core.settings import ALL_METRICS
from spectrum_tui.stdio.streams import PROGRAM, put

SHELLS = ("bash", "zsh", "fish")
_ZSH_COMMANDS = f"_describe '{PROGRAM} commands' _commands"
_FISH_FILES = (
    f"\ncomplete -c {PROGRAM} -n '_shtab_spectrum_tui_using; and test $_shtab_spectrum_tui_npos "
    "-lt 2' -ka '(__fish_complete_path (commandline -ct))'"
)
"""A model or a file of scores is as good a first word as a command; bash takes files by itself."""
_FILES = {"RESULTS.json", "A.json", "B.json", "FILE", "FILE.yaml", "FIXED.yaml", "MODEL"}
"""What stands for a file or a folder where an argument is described."""
_CHOICES = {
    "--metric": ALL_METRICS,
    "--rule": tuple(RULES),
    "--as": tuple(kind.name for kind in OFFERED),
    "--preset": tuple(preset.name for preset in PRESETS),
    "--sharding": tuple(sharding.name for sharding in SHARDINGS),
    "--device": ("auto", "cpu", "cuda", "mps"),
}
"""Values of options that say by themselves what is wrong with another one."""


def run(arguments: Sequence[str]) -> int:
    """Print the script of a shell on stdout."""
    shell = make_parser().parse_args(arguments).shell
    import shtab  # later: --help and every other command do without

    script = shtab.complete(_whole_parser(), shell)
    if shell == "zsh":
        script = script.replace(_ZSH_COMMANDS, f"{_ZSH_COMMANDS}\n  _files")
    elif shell == "fish":
        script += _FISH_FILES
    put(f"{script.rstrip()}\n")
    return 0


def make_parser() -> Parser:
    """Return the options of this command."""
    parser = Parser(
        prog=f"{PROGRAM} completion",
        description="Print what a shell needs to complete commands, options and file names: "
        f'eval "$({PROGRAM} completion bash)".',
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell")
    return parser


def _whole_parser() -> argparse.ArgumentParser:
    """Return the program with its commands below it, as `shtab` reads them."""
    whole = make_parser_of("")
    for action in whole._get_positional_actions():
        whole._remove_action(action)  # shells fall back to files where they know no command
    commands = whole.add_subparsers()
    _describe(whole)
    for name, (_, does) in COMMANDS.items():
        parser = make_parser_of(name)
        _describe(parser)
        commands.add_parser(
            name, parents=[parser], add_help=False, help=does, description=parser.description
        )
    return whole


def _describe(parser: argparse.ArgumentParser) -> None:
    """Say which arguments are files, folders, or one of some words."""
    import shtab

    for action in parser._actions:
        flag = action.option_strings[-1] if action.option_strings else ""
        if flag in _CHOICES:
            action.choices = _CHOICES[flag]
        elif action.metavar == "DIR":
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif action.metavar in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
