"""Bad input in the app: the command line's words, beside the field that caused them.

The app and the core are the real ones. Each case is refused twice, first by the command line and
then by the app, and the two must say the same; neither may leave a file behind.
"""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Button, Input

from spectrum_tui.app.app import SpectrumApp
from spectrum_tui.app.screens.layers import LayersScreen
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.screens.save import SaveScreen
from spectrum_tui.app.screens.scan import ScanScreen
from spectrum_tui.app.screens.setup import SetupScreen
from spectrum_tui.cli.main import main
from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.files import OutputFiles
from spectrum_tui.core.journal.journal import journal_path, read_journal
from spectrum_tui.core.settings import Settings
from tests.checkpoints import ODD_NAME, llama, matrix, save, spoil, zero
from tests.commands import Capture
from tests.ui.refusals import SIZE, beside, failing, said_by_command_line, to_layers, to_results
from tests.ui.worker_control import until

BAD = "model.layers.1.mlp.down_proj"


pytestmark = pytest.mark.usefixtures("in_empty_folder", "real_core")


# -- values ----------------------------------------------------------------------------------------


async def test_values_that_are_no_use(tmp_path: Path, capsys: Capture) -> None:
    model = str(save(tmp_path / "tiny", llama(1)))
    cases = [("batch_size", value) for value in ("0", "-3", "abc")]
    cases += [("top_percent", value) for value in ("0", "101", "abc")]
    app = SpectrumApp(Settings(model=model))
    words = {
        (field, value): said_by_command_line(capsys, model, f"--{field.replace('_', '-')}={value}")
        for field, value in cases
    }
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.setup_screen.summary)
        for field, value in cases:
            box = app.setup_screen.query_one(f"#{field}", Input)
            box.focus()
            box.value = ""
            await pilot.press(*value, "enter")
            assert failing(app) == [f"field-{field}"]
            assert beside(app, field) == words[field, value]
            await pilot.press("ctrl+n")
            assert isinstance(app.screen, SetupScreen)
            box.value = "7"
            await pilot.pause()
            assert failing(app) == []
        await pilot.press("ctrl+n")
        await until(pilot, lambda: isinstance(app.screen, LayersScreen))


async def test_a_device_that_does_not_exist(tmp_path: Path, capsys: Capture) -> None:
    model = str(save(tmp_path / "tiny", llama(1)))
    words = said_by_command_line(capsys, model, "--device", "cuda:99")
    app = SpectrumApp(Settings(model=model, device="cuda:99"))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.setup_screen.summary and failing(app))
        assert failing(app) == ["field-device"]
        assert beside(app, "device") == words


# -- output ----------------------------------------------------------------------------------------


async def test_output_folders_that_cannot_be(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "file").write_text("mine")
    places = [str(tmp_path / place) for place in ("file", "file/below", "/proc/nowhere")]
    model = str(save(tmp_path / "tiny", llama(1)))
    words = {out: said_by_command_line(capsys, model, "--output-dir", out) for out in places}
    app = SpectrumApp(Settings(model=model))
    async with app.run_test(size=SIZE) as pilot:
        for out in places:
            app.setup_screen.query_one("#output_dir", Input).value = out
            await to_layers(pilot, app)
            await pilot.press("s")
            await until(pilot, lambda: app.screen is app.setup_screen and failing(app))
            assert failing(app) == ["field-output_dir"]
            assert beside(app, "output_dir") == words[out]
        # Mended, the same model goes through.
        app.setup_screen.query_one("#output_dir", Input).value = str(tmp_path / "good")
        await to_results(pilot, app)
    assert (tmp_path / "file").read_text() == "mine"


