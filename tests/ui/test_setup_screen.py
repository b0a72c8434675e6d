"""The setup screen by itself: what it asks for, and where answers and errors appear."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import Button, Footer, Select

from spectrum_tui.app import messages as ask
from spectrum_tui.app.widgets.field import Field
from spectrum_tui.app.widgets.model_choices import ModelChoices
from spectrum_tui.app.widgets.step_bar import StepBar, _cropped, model_label
from spectrum_tui.core.requests import Failed, Ready, Suggestions
from spectrum_tui.core.settings import DEMO, Settings
from tests.fake_worker import summary
from tests.ui.setup_host import SIZE, Host, host, type_in
from tests.ui.worker_control import until

NASTY = "a[/b][red]"


async def test_an_enter_while_the_model_is_read_goes_on_when_it_is() -> None:
    app = host(output_dir="/out")
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press(*"good", "enter", "enter")
        assert app.asked == [ask.InspectRequested("good", "")]
        app.setup.show_summary(summary("good"))
        await pilot.pause()
        expected = Settings(model="good", output_dir="/out")
        assert app.asked[1:] == [ask.LayersRequested(summary("good"), expected)]


async def test_who_types_another_model_meanwhile_goes_nowhere_with_it() -> None:
    app = host(output_dir="/out")
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press(*"goo", "enter", "enter")
        app.value("model").focus()
        await pilot.press("end", "d", "enter")
        assert app.asked == [ask.InspectRequested("goo", ""), ask.InspectRequested("good", "")]
        app.setup.show_summary(summary("good"))
        await pilot.pause()
        assert len(app.asked) == 2


async def test_type_enter_enter() -> None:
    """The natural path: the model, enter reads it, enter goes on."""
    app = host(output_dir="/out")
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press(*"good", "enter")
        assert app.asked == [ask.InspectRequested("good", "")]
        assert app.found.state == "reading"
        app.setup.show_summary(summary("good"))
        await pilot.pause()
        assert app.focused is app.setup.query_one("#continue", Button)
        await pilot.press("enter")
        expected = Settings(model="good", output_dir="/out")
        assert app.asked[1:] == [ask.LayersRequested(summary("good"), expected)]


async def test_every_value_reaches_the_settings() -> None:
    app = host()
    async with app.run_test(size=SIZE) as pilot:
        app.setup.set_ready(Ready(("cpu", "cuda:0"), {}))
        values = {"model": "good", "revision": "v2", "batch_size": "4", "top_percent": "25 %"}
        for name, value in values.items():
            await type_in(pilot, app, name, value)
        await type_in(pilot, app, "output_dir", "/scores")
        app.setup.query_one("#device", Select).value = "cuda:0"
        await type_in(pilot, app, "model", "good")
        await pilot.press("enter")
        assert app.asked == [ask.InspectRequested("good", "v2")]
        app.setup.show_summary(summary("good"))
        await pilot.press("ctrl+n")
        message = app.asked[-1]
        assert isinstance(message, ask.LayersRequested)
        assert message.settings == Settings(
            model="good",
            revision="v2",
            batch_size=4,
            device="cuda:0",
            top_percent=25,
            output_dir="/scores",
        )


async def test_a_model_of_the_command_line_is_read_at_once() -> None:
    app = host(model="good", revision="v1")
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        assert app.asked == [ask.InspectRequested("good", "v1")]


@pytest.mark.parametrize("size", [(60, 20), (60, 18), (72, 20), (80, 24), (120, 40)])
async def test_every_way_on_with_a_hub_model_is_in_sight(size: tuple[int, int]) -> None:
    app = host()
    async with app.run_test(size=size) as pilot:
        await pilot.press(*"org/m", "enter")
        app.setup.show_summary(summary("org/m", local=False))
        await pilot.pause()
        for name in ("continue", "stream", "download"):
            button = app.setup.query_one(f"#{name}", Button)
            assert app.setup.find_widget(button).visible_region.size == button.size
            assert button.size.width >= len(str(button.label))


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_found_shows_what_headers_tell(size: tuple[int, int]) -> None:
    told = replace(
        summary("good"),
        dtypes={"BF16": 1800, "F32": 200},
        scored={"mlp.up_proj": 4, "x": 1},
        scored_fast={"x": 1},
        skipped=(("lm_head.weight", "tied"), ("x", "y")),
        notes=("a note",),
    )
    app = host()
    async with app.run_test(size=size) as pilot:
        await pilot.press(*"good", "enter")
        app.setup.show_summary(told)
        await pilot.pause()
        assert app.facts() == {
            "Architecture": "LlamaForCausalLM",
            "Names": "as in the checkpoint",
            "Parameters": "1.00 K in 12 tensors",
            "Weights": "2.00 kB in 1 file: BF16 1.80 kB, F32 200 B",
            "Commit": "c0ffeec0ffee",
            "On this disk": "all of it",
            "Layer types": "1 of matrices, 1 other",
            "Earlier scan": "5 of 6 layers are scored already, 1 in fast precision",
            "Not scored": "lm_head.weight and 1 more: tied",
            "Note": "a note",
        }
        assert app.found.region.bottom <= size[1] - 1
        button = app.setup.query_one("#continue", Button)
        assert app.found.region.contains_region(button.region)
        app.setup.show_summary(replace(told, mounted=True))
        await pilot.pause()
        assert app.facts()["On this disk"] == "a mount, which fetches what a scan reads"


async def test_the_demonstration_model_says_what_it_is() -> None:
    app = host(model=DEMO)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.asked)  # it is read at once: no answer comes before
        assert app.facts()["Model"].startswith("demonstration model")
        app.setup.show_summary(summary(DEMO))
        await pilot.pause()
        assert app.facts()["Model"].startswith("demonstration model")
        assert app.setup.query_one(StepBar).detail == "demo model"


def test_a_name_on_the_bar_is_one_line_and_keeps_what_tells_it_apart() -> None:
    assert model_label(replace(summary("x"), name="new\nline")) == "new\ufffdline"
    assert _cropped("organisation/Model-0.6B · 600 M", 24) == "Model-0.6B · 600 M"
    assert _cropped("organisation/Model-0.6B · 600 M", 31) == "organisation/Model-0.6B · 600 M"
    assert _cropped("organisation/Model-0.6B · 600 M", 10) == "…B · 600 M"


async def test_names_are_never_markup() -> None:
    app = host()
    async with app.run_test(size=SIZE) as pilot:
        app.setup.set_suggestions(Suggestions((NASTY,), (f"/{NASTY}.json",)))
        await type_in(pilot, app, "model", NASTY)
        await pilot.press("enter")
        odd = replace(summary(NASTY), architecture=NASTY, skipped=((NASTY, NASTY),))
        app.setup.show_summary(odd)
        await pilot.pause()
        assert app.facts()["Architecture"] == NASTY
        app.setup.show_error("model", f"There is no {NASTY}.", NASTY)
        await pilot.pause()
        assert app.field("model").error == f"There is no {NASTY}."
        assert NASTY in app.export_screenshot().replace("&#160;", " ")


async def test_unusable_values_are_said_beside_their_field() -> None:
    app = host()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press(*"good", "enter")
        app.setup.show_summary(summary("good"))
        for name, value, message in (
            ("batch_size", "0", "The batch size '0' is not usable."),
            ("batch_size", "-3", "The batch size '-3' is not usable."),
            ("batch_size", "abc", "The batch size 'abc' is not usable."),
            ("top_percent", "0", "The percentage '0' is not usable."),
            ("top_percent", "101", "The percentage '101' is not usable."),
            ("top_percent", "abc", "The percentage 'abc' is not usable."),
        ):
            app.asked.clear()
            await type_in(pilot, app, name, value)
            await pilot.press("ctrl+n")
            assert app.field(name).error == message
            assert app.field(name).has_class("-error")
            assert not any(isinstance(m, ask.LayersRequested) for m in app.asked)
            others = [f for f in app.setup.query(Field) if f.error and f is not app.field(name)]
            assert others == []
            app.value(name).value = "7"
            await pilot.pause()
            assert app.field(name).error == ""
            await pilot.press("ctrl+n")
            assert isinstance(app.asked[-1], ask.LayersRequested)


async def test_leaving_a_field_checks_it() -> None:
    app = host()
    async with app.run_test(size=SIZE) as pilot:
        await type_in(pilot, app, "batch_size", "0")
        await pilot.press("tab")
        assert app.field("batch_size").error


async def test_an_error_appears_beside_its_field() -> None:
    app = host()
    async with app.run_test(size=SIZE) as pilot:
        for name in ("model", "revision", "device", "output_dir", "", "types"):
            for field in app.setup.query(Field):
                field.show_help()
            await type_in(pilot, app, "model", f"good-{name}")
            await pilot.press("enter")
            error = {"kind": "HubError", "message": "No.", "hint": "Do this.", "field": name}
            app.setup.show_failure(Failed(1, error))
            await pilot.pause()
            shown = app.field(name if name not in ("", "types") else "model")
            assert shown.error == "No."
            assert [f for f in app.setup.query(Field) if f.error] == [shown]
            assert "✗ No. Do this." in shown.help_text
            assert app.found.state == "empty"


async def test_an_error_goes_when_the_model_changes() -> None:
    app = host()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press(*"goo", "enter")
        app.setup.show_error("model", "There is no goo.")
        await until(pilot, lambda: app.field("model").error)
        await pilot.press("d")
        assert app.field("model").error == ""


@pytest.mark.parametrize("name", ["model", "output_dir"])
async def test_an_error_goes_when_its_field_is_emptied(name: str) -> None:
    app = Host(Settings())
    async with app.run_test(size=SIZE) as pilot:
        app.value(name).value = "goo"
        await pilot.pause()
        app.setup.show_error(name, "There is no goo.")
        app.value(name).value = ""
        await pilot.pause()
        assert app.field(name).error == ""


async def test_another_model_drops_what_was_found() -> None:
    app = host()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press(*"good", "enter")
        app.setup.show_summary(summary("good"))
        await type_in(pilot, app, "model", "other")
        assert app.found.state == "empty" and app.setup.summary is None
        await pilot.press("enter")
        assert app.asked[-1] == ask.InspectRequested("other", "")


async def test_a_device_that_is_not_there() -> None:
    app = host(model="good", device="cuda:3")
    async with app.run_test(size=SIZE) as pilot:
        app.setup.show_summary(summary("good"))
        app.setup.set_ready(Ready(("cpu",), {}))
        await pilot.press("ctrl+n")
        assert app.field("device").error == "There is no device 'cuda:3' here."
        assert not any(isinstance(m, ask.LayersRequested) for m in app.asked)
        app.setup.query_one("#device", Select).value = "cpu"
        await pilot.pause()
        assert app.field("device").error == ""


async def test_the_list_offers_models_scores_and_the_demo() -> None:
    app = host()
    async with app.run_test(size=SIZE) as pilot:
        app.setup.set_suggestions(Suggestions(("org/one",), ("/x/snr_results_two.json",)))
        await pilot.press("down")
        choices = app.setup.query_one(ModelChoices)
        assert app.focused is choices and choices.option_count == 3
        await pilot.press("enter")
        assert app.asked == [ask.InspectRequested("org/one", "")]
        assert app.value("model").value == "org/one"


async def test_earlier_scores_open_from_the_list_and_from_the_field() -> None:
    app = host()
    async with app.run_test(size=SIZE) as pilot:
        app.setup.set_suggestions(Suggestions((), ("/x/snr_results_two.json",)))
        await pilot.press("down", "enter")
        await type_in(pilot, app, "model", "/x/other.json")
        await pilot.press("enter")
        paths = [Path("/x/snr_results_two.json"), Path("/x/other.json")]
        assert app.asked == [ask.OpenRequested(path, Settings()) for path in paths]


async def test_typing_narrows_the_list() -> None:
    app = host()
    async with app.run_test(size=SIZE) as pilot:
        app.setup.set_suggestions(Suggestions(("org/one", "org/two"), ()))
        choices = app.setup.query_one(ModelChoices)
        await pilot.press(*"TWO")
        assert choices.option_count == 1
        await pilot.press(*"xyz")
        assert choices.option_count == 3


async def test_inline_suggestion_is_taken_with_the_right_arrow() -> None:
    app = host()
    async with app.run_test(size=SIZE) as pilot:
        app.setup.set_suggestions(Suggestions(("org/one",), ()))
        await pilot.press(*"or")
        await pilot.pause(0.05)
        await pilot.press("right")
        assert app.value("model").value == "org/one"


async def test_escape_gives_up_waiting_and_goes_back_to_the_field() -> None:
    app = host()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press(*"good", "enter", "escape")
        assert app.found.state == "empty"
        await pilot.press("enter")
        app.setup.show_summary(summary("good"))
        await pilot.press("escape")
        assert app.found.state == "empty" and app.focused is app.value("model")


async def test_everything_fits_without_scrolling() -> None:
    app = host()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press(*"good", "enter")
        app.setup.show_summary(summary("good"))
        await pilot.pause()
        assert app.setup.max_scroll_y == 0
        footer = app.setup.query_one(Footer).region
        for widget in app.setup.query("Field, #continue").results():
            assert widget.region.height and widget.region.bottom <= footer.y
