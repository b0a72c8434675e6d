"""The setup screen while a model is read: keys, answers that are late, and errors that stay."""

from __future__ import annotations

from dataclasses import replace

import pytest
from textual.widgets import Button

from spectrum_tui.app import messages as ask
from spectrum_tui.core.requests import Failed
from tests.fake_worker import REMOTE, summary
from tests.ui.setup_host import SIZE, host, type_in

FOUND = summary(REMOTE, local=False)


@pytest.mark.parametrize("entered", [False, True])
async def test_letters_do_not_reach_the_field_while_a_model_is_read(entered: bool) -> None:
    app = host() if entered else host(model=REMOTE)
    async with app.run_test(size=SIZE) as pilot:
        if entered:
            await type_in(pilot, app, "model", REMOTE)
            await pilot.press("enter")
        await pilot.pause()
        await pilot.press("w", "n", "d", "backspace")
        await pilot.press("f1", "escape", "w")  # the help closes again over the same screen
        assert app.value("model").value == REMOTE
        assert app.facts()[""] == "Reading the headers …"
        app.setup.show_summary(FOUND)
        await pilot.pause()
        assert app.found.state == "found" and app.value("model").value == REMOTE
        assert app.focused is app.setup.query_one("#continue", Button)


async def test_a_second_enter_goes_on_to_the_layers() -> None:
    app = host(model=REMOTE)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        await pilot.press("enter")
        assert "then on to its layers" in app.field("model").help_text
        app.setup.show_summary(FOUND)
        await pilot.pause()
        assert isinstance(app.asked[-1], ask.LayersRequested)


async def test_what_is_said_of_a_model_that_was_taken_back_is_dropped() -> None:
    app = host(model=REMOTE)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        app.value("model").focus()
        await pilot.press("end", "x")
        app.setup.show_summary(FOUND)
        app.setup.show_failure(Failed(1, {"message": "Gone.", "hint": "", "field": "model"}))
        await pilot.pause()
        assert app.value("model").value == f"{REMOTE}x"
        assert app.found.state == "empty" and app.setup.summary is None
        assert app.field("model").error == ""


async def test_the_error_of_a_cluster_stays_and_says_where_it_comes_from() -> None:
    app = host(model=REMOTE, cluster="auto")
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        app.setup.show_summary(FOUND)
        error = {"message": "No cluster answers.", "hint": "Start one", "field": "cluster"}
        app.setup.show_failure(Failed(1, error))
        app.setup.show_summary(replace(FOUND, naming="transformers 5 X"))
        await pilot.pause()
        assert app.field("model").help_text == (
            "✗ No cluster answers. Start one. --cluster has no field here: start without it, or "
            "with another value."
        )
        assert ("Names", "as in transformers 5 X") in app.found.facts
        assert app.focused is app.value("model")
        await pilot.press("enter")
        assert isinstance(app.asked[-1], ask.LayersRequested)
