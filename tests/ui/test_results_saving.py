"""What the results screen takes away: the clipboard, and files that equal the preview."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from textual.widgets import Button, Checkbox, Input, Static

from spectrum_tui.app.screens.save import SaveScreen
from spectrum_tui.core.errors import OutputError
from spectrum_tui.core.results.policy import Policy
from tests import made
from tests.ui.results_host import Host, settled
from tests.ui.worker_control import until


async def test_copy_says_how_much() -> None:
    app = Host(made.result(layers=32))
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await pilot.press("c")
        await settled(pilot)
        assert app.clipboard == app.results.state.text()
        said = next(iter(app._notifications))
        assert said.message.startswith(f"{app.clipboard.count(chr(10))} lines, ")
        assert said.severity == "information"


async def test_copy_of_much_points_to_saving() -> None:
    app = Host(made.result(layers=60, types=70))
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await pilot.press("c")
        await settled(pilot)
        said = next(iter(app._notifications))
        assert "press w to save" in said.message
        assert said.severity == "warning"


@pytest.mark.parametrize("key", ["w", "ctrl+s"])
async def test_save_writes_what_the_preview_shows(tmp_path: Path, key: str) -> None:
    result = made.result(layers=32, bias=True, model="made/llama_1")
    app = Host(result, percent=30, output_dir=tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("y", key)
        await settled(pilot)
        names = [
            "snr_results_made-llama-1_unfrozenparameters_30percent.yaml",
            "model_snr_results/snr_results_made-llama-1.json",
            "snr_results_made-llama-1_sorted.json",
        ]
        listing = str(app.screen.query_one("#files", Static).content)
        assert listing.split() == [word for name in names for word in ("new", name)]
        await pilot.press("enter")
        await settled(pilot)
        assert app.screen is app.results
        assert (tmp_path / names[0]).read_text(encoding="utf-8") == app.preview_text
        assert all((tmp_path / name).is_file() for name in names)
        assert names[0] in app.results.header.policy_line.right
        listed = yaml.safe_load(app.preview_text)["unfrozen_parameters"]
        assert len(listed) == 2 + 2 * int(
            app.results.state.choice.selection.mask(Policy(percent=30)).sum()
        )


async def test_save_says_what_it_replaces(tmp_path: Path) -> None:
    app = Host(made.result(), output_dir=tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        for state in ("new", "replaces"):
            await pilot.press("w")
            await settled(pilot)
            assert str(app.screen.query_one("#files", Static).content).count(state) == 3
            await pilot.click("#save")
            await settled(pilot)
            assert app.screen is app.results


async def test_save_into_another_folder_and_the_yaml_alone(tmp_path: Path) -> None:
    app = Host(made.result(), output_dir=tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("w")
        app.screen.query_one(Input).value = str(tmp_path / "new" / "folder")
        app.screen.query_one(Checkbox).value = False
        await settled(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: not isinstance(app.screen, SaveScreen))
        assert [p.name for p in tmp_path.iterdir()] == ["new"]
        (written,) = (tmp_path / "new" / "folder").iterdir()
        assert written.suffix == ".yaml"


async def test_imported_scores_save_the_yaml_alone(tmp_path: Path) -> None:
    app = Host(made.result(sizes=False), output_dir=tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("w")
        await settled(pilot)
        assert not app.screen.query_one(Checkbox).value
        await pilot.press("enter")
        await settled(pilot)
        assert [p.suffix for p in tmp_path.iterdir()] == [".yaml"]


async def test_an_error_is_shown_in_the_dialog_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    app = Host(made.result(), output_dir=tmp_path / "file" / "below")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("w")
        await settled(pilot)
        await pilot.press("enter")
        await settled(pilot)
        assert isinstance(app.screen, SaveScreen)
        error = app.screen.query_one("#error", Static)
        assert "Cannot write" in str(error.content)
        assert error.region.height > 0
        assert app.screen.query_one("#save", Button).region.bottom < 24
        assert [p.name for p in tmp_path.iterdir()] == ["file"]
        app.screen.query_one(Input).value = str(tmp_path)
        await settled(pilot)
        assert error.region.height == 0
        await pilot.press("ctrl+s")
        await settled(pilot)
        assert app.results.state.saved is not None


async def test_scores_that_cannot_be_written_leave_no_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OutputError("Cannot write it: No space left.", "Free some space.")

    monkeypatch.setattr("spectrum_tui.core.saved.store.write_text", full)
    app = Host(made.result(), output_dir=tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("w", "enter")
        await settled(pilot)
        error = str(app.screen.query_one("#error", Static).content)
        assert error == "✗ Cannot write it: No space left. Free some space."
        assert list(tmp_path.iterdir()) == []


async def test_an_empty_selection_is_refused(tmp_path: Path) -> None:
    app = Host(made.result(layers=10), percent=5, output_dir=tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("w", "enter")
        await settled(pilot)
        assert "5 % selects no layer" in str(app.screen.query_one("#error", Static).content)
        assert list(tmp_path.iterdir()) == []


async def test_cancel_writes_nothing(tmp_path: Path) -> None:
    app = Host(made.result(), output_dir=tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        for cancel in ("escape", "#cancel"):
            await pilot.press("w")
            await settled(pilot)
            assert app.screen is not app.results
            if cancel == "escape":
                await pilot.press("escape")
            else:
                await pilot.click(cancel)
            await settled(pilot)
            assert app.screen is app.results
            assert list(tmp_path.iterdir()) == []
            assert app.results.state.saved is None


@pytest.mark.parametrize("allowed", [False, True])
async def test_a_result_that_lacks_much_is_neither_copied_nor_saved(
    tmp_path: Path, allowed: bool
) -> None:
    app = Host(made.result(failed=dict.fromkeys(range(20), "cannot be read")), output_dir=tmp_path)
    app.results.state.choice = replace(app.results.state.choice, allow_missing=allowed)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await pilot.press("c")
        await settled(pilot)
        said = next(iter(app._notifications)).message
        assert ("20 of 84 layers have no score" in said) is not allowed
        assert ("20 of 84 layers have no score" in app.clipboard) is allowed
        await pilot.press("w")
        await settled(pilot)
        await pilot.press("enter")
        await settled(pilot)
        assert bool(list(tmp_path.glob("*.yaml"))) is allowed
