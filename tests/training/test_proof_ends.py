"""A whole proof of a tiny model by the command, killed again and again, and without memory."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from spectrum_tui.core.proof.rows import OUT_OF_MEMORY
from spectrum_tui.core.saved.store import save_scores
from spectrum_tui.proving.process import RowProcess
from tests.training.conftest import Models
from tests.unit.proving.texts import document
from tests.unit.proving.tiny_language import conditions, job, tokenizer

ROWS = 4
LIMITED = """
import resource
import torch
from spectrum_tui.proving.row import main
pages = int(open("/proc/self/statm").read().split()[0])
most = pages * resource.getpagesize() + {0}
resource.setrlimit(resource.RLIMIT_AS, (most, most))
main()
"""
"""A row that may take so many bytes more than its imports do, whatever build of torch that is."""


class Proving:
    """The command on a tiny model, with four rows."""

    def __init__(self, prepared: Models, folder: Path) -> None:
        model = prepared("llama")
        tokenizer().save_pretrained(model.folder)
        texts = folder / "texts"
        texts.mkdir()
        for number in range(20):
            (texts / f"{number}.txt").write_text(document(number))
        scores = save_scores(model.result, folder).scores
        self.folder = folder
        self._command = [
            sys.executable, "-m", "spectrum_tui", "prove", str(scores), "--data", str(texts),
            "--keep", "none", "--model", str(model.folder), "--methods", "top:25,random:25",
            "--lr", "1e-3", "--steps", "40", "--seeds", "2", "--sequence", "32", "-o",
        ]  # fmt: skip

    def start(self, output: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen([*self._command, str(self.folder / output)], env=environment)

    def proof(self, output: str) -> Any:
        return json.loads((self.folder / output / "proof.json").read_text())

    def rows(self, output: str) -> int:
        return len(list((self.folder / output / "rows").glob("*.json")))


def losses(proof: Any) -> list[Any]:
    return [
        (one["method"], one["seed"], one["before"], one["after"], one["curve"], one["error"])
        for one in proof["outcomes"]
    ]


def child_of(process: subprocess.Popen[bytes]) -> int | None:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    found = children.read_text().split() if children.exists() else []
    return int(found[0]) if found else None


def row_of(process: subprocess.Popen[bytes]) -> int | None:
    """The first row that the command starts, None where it ends without."""
    while process.poll() is None:
        if row := child_of(process):
            return row
        time.sleep(0.05)
    return None


def test_whatever_is_killed_the_same_command_goes_on(prepared: Models, tmp_path: Path) -> None:
    """The command and a row by turns, while the row imports, loads or trains."""
    proving = Proving(prepared, tmp_path)
    assert proving.start("whole").wait() == 0
    chance = random.Random(1)
    killed = 0
    for number in range(4):
        process = proving.start("killed")
        row_of(process)
        time.sleep(chance.uniform(0, 4))
        victim = row_of(process) if number % 2 else process.pid
        if victim is not None and process.poll() is None:
            os.kill(victim, signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed > 1
    assert proving.start("killed").wait() == 0
    assert proving.rows("killed") == proving.rows("whole") == ROWS
    assert losses(proving.proof("killed")) == losses(proving.proof("whole"))
    assert proving.proof("killed")["verdict"] == proving.proof("whole")["verdict"]


def test_a_row_without_memory_says_so(prepared: Models, tmp_path: Path) -> None:
    model = prepared("llama")
    tokenizer().save_pretrained(model.folder)
    texts = conditions(model.folder, tmp_path, batch=2**15, sequence=64, judged=2)
    command = [sys.executable, "-P", "-c", LIMITED.format(2 * 2**30)]
    outcome, lasts = RowProcess(command).run(job(texts), lambda progress: None)
    assert outcome is not None and lasts
    assert outcome.error == OUT_OF_MEMORY, outcome
    assert outcome.hint.startswith("Less is needed with --batch 16384, --checkpointing, ")
    assert outcome.before is not None and outcome.after is None
