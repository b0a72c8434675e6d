"""A scan in real processes, as torchrun starts them: the same files as one process, and what is
left when one of them is killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch.distributed.run import main as run_torchrun

from spectrum_tui.cli.main import main
from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.journal.journal import journal_path, journals, read_journal
from spectrum_tui.core.scanning.distributed import PeerLostError, join
from spectrum_tui.core.scoring import svd
from tests.checkpoints import llama, save
from tests.commands import FLAT, RECIPE, Capture
from tests.forked import Forked
from tests.scans import spy_on_scores

REPOSITORY = Path(__file__).parents[3]
LIMIT = 100
"""Seconds after which a test calls it a hang: the processes need 10 for their imports."""


def killed_in_its_fourth_matrix(*command: str) -> None:
    """The command line, in a process that is killed so if it is the second one."""
    real, done = svd.singular_values, 0

    def slow(*arguments: Any, **named: Any) -> Any:
        nonlocal done
        if os.environ["RANK"] == "1" and done == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.1)
        done += 1
        return real(*arguments, **named)

    svd.singular_values = slow
    sys.exit(main(list(command)))


def loses_another() -> None:
    """One of two that nobody watches over: the second is killed, the first would wait forever."""

    def work() -> None:
        group.gather(lambda: group.rank)
        if group.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        threading.Event().wait()

    group = join()
    try:
        group.together(work)
    except PeerLostError as exc:
        print(exc, flush=True)
        os._exit(5)


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(tmp_path / "models" / "tiny", llama(4))


def torchrun(processes: int, *command: str) -> subprocess.CompletedProcess[str]:
    """The command line in processes that torchrun starts; it is forked itself, for its imports."""
    arguments = ["--standalone", f"--nproc-per-node={processes}", *command]
    return Forked(lambda: run_torchrun(arguments)).wait(LIMIT)


def forked(processes: int, work: Callable[[], object]) -> list[Forked]:
    """Processes that meet as those of torchrun do, without it and its imports."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meeting = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [Forked(work, **meeting, RANK=str(rank)) for rank in range(processes)]


def forked_scan(processes: int, *command: str) -> subprocess.CompletedProcess[str]:
    """The command line in processes that nobody watches over; what they said together."""
    all_done = [one.wait(LIMIT) for one in forked(processes, lambda: sys.exit(main(command[2:])))]
    said = ("".join(done.stdout for done in all_done), "".join(done.stderr for done in all_done))
    return subprocess.CompletedProcess([], max(done.returncode for done in all_done), *said)


def files(folder: str) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*.*")}


def assert_same_scores(one: str, other: str) -> None:
    """The same files to the byte."""
    assert {RECIPE.format("tiny", 50), FLAT.format("tiny")} <= files(one).keys()
    assert files(other) == files(one)


@pytest.mark.parametrize(("processes", "start"), [(2, torchrun), (4, forked_scan)])
def test_processes_write_what_one_writes(
    processes: int,
    start: Callable[..., subprocess.CompletedProcess[str]],
    model: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = start(processes, "-m", "spectrum_tui", "scan", str(model), "--output-dir", "many")
    assert run.returncode == 0, run.stderr
    assert [Path(line).parts[0] for line in run.stdout.splitlines()] == ["many"] * 3
    assert run.stderr.count("tiny: LlamaForCausalLM") == 1
    assert f"in {processes} processes" in run.stderr
    assert run.stderr.count("30 layers scored") == 1
    journal = journal_path(read_checkpoint(model).fingerprint)
    assert len(journals(journal)) == processes
    assert len(read_journal(journal)) == 4 * 7 + 2

    monkeypatch.setenv("SPECTRUM_TUI_CACHE", str(Path.cwd() / "other-cache"))
    assert main(["scan", str(model), "--output-dir", "one", "--batch-size", "1"]) == 0
    assert_same_scores("one", "many")


def test_a_killed_process_loses_nothing_that_was_finished(
    model: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["scan", str(model), "--batch-size", "1", "--output-dir", "many"]
    first, second = forked(2, lambda: killed_in_its_fourth_matrix(*arguments))
    assert second.wait(LIMIT).returncode == -signal.SIGKILL
    first.send(signal.SIGTERM)  # as torchrun does then, whose start is 8 s of the processor
    run = first.wait(LIMIT)
    assert run.returncode != 0
    assert run.stdout == ""
    assert not files("many")
    kept = set(read_journal(journal_path(read_checkpoint(model).fingerprint)))
    assert 3 <= len(kept) < 4 * 7 + 2

    computed = spy_on_scores(monkeypatch)
    assert main(arguments) == 0
    again = {name.removesuffix(".weight") for name in computed}
    assert not again & kept
    assert len(computed) == len(again) == 4 * 7 + 2 - len(kept)
    monkeypatch.setenv("SPECTRUM_TUI_CACHE", str(Path.cwd() / "other-cache"))
    assert main(["scan", str(model), "--output-dir", "one"]) == 0
    assert_same_scores("one", "many")


def test_a_process_that_is_lost_ends_the_others() -> None:
    """Without torchrun, which would kill them: over their own connections."""
    first, second = forked(2, loses_another)
    done = first.wait(LIMIT)
    assert second.wait(LIMIT).returncode == -signal.SIGKILL
    assert done.returncode == 5
    (line,) = done.stdout.splitlines()
    assert line.startswith(
        "Process 0 of 2 lost contact with another one (Connection closed by peer"
    )
    assert len(line) < 200
