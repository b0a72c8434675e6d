"""The app in a real terminal, and every way in which it can end."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.pty.terminal import ALT_SCREEN_OFF, CURSOR_ON, PROGRAM, Terminal, processes_with

SMALL = 12
CONTINUE = "\x0e"
QUIT = "\x11"


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve small matrices, and one that keeps a core busy for half a minute."""
    folder = tmp_path_factory.mktemp("model")
    rng = np.random.default_rng(0)
    tensors = {
        f"model.layers.{i}.mlp.down_proj.weight": rng.standard_normal((64, 96)).astype(np.float16)
        for i in range(SMALL)
    }
    long = np.tile(rng.standard_normal((600, 600)).astype(np.float16), (10, 10))
    save_file({**tensors, "model.layers.0.mlp.up_proj.weight": long}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """This process's environment with a cache folder that marks the test's own processes, and a
    terminal that shows a title and progress."""
    cache = str(tmp_path / "cache")
    yield {**os.environ, "SPECTRUM_TUI_CACHE": cache, "TERM": "xterm-256color", "WT_SESSION": "1"}
    for pid in processes_with(str(tmp_path / "cache")):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def scanning(tmp_path: Path, model: Path, environment: dict[str, str]) -> Iterator[Terminal]:
    """The app in the middle of the long matrix, all small ones done."""
    with Terminal((*PROGRAM, str(model)), environment, cwd=tmp_path) as terminal:
        start_scan(terminal)
        terminal.wait_for_bytes(b"\x1b]9;4;1;")  # the taskbar is told twice a second
        yield terminal


def start_scan(terminal: Terminal) -> None:
    """From the start of the app to the long matrix."""
    terminal.wait_for("13 tensors|2 of matrices")
    terminal.send(CONTINUE)
    terminal.wait_for("down_proj")
    terminal.send("s")
    terminal.wait_for(rf"{SMALL} of {SMALL + 1}", timeout=60)


def journal(tmp_path: Path) -> list[str]:
    """The layers that are on disk."""
    files = list((tmp_path / "cache" / "scans").glob("*.jsonl"))
    lines = [line for file in files for line in file.read_text().splitlines()]
    return [json.loads(line)["layer"] for line in lines]


def no_process_left(tmp_path: Path, seconds: float = 3.0) -> bool:
    """Whether every process of the test is gone, waiting a little."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not list(processes_with(str(tmp_path / "cache"))):
            return True
        time.sleep(0.05)
    return False


def worker_of(terminal: Terminal, tmp_path: Path) -> int:
    """The scan's process."""
    (pid,) = (p for p in processes_with(str(tmp_path / "cache")) if p != terminal.pid)
    return pid


def restored(terminal: Terminal) -> bool:
    """Whether the shell would find its terminal as it was, after a scan."""
    shown = ALT_SCREEN_OFF in terminal.received and CURSOR_ON in terminal.received
    assert_signalled(terminal.received.decode())
    return shown and terminal.modes() == terminal.modes_before


def assert_signalled(text: str) -> None:
    """The title and the taskbar have shown a percentage, and show nothing any more."""
    titles = re.findall(r"\x1b\]0;([^\x1b]*)\x1b\\", text)
    assert re.fullmatch(r"\d+ % \S+ – spectrum", titles[0])
    assert titles[-1] == ""
    assert text.count("\x1b[22;0t") == text.count("\x1b[23;0t") == titles.count("")
    shown = re.findall(r"\x1b\]9;4;([^\x1b]*)\x1b\\", text)
    assert re.fullmatch(r"[12];\d+", shown[0])
    assert shown[-1] == "0;0"


def test_quit_in_the_middle_of_a_long_matrix(scanning: Terminal, tmp_path: Path) -> None:
    scanning.send(QUIT)
    scanning.wait_for(r"\(y\)")
    begin = time.monotonic()
    scanning.send("y")
    assert scanning.wait(10) == 130
    # Far from the half minute of the matrix; tests/benchmarks/bench_app.py prints the figure.
    assert time.monotonic() - begin < 5.0
    assert restored(scanning)
    assert no_process_left(tmp_path)
    assert len(journal(tmp_path)) == SMALL


def test_neither_a_killed_worker_nor_a_killed_app_has_anything_computed_again(
    scanning: Terminal, tmp_path: Path, model: Path, environment: dict[str, str]
) -> None:
    os.kill(worker_of(scanning, tmp_path), signal.SIGKILL)
    screen = scanning.wait_for(r"(?s)SIGKILL.*Continue", timeout=10)
    assert "memory" in screen
    scanning.send("g")
    scanning.wait_for(rf"(?s)Scanning.*{SMALL} of {SMALL + 1}", timeout=60)
    assert sorted(journal(tmp_path)) == sorted(set(journal(tmp_path))), "computed again"
    scanning.signal(signal.SIGKILL)
    assert scanning.wait(5) == -signal.SIGKILL
    assert no_process_left(tmp_path), "the worker outlived the app"
    before = journal(tmp_path)
    with Terminal((*PROGRAM, str(model)), environment, cwd=tmp_path) as again:
        again.wait_for(rf"{SMALL} of {SMALL + 1} layers are scored")
        start_scan(again)
        assert journal(tmp_path) == before
        again.wait_for(f"{SMALL} came from an earlier scan")
        # One start of the app and its worker is 6 s of the processor: this one is ended here.
        sigterm_restores_the_terminal(again, tmp_path)


def sigterm_restores_the_terminal(terminal: Terminal, tmp_path: Path) -> None:
    terminal.signal(signal.SIGTERM)
    assert terminal.wait(5) == 128 + signal.SIGTERM
    assert restored(terminal)
    assert no_process_left(tmp_path)


def test_a_terminal_that_goes_away(scanning: Terminal, tmp_path: Path) -> None:
    scanning.hang_up()
    assert scanning.wait(5) == 128 + signal.SIGHUP
    assert no_process_left(tmp_path)
    assert len(journal(tmp_path)) == SMALL


def test_sigterm_while_the_terminal_is_stalled(scanning: Terminal, tmp_path: Path) -> None:
    # Nobody reads the pty any more, as when a line is cut: its buffer fills up and the app's
    # writes block. Ending must not depend on them.
    for _ in range(60):
        scanning.send("?\x1b")
        time.sleep(0.05)
    scanning.signal(signal.SIGTERM)
    end = time.monotonic() + 5
    while time.monotonic() < end and scanning.status is None:
        pid, status = os.waitpid(scanning.pid, os.WNOHANG)
        if pid:
            scanning.status = os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    assert scanning.status == 128 + signal.SIGTERM
    assert no_process_left(tmp_path)


def test_redirected_stdout_holds_data_only(tmp_path: Path, environment: dict[str, str]) -> None:
    out = tmp_path / "out.json"
    arguments = (*PROGRAM, "scan", "--demo", "--json", "--types", "mlp.down_proj")
    with Terminal(arguments, environment, cwd=tmp_path, stdout=out) as terminal:
        terminal.pump(0.1)
        assert terminal.wait(60) == 0
        assert "12 layers scored" in terminal.screen()
        assert not re.search(rb"\x1b\]|\x1b\[2[23];|\x07", terminal.received)
    data = json.loads(out.read_text(), parse_constant=pytest.fail)
    assert len(data["layers"]) == 12


def test_a_scan_on_a_terminal_says_how_far_it_is(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    arguments = (*PROGRAM, "scan", "--demo", "--types", "mlp.*")
    with Terminal(arguments, environment, cwd=tmp_path) as terminal:
        assert terminal.wait(60) == 0
        terminal.pump(0.1)
        text = terminal.received.decode()
    assert_signalled(text)
    assert "% spectrum-tui-demo – spectrum" in text
    assert text.count("\x07") == 1
    assert text.index("\x1b]9;4;0;0") < text.index("\x07") < text.index("36 layers scored")


def test_the_app_draws_on_stderr_and_leaves_stdout_alone(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    out = tmp_path / "out"
    with Terminal(PROGRAM, environment, cwd=tmp_path, stdout=out) as terminal:
        terminal.wait_for("Model")
        terminal.send(QUIT)
        assert terminal.wait(5) == 0
    assert out.read_bytes() == b""