@contextlib.contextmanager
def no_file_above(nbytes: int) -> Iterator[None]:
    """Files of this process take no more: refused by the system, as by a disk without room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_while_scanning(tmp_path: Path, capsys: Capture) -> None:
    model = save(tmp_path / "tiny", llama(3))
    journal = journal_path(read_checkpoint(model).fingerprint)
    app = SpectrumApp(Settings(model=str(model)))
    with no_file_above(2500):
        assert main(["scan", str(model)]) == 2
        words = capsys.readouterr().err.splitlines()[-1].removeprefix("spectrum-tui: ")
        assert words.startswith(f"Cannot write {journal}: ")
        assert "Free some space, or set SPECTRUM_TUI_CACHE" in words
    finished = len(read_journal(journal))
    assert 0 < finished < 23
    async with app.run_test(size=SIZE) as pilot:
        await to_layers(pilot, app)
        with no_file_above(2500):
            await pilot.press("s")
            await until(pilot, lambda: app.runner.progress.snapshot().phase == "failed")
        scan = app.runner.progress.snapshot()
        assert (scan.reason, scan.resumed) == (words, finished)
        assert isinstance(app.screen, ScanScreen)
        await until(pilot, lambda: app.screen.query_one("#go-on", Button).has_focus)
        await pilot.press("g")
        await until(pilot, lambda: isinstance(app.screen, ResultsScreen))
        assert app.runner.progress.snapshot().resumed >= finished


async def refused_save(pilot: Pilot[None], app: SpectrumApp) -> str:
    """Save from the results, and read why that is refused."""
    await pilot.press("w")
    await until(pilot, lambda: isinstance(app.screen, SaveScreen))
    await pilot.press("enter")
    error = app.screen.query_one("#error")
    await until(pilot, lambda: error.has_class("-shown"))
    return str(error.render()).removeprefix("✗ ")


async def test_a_full_disk_while_saving(tmp_path: Path, capsys: Capture) -> None:
    model = save(tmp_path / "tiny", llama(2))
    out = tmp_path / "out"
    recipe = OutputFiles(out, "tiny").ending("_unfrozenparameters_50percent.yaml")
    out.mkdir()
    recipe.symlink_to("/dev/full")
    assert main(["scan", str(model), "--output-dir", str(out)]) == 2
    words = capsys.readouterr().err.splitlines()[-1].removeprefix("spectrum-tui: ")
    assert words.startswith(f"Cannot write {recipe}: No space left on device.")
    app = SpectrumApp(Settings(model=str(model), output_dir=str(out)))
    async with app.run_test(size=SIZE) as pilot:
        await to_results(pilot, app)
        assert await refused_save(pilot, app) == words
        recipe.unlink()
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ResultsScreen))
    assert recipe.is_file()


async def test_odd_folders_to_save_to(tmp_path: Path) -> None:
    """A folder of that very name, or a refusal; never a traceback."""
    model = save(tmp_path / "tiny", llama(2))
    app = SpectrumApp(Settings(model=str(model), output_dir=str(tmp_path / "out")))
    async with app.run_test(size=SIZE) as pilot:
        await to_results(pilot, app)
        for folder in ("~nobody-of-this-name/x", "[/b][red]", "x" * 300):
            await pilot.press("w")
            await until(pilot, lambda: isinstance(app.screen, SaveScreen) and app.screen.is_mounted)
            app.screen.query_one("#folder", Input).value = folder
            await pilot.pause()
            await pilot.press("enter")
            if len(folder) < 256:
                await until(pilot, lambda: isinstance(app.screen, ResultsScreen))
                assert (
                    OutputFiles(Path(folder), "tiny")
                    .ending("_unfrozenparameters_50percent.yaml")
                    .is_file()
                )
        error = app.screen.query_one("#error")
        await until(pilot, lambda: error.has_class("-shown"))
        assert "File name too long" in str(error.render())


# -- matrices that cannot be scored ----------------------------------------------------------------


async def test_matrices_that_cannot_be_scored(tmp_path: Path, capsys: Capture) -> None:
    bad = {f"model.layers.{i}.mlp.down_proj": part for i, part in enumerate(("NaN", "Inf", "zero"))}
    nan, inf, nothing = bad
    tensors = spoil(spoil(llama(8), nan, float("nan")), inf, float("inf"))
    model = save(tmp_path / "tiny", zero(tensors, nothing))
    assert main(["scan", str(model), "--output-dir", str(tmp_path / "headless")]) == 1
    lines = capsys.readouterr().err.splitlines()
    said = sorted(line for line in lines if line.startswith("failed: "))
    for line, (layer, part) in zip(said, bad.items(), strict=True):
        assert line.startswith(f"failed: {layer}: ")
        assert part in line
    app = SpectrumApp(Settings(model=str(model), output_dir=str(tmp_path / "app")))
    async with app.run_test(size=SIZE) as pilot:
        screen = await to_results(pilot, app)
        scores = screen.state.result.scores
        shown = [f"failed: {scores.layers[row]}: {why}" for row, why in scores.problems.items()]
        assert sorted(shown) == said
        await pilot.press("1", "0", "0")
        assert screen.state.choice.percent == 100
        written = screen.state.text().splitlines()
        assert not any(f"- {layer}.weight" in written for layer in bad)
        assert "- model.layers.3.mlp.down_proj.weight" in written


async def test_a_model_of_which_nothing_can_be_scored(tmp_path: Path, capsys: Capture) -> None:
    model = save(tmp_path / "tiny", zero({f"{BAD}.weight": matrix(BAD, 8, 8)}, BAD))
    assert main(["scan", str(model)]) == 2
    words = capsys.readouterr().err.splitlines()[-1].removeprefix("spectrum-tui: ")
    app = SpectrumApp(Settings(model=str(model)))
    async with app.run_test(size=SIZE) as pilot:
        await to_layers(pilot, app)
        await pilot.press("s")
        await until(pilot, lambda: app.runner.progress.snapshot().phase == "failed")
        assert app.runner.progress.snapshot().reason == words
        assert isinstance(app.screen, ScanScreen)


async def test_a_layer_whose_name_is_markup(tmp_path: Path, capsys: Capture) -> None:
    tensors = {f"model.layers.{i}.{ODD_NAME}.weight": matrix(f"{i}", 16, 24) for i in range(2)}
    model = save(tmp_path / "tiny", {**llama(2), **tensors})
    assert main(["scan", str(model), "--top-percent", "100"]) == 2
    words = capsys.readouterr().err.splitlines()[-1].removeprefix("spectrum-tui: ")
    assert f"model.layers.0.{ODD_NAME}.weight" in words
    app = SpectrumApp(Settings(model=str(model), top_percent=100))
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await to_results(pilot, app)
        assert f"model.layers.0.{ODD_NAME}" in screen.state.result.scores.layers
        for view in "tmy":
            await pilot.press(view)
        assert await refused_save(pilot, app) == words
    assert not list(Path.cwd().glob("*.yaml"))
