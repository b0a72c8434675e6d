"""A small proof, who listens to it, and its rows in processes that train nothing: without torch,
which takes a process that needs none 1 s."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from spectrum_tui.core.proof.methods import parse_methods
from spectrum_tui.core.proof.proof import Proof
from spectrum_tui.core.proof.rates import parse_rates
from spectrum_tui.core.proof.rows import Outcome, Progress, Row
from spectrum_tui.proving.preparing import Asked, conditions_of, prepare
from spectrum_tui.proving.process import RowProcess
from spectrum_tui.proving.runner import Runner
from tests import made
from tests.unit.proving.texts import document

FAKE = Path(__file__).with_name("fake_row.py")


class Heard:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.said: list[Progress] = []
        self.outcomes: list[tuple[str, bool]] = []
        self.estimates: list[float] = []
        self.notes: list[str] = []

    def on_row(self, row: Row, number: int, expected: int) -> None:
        self.rows.append(f"{number}/{expected} {row.method}/{row.seed}")

    def on_progress(self, row: Row, progress: Progress) -> None:
        self.said.append(progress)

    def on_outcome(self, row: Row, outcome: Outcome, *, kept: bool) -> None:
        self.outcomes.append((f"{row.method}/{row.seed}", kept))

    def on_estimate(self, seconds: float) -> None:
        self.estimates.append(seconds)

    def on_note(self, text: str) -> None:
        self.notes.append(text)


def asked(folder: Path, methods: str = "top:50,random:50", lr: str = "2e-4") -> Asked:
    """Two methods with two seeds on twenty documents, in a folder of their own."""
    data = folder / "texts"
    data.mkdir(exist_ok=True)
    for number in range(20):
        (data / f"{number}.txt").write_text(document(number))
    result = made.with_parameters(made.result())
    chosen = parse_methods(methods)
    return Asked(
        result=result,
        scores="scores.json",
        folder=folder / "proof",
        data=(str(data),),
        methods=chosen,
        rates=parse_rates(lr, chosen) if lr else {},
        steps=8,
        seeds=2,
        conditions=conditions_of(result),
    )


class Processes:
    """The same in processes of their own (0.3 s each)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.control = folder / "control"
        self.log = folder / "control.log"

    def want(self, text: str) -> None:
        self.control.write_text(text)

    def run(self) -> tuple[Proof, Heard]:
        heard, command = Heard(), [sys.executable, "-P", str(FAKE), str(self.control)]
        prepared = prepare(replace(asked(self.folder), seeds=1))
        return Runner(prepared, heard, start=lambda: RowProcess(command)).run(), heard

    @property
    def started(self) -> list[str]:
        """The rows that have had a process."""
        return [line.split()[0] for line in self._lines()]

    @property
    def pids(self) -> list[int]:
        return [int(line.split()[1]) for line in self._lines()]

    def _lines(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []
