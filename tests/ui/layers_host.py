"""An app that shows the layers screen alone, for tests of it."""

from __future__ import annotations

from dataclasses import replace

from textual.app import App
from textual.screen import Screen
from textual.widgets import Static
from textual.widgets._footer import FooterKey

from spectrum_tui.app.messages import ScanRequested
from spectrum_tui.app.screens.layers import LayersScreen
from spectrum_tui.core.layer_types import Group, TypeInfo
from spectrum_tui.core.requests import ModelSummary, Ready
from spectrum_tui.core.settings import Settings

TYPES = (
    TypeInfo(
        name="self_attn.q_proj",
        group=Group.ATTENTION,
        layers=32,
        parameters=500_000_000,
        cost=30.0,
        nbytes=1_000_000_000,
    ),
    TypeInfo(
        name="mlp.down_proj",
        group=Group.MLP,
        layers=32,
        parameters=1_500_000_000,
        cost=90.0,
        nbytes=3_000_000_000,
    ),
    TypeInfo(
        name="input_layernorm",
        group=Group.NORMS,
        layers=32,
        parameters=100_000,
        cost=0.0,
        one_dimensional=True,
    ),
    TypeInfo(name="a[/b][red]", group=Group.OTHER, layers=1, parameters=100, cost=0.1),
)
SUMMARY = ModelSummary(
    model="made/llama[/b]",
    origin="cache",
    folder="/models/llama",
    revision="8cde5ca",
    architecture="LlamaForCausalLM",
    parameters=4_000_200_000,
    tensors=97,
    shards=2,
    nbytes=8_000_400_000,
    local_bytes=8_000_400_000,
    dtypes={"BF16": 8_000_400_000},
    name="made/llama[/b]",
    types=TYPES,
    naming="transformers 5.23.0 LlamaForCausalLM",
    model_class="LlamaForCausalLM",
)
PREVIEW = replace(SUMMARY, naming="", model_class="")
SKIPPED = (("rotary.inv_freq", "a buffer, not a parameter"), ("x[/b]", "1-D bias [red]"))
READY = Ready(("cuda:0", "cpu"), {"cuda:0": 0.5, "cpu": 2.0})


class Host(App[None]):
    def __init__(self, summary: ModelSummary = SUMMARY, settings: Settings | None = None) -> None:
        super().__init__()
        self.layers = LayersScreen(summary, settings or Settings())
        self.requests: list[ScanRequested] = []

    async def on_mount(self) -> None:
        await self.push_screen(self.layers)

    def on_scan_requested(self, event: ScanRequested) -> None:
        self.requests.append(event)

    def plan(self) -> str:
        return self.layers.panel.figures.render().plain

    def notes(self) -> str:
        notes = self.layers.panel.query(Static)
        return "\n".join(str(note.render()) for note in notes if note.display)

    def top(self) -> Screen[object]:
        return self.screen

    def footer(self) -> list[str]:
        return [key.description for key in self.screen.query(FooterKey)]
