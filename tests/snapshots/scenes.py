"""Every screen in its states, made of frozen data: no scan, no clock, no blinking cursor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from spectrum_tui.app.scan_queue import Queued, ScanQueue
from spectrum_tui.app.screens.audit import AuditScreen
from spectrum_tui.app.screens.compare import CompareScreen
from spectrum_tui.app.screens.film import FilmScreen
from spectrum_tui.app.screens.layers import LayersScreen
from spectrum_tui.app.screens.library import LibraryScreen
from spectrum_tui.app.screens.result_state import ResultState
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.screens.scan import ScanScreen
from spectrum_tui.app.screens.setup import SetupScreen
from spectrum_tui.app.widgets.found_panel import FoundPanel
from spectrum_tui.app.widgets.scan_map import ScanMap
from spectrum_tui.core.audit.audit import audit
from spectrum_tui.core.comparison.compare import compare
from spectrum_tui.core.comparison.differences import Differences
from spectrum_tui.core.comparison.film import Frame
from spectrum_tui.core.events import (
    Fetched,
    LayerDone,
    LayerFailed,
    LayerStarted,
    ScanEnded,
    ScanStarted,
)
from spectrum_tui.core.journal.spectra import KeptSpectrum
from spectrum_tui.core.requests import (
    DownloadProgress,
    ModelNames,
    ModelSummary,
    Ready,
    Suggestions,
)
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.saved.kept_spectra import LayerSpectra
from spectrum_tui.core.saved.library import Entry
from spectrum_tui.core.settings import Settings
from spectrum_tui.worker.progress import ScanProgress
from tests import made
from tests.snapshots.made_results import with_head, with_sizes
from tests.snapshots.models import DEPTH, MODEL, llama, mixture, remote, too_large, towers
from tests.snapshots.shown import Prepare, still
from tests.ui.worker_control import until

READY = Ready(("cpu", "cuda:0"), {"cpu": 2.0, "cuda:0": 0.5})
SUGGESTIONS = Suggestions(
    (MODEL, "made/mixtral-8x7b", "made/small-135m"),
    ("/home/you/work/model_snr_results/snr_results_made-llama-8b.json",),
)
NO_SUCH_MODEL = (
    "There is no model made/lama-8b on the hub, or it is private.",
    "Check the name; for a private model, log in with `hf auth login`.",
)


def setup(state: str) -> tuple[SetupScreen, Prepare]:
    """The setup screen: empty, found, on_the_hub, too_large, downloading or error."""
    screen = SetupScreen(Settings(output_dir="."), _third_fetched)

    def before() -> None:
        screen.set_ready(READY)
        screen.set_suggestions(SUGGESTIONS)
        match state:
            case "found":
                _show(screen, llama())
            case "on_the_hub":
                _show(screen, remote())
            case "too_large":
                _show(screen, too_large())
            case "downloading":
                _show(screen, remote())
                screen.action_download()
                screen.query_one(FoundPanel).show_download(_third_fetched())
            case "error":
                _type(screen, "made/lama-8b")
                screen.show_error("model", *NO_SUCH_MODEL)

    return screen, still(before=before)


def _third_fetched() -> DownloadProgress:
    return DownloadProgress(request=1, done=5_300_000_000, total=16_060_522_496, speed=84_000_000.0)


def _type(screen: SetupScreen, model: str) -> None:
    field = screen.query_one("#model", Input)
    with field.prevent(Input.Changed):
        field.value = model


def _show(screen: SetupScreen, summary: ModelSummary) -> None:
    _type(screen, summary.model)
    screen.settings = replace(screen.settings, model=summary.model)
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
            layers=7 * DEPTH,
            cost=7 * DEPTH * 10.0,
            types=types,
            device="cpu",
            batch_size=4,
            names=tuple(f"model.layers.{i}.{name}" for name in types for i in range(DEPTH)),
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
    """The scan screen: running, over a network or waiting for it, stopping, stopped, died or
    failures."""
    scan = progress(failures=state == "failures")
    match state:
        case "streamed":
            scan.feed(Fetched(12_300_000_000, 163 * 10**9, 42e6))
        case "waiting":
            scan.feed(Fetched(12_300_000_000, 163 * 10**9, 0.0, lost_network()))
        case "stopping":
            scan.stopping()
        case "stopped":
            scan.feed(ScanEnded("stopped", 75, 0))
        case "died":
            scan.end("died", "The scan process was killed (SIGKILL; out of memory?).")
    return ScanScreen(scan, MODEL)


def lost_network() -> str:
    """Why nothing comes."""
    return "Cannot reach cas-bridge.xethub.hf.co (no such host)."


def queued(state: str = "failures") -> ScanScreen:
    """The scan screen with models before and after the one that is scanned."""
    return ScanScreen(progress(failures=state == "failures"), MODEL, queue_of_six())


def queue_of_six() -> ScanQueue:
    """Two models that are done, one that is scanned, and three that wait."""
    queue = ScanQueue()
    small = replace(llama(), model="made/small-135m", name="made/small-135m")
    mistyped = replace(llama(), model="/models/phi", name="phi")
    queue.begin(_model(small))
    large = replace(llama(), model="made/llama-70b", name="made/llama-70b")
    for summary in (mistyped, llama(), large, mixture(), towers()):
        queue.add(_model(summary))
    queue.end("done", "210 layers scored", Path("scores.json"))
    queue.take_next()
    queue.end("failed", "There are no weights in /models/phi. Give the folder of the model.")
    queue.take_next()
    return queue


def _model(summary: ModelSummary) -> Queued:
    return Queued(summary=summary, settings=Settings())


def filled(screen: ScanScreen, *keys: str, before: Callable[[], object] = lambda: None) -> Prepare:
    """Wait until the map of a scan is made and has every score, then go on as `still` does."""

    def is_filled() -> bool:
        screen.poll()
        maps = screen.query(ScanMap)
        return bool(maps) and maps.first().taken == 75

    async def prepare(pilot: Pilot[Any]) -> None:
        await pilot.pause()
        await until(pilot, is_filled)
        await still(*keys, before=before)(pilot)

    return prepare


def noise_with_signal() -> KeptSpectrum:
    """The singular values of noise with twenty values above it."""
    angle = np.linspace(0, np.pi, 10_001)
    mass = np.cumsum(np.sin(angle) ** 2 / (1.25 + np.cos(angle)))
    angles = np.interp(np.linspace(0, 1, 1024), mass / mass[-1], angle)
    values = 0.02 * np.sqrt(4096 * (1.25 + np.cos(angles)))  # Marchenko-Pastur of ratio 1/4
    values[:20] = np.geomspace(6.0, 2.1, 20)
    return KeptSpectrum(values, 1024, 4096)


def spectrum_of_a_layer(monkeypatch: pytest.MonkeyPatch) -> ResultsScreen:
    """The results screen of layers with kept spectra."""
    kept, made_layer = noise_with_signal(), "model.layers.0.mlp.down_proj"
    monkeypatch.setattr(
        "spectrum_tui.app.screens.singular_values.spectra_of",
        lambda result, row: [(made_layer, kept)],
    )
    return results(made.with_metrics(with_head()))


def inspected(monkeypatch: pytest.MonkeyPatch, *keys: str) -> tuple[ResultsScreen, Prepare]:
    """The results screen of a whole model with kept spectra, where the cursor rests on a layer."""
    found = [("", noise_with_signal())]
    monkeypatch.setattr(LayerSpectra, "of", lambda spectra, row: found)
    monkeypatch.setattr("spectrum_tui.app.widgets.spectrum_line.REST_SECONDS", 0.01)

    async def prepare(pilot: Pilot[Any]) -> None:
        await still(*keys)(pilot)
        await pilot.pause(0.1)
        await still()(pilot)

    kept = made.with_metrics(replace(with_sizes(), checkpoint="made"))
    return results(kept.with_metric("calibrated")), prepare


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
    return CompareScreen(compare(a, b), Policy(percent=percent))


# -- library -----------------------------------------------------------------------------------

NOON = 1_795_953_600.0
"""The 29th of November 2026, in seconds since 1970."""


def library_entries() -> list[Entry]:
    """Scans of three models and a file of another tool."""
    scan = Entry(
        path="/home/you/work/model_snr_results/snr_results_made-llama-8b.json",
        model="made/llama-8b",
        used=NOON,
        layers=338,
        planned=338,
        failed=0,
        metric="spectrum",
        revision="0123456789abcdef",
        finished="2026-11-29",
        device="cuda:0",
        precision="fast",
    )
    tuned = "/home/you/ft/checkpoint-500/model_snr_results/snr_results_checkpoint-500.json"
    cached = "/home/you/.cache/spectrum-tui/stopped/model_snr_results/snr_results_made-phi.json"
    other = "/home/you/Downloads/snr_results_Qwen-Qwen2-7B.json"
    return [
        scan,
        replace(scan, path=tuned, model="checkpoint-500", used=NOON - 8e4, note="code, 2 epochs"),
        replace(scan, path=cached, model="made/phi", layers=37, planned=224, device="cpu"),
        Entry(
            path=other,
            model="Qwen-Qwen2-7B",
            used=NOON - 3e6,
            layers=196,
            planned=196,
            failed=0,
            metric="spectrum",
        ),
    ]


def library(*keys: str, empty: bool = False) -> tuple[LibraryScreen, Prepare]:
    """The library, the last file gone."""
    screen = LibraryScreen(Settings(output_dir="."))

    def before() -> None:
        entries = [] if empty else library_entries()
        screen.table.show_entries(entries)
        screen.table.show_gone({entry.path for entry in entries[3:]})

    async def prepare(pilot: Pilot[Any]) -> None:
        await pilot.pause()
        await pilot.app.workers.wait_for_complete()
        await still(*keys, before=before)(pilot)

    return screen, prepare


def film() -> FilmScreen:
    """Four scores of a training run, the third of them on show."""
    first = made.result(layers=DEPTH, model=MODEL)
    frames = []
    for number in range(4):
        noise = np.random.default_rng(5).lognormal(0, number / 4, len(first.scores))
        now = replace(first, scores=made.ranked(first.scores, first.scores.values * noise))
        found = compare(first, now)
        frames.append(Frame(500 * number, found, Differences(found)))
    return FilmScreen(frames, Policy(percent=25))
