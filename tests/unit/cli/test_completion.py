"""Completion in shells, run by the shells themselves, and the manual page."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from spectrum_tui.cli.completion import SHELLS
from spectrum_tui.cli.main import COMMANDS, main, make_parser_of
from spectrum_tui.core.recipes.kinds import KINDS
from spectrum_tui.core.settings import METRICS
from tests.commands import Capture

COMPLETE = {
    "bash": (
        "source {script}; COMP_WORDS=(spectrum-tui {words}); "
        'COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 )); _shtab_spectrum_tui; printf "%s\\n" '
        '"${{COMPREPLY[@]}}"'
    ),
    "fish": "source {script}; complete -C 'spectrum-tui {words}'",
}
"""What has a shell complete some words and print what it found, one a line."""


def script(shell: str, capsys: Capture) -> str:
    assert main(["completion", shell]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


@pytest.mark.parametrize("shell", COMPLETE)
@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("comp", {"compare", "completion"}),
        ("export sco", {"scores.json"}),
        ("export --as peft-", {k.name for k in KINDS if k.name.startswith("peft-")}),
        ("scan --output-dir mo", {"model"}),
        ("scan --metric s", {name for name in METRICS if name.startswith("s")}),
        ("memory --pres", {"--preset"}),
        ("--sizes-f", {"--sizes-from"}),
    ],
)
def test_a_shell_completes(
    shell: str, words: str, found: set[str], capsys: Capture, tmp_path: Path
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}")
    (tmp_path / "model").mkdir()
    (tmp_path / "scores.json").touch()
    (tmp_path / "script").write_text(script(shell, capsys))
    command = COMPLETE[shell].format(script=tmp_path / "script", words=words)
    done = subprocess.run(
        [shell, "-c", command], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.stderr == ""
    assert {line.split("\t")[0].rstrip("/") for line in done.stdout.splitlines()} == found


def test_a_model_is_as_good_a_first_word_as_a_command(capsys: Capture) -> None:
    assert "_describe 'spectrum-tui commands' _commands\n  _files\n" in script("zsh", capsys)
    assert "-lt 2' -ka '(__fish_complete_path" in script("fish", capsys)
    assert "complete -o bashdefault" in script("bash", capsys)


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_is_in_the_script(shell: str, capsys: Capture) -> None:
    text = script(shell, capsys)
    assert [name for name in COMMANDS if name not in text] == []


def test_a_shell_that_is_not_known(capsys: Capture) -> None:
    assert main(["completion", "cmd"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "bash" in err


def test_the_page_tells_of_every_command_and_option(capsys: Capture) -> None:
    assert main(["man"]) == 0
    page = capsys.readouterr().out
    assert page.startswith('.TH SPECTRUM-TUI 1 "" "spectrum-tui ')
    for name in COMMANDS:
        start = page.index(f".SS spectrum\\-tui {name}\n")
        own = page[start + 4 :].partition("\n.S")[0]
        for action in make_parser_of(name)._actions:
            if action.dest != "help":
                shown = action.option_strings[-1:] or [str(action.metavar or action.dest)]
                assert shown[0].replace("-", "\\-").lower() in own.lower(), (name, action)


def test_no_line_of_the_page_is_taken_for_a_command(capsys: Capture) -> None:
    main(["man"])
    known = {".TH", ".SH", ".SS", ".TP", ".PP", ".br", ".nf", ".fi"}
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines if line[:1] in (".", "'")} == known
    assert not [line for line in lines if "\x1b" in line or "%(" in line]


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff")
def test_groff_finds_nothing_wrong_with_it(capsys: Capture) -> None:
    main(["man"])
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww"],
        input=capsys.readouterr().out.encode(),
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
    assert b"Hugging Face" in done.stdout
