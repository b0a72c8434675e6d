"""Every screen in its states, made of frozen data: no scan, no clock, no blinking cursor."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input

from spectrum_tui.app.base import BaseApp
from spectrum_tui.app.screens.audit import AuditScreen
from spectrum_tui.app.screens.compare import CompareScreen
from spectrum_tui.app.screens.layers import LayersScreen
from spectrum_tui.app.screens.result_state import ResultState
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.screens.scan import ScanScreen
from spectrum_tui.app.screens.setup import SetupScreen
from spectrum_tui.app.theme import DARK
from spectrum_tui.app.widgets.found_panel import FoundPanel
from spectrum_tui.core.audit.audit import audit
from spectrum_tui.core.comparison.compare import compare
from spectrum_tui.core.events import LayerDone, LayerFailed, LayerStarted, ScanEnded, ScanStarted
from spectrum_tui.core.journal.spectra import KeptSpectrum
from spectrum_tui.core.layer_types import Group, TypeInfo
from spectrum_tui.core.requests import (
    DownloadProgress,
    ModelNames,
    ModelSummary,
    Ready,
    Suggestions,
)
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.settings import Settings
from spectrum_tui.worker.progress import ScanProgress
from tests import made

MODEL = "made/llama-8b"
READY = Ready(("cpu", "cuda:0"), {"cpu": 2.0, "cuda:0": 0.5})
SUGGESTIONS = Suggestions(
    (MODEL, "made/mixtral-8x7b", "made/small-135m"),
    ("/home/you/work/model_snr_results/snr_results_made-llama-8b.json",),
)
NO_SUCH_MODEL = (
    "There is no model made/lama-8b on the hub, or it is private.",
    "Check the name; for a private model, log in with `hf auth login`.",
)
DEPTH = 32


class Shown(BaseApp):
    """One screen by itself; `prepare` brings it into its state before the picture."""

    def __init__(self, screen: Screen[Any], theme: str = DARK.name) -> None:
        super().__init__()
        self.theme = theme
        self.animation_level = "none"
        self.shown = screen

    def get_default_screen(self) -> Screen[Any]:
        return self.shown


Prepare = Callable[[Pilot[Any]], Awaitable[None]]


def still(*keys: str, before: Callable[[], object] = lambda: None) -> Prepare:
    """Do `before`, press keys, and hold every cursor still."""

    async def prepare(pilot: Pilot[Any]) -> None:
        await pilot.pause()
        before()
        await pilot.pause()
        await pilot.press(*keys)
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()
        for field in pilot.app.screen.query(Input):
            field.cursor_blink = False
        await pilot.pause()

    return prepare


# -- setup -------------------------------------------------------------------------------------


def llama() -> ModelSummary:
    """What headers tell about a model of 8 B."""
    groups = {"mlp": Group.MLP, "self_attn": Group.ATTENTION}
    matrices = [
        TypeInfo(
            name=name,
            group=groups[name.split(".")[0]],
            layers=DEPTH,
            parameters=DEPTH * rows * columns,
            cost=rows / 400,
        )
        for name, rows, columns in made.TYPES
    ]
    norms = [
        TypeInfo(
            name=name,
            group=Group.NORMS,
            layers=DEPTH,
            parameters=DEPTH * 4096,
            cost=0.0,
            one_dimensional=True,
        )
        for name in ("input_layernorm", "post_attention_layernorm")
    ]
    head = [
        TypeInfo(name=name, group=Group.EMBEDDINGS, layers=1, parameters=128256 * 4096, cost=12.0)
        for name in ("model.embed_tokens", "lm_head")
    ]
    return ModelSummary(
        model=MODEL,
        origin="cache",
        folder="/models/llama",
        revision="8cde5ca8380496c9a6cc7ef3a8b46a0372a1d920",
        architecture="LlamaForCausalLM",
        parameters=8_030_261_248,
        tensors=291,
        shards=4,
        nbytes=16_060_522_496,
        local_bytes=16_060_522_496,
        dtypes={"BF16": 16_060_522_496},
        types=(*matrices, *norms, *head),
        name=MODEL,
        naming="transformers 5.23.0 LlamaForCausalLM",
        model_class="LlamaForCausalLM",
    )


def mixture() -> ModelSummary:
    """A model of 160 experts a layer, with what is worth knowing about it."""
    experts = [
        TypeInfo(
            name=f"mlp.experts.{expert}.{part}_proj",
            group=Group.EXPERTS,
            layers=24,
            parameters=24 * 7_864_320,
            cost=1.2,
        )
        for expert in range(160)
        for part in ("down", "gate", "up")
    ]
    gate = TypeInfo(
        name="mlp.gate", group=Group.EXPERTS, layers=24, parameters=24 * 819_200, cost=0.4
    )
    plain = llama()
    return replace(
        plain,
        model="made/mixture",
        name="made/mixture",
        types=(*plain.types, *experts, gate),
        parameters=98_600_000_000,
        scored={"mlp.experts.0.down_proj": 24, "mlp.experts.0.up_proj": 13},
        skipped=(("model.rotary.inv_freq", "a buffer, not a parameter"),),
    )


def towers() -> ModelSummary:
    """A model that sees: a vision tower, a projector, and a language model of fused experts."""
    seeing = [
        TypeInfo(
            name=f"vision:{name}",
            group=group,
            layers=27,
            parameters=27 * size,
            cost=1.5,
            tower="vision",
        )
        for name, group, size in (
            ("self_attn.q_proj", Group.ATTENTION, 1_327_104),
            ("self_attn.out_proj", Group.ATTENTION, 1_327_104),
            ("mlp.fc1", Group.MLP, 4_958_208),
            ("mlp.fc2", Group.MLP, 4_958_208),
        )
    ]
    between = TypeInfo(
        name="projector:linear_1",
        group=Group.OTHER,
        layers=1,
        parameters=4_718_592,
        cost=0.3,
        tower="projector",
    )
    fused = [
        TypeInfo(
            name=name,
            group=Group.EXPERTS,
            layers=48,
            parameters=48 * size,
            cost=cost,
            experts=128,
            tower="language",
        )
        for name, size, cost in (
            ("mlp.experts.down_proj", 201_326_592, 90.0),
            ("mlp.experts.gate_up_proj", 402_653_184, 180.0),
        )
    ]
    plain = llama()
    language = [replace(one, tower="language") for one in plain.types if "mlp" not in one.name]
    return replace(
        plain,
        model="made/seeing-mixture",
        name="made/seeing-mixture",
        types=(*language, *fused, *seeing, between),
        parameters=31_700_000_000,
        architecture="SeeingForConditionalGeneration",
        model_class="SeeingForConditionalGeneration",
        naming="transformers 5.23.0 SeeingForConditionalGeneration",
    )


def remote() -> ModelSummary:
    """A model that is not on this machine."""
    return replace(llama(), origin="hub", folder="", local_bytes=0, naming="", model_class="")


def setup(state: str) -> tuple[SetupScreen, Prepare]:
    """The setup screen: empty, found, on_the_hub, downloading or error."""
    screen = SetupScreen(Settings(output_dir="."), _third_fetched)

    def before() -> None:
        screen.set_ready(READY)
        screen.set_suggestions(SUGGESTIONS)
        match state:
            case "found":
                _show(screen, llama())
            case "on_the_hub":
                _show(screen, remote())
            case "downloading":
                _show(screen, remote())
                screen.action_download()
                screen.query_one(FoundPanel).show_download(_third_fetched())
            case "error":
                _type(screen, "made/lama-8b")
                screen.show_error("model", *NO_SUCH_MODEL)

    return screen, still(before=before)


def _third_fetched() -> DownloadProgress:
    return DownloadProgress(1, 5_300_000_000, 16_060_522_496, 84_000_000.0)


def _type(screen: SetupScreen, model: str) -> None:
    field = screen.query_one("#model", Input)
    with field.prevent(Input.Changed):
        field.value = model


def _show(screen: SetupScreen, summary: ModelSummary) -> None:
    _type(screen, summary.model)
    screen.show_summary(summary)


# -- layers ------------------------------------------------------------------------------------


def layers(summary: ModelSummary) -> LayersScreen:
    """The layers screen on a measured machine."""
    screen = LayersScreen(summary, Settings(device="cpu", output_dir="."))
    screen.set_ready(READY)
    return screen


# -- scan --------------------------------------------------------------------------------------


class Clock:
    time = 0.0

    def __call__(self) -> float:
        return self.time


def progress(*, failures: bool = False) -> ScanProgress:
    """A scan of 224 layers, 76 s on its way."""
    clock = Clock()
    scan = ScanProgress(clock)
    scan.begin()
    types = {name: DEPTH for name, _, _ in made.TYPES}
    scan.feed(
        ScanStarted(
            layers=7 * DEPTH, cost=7 * DEPTH * 10.0, types=types, device="cpu", batch_size=4
        )
    )
    clock.time = 1.0
    snr = made.result(layers=DEPTH).scores.values
    for number in range(75):
        kind, rows, columns = made.TYPES[number // DEPTH]
        layer = f"model.layers.{number % DEPTH}.{kind}"
        clock.time += 1.0
        if failures and number in (40, 70):
            scan.feed(
                LayerFailed(
                    layer=layer, type=kind, shape=(rows, columns), reason="contains NaN", cost=10.0
                )
            )
            continue
        nbytes = 2 * rows * columns
        score = float(snr[number])
        scan.feed(
            LayerDone(
                layer=layer,
                type=kind,
                shape=(rows, columns),
                metrics={"spectrum": score},
                cost=10.0,
                bytes=nbytes,
                seconds=4.0,
            )
        )
    for number in range(75, 79):
        kind, rows, columns = made.TYPES[number // DEPTH]
        clock.time += 0.25
        layer = f"model.layers.{number % DEPTH}.{kind}"
        scan.feed(LayerStarted(layer, kind, (rows, columns), 10.0))
    scan.set_memory(1_340_000_000)
    return scan


def scan_screen(state: str) -> ScanScreen:
    """The scan screen: running, stopping, stopped, died or failures."""
    scan = progress(failures=state == "failures")
    match state:
        case "stopping":
            scan.stopping()
        case "stopped":
            scan.feed(ScanEnded("stopped", 75, 0))
        case "died":
            scan.end("died", "The scan process was killed (SIGKILL; out of memory?).")
    return ScanScreen(scan, MODEL)


# -- results -----------------------------------------------------------------------------------


def with_experts() -> Result:
    """A result whose first layer is the mean of 64 experts, gate and up apart."""
    result = with_head()
    parts = tuple(
        (f"expert {expert} {half}", 0.4 + 0.3 * math.sin(expert * (2 + bias)) + bias)
        for expert in range(64)
        for half, bias in (("gate", 0.0), ("up", 0.2))
    )
    return replace(result, scores=made.ranked(result.scores, parts={0: parts}))


def with_head() -> Result:
    """Scores of a whole model, embeddings and head among them."""
    plain = made.result(layers=DEPTH, types=7, norms=True, model=MODEL)
    names = ("model.embed_tokens", "lm_head")
    scores = plain.scores
    grown = replace(
        scores,
        layers=[*scores.layers, *names],
        type_names=[*scores.type_names, *names],
        type_ids=np.append(scores.type_ids, [8, 9]),
        rows=np.append(scores.rows, [128256, 128256]),
        columns=np.append(scores.columns, [4096, 4096]),
        numel=np.append(scores.numel, [h.numel for h in made.HEAD]),
        parameters=[*scores.parameters, *((h.name,) for h in made.HEAD)],
    )
    grown = made.ranked(grown, np.append(scores.values, [0.8341, 2.117]))
    return replace(plain, scores=grown, planned=plain.planned + 2)


def partial() -> Result:
    """A stopped scan with failures."""
    failed = {3: "contains NaN", 40: "contains infinity"}
    return made.result(layers=DEPTH, planned=256, failed=failed, model=MODEL)


def foreign() -> Result:
    """Scores of another tool: no sizes, ties at infinity, an assumed head."""
    infinite = dict.fromkeys((1, 5, 9, 33), float("inf"))
    return made.result(layers=DEPTH, sizes=False, snr=infinite, model=MODEL)


def spectrum_of_a_layer(monkeypatch: pytest.MonkeyPatch) -> ResultsScreen:
    """The results screen of layers whose kept spectra are noise with twenty values above it."""
    angle = np.linspace(0, np.pi, 10_001)
    mass = np.cumsum(np.sin(angle) ** 2 / (1.25 + np.cos(angle)))
    angles = np.interp(np.linspace(0, 1, 1024), mass / mass[-1], angle)
    values = 0.02 * np.sqrt(4096 * (1.25 + np.cos(angles)))  # Marchenko-Pastur of ratio 1/4
    values[:20] = np.geomspace(6.0, 2.1, 20)
    kept = KeptSpectrum(values, 1024, 4096)
    made_layer = "model.layers.0.mlp.down_proj"
    monkeypatch.setattr(
        "spectrum_tui.app.screens.singular_values.spectra_of",
        lambda result, row: [(made_layer, kept)],
    )
    return results(made.with_metrics(with_head()))


# -- audit -------------------------------------------------------------------------------------

RECIPE = r"""unfrozen_parameters:
- ^lm_head.weight$
# mlp.gate layers
- model.layers.1.mlp.gate
- model.layers.0.mlp.gate  # snr 0.41
# self_attn.q_proj layers
- ^model\.layers\.1\.self_attn\.q_proj\.weight$
- model.layers.1.block_sparse_moe.experts.3.w1
adapter: qlora
"""
PARTS = ("mlp.gate", "mlp.gate_proj", "self_attn.q_proj")
GOOD_RECIPE = "unfrozen_parameters:\n- model.layers.1.mlp.gate.weight\n"


def mixture_names() -> ModelNames:
    """The parameters of a made-up mixture of experts whose head is tied."""
    blocks = [f"model.layers.{i}.{part}.weight" for i in range(4) for part in PARTS]
    experts = [f"model.layers.{i}.mlp.experts.gate_up_proj" for i in range(4)]
    names = ("model.embed_tokens.weight", *blocks, *experts)
    sizes = (4_194_304,) * len(names)
    naming = "transformers 5.23.0 MixtureForCausalLM"
    return ModelNames(
        model="made/mixture",
        naming=naming,
        names=names,
        sizes=sizes,
        rows=(8,) * len(names),
        tied=(("lm_head.weight", names[0]),),
    )


def audit_screen(state: str) -> tuple[AuditScreen, Prepare]:
    """The audit screen: text, model, good or writing."""
    text = GOOD_RECIPE if state == "good" else RECIPE
    screen = AuditScreen(Path("recipes/mixture_25percent.yaml"), text, audit(text))

    def before() -> None:
        if state in ("model", "good"):
            screen.show_names(mixture_names())

    return screen, still(*(("w",) if state == "writing" else ()), before=before)


def with_sizes() -> Result:
    """A whole model with every parameter known: its memory can be told."""
    return made.with_parameters(made.result(layers=DEPTH, model=MODEL))


def results(result: Result, percent: int = 25) -> ResultsScreen:
    """The results screen at a percentage."""
    return ResultsScreen(ResultState(result, Settings(top_percent=percent, output_dir="scores")))


def comparison(percent: int = 25) -> CompareScreen:
    """Two models of one architecture, the second without two of the types."""
    a = with_head()
    rows = np.flatnonzero(a.scores.type_ids < 6)
    moved = np.random.default_rng(3).lognormal(0, 0.5, len(rows)) * a.scores.values[rows]
    moved[64:96] = a.scores.values[64:96]  # one type stays as it was
    scores = replace(
        a.scores,
        layers=[a.scores.layers[row] for row in rows],
        type_ids=a.scores.type_ids[rows],
        rows=a.scores.rows[rows],
        columns=a.scores.columns[rows],
        numel=a.scores.numel[rows],
        parameters=[a.scores.parameters[row] for row in rows],
    )
    tuned = replace(a.provenance, model="made/llama-8b-tuned")
    b = replace(a, scores=made.ranked(scores, moved), provenance=tuned)
    return CompareScreen(compare(a, b), percent)
