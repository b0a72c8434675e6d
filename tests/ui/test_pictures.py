"""`p`: the screen as a picture, on every screen and dialog, and what is said of it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from spectrum_tui.app.app import SpectrumApp
from spectrum_tui.app.pictures import HOW_TO_PNG, save_picture
from spectrum_tui.app.screens.memory import MemoryScreen
from spectrum_tui.app.screens.result_state import ResultState
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.screens.singular_values import SingularValuesScreen
from spectrum_tui.core.errors import OutputError
from spectrum_tui.core.files import output_folder
from spectrum_tui.core.settings import Settings
from tests.snapshots import made_results
from tests.ui.worker_control import until

SIZE = (80, 24)


@pytest.fixture(autouse=True)
def _no_cairo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cairosvg", None)


def with_cairo(monkeypatch: pytest.MonkeyPatch, data: bytes = b"\x89PNG") -> list[bytes]:
    asked: list[bytes] = []

    def svg2png(*, bytestring: bytes, scale: float) -> bytes:
        asked.append(bytestring)
        assert scale > 1
        return data

    monkeypatch.setitem(sys.modules, "cairosvg", SimpleNamespace(svg2png=svg2png))
    return asked


def written(app: SpectrumApp) -> list[Path]:
    return sorted(output_folder(app.settings.output_dir).glob("spectrum-tui-*"))


def words(picture: Path) -> str:
    """What stands in it, without what is not drawn."""
    return "".join(ElementTree.parse(picture).getroot().itertext()).replace("\xa0", " ")


async def results(app: SpectrumApp, pilot: Pilot[Any]) -> None:
    settings = Settings(output_dir=app.settings.output_dir)
    await app.push_screen(ResultsScreen(ResultState(made_results.with_sizes(), settings)))
    await pilot.pause()


async def test_the_results_as_svg(app: SpectrumApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await results(app, pilot)
        await pilot.press("p")
        await until(pilot, lambda: list(app._notifications))
        (path,) = written(app)
        assert path.name.startswith("spectrum-tui-results-") and path.suffix == ".svg"
        assert "Top 50 % of each type" in words(path)
        (said,) = app._notifications
        assert said.title == "Picture saved"
        assert said.message.splitlines() == [str(path.absolute()), HOW_TO_PNG]
        root = ElementTree.parse(path).getroot()
        assert root.get("{http://www.w3.org/XML/1998/namespace}space") == "preserve"
        await pilot.press("p")  # without the note on the first one
        await until(pilot, lambda: len(written(app)) == 2)
        assert not any("Picture saved" in words(one) for one in written(app))


@pytest.mark.parametrize(("key", "dialog"), [("d", SingularValuesScreen), ("f", MemoryScreen)])
async def test_a_dialog_has_its_picture(app: SpectrumApp, key: str, dialog: type) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await results(app, pilot)
        await pilot.press(key)
        await until(pilot, lambda: isinstance(app.screen, dialog))
        app.screen.set_focus(None)  # a field would take the letter
        await pilot.press("p")
        await until(pilot, lambda: written(app))
        assert f"spectrum-tui-{dialog.__module__.rpartition('.')[2]}-" in str(written(app)[0])


async def test_a_field_takes_the_letter_and_the_palette_the_picture(app: SpectrumApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("p")
        assert app.setup_screen.query_one("#model", Input).value == "p"
        assert written(app) == []
        await pilot.press("f9")
        await until(pilot, lambda: written(app))
        written(app)[0].unlink()
        await pilot.press("ctrl+p", *"save a picture")
        await pilot.pause(0.2)
        await pilot.press("enter")
        await until(pilot, lambda: written(app))
        assert "Search for commands" not in words(written(app)[0])
        assert "spectrum-tui-setup-" in str(written(app)[0])


async def test_textuals_own_screenshot_is_in_the_palette(
    app: SpectrumApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(app, "deliver_screenshot", lambda: asked.append(True))
    async with app.run_test(size=SIZE) as pilot:
        commands = {one.title: one for one in app.get_system_commands(app.screen)}
        commands["Download a screenshot"].callback()
        await until(pilot, lambda: asked)


async def test_where_it_cannot_be_written_one_line_says_so(
    app: SpectrumApp, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("a file")
    async with app.run_test(size=SIZE) as pilot:
        await results(app, pilot)
        await pilot.press("p")
        await until(pilot, lambda: list(app._notifications))
        (said,) = app._notifications
        assert (said.title, said.severity) == ("No picture", "error")
        assert "\n" not in said.message and "out" in said.message


async def test_a_folder_that_no_system_takes(app: SpectrumApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        app.settings = Settings(output_dir="a\0b")
        await results(app, pilot)
        await pilot.press("p")
        await until(pilot, lambda: [n for n in app._notifications if n.title == "No picture"])


def test_a_png_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = with_cairo(monkeypatch)
    svg, png = save_picture("<svg>font-family: Fira Code, monospace</svg>", tmp_path, "scan")
    assert png == svg.with_suffix(".png")
    assert png.read_bytes() == b"\x89PNG"
    assert svg.read_text() == "<svg>font-family: Fira Code, monospace</svg>"
    assert asked == [b"<svg>font-family: monospace</svg>"]


def test_cairosvg_without_cairo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoCairo:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "cairosvg":
                raise OSError("no library called cairo was found")

    monkeypatch.delitem(sys.modules, "cairosvg")
    monkeypatch.setattr(sys, "meta_path", [NoCairo(), *sys.meta_path])
    assert [path.suffix for path in save_picture("<svg/>", tmp_path, "scan")] == [".svg"]


def test_pictures_of_one_second_have_names_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "strftime", lambda _: "20260102-030405")
    names = [save_picture(f"<svg>{i}</svg>", tmp_path, "scan")[0].name for i in range(3)]
    stem = "spectrum-tui-scan-20260102-030405"
    assert names == [f"{stem}.svg", f"{stem}-2.svg", f"{stem}-3.svg"]


def test_a_folder_in_the_place_of_the_output(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(OutputError, match="Cannot write"):
        save_picture("<svg/>", tmp_path / "f", "scan")
