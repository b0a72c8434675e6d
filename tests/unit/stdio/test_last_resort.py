"""Ends that nobody foresaw: one line, the log that has the rest, exit code 70; and Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from spectrum_tui.cli.main import main
from spectrum_tui.core.files import cache_dir
from spectrum_tui.core.saved.store import save_scores
from spectrum_tui.stdio import last_resort
from tests import made
from tests.checkpoints import llama, save
from tests.commands import Capture, process
from tests.pty.terminal import ALT_SCREEN_OFF, Terminal
from tests.pty.terminal import PROGRAM as START

PROGRAM = " ".join(START)
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
LATIN = {"PYTHONIOENCODING": "ascii"}


pytestmark = pytest.mark.usefixtures("in_empty_folder")


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    return save_scores(made.result(layers=2, types=2), tmp_path).scores


def shell(
    command: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`spectrum-tui` with redirections, as bash understands them."""
    return subprocess.run(
        ["bash", "-c", f"{PROGRAM} {command}"],
        capture_output=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
        check=False,
        timeout=100,
    )


def log_of(said: str) -> str:
    """The text of the log that the one line names."""
    (line,) = said.splitlines()
    found = re.search(r"^spectrum-tui: .+ Details are in (.+)\.$", line)
    assert found is not None, line
    return Path(found[1]).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("redirection", "reason"),
    [("> /dev/full", "No space left on device"), (">&-", "Bad file descriptor")],
)
@pytest.mark.parametrize("command", ["--help", "yaml {}", "compare {} {} --json"])
def test_stdout_takes_nothing(command: str, redirection: str, reason: str, scores: Path) -> None:
    done = shell(f"{command.replace('{}', str(scores))} {redirection}")
    assert done.returncode == 70
    assert f"Cannot write to stdout: {reason}." in done.stderr
    assert "Traceback (most recent call last)" in log_of(done.stderr)


@pytest.mark.parametrize("redirection", ["2> /dev/full", "2>&-", "<&- 2>&-"])
def test_words_that_nobody_can_read_end_nothing(redirection: str, scores: Path) -> None:
    done = shell(f"export {scores} -o out.yaml {redirection}")
    assert done.returncode == 0
    assert "unfrozen_parameters" in Path("out.yaml").read_text()
    assert shell(f"yaml nothing.json {redirection}").returncode == 2


def test_a_closed_stream_gives_its_number_to_nobody(tmp_path: Path) -> None:
    model = save(tmp_path / "tiny", llama(2))
    done = shell(f"scan {model} <&- >&- 2>&-")
    assert done.returncode == 70
    (journal,) = (cache_dir() / "scans").glob("*.jsonl")
    for line in journal.read_text().splitlines():
        json.loads(line)


def test_a_reader_that_leaves_is_no_fault(scores: Path) -> None:
    done = shell(f"yaml {scores} | true; exit ${{PIPESTATUS[0]}}")
    assert done.returncode in (0, 141)
    assert done.stderr == ""


@pytest.mark.parametrize("environment", [ASCII, LATIN], ids=["locale", "encoding"])
def test_pipes_are_utf_8_whatever_the_locale(
    environment: Mapping[str, str], scores: Path, tmp_path: Path, capsys: Capture
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("unfrozen_parameters:\n- höhe.weight\n- ^model\\.x$\n", encoding="utf-8")
    audit = f"audit {recipe}"
    done = shell(audit, environment)
    assert done.returncode == main(audit.split())
    assert (done.stdout, done.stderr) == tuple(capsys.readouterr())
    assert not done.stdout.isascii()


def raising(error: BaseException, monkeypatch: pytest.MonkeyPatch, scores: Path) -> int:
    from spectrum_tui.cli import export

    def load(*_: object) -> None:
        raise error

    monkeypatch.setattr(export, "load_scores", load)
    return main(["yaml", str(scores)])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "Out of memory."),
        (ImportError("libtorch.so: cannot open\n\x1b[2Jshared object"), "Unexpected ImportError"),
        (RecursionError("maximum recursion depth exceeded"), "Unexpected RecursionError"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (ZeroDivisionError(), "Unexpected ZeroDivisionError."),
        (ValueError("\udc80\u202e"), "Unexpected ValueError: ??."),
    ],
    ids=lambda x: type(x).__name__,
)
def test_what_nobody_foresaw(
    error: BaseException,
    words: str,
    scores: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert raising(error, monkeypatch, scores) == 70
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert all(c.isprintable() or c == "\n" for c in err)
    log = log_of(err)
    assert type(error).__name__ in log
    assert all(c.isprintable() or c == "\n" for c in log)


def test_without_a_cache_the_log_is_a_temporary_file(
    scores: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPECTRUM_TUI_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert raising(ZeroDivisionError(), monkeypatch, scores) == 70
    assert "ZeroDivisionError" in log_of(capsys.readouterr().err)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    assert raising(ZeroDivisionError(), monkeypatch, scores) == 70
    assert capsys.readouterr().err == "spectrum-tui: Unexpected ZeroDivisionError.\n"


def test_no_memory_for_the_words_either(capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(last_resort, "keep_log", full)
    assert last_resort.unexpected(MemoryError()) == 70
    assert capfd.readouterr().err == "spectrum-tui: Out of memory.\n"


_FAILS = """
from spectrum_tui.cli.main import run
from spectrum_tui.app.screens.setup import SetupScreen

def fails(self):
    raise ZeroDivisionError("of test")

SetupScreen.on_mount = fails
run()
"""
_PRESSED = """
import importlib.abc, os, signal, sys

class Presser(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
        return None

sys.meta_path.insert(0, Presser())
"""
"""Presses Ctrl-C when a module is imported."""


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("spectrum_tui.cli.main", "--help"),
        ("argparse", "--help"),
        ("spectrum_tui.stdio.last_resort", "--help"),
        ("spectrum_tui.cli.scan", "scan --demo"),
        ("spectrum_tui.core.files", "scan --demo"),
        ("numpy.random", "scan --demo"),
    ],
)
def test_ctrl_c_while_modules_are_imported(
    module: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(_PRESSED.format(module=module))
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3])])
    done = shell(command, {"PYTHONPATH": path})
    assert done.returncode == 130
    assert done.stdout == done.stderr == ""


def test_ctrl_c_before_the_first_frame(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(_PRESSED.format(module="textual.widget"))
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3])])
    with Terminal((*START, "--demo"), {**os.environ, "PYTHONPATH": path}, cwd=tmp_path) as app:
        assert app.wait(20) == 130
        assert app.received == b""


def test_an_app_that_fails_says_one_line(tmp_path: Path) -> None:
    (tmp_path / "fails.py").write_text(_FAILS)
    with Terminal((sys.executable, "fails.py"), dict(os.environ), cwd=tmp_path) as app:
        assert app.wait(20) == 70
        assert app.modes() == app.modes_before
        app.pump(0.2)
        assert "spectrum-tui: Unexpected ZeroDivisionError: of test." in app.screen()
        assert "Traceback" not in app.screen()
        assert ALT_SCREEN_OFF in app.received


def test_ctrl_c_that_an_import_turns_into_an_error(
    scores: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, last_resort._end_now)
        assert raising(ImportError("torch._C"), monkeypatch, scores) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signals on Windows")
def test_a_terminated_command_says_what_is_kept() -> None:
    code = (
        "import os, signal\n"
        "from spectrum_tui.stdio import last_resort\n"
        "last_resort.prepare()\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    done = process(code=code)
    assert done.returncode == -signal.SIGTERM
    assert done.stderr == "spectrum-tui: terminated: everything finished is kept\n"
