"""The dialog of a probe over the results, made of frozen data."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input

from spectrum_tui.app import proof_setup
from spectrum_tui.app.probe_run import ProbeRun, ProbeView
from spectrum_tui.app.screens import probe as probe_screen
from spectrum_tui.app.screens.probe import ProbeScreen
from spectrum_tui.core.probing.records import Doing, Plan
from tests.snapshots import made_results, scenes
from tests.snapshots.proof_scenes import KEPT
from tests.snapshots.shown import Prepare, still

RUNNING = ProbeView(
    phase="measuring",
    plan=Plan(
        passes=3,
        recompute=True,
        hold=False,
        memory=9_600_000_000,
        device="cpu",
        dtype="float32",
        tokens=16_384,
        model_class="LlamaForCausalLM",
    ),
    doing=Doing(step=14, steps=48),
    left=412.0,
)


class Frozen(ProbeRun):
    """A probe in which nothing goes on."""

    def __init__(self) -> None:
        self.frozen = RUNNING

    @property
    def view(self) -> ProbeView:
        return self.frozen

    def stop(self) -> None:
        self.frozen = ProbeView(phase="stopped")


def over_results(monkeypatch: pytest.MonkeyPatch, state: str) -> tuple[Screen[Any], Prepare]:
    """The dialog with data, or while it is running."""
    monkeypatch.setattr(proof_setup, "read_texts", lambda text, media: KEPT)
    monkeypatch.setattr(proof_setup, "model_of", lambda *_: "made/llama-8b")
    monkeypatch.setattr(probe_screen, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr("spectrum_tui.core.memory.presets.has_nvidia_gpu", lambda: False)

    async def prepare(pilot: Pilot[Any]) -> None:
        await still("D")(pilot)
        screen = pilot.app.screen
        assert isinstance(screen, ProbeScreen)
        screen.query_one("#data", Input).value = "data/support_chats.jsonl"
        await pilot.pause(0.05)
        if state == "running":
            screen.run_now = Frozen()
            screen._freeze(live=True)
            screen.poll()
        await still()(pilot)

    return scenes.results(made_results.with_sizes()), prepare
