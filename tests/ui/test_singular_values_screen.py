"""The dialog of one layer's singular values."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from textual.app import App

from spectrum_tui.app.screens.result_state import ResultState
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.screens.singular_values import (
    NOT_KEPT,
    SingularValuesScreen,
    noise_facts,
)
from spectrum_tui.app.widgets.histogram import RULE_WORDS, histogram, noise_by, small_histogram
from spectrum_tui.app.widgets.spectrum_line import REST_SECONDS
from spectrum_tui.core.events import LayerDone
from spectrum_tui.core.journal.spectra import KeptSpectrum
from spectrum_tui.core.requests import ResultReady
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.saved import store
from spectrum_tui.core.saved.kept_spectra import LayerSpectra, spectra_of
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.scoring.metrics import described, noise_of
from spectrum_tui.core.settings import METRICS, Settings
from tests import made, oracle
from tests.checkpoints import llama, save
from tests.ui.worker_control import until

NOISE = np.random.default_rng(0).standard_normal((96, 192))


def kept(spikes: float = 0.0, scale: float = 1.0) -> KeptSpectrum:
    """Noise with three planted values."""
    values = oracle.singular_values(NOISE)
    values[:3] += spikes
    return KeptSpectrum(scale * values, 96, 192)


def drawn(spectrum: KeptSpectrum, width: int) -> list[str]:
    """The lines of the histogram."""
    noise = noise_of(spectrum.values, spectrum.rows, spectrum.columns)
    return histogram(spectrum, noise, width).plain.splitlines()


@pytest.mark.parametrize("width", [20, 60, 120])
@pytest.mark.parametrize("spikes", [0.0, 30.0, 3000.0])
def test_the_histogram_is_as_wide_as_told_and_marks_the_end_of_noise(
    width: int, spikes: float
) -> None:
    lines = drawn(kept(spikes), width)
    assert all(len(line) <= width for line in lines)
    assert lines[-2].count("│") == 1
    assert "noise ends" in lines[-2]
    beyond = lines[-3][lines[-2].index("│") + 1 :]
    assert bool(beyond.strip()) == (spikes > 0)
    assert drawn(kept(spikes, 2.0**-20), width)[:-1] == lines[:-1]


@pytest.mark.parametrize("rule", RULE_WORDS)
def test_the_threshold_is_the_one_that_makes_the_score(rule: str) -> None:
    spectrum = kept(30.0)
    values = spectrum.values
    noise = noise_by(rule, spectrum)
    above = values > noise.threshold
    if rule == "spectrum":
        q25, q75 = np.percentile(values, [25, 75])
        assert noise.threshold == pytest.approx((q75 - q25) / 1.349 * (1 + np.sqrt(96 / 192)))
        score = values[above].sum() / values[~above].sum() / values[0]
    else:
        assert noise.signal == 3
        score = (values[above] ** 2).sum() / (values**2).sum()
    assert described(rule).of(values, 96, 192) == pytest.approx(score)
    text = noise_facts(spectrum, noise, rule).plain
    assert f"{above.sum()} of 96 values above" in text
    assert RULE_WORDS[rule] in text


async def test_the_rule_is_that_of_the_metric_and_t_switches_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spectrum = kept(30.0)
    monkeypatch.setattr(
        "spectrum_tui.app.screens.singular_values.spectra_of", lambda result, row: [("a", spectrum)]
    )
    for metric, first, second in (
        ("spectrum", *RULE_WORDS),
        ("calibrated", *reversed(RULE_WORDS)),
        ("stable_rank", *RULE_WORDS),
    ):
        app = Host(made.with_metrics(made.result(layers=4)).with_metric(metric))
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.press("d")
            await pilot.app.workers.wait_for_complete()
            await pilot.pause()
            assert isinstance(app.screen, SingularValuesScreen)
            for rule in (first, second, first):
                above = noise_by(rule, spectrum).signal
                assert f"{above} of 96 values above" in str(app.screen.body.content)
                assert RULE_WORDS[rule] in str(app.screen.body.content)
                await pilot.press("t")
                await pilot.pause()


class Host(App[None]):
    """Shows the results screen."""

    def __init__(self, result: Result) -> None:
        super().__init__()
        self.results = ResultsScreen(ResultState(result, Settings()))

    def on_mount(self) -> None:
        self.push_screen(self.results)


def scanned(folder: Path, out: Path) -> Result:
    request = Settings(model=str(folder), device="cpu", output_dir=str(out))
    events = list(run_scan(request))
    assert any(isinstance(event, LayerDone) for event in events)
    ready = next(event for event in events if isinstance(event, ResultReady))
    return store.load_result(Path(ready.path))


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=str)
async def test_d_shows_the_layer_under_the_cursor(size: tuple[int, int], tmp_path: Path) -> None:
    result = scanned(save(tmp_path / "m", llama(2)), tmp_path / "out")
    app = Host(result)
    async with app.run_test(size=size) as pilot:
        await pilot.press("t", "down", "d")
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()
        dialog = app.screen
        assert isinstance(dialog, SingularValuesScreen)
        assert dialog.frame.border_title == result.scores.layers[1]
        text = str(dialog.body.content)
        assert "noise ends" in text
        assert all(described(name).meaning in text for name in METRICS)
        assert dialog.frame.region.bottom <= size[1] - 1
        await pilot.press("d")
        await pilot.pause()
        assert app.screen is app.results


@pytest.mark.parametrize("spikes", [0.0, 30.0])
def test_the_small_one_is_a_line_with_the_same_threshold(spikes: float) -> None:
    spectrum = kept(spikes)
    noise = noise_of(spectrum.values, spectrum.rows, spectrum.columns)
    line = small_histogram(spectrum, noise, 60).plain
    assert len(line) == 60 and line.count("│") == 1
    assert line.index("│") == drawn(spectrum, 60)[-2].index("│")
    assert bool(line[line.index("│") + 1 :].strip()) == (spikes > 0)
    tall = small_histogram(spectrum, noise, 60, 4).plain.split("\n")
    assert [len(row) for row in tall] == [60] * 4
    assert {row.index("│") for row in tall} == {line.index("│")}
    assert tall[0].strip(" │") and tall[-1].count(" ") == line.count(" "), "from top to bottom"


async def test_a_tall_terminal_shows_them_small_once_the_cursor_rests(tmp_path: Path) -> None:
    result = scanned(save(tmp_path / "m", llama(2)), tmp_path / "out")
    app = Host(result)
    async with app.run_test(size=(120, 40)) as pilot:
        views = app.results.views
        for key, layer in (("t", 0), ("down", 1), ("m", None)):
            await pilot.press(key)
            await pilot.pause(REST_SECONDS + 0.05)
            await app.workers.wait_for_complete()
            await pilot.pause()
            line = views.heatmap.spectrum if views.heatmap else views.spectrum
            row = views.current_row if layer is None else layer
            assert row is not None
            ((_, spectrum),) = spectra_of(result, row)
            above = noise_by("spectrum", spectrum).signal
            assert f"{above:,} of {len(spectrum.values):,} values above" in line.render().plain
        await pilot.press("t")
        assert views.spectrum.display
        await pilot.resize_terminal(120, 39)
        await pilot.pause()
        assert not views.spectrum.display
        await pilot.press("y")
        await pilot.resize_terminal(120, 40)
        assert not views.spectrum.display


async def test_below_the_map_they_have_the_room_that_the_cells_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = {0: [("a", kept(30.0))], 1: []}
    monkeypatch.setattr(LayerSpectra, "of", lambda spectra, row: found.get(row, []))
    monkeypatch.setattr("spectrum_tui.app.widgets.spectrum_line.REST_SECONDS", 0.001)
    app = Host(replace(made.result(layers=8), checkpoint="made"))
    async with app.run_test(size=(160, 50)) as pilot:
        heatmap = app.results.views.heatmap
        assert heatmap is not None
        for height, least in ((50, 8), (40, 1), (24, 0)):
            await pilot.resize_terminal(160, height)
            await pilot.pause()
            heights = [widget.size.height for widget in (heatmap.grid, heatmap.foot)]
            lines = heatmap.spectrum.size.height if heatmap.spectrum.display else 0
            assert lines >= least and sum(heights) + lines == heatmap.size.height
        await pilot.resize_terminal(160, 50)
        app.results.views.go_to(app.results.state.result.scores.layers[0])
        await until(pilot, lambda: heatmap.spectrum.render().plain)
        drawn = heatmap.spectrum.render().plain.split("\n")
        assert len(drawn) == heatmap.spectrum.size.height and drawn[-1].startswith("0 ")
        regions = [widget.region for widget in heatmap.children]
        await pilot.press("right")
        await until(pilot, lambda: not heatmap.spectrum.render().plain)
        assert [widget.region for widget in heatmap.children] == regions, "nothing jumps"


async def test_keys_do_not_wait_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, str]] = []

    def read(spectra: LayerSpectra, row: int) -> list[tuple[str, KeptSpectrum]]:
        asked.append((row, threading.current_thread().name))
        return [("a", kept(30.0))]

    monkeypatch.setattr(LayerSpectra, "of", read)
    app = Host(replace(made.result(layers=8), checkpoint="made"))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("t", "home")
        await pilot.pause(REST_SECONDS + 0.05)
        await app.workers.wait_for_complete()
        asked.clear()
        await pilot.press(*["down"] * 6)
        await pilot.pause(REST_SECONDS + 0.05)
        await app.workers.wait_for_complete()
        assert asked[-1][0] == 6 and len(asked) <= 2, "only where the cursor rests"
        assert all(name != threading.main_thread().name for _, name in asked)


async def test_where_nothing_was_kept_it_says_so() -> None:
    app = Host(made.result())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("d")
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()
        assert isinstance(app.screen, SingularValuesScreen)
        assert str(app.screen.body.content) == NOT_KEPT


async def test_a_layers_name_is_never_markup() -> None:
    odd = "a[/b][red]"
    app = Host(made.result(names={0: odd}))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("t", "home", "d")
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()
        assert isinstance(app.screen, SingularValuesScreen)
        title = app.screen.frame._border_title
        assert title is not None and title.plain == odd
