"""The worker's requests, answered in this process: what it keeps from one to the next."""

from __future__ import annotations

import json
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from huggingface_hub import constants

from spectrum_tui.app.loading import ResultSized, post_sized
from spectrum_tui.core import wire
from spectrum_tui.core.events import ScanEnded
from spectrum_tui.core.hub import cache
from spectrum_tui.core.journal import journal
from spectrum_tui.core.layer_types import layer_type
from spectrum_tui.core.model import inspection
from spectrum_tui.core.requests import (
    Failed,
    Inspected,
    Ready,
    Refined,
    Request,
    ResultReady,
    RunFound,
    Sized,
)
from spectrum_tui.core.saved.sizes import load_sized
from spectrum_tui.core.scanning import devices, run, speed
from spectrum_tui.core.settings import Settings
from tests.checkpoints import llama, save
from tests.fake_hub import FakeHub
from tests.streamed import REPO, scores, stream_from
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
    return lambda task, scores="", **chosen: worker.send(
        Request(task=task, number=1, settings=Settings(**chosen), scores=str(scores))
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
    count(journal, "_entries")
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
    assert calls == {"inspect_model": 1, "exact_plan": 1, "_entries": 2}
    assert scanned(folder, answers, ask) == first  # gone on with: only the journal is new
    assert calls == {"inspect_model": 1, "exact_plan": 1, "_entries": 3}


def test_names_that_are_not_there_yet_are_waited_for(
    calls: Counter[str], answers: Answers, ask: Callable[..., None], tmp_path: Path
) -> None:
    folder = save(tmp_path / "m", llama(1))
    ask("inspect", model=str(folder))
    scanned(folder, answers, ask)
    assert calls["exact_plan"] == calls["inspect_model"] == 1


def test_the_machine_is_measured_with_the_model(
    answers: Answers, ask: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a device that cannot compute has no estimate."""
    shapes: list[tuple[int, int]] = []

    def measure(device: str, shape: tuple[int, int], precision: str) -> float:
        shapes.append(shape)
        if device == "cuda:0":
            raise RuntimeError("CUDA out of memory")
        return 0.25

    monkeypatch.setattr(devices, "available_devices", lambda: ("cpu", "cuda:0", "cuda:1"))
    monkeypatch.setattr(devices, "choose_precision", lambda wanted, device: "exact")
    broken = lambda device: "no kernel image" if device == "cuda:1" else ""  # noqa: E731
    monkeypatch.setattr(devices, "why_unusable", broken)
    monkeypatch.setattr(speed, "seconds_per_cost", measure)
    ask("inspect", model=str(save(tmp_path / "m", llama(4, hidden=64))))
    answers.until(Ready)  # of the start
    ready = answers.until(Ready)
    assert ready == Ready(("cpu", "cuda:0", "cuda:1"), {"cpu": 0.25})
    assert set(shapes) == {(64, 64)}


def test_a_scan_waits_for_a_measurement_whose_threads_it_would_get(
    answers: Answers, ask: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def measure(device: str, shape: tuple[int, int], precision: str) -> float:
        begun.set()
        go_on.wait(10)
        order.append("measured")
        return 0.25

    def run_scan(*_: object, **__: object) -> Iterator[ResultReady]:
        order.append("scanned")
        yield ResultReady("scores.json", complete=True)

    monkeypatch.setattr(speed, "seconds_per_cost", measure)
    monkeypatch.setattr(run, "run_scan", run_scan)
    folder = str(save(tmp_path / "m", llama(1)))
    ask("inspect", model=folder)
    assert begun.wait(10)
    ask("scan", model=folder, output_dir=str(tmp_path), **SCAN)
    answers.until(Refined)
    go_on.set()
    answers.until(ResultReady)
    assert order == ["measured", "scanned"]


def test_a_proof_is_told_from_a_model(
    tmp_path: Path, answers: Answers, ask: Callable[..., None]
) -> None:
    (tmp_path / "proof.json").touch()
    ask("inspect", model=str(tmp_path))
    assert answers.until(RunFound) == RunFound(1, str(tmp_path))
    save(tmp_path, llama(2))
    ask("inspect", model=str(tmp_path))
    assert answers.until(Inspected).summary.is_local
    answers.until(Refined)  # its thread would be counted in the next test


def test_a_training_run_is_told_from_a_model(
    tmp_path: Path, answers: Answers, ask: Callable[..., None]
) -> None:
    for step in (1, 2):
        (tmp_path / f"x-step-{step}.json").touch()
    ask("inspect", model=str(tmp_path))
    assert answers.until(RunFound) == RunFound(1, str(tmp_path))
    save(tmp_path, llama(2))  # as a trainer saves what it trained
    ask("inspect", model=str(tmp_path))
    assert answers.until(Inspected).summary.shards == 1
    answers.until(Refined)  # its thread would be counted in the next test


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


class TestSizes:
    """Sizes for scores that came without, as the app gets them."""

    @pytest.fixture
    def scores(self, tmp_path: Path) -> Path:
        names = [n.removesuffix(".weight") for n in llama(2) if n.endswith("proj.weight")]
        path = tmp_path / "snr_results_org-tiny.json"
        path.write_text(json.dumps({n: {"snr": 1.5, "type": layer_type(n)} for n in names}))
        return path

    def test_the_answer_is_the_result_that_a_command_gets(
        self, answers: Answers, ask: Callable[..., None], scores: Path, tmp_path: Path
    ) -> None:
        model = str(save(tmp_path / "tiny", llama(2)))
        ask("sizes", scores, sizes_from=model)
        posted: list[Any] = []
        post_sized(answers.until(Sized), posted.append)
        (there,), here = [message.result for message in posted], load_sized(scores, model)
        assert isinstance(posted[0], ResultSized) and posted[0].path == scores
        assert there.parameters == here.parameters
        assert there.embeddings == here.embeddings
        assert there.provenance == here.provenance
        assert there.scores.numel.tolist() == here.scores.numel.tolist()
        assert there.source == here.source == str(scores)

    def test_no_model_at_hand(
        self, answers: Answers, ask: Callable[..., None], scores: Path, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(cache, "cached_models", list)
        ask("sizes", scores)
        assert answers.until(Sized) == Sized(1, str(scores), "")

    def test_a_model_that_does_not_fit(
        self, answers: Answers, ask: Callable[..., None], scores: Path, tmp_path: Path
    ) -> None:
        ask("sizes", scores, sizes_from=str(save(tmp_path / "tiny", llama(1))))
        error = answers.until(Failed).error
        assert "another model" in error["message"] and error["hint"]

    @pytest.mark.parametrize("details", ["", "oops", "[1]", '{"layers": 3}'])
    def test_details_that_are_none_are_passed_over(self, details: str) -> None:
        posted: list[object] = []
        post_sized(Sized(1, "x.json", details), posted.append)
        assert not posted

    def test_they_do_not_wait_for_a_scan(
        self,
        answers: Answers,
        ask: Callable[..., None],
        scores: Path,
        tmp_path: Path,
        monkeypatch: Any,
    ) -> None:
        found = threading.Event()

        def run_scan(*_: object, **__: object) -> Iterator[ResultReady]:
            found.wait()
            yield ResultReady("scores.json", complete=True)

        monkeypatch.setattr(run, "run_scan", run_scan)
        model = str(save(tmp_path / "tiny", llama(2)))
        ask("scan", model=model, output_dir=str(tmp_path), **SCAN)
        ask("sizes", scores, sizes_from=model)
        answers.until(Sized)
        found.set()
        answers.until(ResultReady)


@pytest.mark.parametrize("way", [{"download": True}, {"stream": True}, {}])
def test_a_scan_that_needs_no_values_fetches_none(
    way: dict[str, bool],
    calls: Counter[str],
    answers: Answers,
    ask: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All scores are there from a scan of the same files: the model stays on the hub."""
    with FakeHub({}) as running:
        model = stream_from(save(tmp_path / "m", llama(1)), running, tmp_path, monkeypatch)
        before = scores(model.scan())
        running.forget()
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "nothing-yet"))
        ask("inspect", model=REPO)
        answers.until(Refined)
        out = str(tmp_path / "out")
        ask("scan", model=REPO, output_dir=out, **SCAN | way)
        ended = answers.until(ScanEnded)
        ready = answers.until(ResultReady)
    assert (ended.reason, ended.done) == ("finished", len(before))
    assert len(json.loads(Path(ready.path).read_text(encoding="utf-8"))) == len(before)
    assert model.fetched() == 0 and not (tmp_path / "nothing-yet").exists()
