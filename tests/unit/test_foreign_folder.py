"""A folder that somebody else filled: no process that we start runs a file of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from spectrum_tui.core.own_process import own_environment
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.recipes.writing import drafted
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.worker.process import default_command
from tests import made
from tests.checkpoints import llama, save
from tests.made import TEXT_KINDS
from tests.pty.terminal import PROGRAM, Terminal

REPOSITORY = Path(__file__).parents[2]
QUIT = "\x11"
OURS = {"spectrum_tui", "tests"}
COMMAND = str(Path(sys.executable).parent / "spectrum-tui")
NOT_BEFORE_US = {"argparse", "json", "subprocess", "hashlib"}
"""Of the standard library; what `-m` itself imports comes before our first line."""


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """The file to which every planted module adds its name."""
    return tmp_path / "ran"


@pytest.fixture
def foreign(
    tmp_path: Path, marks: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Path:
    """The current folder: a module of every name that an import statement may have."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    names = {*sys.stdlib_module_names, *packages_distributions()}
    names |= {"sitecustomize", "usercustomize"}
    if getattr(request, "param", "") == "module":
        names -= sys.stdlib_module_names - NOT_BEFORE_US
    code = f"open({str(marks)!r}, 'a').write(__name__ + '\\n')\nraise SystemExit(99)\n"
    for name in names - OURS:
        if name.isidentifier():
            (folder / f"{name}.py").write_text(code)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    return folder


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, timeout=100
    )


def scores(folder: Path) -> Path:
    """Scores without sizes, named after nothing that is at hand."""
    path = folder / "snr_results_tiny.json"
    rows = {n.removesuffix(".weight"): 1.5 for n in llama(2) if n.endswith("proj.weight")}
    path.write_text(json.dumps({"mlp.down_proj": rows}))
    return path


def test_planted_modules_would_run(foreign: Path, marks: Path) -> None:
    assert run(sys.executable, "-m", "tests.oracle").returncode == 99
    assert marks.exists()


@pytest.mark.parametrize("foreign", ["module"], indirect=True)
def test_the_module(foreign: Path, marks: Path, tmp_path: Path) -> None:
    done = run(*PROGRAM, "yaml", str(scores(tmp_path)))
    assert done.returncode == 0, done.stderr
    assert "unfrozen_parameters" in done.stdout
    assert not marks.exists()


def test_the_app_with_its_worker(foreign: Path, marks: Path, tmp_path: Path) -> None:
    model = save(tmp_path / "tiny", llama(2))
    environment = dict(os.environ)
    arguments = (COMMAND, str(scores(tmp_path)), "--sizes-from", str(model))
    with Terminal(arguments, environment, cwd=foreign) as terminal:
        terminal.wait_for(r"\d+ of 14 layers")
        terminal.wait_for(r"\d params|\d+(\.\d+)? K of", timeout=60)  # the sizes came
        terminal.send(QUIT)
        assert terminal.wait(10) == 0
    with Terminal((COMMAND, str(model)), environment, cwd=foreign) as terminal:
        terminal.wait_for("of matrices")
        terminal.send(QUIT)
        assert terminal.wait(10) == 0
    assert not marks.exists()


def test_what_a_library_starts_is_safe_too(foreign: Path, marks: Path) -> None:
    command = [sys.executable, "-c", "import numpy, json"]
    assert subprocess.run(command, env=own_environment(), check=False).returncode == 0
    assert not marks.exists()


def test_a_pythonpath_stays_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert own_environment()["PYTHONPATH"].split(os.pathsep)[0] == str(tmp_path)
    monkeypatch.delenv("PYTHONPATH")
    assert "" not in own_environment().get("PYTHONPATH", "x").split(os.pathsep)
    assert default_command()[1] == "-P"


def test_the_advice_in_scripts_and_readme_is_safe() -> None:
    result = made.result(layers=4, types=2)
    texts = [(REPOSITORY / "README.md").read_text(encoding="utf-8")]
    for kind in TEXT_KINDS:
        texts += [
            file.text
            for file in drafted(
                kind, Choice(selection=Selection(result), policy=Policy(percent=50))
            )
        ]
    for text in texts:
        advice = re.findall(r"^\s*(?:\S*/)?python3? .*", text, re.MULTILINE)
        for line in advice:
            assert re.search(r"python3? -(P|m venv|Pc)", line), line
