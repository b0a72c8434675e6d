"""The worker's requests, answered in this process: what it keeps from one to the next."""

from __future__ import annotations

import json
import queue
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from spectrum_tui.core import wire
from spectrum_tui.core.model import inspection
from spectrum_tui.core.requests import Refined, Request, ResultReady
from spectrum_tui.core.scanning import scan
from spectrum_tui.core.settings import Settings
from tests.checkpoints import llama, save
from tests.ui.real_core import InProcessWorker

Answer = TypeVar("Answer")
SCAN = {"batch_size": 1, "device": "cpu", "precision": "exact"}


class Answers:
    """What a worker says, in order."""

    def __init__(self) -> None:
        self._said: queue.SimpleQueue[object] = queue.SimpleQueue()

    def on_line(self, process: object, line: str) -> None:
        self._said.put(wire.decode(line))

    def on_idle(self, process: object) -> float | None:
        return None

    def on_end(self, process: object, reason: str) -> None:
        """A thread does not end."""

    def until(self, kind: type[Answer]) -> Answer:
        while not isinstance(said := self._said.get(timeout=20), kind):
            pass
        return said


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def ask(answers: Answers) -> Callable[..., None]:
    """Sends a request to a worker."""
    worker = InProcessWorker([], answers)
    return lambda task, **chosen: worker.send(
        Request(task=task, number=1, settings=Settings(**chosen))
    )


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a model is looked at, planned, and its journal read."""
    calls: Counter[str] = Counter()

    def count(room: Any, name: str) -> None:
        real = getattr(room, name)

        def counted(*args: object, **named: object) -> object:
            calls[name] += 1
            return real(*args, **named)

        monkeypatch.setattr(room, name, counted)

    count(inspection, "inspect_model")
    count(inspection, "exact_plan")
    count(inspection, "read_journal")
    count(scan, "read_journal")
    return calls


def scanned(folder: Path, answers: Answers, ask: Callable[..., None], **changed: object) -> Any:
    """The scores of a scan by the worker."""
    out = str(folder.with_name("out"))
    ask("scan", model=str(folder), **SCAN | {"output_dir": out} | changed)
    return json.loads(Path(answers.until(ResultReady).path).read_text(encoding="utf-8"))


def test_a_scan_of_what_was_inspected_looks_at_nothing_twice(
    calls: Counter[str], answers: Answers, ask: Callable[..., None], tmp_path: Path
) -> None:
    folder = save(tmp_path / "m", llama(1))
    ask("inspect", model=str(folder))
    answers.until(Refined)
    first = scanned(folder, answers, ask)
    assert calls == {"inspect_model": 1, "exact_plan": 1, "read_journal": 2}
    assert scanned(folder, answers, ask) == first  # gone on with: only the journal is new
    assert calls == {"inspect_model": 1, "exact_plan": 1, "read_journal": 3}


def test_names_that_are_not_there_yet_are_waited_for(
    calls: Counter[str], answers: Answers, ask: Callable[..., None], tmp_path: Path
) -> None:
    folder = save(tmp_path / "m", llama(1))
    ask("inspect", model=str(folder))
    scanned(folder, answers, ask)
    assert calls["exact_plan"] == calls["inspect_model"] == 1


def other_values(folder: Path) -> None:
    save(folder, {name: 2 * tensor for name, tensor in llama(1).items()})


def other_config(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"bos_token_id": 7}))


def an_adapter_beside_it(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


def in_other_files(folder: Path) -> None:
    save(folder, llama(1), shards=2)
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    "change", [other_values, other_config, an_adapter_beside_it, in_other_files]
)
def test_a_model_that_changed_is_looked_at_anew(
    change: Callable[[Path], None],
    calls: Counter[str],
    answers: Answers,
    ask: Callable[..., None],
    tmp_path: Path,
) -> None:
    """A scan is of the files that are there when it is asked for."""
    folder = save(tmp_path / "m", llama(1))
    ask("inspect", model=str(folder))
    answers.until(Refined)
    before = scanned(folder, answers, ask)
    change(folder)
    after = scanned(folder, answers, ask)
    assert calls["inspect_model"] == calls["exact_plan"] == 2
    assert after.keys() == before.keys()
    assert (after != before) is (change is other_values)


def test_another_way_to_name_it_is_another_plan(
    calls: Counter[str], answers: Answers, ask: Callable[..., None], tmp_path: Path
) -> None:
    folder = save(tmp_path / "m", llama(1))
    ask("inspect", model=str(folder))
    answers.until(Refined)
    scanned(folder, answers, ask, allow_gptq=True)
    assert calls["exact_plan"] == 2
