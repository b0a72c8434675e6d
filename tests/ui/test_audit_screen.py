"""A recipe opened in the app: its findings, its model, the corrected file."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from rich.console import Console
from rich.table import Table
from textual.widgets import Input, Static

from spectrum_tui.app.app import SpectrumApp
from spectrum_tui.app.screens.audit import AuditScreen
from spectrum_tui.app.screens.audit_text import FindingTable, TrainerTable
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.screens.setup import SetupScreen
from spectrum_tui.app.screens.write_file import WriteScreen
from spectrum_tui.app.widgets.field import Field
from spectrum_tui.cli.main import main
from spectrum_tui.core.audit.audit import audit
from spectrum_tui.core.requests import ModelNames
from spectrum_tui.core.saved.store import save_scores
from spectrum_tui.core.settings import Settings
from tests import made
from tests.checkpoints import llama, save
from tests.snapshots import scenes
from tests.snapshots.shown import Shown
from tests.ui.real_core import use_real_core
from tests.ui.worker_control import until

BAD = "unfrozen_parameters:\n- ^model\\.layers\\.1\\.mlp\\.down_proj\\.weight$\n- a[/b][red]\n"


def text_of(widget: FindingTable | TrainerTable) -> str:
    table = widget.render()
    assert isinstance(table, Table)
    console = Console(width=110, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def opened(app: SpectrumApp) -> AuditScreen:
    assert isinstance(app.screen, AuditScreen)
    return app.screen


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SpectrumApp:
    use_real_core(monkeypatch)
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "model", llama(2))
    Path("bad.yaml").write_text(BAD)
    return SpectrumApp(Settings(), results=Path("bad.yaml"))


async def test_its_selection_opens_on_the_scores_in_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_real_core(monkeypatch)
    monkeypatch.chdir(tmp_path)
    result = made.with_parameters(made.result(layers=12))
    scores = save_scores(result, tmp_path / "scores").scores
    pin = result.scores.layers[-1]
    assert main(["export", str(scores), "--pin", pin, "-o", "mine.yaml"]) == 0
    app = SpectrumApp(Settings(), results=Path("mine.yaml"))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, AuditScreen))
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, ResultsScreen))
        assert isinstance(app.screen, ResultsScreen)
        assert app.screen.state.choice.policy.pins == (pin,)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, AuditScreen))
        scores.unlink()
        await pilot.press("o")
        await until(pilot, lambda: [n for n in app._notifications if "library" in n.message])


async def test_from_the_file_to_the_corrected_one(app: SpectrumApp) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, AuditScreen))
        screen = opened(app)
        assert "escapes its dots" in text_of(screen.query_one(FindingTable))
        assert "a[/b][red]" in text_of(screen.query_one(FindingTable))
        assert not screen.audit.reports
        await pilot.press("m", *"model", "enter")
        await until(pilot, lambda: screen.audit.reports)
        await pilot.pause()
        table = text_of(screen.query_one(TrainerTable))
        assert "✗  axolotl          0 of 1" in table
        assert "✓  Soup             1 of 1" in table
        assert "LlamaForCausalLM" in screen.query_one(Field).help_text
        assert "1 parameter, " in str(screen.query_one("#meant", Static).content)
        await pilot.press("w")
        await until(pilot, lambda: isinstance(app.screen, WriteScreen))
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is screen)
        fixed = yaml.safe_load(Path("bad_corrected.yaml").read_text())
        assert fixed == {"unfrozen_parameters": ["model.layers.1.mlp.down_proj.weight"]}
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, SetupScreen))


async def test_a_model_that_is_not_there_is_said_at_its_field(app: SpectrumApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, AuditScreen))
        await pilot.press("m", *"./none", "enter")
        field = opened(app).query_one(Field)
        await until(pilot, lambda: field.error)
        assert "There is no folder ./none." in field.error
        await pilot.press("x")
        assert field.error == ""


async def test_what_is_pressed_while_a_model_is_read_is_no_text() -> None:
    screen, _ = scenes.audit_screen("text")
    app = Shown(screen)
    async with app.run_test(size=(80, 24)) as pilot:
        field, said = screen.query_one("#model", Input), screen.query_one(Field)
        await pilot.press("m", *"org/m", "enter", "x", "k")
        assert field.value == "org/m" and "Reading the headers of org/m" in said.help_text
        await pilot.press("m", "end", "o")
        assert field.value == "org/mo" and "Reading" not in said.help_text
        screen.show_names(scenes.mixture_names())
        screen.show_failure("There is no org/m.", "")
        await pilot.app.workers.wait_for_complete()
        assert not screen.audit.reports and "There is no" not in said.help_text
        assert field.has_focus
        await pilot.press("enter")
        screen.show_failure("There is no org/mo.", "")
        await pilot.pause()
        assert field.has_focus and "There is no org/mo." in said.help_text


async def test_a_recipe_typed_as_a_model_opens(app: SpectrumApp) -> None:
    app = SpectrumApp(Settings())
    async with app.run_test(size=(80, 24)) as pilot:
        app.setup_screen.query_one("#model", Input).value = "bad.yaml"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, AuditScreen))


async def test_a_file_that_is_no_recipe_is_said_on_the_first_screen(app: SpectrumApp) -> None:
    Path("bad.yaml").write_text('{"a": 1}')
    async with app.run_test(size=(80, 24)) as pilot:
        field = app.setup_screen.query_one("#field-model", Field)
        await until(pilot, lambda: field.error)
        assert "is JSON" in field.error


async def test_a_corrected_file_that_cannot_be_written(app: SpectrumApp) -> None:
    Path("file").write_text("")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, AuditScreen))
        names = ModelNames(
            model="m",
            naming="t",
            names=("model.layers.1.mlp.down_proj.weight",),
            sizes=(4,),
            rows=(2,),
        )
        opened(app).audit = audit(BAD, names)
        await pilot.press("w")
        await until(pilot, lambda: isinstance(app.screen, WriteScreen))
        field = app.screen.query_one("#path", Input)
        field.value = "file/fixed.yaml"
        await pilot.press("enter")
        state = app.screen.query_one("#state", Static)
        await until(pilot, lambda: "✗ Cannot write" in str(state.content))
        await pilot.press("escape")
        assert isinstance(app.screen, AuditScreen)


async def test_without_a_corrected_file_there_is_no_key_for_it() -> None:
    text = "unfrozen_parameters:\n- model.layers.(1|2).mlp.up_proj.weight\n"
    screen = AuditScreen(Path("x.yaml"), text, audit(text))
    assert screen.check_action("write", ()) is False
