"""A recipe that would train the whole model is refused by every way out: `scan`, `yaml`,
`export`, and `w` and `c` on the results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spectrum_tui.app.base import BaseApp
from spectrum_tui.app.screens.result_state import ResultState
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.screens.save import SaveScreen
from spectrum_tui.cli import scan_model
from spectrum_tui.cli.main import main
from spectrum_tui.core.recipes.check import refuse_everything
from spectrum_tui.core.recipes.spectrum import named
from spectrum_tui.core.requests import ResultReady
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.saved.store import save_scores
from spectrum_tui.core.settings import Settings
from tests import made
from tests.commands import Capture
from tests.fake_worker import summary


def whole() -> Result:
    """A model of which 100 % is every parameter."""
    result = made.with_parameters(made.result(layers=4))
    every = set(named(Selection(result), Policy(percent=100)))
    parameters = tuple(one for one in result.parameters if one.name in every)
    assert len(parameters) == len(every)
    return replace(result, parameters=parameters)


def refusal() -> str:
    result = whole()
    with pytest.raises(Exception) as caught:
        refuse_everything(named(Selection(result), Policy(percent=100)), result.parameters)
    return str(caught.value)


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", ["yaml", "export"])
def test_commands_refuse(command: str, tmp_path: Path, capsys: Capture) -> None:
    path = save_scores(whole(), tmp_path).scores
    out = tmp_path / "out.yaml"
    assert main([command, str(path), "--top-percent", "100", "-o", str(out)]) == 2
    assert refusal() in capsys.readouterr().err
    assert not out.exists()
    assert main([command, str(path), "--top-percent", "75", "-o", str(out)]) == 0


def test_the_scan_refuses_and_keeps_the_scores(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scan(*_: Any, keep: Callable[[Result], None], **__: Any) -> Iterator[ResultReady]:
        keep(whole())
        yield ResultReady(str(save_scores(whole(), tmp_path).scores), complete=True)

    model = SimpleNamespace(layers=(), embeddings=())
    found = SimpleNamespace(summary=summary("good"), model=model)
    monkeypatch.setattr(scan_model, "inspect_model", lambda *_, **__: found)
    monkeypatch.setattr(scan_model, "as_far_as_known", lambda *_, **__: found)
    monkeypatch.setattr(scan_model, "run_scan", scan)
    assert main(["scan", "good", "--top-percent", "100"]) == 2
    assert refusal() in capsys.readouterr().err
    assert not list(tmp_path.glob("*.yaml"))
    assert list(tmp_path.rglob("*.json"))


async def test_saving_and_copying_refuse(tmp_path: Path) -> None:
    class Host(BaseApp):
        def get_default_screen(self) -> ResultsScreen:
            return ResultsScreen(
                ResultState(whole(), Settings(top_percent=100, output_dir=str(tmp_path)))
            )

    app = Host()
    async with app.run_test(size=(100, 34)) as pilot:
        await pilot.press("c")
        await app.workers.wait_for_complete()
        assert app.clipboard == ""
        await pilot.press("w")
        await app.workers.wait_for_complete()
        await pilot.press("enter")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert isinstance(app.screen, SaveScreen)
        said = str(app.screen.query_one("#error").render())
        assert refusal().split(".")[0] in " ".join(said.split())
    assert not list(tmp_path.iterdir())
