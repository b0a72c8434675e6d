"""What the terminal is told of the app's scans and downloads, over a runner that the test moves."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from spectrum_tui.app.announcer import Announcer
from spectrum_tui.app.proof_run import ProofPhase, ProofView, saved_view
from spectrum_tui.app.scan_queue import Queued, ScanQueue
from spectrum_tui.core.events import LayerDone, LayerFailed, ScanEnded, ScanStarted
from spectrum_tui.core.requests import DownloadProgress
from spectrum_tui.core.settings import Settings
from spectrum_tui.stdio.terminal_signals import TerminalSignals
from spectrum_tui.worker.progress import ScanProgress
from tests import fake_worker
from tests.snapshots import proof_scenes

TYPE = "mlp.down_proj"


class Told:
    """The signals, as they are asked for."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def work(self, share: float, what: str, *, failed: bool = False) -> None:
        self.said.append((round(share, 2), what, failed))

    def over(self, said: str = "", *, failed: bool = False) -> None:
        self.said.append((said, failed))


class Followed:
    """An announcer with what it follows."""

    def __init__(self) -> None:
        self.told = Told()
        self.progress = ScanProgress()
        self.runner = SimpleNamespace(
            progress=self.progress, model="org/Qwen3-8B", is_downloading=False, download=None
        )
        self.queue = ScanQueue()
        self.proof: Any = None
        signals = cast(TerminalSignals, self.told)
        self._announcer = Announcer(cast(Any, self.runner), signals, self.queue, lambda: self.proof)

    def poll(self) -> list[tuple[Any, ...]]:
        self._announcer.poll()
        said, self.told.said = self.told.said, []
        return said

    def scan(self) -> None:
        self.progress.begin()
        self.progress.feed(
            ScanStarted(layers=4, cost=40.0, types={TYPE: 4}, device="cpu", batch_size=1)
        )

    def done(self, number: int) -> None:
        self.progress.feed(
            LayerDone(
                layer=f"model.layers.{number}.{TYPE}",
                type=TYPE,
                shape=(8, 16),
                metrics={"spectrum": 1.0},
                cost=10.0,
                bytes=5,
                seconds=1.0,
            )
        )

    def fail(self) -> None:
        self.progress.feed(
            LayerFailed(layer="x", type=TYPE, shape=(8, 16), reason="contains NaN", cost=10.0)
        )


@pytest.fixture
def it() -> Followed:
    return Followed()


def test_nothing_while_nothing_runs(it: Followed) -> None:
    assert it.poll() == []


def test_a_scan_with_its_download(it: Followed) -> None:
    it.progress.begin()
    it.progress.downloading(DownloadProgress(request=1, done=25, total=100, speed=1.0))
    assert it.poll() == [(0.25, "↓ Qwen3-8B", False)]
    it.scan()
    it.done(0)
    assert it.poll() == [(0.25, "Qwen3-8B", False)]
    it.fail()
    assert it.poll() == [(0.5, "Qwen3-8B", True)]
    it.progress.feed(ScanEnded("finished", 3, 1))
    assert it.poll() == [("Qwen3-8B: 1 layer scored, 1 failed.", False)]
    assert it.poll() == []


def test_a_scan_that_the_user_stops_calls_nobody(it: Followed) -> None:
    it.scan()
    it.poll()
    it.progress.feed(ScanEnded("stopped", 0, 0))
    assert it.poll() == [("", False)]


def test_a_scan_that_dies_is_marked(it: Followed) -> None:
    it.scan()
    it.poll()
    it.progress.end("died", "killed")
    assert it.poll() == [("Qwen3-8B: the scan could not go on.", True)]


def test_several_models_have_one_end(it: Followed) -> None:
    for number in range(3):
        summary = fake_worker.summary(f"m{number}")
        it.queue.add(Queued(summary=summary, settings=Settings()))
    for state in ("done", "failed"):
        it.queue.take_next()
        it.scan()
        it.poll()
        it.progress.feed(ScanEnded("finished", 1, 0))
        it.queue.end(cast(Any, state))
        assert it.poll() == []  # the next one begins at once
    it.queue.take_next()
    it.scan()
    it.poll()
    it.progress.feed(ScanEnded("finished", 1, 0))
    it.queue.end("done")
    assert it.poll() == [("3 models: 2 scored, 1 failed.", True)]
    assert it.poll() == []


@pytest.mark.parametrize(
    ("last", "over"),
    [
        (
            DownloadProgress(request=1, done=100, total=100, speed=1.0),
            ("Qwen3-8B: downloaded.", False),
        ),
        (
            DownloadProgress(request=1, done=99, total=100, speed=1.0),
            ("Qwen3-8B: the download failed.", True),
        ),
        (None, ("", False)),
    ],
)
def test_a_download(it: Followed, last: DownloadProgress | None, over: tuple[str, bool]) -> None:
    it.runner.is_downloading = True
    assert it.poll() == [(0.0, "↓ Qwen3-8B", False)]
    it.runner.download = DownloadProgress(request=1, done=50, total=100, speed=1.0)
    assert it.poll() == [(0.5, "↓ Qwen3-8B", False)]
    it.runner.is_downloading, it.runner.download = False, last
    assert it.poll() == [over]


# -- proofs ----------------------------------------------------------------------------------------


def proof_of(view: ProofView) -> SimpleNamespace:
    return SimpleNamespace(view=view, live=view.live)


def test_a_proof_is_told_and_its_verdict_called(it: Followed) -> None:
    it.proof = proof_of(proof_scenes.running())
    assert it.poll() == [(0.36, "proof of llama-8b", False)]
    done = saved_view(proof_scenes.finished(), proof_scenes.FOLDER)
    it.proof = proof_of(replace(done, phase="finished"))
    ((said, failed),) = it.poll()
    assert said.startswith("llama-8b: A difference was found in") and not failed
    assert it.poll() == []


@pytest.mark.parametrize(
    ("phase", "said"),
    [("stopped", ("", False)), ("failed", ("llama-8b: The disk is full.", True))],
)
def test_a_proof_that_ends_before_its_time(
    it: Followed, phase: ProofPhase, said: tuple[str, bool]
) -> None:
    it.proof = proof_of(proof_scenes.running())
    it.poll()
    it.proof = proof_of(replace(it.proof.view, phase=phase, error="The disk is full."))
    assert it.poll() == [said]


def test_a_scan_goes_before_a_proof(it: Followed) -> None:
    it.proof = proof_of(proof_scenes.running())
    it.scan()
    assert it.poll() == [(0.0, "Qwen3-8B", False)]
