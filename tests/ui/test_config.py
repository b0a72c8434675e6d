"""The user's config.toml in the app: themes, defaults and keys, and what is kept in it."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from importlib import import_module
from inspect import isclass
from pathlib import Path
from typing import Any

import pytest
from textual.binding import Binding
from textual.command import CommandPalette
from textual.pilot import Pilot
from textual.screen import Screen

from spectrum_tui.app.app import SpectrumApp
from spectrum_tui.app.base import BaseApp
from spectrum_tui.app.key_names import _modules, _screens, keymap_of
from spectrum_tui.app.screens.memory import MemoryScreen
from spectrum_tui.app.screens.result_state import ResultState
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.screens.save import SaveScreen
from spectrum_tui.core.config import config_path, keep
from spectrum_tui.core.errors import InputError
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.settings import Settings
from tests import made
from tests.snapshots import made_results
from tests.ui.worker_control import DirectControl, until

SIZE = (80, 24)


def no_ids(picture: str) -> str:
    """Without the number that Rich gives each picture."""
    return re.sub(r"terminal-\d+", "", picture)


def kept() -> dict[str, Any]:
    return tomllib.loads(config_path().read_text()) if config_path().exists() else {}


def run(app: SpectrumApp, title: str) -> None:
    """Choose a command of the palette."""
    (command,) = [one for one in app.get_system_commands(app.screen) if one.title == title]
    command.callback()


async def results(
    app: SpectrumApp, pilot: Pilot[Any], settings: Settings, result: Result | None = None
) -> ResultsScreen:
    screen = ResultsScreen(ResultState(result or made_results.with_sizes(), settings))
    await app.push_screen(screen)
    await pilot.pause()
    return screen


class TestThemes:
    async def test_one_that_is_chosen_in_the_palette_is_kept(self, app: SpectrumApp) -> None:
        async with app.run_test(size=SIZE) as pilot:
            assert app.theme == "spectrum-dark"
            await pilot.press("ctrl+p")
            await until(pilot, lambda: isinstance(app.screen, CommandPalette))
            await pilot.press(*"choose a theme")
            await pilot.pause(0.2)
            await pilot.press("enter")
            await pilot.pause(0.2)
            await pilot.press(*"nord")
            await pilot.pause(0.2)
            await pilot.press("enter")
            await until(pilot, lambda: app.theme == "nord" and kept())
        assert kept() == {"theme": "nord"}
        assert SpectrumApp(Settings(theme="nord")).theme == "nord"

    async def test_a_theme_that_is_only_shown_is_not_kept(self, app: SpectrumApp) -> None:
        async with app.run_test(size=SIZE) as pilot:
            app.theme = "nord"
            await pilot.pause()
        assert kept() == {}

    async def test_the_other_house_theme(self, app: SpectrumApp) -> None:
        async with app.run_test(size=SIZE) as pilot:
            run(app, "Use the light theme")
            await until(pilot, lambda: kept() == {"theme": "spectrum-light"})

    async def test_where_nothing_can_be_kept_one_line_says_so(self, app: SpectrumApp) -> None:
        config_path().parent.mkdir(parents=True)
        config_path().write_text("broken")
        async with app.run_test(size=SIZE) as pilot:
            run(app, "Use the light theme")
            await until(pilot, lambda: list(app._notifications))
            (said,) = app._notifications
            assert (said.title, said.severity) == ("Not kept", "warning")
            assert "\n" not in said.message
            assert app.theme == "spectrum-light"

    async def test_every_theme_draws_the_results(self, app: SpectrumApp) -> None:
        pictures = {}
        async with app.run_test(size=SIZE) as pilot:
            await results(app, pilot, Settings())
            await pilot.press("m")
            for name in app.available_themes:
                app.set_theme(name)
                await pilot.pause()
                assert app.theme == name
                pictures[name] = app.export_screenshot()
        assert len(pictures) > 20
        unlike = Counter(map(no_ids, pictures.values()))
        assert unlike.most_common(1)[0][1] == 1, "one theme looks like another"

    def test_one_that_there_is_not(self) -> None:
        with pytest.raises(InputError, match=r"There is no theme 'no'.*nord"):
            SpectrumApp(Settings(theme="no"))


class TestDefaults:
    async def test_what_the_results_show(self, app: SpectrumApp) -> None:
        async with app.run_test(size=SIZE) as pilot:
            screen = await results(app, pilot, Settings(top_percent=25, output_dir="there"))
            await pilot.press("plus", "f")
            await until(pilot, lambda: isinstance(app.screen, MemoryScreen))
            await pilot.press("down", *"80", "escape")
            await until(pilot, lambda: app.screen is screen)
            run(app, "Keep these as my defaults")
            await until(pilot, kept)
        assert kept() == {
            "top-percent": 26,
            "metric": "",
            "rule": "per-type",
            "way": screen.state.defaults()["way"],
            "card": 80,
            "output-dir": "there",
        }
        assert kept()["way"] != "bf16"

    async def test_a_metric_is_kept_where_it_is_not_the_files_own(self, app: SpectrumApp) -> None:
        async with app.run_test(size=SIZE) as pilot:
            screen = await results(app, pilot, Settings(), made.with_metrics(made.result()))
            screen.state.rank_by("calibrated")
            assert screen.defaults()["metric"] == "calibrated"

    async def test_what_is_kept_is_there_again(self, app: SpectrumApp) -> None:
        async with app.run_test(size=SIZE) as pilot:
            settings = Settings(card="24 GB", way="qlora gpus=2", top_percent=12.5)
            screen = await results(app, pilot, settings)
            await pilot.press("f")
            await until(pilot, lambda: isinstance(app.screen, MemoryScreen))
            assert isinstance(app.screen, MemoryScreen)
            assert app.screen.size_field.value == "24GB"
            assert app.screen.table.limit == 24e9
            assert screen.state.memory.training.gpus == 2
            assert screen.state.choice.percent == 12.5

    async def test_what_the_fields_of_the_first_screen_say(self, app: SpectrumApp) -> None:
        async with app.run_test(size=SIZE) as pilot:
            app.setup_screen._form.input("top_percent").value = "20"
            run(app, "Keep these as my defaults")
            await until(pilot, kept)
        assert kept() == {"top-percent": 20, "output-dir": app.settings.output_dir}

    async def test_a_way_to_train_that_there_is_not_is_said(self, app: SpectrumApp) -> None:
        async with app.run_test(size=SIZE) as pilot:
            screen = await results(app, pilot, Settings(way="nonsense"))
            assert "nonsense" in str(screen.state.refused)
            assert [one for one in app._notifications if "nonsense" in one.message]


class TestKeys:
    def test_the_keys_of_every_screen_have_names(self) -> None:
        for name in _modules():
            module = import_module(f"spectrum_tui.app.screens.{name}")
            here = [cls for cls in vars(module).values() if isclass(cls)]
            ours = [cls for cls in here if cls.__module__ == module.__name__]
            assert [cls for cls in ours if issubclass(cls, Screen)] == list(_screens(name))

    def test_every_named_key_does_one_thing(self) -> None:
        """And has a name, which no other key of its screen has."""
        screens = [cls for name in _modules() for cls in _screens(name)]
        assert len(screens) > 15
        for cls in (BaseApp, *screens):
            actions: dict[str, set[str]] = {}
            for binding in Binding.make_bindings(vars(cls).get("BINDINGS", ())):
                assert binding.id and binding.id.partition(".")[2], (cls, binding)
                actions.setdefault(binding.id, set()).add(binding.action)
            assert {name: does for name, does in actions.items() if len(does) > 1} == {}

    async def test_a_key_of_the_user_takes_the_place_of_ours(self, app: SpectrumApp) -> None:
        app.set_keymap(keymap_of({"results": {"save": "f2,Z", "filter": "w"}}, BaseApp))
        async with app.run_test(size=SIZE) as pilot:
            await results(app, pilot, Settings())
            await pilot.press("ctrl+s")
            assert isinstance(app.screen, ResultsScreen)
            await pilot.press("Z")
            await until(pilot, lambda: isinstance(app.screen, SaveScreen))
            await pilot.press("escape", "f2")
            await until(pilot, lambda: isinstance(app.screen, SaveScreen))

    async def test_another_key_leaves_while_a_file_opens(self, control: DirectControl) -> None:
        for key, leaves in (("ctrl+q", False), ("f10", True)):
            app = SpectrumApp(Settings(), keys={"app": {"quit": "f10"}})
            async with app.run_test(size=SIZE) as pilot:
                app.key_order.listening = False
                await pilot.press(key)
                await pilot.pause()
                assert (app.return_code is not None) is leaves

    def test_keys_reach_the_app(self) -> None:
        app = SpectrumApp(Settings(), keys={"app": {"help": "f5"}})
        assert app._keymap == {"app.help": "f5"}

    @pytest.mark.parametrize(
        ("keys", "said"),
        [
            ({"no": {"save": "w"}}, "There is no screen 'no'"),
            ({"../x": {"save": "w"}}, "There is no screen"),
            ({"results": {"saave": "w"}}, "No key is called 'results.saave'. There are .*save"),
            ({"results": {"save": ""}}, "'' is no key"),
            ({"results": {"save": "w,,"}}, "is no key"),
            ({"results": {"save": "ctrl+nope"}}, "'ctrl.nope' is no key"),
            ({"results": {"save": "strg+s"}}, "is no key"),
            ({"results": {"save": "s"}}, "results.save and results.sort cannot both be on 's'"),
            ({"results": {"save": "j"}}, "moving in a list"),
            ({"results": {"save": "f5", "copy": "f5"}}, "cannot both be on 'f5'"),
            ({"results": {"save": "f1"}}, "results.save and app.help cannot both be on 'f1'"),
            ({"app": {"help": "w"}}, "app.help and .*cannot both be on 'w'"),
            ({"app": {"quit": "Q"}}, "app.quit cannot be on 'Q'"),
        ],
    )
    def test_keys_that_cannot_be_are_refused_in_a_line(
        self, keys: dict[str, dict[str, str]], said: str
    ) -> None:
        with pytest.raises(InputError, match=said) as caught:
            SpectrumApp(Settings(), keys=keys)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "keys",
        [
            {"scan": {"stop": "s"}},
            {"results": {"save": "s", "sort": "w"}},
            {"results": {"save": "w, ctrl+s"}},
            {"app": {"quit": "ctrl+x", "leave": "f12"}},
            {"memory": {"fit": "f3"}},
        ],
    )
    def test_keys_that_can_be(self, keys: dict[str, dict[str, str]]) -> None:
        names = {f"{screen}.{name}" for screen, changes in keys.items() for name in changes}
        assert keymap_of(keys, BaseApp).keys() == names


def test_the_app_keeps_where_it_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECTRUM_TUI_CONFIG", str(tmp_path / "mine.toml"))
    assert keep({"theme": "nord"}) == tmp_path / "mine.toml"
