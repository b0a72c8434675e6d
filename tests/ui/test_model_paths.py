"""Paths in the model field: completed, marked where a model lies, and never waited for."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from textual.widgets import OptionList

from spectrum_tui.app import messages as ask
from spectrum_tui.app.widgets import model_suggester
from spectrum_tui.app.widgets.model_choices import ModelChoices
from spectrum_tui.core.model.folders import Folder, completing, folders_in
from spectrum_tui.core.requests import Failed, Suggestions
from tests import hostile
from tests.ui.setup_host import SIZE, Host, host, type_in
from tests.ui.worker_control import until


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two models and a folder of models, in the current folder."""
    folder = tmp_path / "here"
    for name in ("llama-1B", "Llama-8B", "runs/checkpoint-1000", "runs/checkpoint-500"):
        (folder / name).mkdir(parents=True)
        (folder / name / "model.safetensors").touch()
    for name in ("llama-notes", ".cache/x", "runs/logs"):
        (folder / name).mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def listed(app: Host) -> list[str]:
    choices = app.setup.query_one(ModelChoices)
    return [str(choices.get_option_at_index(i).prompt) for i in range(choices.option_count)]


def completed(app: Host) -> str:
    return app.value("model")._suggestion


class TestFolders:
    def test_folders_in_natural_order_and_what_they_hold(self) -> None:
        assert folders_in("./runs/") == (
            Folder("./runs/checkpoint-500", True),
            Folder("./runs/checkpoint-1000", True),
            Folder("./runs/logs", False),
        )

    @pytest.mark.parametrize("typed", ["none/", "llama-1B/model.safetensors/", "~nobody/", "a\0/"])
    def test_what_cannot_be_looked_at_has_none(self, typed: str) -> None:
        assert folders_in(typed) == ()

    def test_of_a_home_folder(self, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(models))
        assert Folder("~/llama-1B", True) in folders_in("~/")

    def test_adapters_and_other_weights_are_no_model(self, models: Path) -> None:
        for name in ("adapter_model.safetensors", "consolidated.00.safetensors", "x.bin"):
            (models / "llama-notes" / name).touch()
        assert Folder("llama-notes", False) in folders_in("")

    def test_names_that_control_a_terminal_are_left_out(self, models: Path) -> None:
        (models / "runs" / hostile.ESCAPES.replace("/", "")).mkdir()
        (models / "runs" / "a\nb").mkdir()
        assert len(folders_in("runs/")) == 3

    @pytest.mark.parametrize(
        ("typed", "found"),
        [
            ("llama", ["llama-1B", "Llama-8B"]),
            ("./llama", ["./llama-1B", "./Llama-8B", "./llama-notes"]),
            ("ru", []),
            ("./ru", ["./runs"]),
            ("./", ["./llama-1B", "./Llama-8B", "./llama-notes", "./runs"]),
            ("./.", ["./.cache"]),
            ("./none", []),
        ],
    )
    def test_what_goes_on_from_a_text(self, typed: str, found: list[str]) -> None:
        place = typed[: typed.rfind("/") + 1]
        assert [one.path for one in completing(typed, folders_in(place))] == found


async def test_a_path_is_completed_with_the_right_arrow() -> None:
    app = host()
    async with app.run_test(size=SIZE) as pilot:
        await type_in(pilot, app, "model", "./ru")
        await until(pilot, lambda: completed(app) == "./runs/")
        await pilot.press("end", "right")
        assert app.value("model").value == "./runs/"
        await until(pilot, lambda: completed(app) == "./runs/checkpoint-500")


async def test_folders_are_listed_and_models_among_them_marked() -> None:
    app = host()
    async with app.run_test(size=SIZE) as pilot:
        await type_in(pilot, app, "model", "./")
        await until(pilot, lambda: "folder       ./runs/" in "\n".join(listed(app)))
        first = [line.split() for line in listed(app)[:2]]
        assert first == [["model", "folder", "./llama-1B"], ["model", "folder", "./Llama-8B"]]
        await pilot.press("down", "down", "down", "down", "enter")
        assert app.value("model").value == "./runs/"
        await until(pilot, lambda: "checkpoint-500" in listed(app)[0])
        assert isinstance(app.focused, OptionList)
        await pilot.press("home", "enter")
        await until(pilot, lambda: app.asked)
        (message,) = app.asked
        assert isinstance(message, ask.InspectRequested)
        assert message.model == "./runs/checkpoint-500"


async def test_known_models_come_first_and_folders_go_with_the_text() -> None:
    app = host()
    async with app.run_test(size=SIZE) as pilot:
        app.setup.set_suggestions(Suggestions(("llama/known",), ()))
        await type_in(pilot, app, "model", "lla")
        await until(pilot, lambda: completed(app) == "llama/known")
        await type_in(pilot, app, "model", "llama-")
        await until(pilot, lambda: completed(app) == "llama-1B")
        await until(pilot, lambda: "model folder" in listed(app)[0])
        await type_in(pilot, app, "model", "")
        await until(pilot, lambda: not [one for one in listed(app) if "folder" in one])


async def test_a_folder_of_models_opens_as_a_list() -> None:
    app = host()
    async with app.run_test(size=SIZE) as pilot:
        await type_in(pilot, app, "model", "runs")
        await pilot.press("enter")
        error = {"message": "It holds no weights.", "hint": "", "field": "model", "kind": ""}
        app.setup.show_failure(Failed(0, error))
        await until(pilot, lambda: "checkpoint-500" in listed(app)[0])
        assert "It holds no weights." in app.field("model").error
        await pilot.press("down", "enter")
        await until(pilot, lambda: len(app.asked) == 2)
        assert app.value("model").value == "runs/checkpoint-500"


async def test_a_disk_that_does_not_answer_holds_up_no_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers, asked = threading.Event(), []

    def slow(folder: str) -> tuple[Folder, ...]:
        asked.append(folder)
        answers.wait(30)
        return (Folder("./x1", False), Folder("./xyz", True))

    monkeypatch.setattr(model_suggester, "folders_in", slow)
    app = host()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press(".", "/", "x", "y")
        assert app.value("model").value == "./xy"
        assert completed(app) == ""
        answers.set()
        await until(pilot, lambda: completed(app) == "./xyz")
        assert [one for one in asked if one] == ["./"]  # one look serves the letters that follow
        assert "x1" not in "".join(listed(app))


async def test_the_app_ends_while_a_disk_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()
    monkeypatch.setattr(model_suggester, "folders_in", lambda _: answers.wait(30) and ())
    app = host()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press(".", "/")
    assert not answers.is_set()
    answers.set()
