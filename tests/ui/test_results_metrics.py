"""The results screen by another metric: every view follows, and what is missing is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spectrum_tui.app.screens.result_state import ResultState
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.widgets.heatmap import Heatmap
from spectrum_tui.app.widgets.score_rows import Sort
from spectrum_tui.core import numbers
from spectrum_tui.core.recipes.spectrum import SpectrumYaml
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.scoring.metrics import described
from spectrum_tui.core.settings import METRICS, Settings
from tests import made
from tests.ui.results_host import Host, settled


async def test_v_goes_through_the_metrics_and_everything_follows() -> None:
    result = made.with_metrics(made.result())
    app = Host(result, 25)
    async with app.run_test(size=(160, 50)) as pilot:
        await pilot.press("t")
        for name in (*METRICS[1:], METRICS[0]):
            await pilot.press("v")
            await pilot.pause()
            metric, screen = described(name), app.results
            other = Selection(result.with_metric(name))
            mask = other.mask(Policy(percent=25))
            assert (screen.views.table.mask == mask).all()
            assert metric.title in screen.views.table.render_header(0, 160).text
            value = numbers.score(float(result.scores.metrics[name].values[0]))
            rank = f"{other.rank[0]}/12"
            row = screen.views.table.render_row(0, 120).text.split()
            assert value in row
            assert rank in row
            assert f"{metric.title} (v): {metric.meaning}" in screen.views.bar.note
            text = SpectrumYaml(other).text(Policy(percent=25))
            assert (app.preview_text, screen.state.text()) == (text, text)
            assert f"metric {name}" in text


async def test_the_heat_map_follows_the_metric_in_view_and_out_of_it() -> None:
    result = made.with_metrics(made.result())
    app = Host(result, 25)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("m", "v")
        await pilot.pause()
        heatmap = app.results.views.heatmap
        assert heatmap is not None
        fresh = Heatmap(Selection(result.with_metric("calibrated")))
        assert np.array_equal(heatmap.grid.matrix.mean, fresh.matrix.mean)
        mask = Selection(result.with_metric("calibrated")).mask(Policy(percent=25))
        assert (heatmap.grid.selected == fresh.matrix.selected(mask)).all()
        assert "signal " in heatmap.foot.render().plain
        await pilot.press("t", "v", "m")
        await pilot.pause()
        assert "stable rank " in heatmap.foot.render().plain
        assert (
            heatmap.grid.matrix.scores.values[0] == result.scores.metrics["stable_rank"].values[0]
        )


async def test_the_cursor_stays_on_its_layer() -> None:
    app = Host(made.with_metrics(made.result()))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("s", "down", "down", "down")
        layer = app.results.views.table.current
        await pilot.press("v")
        await pilot.pause()
        assert app.results.views.table.current == layer
        assert app.results.views.table.sort is Sort.SCORE
        values = app.results.views.table.scores.values[app.results.views.table.order]
        assert (np.diff(values) <= 0).all()
        assert "sorted by signal" in app.results.views.bar.note


@pytest.mark.parametrize("sizes", [True, False], ids=["own", "imported"])
async def test_scores_of_one_metric_say_so(sizes: bool) -> None:
    app = Host(made.result(sizes=sizes))
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await pilot.press("v")
        await pilot.pause()
        (said,) = app._notifications
        assert said.message == (
            "These scores hold spectrum alone. Scan the model to get every metric."
        )
        assert app.results.state.ranking.metric.name == "spectrum"


@pytest.mark.parametrize("known", [True, False])
async def test_the_metric_of_the_settings(known: bool, tmp_path: Path) -> None:
    result = made.result()
    app = Host(made.with_metrics(result) if known else result)
    settings = Settings(metric="effective_rank", output_dir=str(tmp_path))
    app.results = ResultsScreen(ResultState(app.results.state.result, settings))
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await pilot.pause()
        shown = app.results.state.ranking.metric.name
        assert shown == ("effective_rank" if known else "spectrum")
        assert len(app._notifications) == (0 if known else 1)
        await pilot.press("w", "enter")
        await settled(pilot)
        name = "made-llama_effective_rank" if known else "made-llama"
        recipe = f"snr_results_{name}_unfrozenparameters_50percent.yaml"
        assert (tmp_path / recipe).read_text() == app.results.state.text()
        assert (tmp_path / "model_snr_results" / f"snr_results_{name}.json").is_file()
