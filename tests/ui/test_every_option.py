"""Every option that is typed reaches the scan, in the app and without a screen alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from spectrum_tui.app import run as app_run
from spectrum_tui.app.app import SpectrumApp
from spectrum_tui.app.screens.audit import AuditScreen
from spectrum_tui.app.screens.layers import LayersScreen
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.screens.save import SaveScreen
from spectrum_tui.cli import main, scan_model, scan_plan
from spectrum_tui.cli import scan as scan_command
from spectrum_tui.core import settings
from spectrum_tui.core.audit import model_names as audit_names
from spectrum_tui.core.checkpoint.headers import Checkpoint
from spectrum_tui.core.files import output_folder
from spectrum_tui.core.model import inspection, kept_plans
from spectrum_tui.core.policy_values import Budget
from spectrum_tui.core.recipes.policy_line import read_policy
from spectrum_tui.core.requests import ModelNames, ResultReady
from spectrum_tui.core.results.policy import policy_of
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.saved import sizes, store
from spectrum_tui.core.scanning import ray_connection
from spectrum_tui.core.scanning import run as scan_run
from spectrum_tui.core.settings import DEMO, METRIC, OPTIONS, Settings
from tests import made
from tests.fake_worker import summary
from tests.ui.real_core import use_real_core
from tests.ui.worker_control import until

SIZE = (80, 24)
OTHER = "stable_rank"
TYPE = "input_layernorm"
LAYER = "model.layers.1.mlp.down_proj"


@dataclass(frozen=True)
class Typed:
    """An option as it is typed, with a value that is not its default."""

    arguments: tuple[str, ...]
    value: Any = True


MODELS = {
    "model": Typed(("good",), "good"),
    "model_name": Typed(("--model-name", "good"), "good"),
    "demo": Typed(("--demo",), DEMO),
}
"""The ways to say which model."""
NOW = 1.7e9
TYPED = {
    "top_percent": Typed(("--top-percent", "37"), 37),
    "metric": Typed(("--metric", OTHER), OTHER),
    "batch_size": Typed(("--batch-size", "3"), 3),
    "device": Typed(("--device", "cpu"), "cpu"),
    "cluster": Typed(("--cluster", "local"), "local"),
    "precision": Typed(("--precision", "fast"), "fast"),
    "revision": Typed(("--revision", "v9"), "v9"),
    "stream": Typed(("--stream",)),
    "download": Typed(("--download",)),
    "output_dir": Typed(("--output-dir", "there"), "there"),
    "model_class": Typed(("--model-class", "OtherModel"), "OtherModel"),
    "allow_gptq": Typed(("--allow-gptq",)),
    "allow_missing": Typed(("--allow-missing",)),
    "card": Typed(("--card", "24"), "24"),
    "theme": Typed(("--theme", "nord"), "nord"),
    "sizes_from": Typed(("--sizes-from", "near"), "near"),
    "types": Typed(("--types", "input_*"), (TYPE,)),
    "since": Typed(("--fresh",), NOW),
    "dry_run": Typed(("--dry-run",)),
    "json": Typed(("--json",)),
    "signals": Typed(("--signals", "none"), ()),
    "no_embeddings": Typed(("--no-embeddings",)),
    "rule": Typed(("--rule", "global-rank"), "global-rank"),
    "type_percents": Typed(("--type-percent", "mlp.*=7.5"), (("mlp.*", 7.5),)),
    "blocks": Typed(("--blocks", "0-1,3-"), ((0, 1), (3, None))),
    "pins": Typed(("--pin", LAYER), (LAYER,)),
    "bans": Typed(("--ban", LAYER), (LAYER,)),
    "budget": Typed(("--budget", "2B"), Budget(2e9, "2B")),
    "way": Typed(("--way", "lora gpus=2"), "lora gpus=2"),
    "policy": Typed(("--policy", "chosen.yaml"), "chosen.yaml"),
}


def typed_only(*commands: str) -> dict[str, Typed]:
    """What is typed of the options that the table gives to these alone, "" for both."""
    return {name: typed for name, typed in TYPED.items() if OPTIONS[name].only in commands}


SHARED = typed_only("")
"""What the app and `scan` are both told."""
HEADLESS = typed_only("", "scan")
"""Further what is chosen with keys in the app."""
OPENING = typed_only("", "app")
"""Further what is of use with saved scores alone."""


@pytest.fixture(autouse=True)
def ray_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The app asks for it before its first screen."""
    monkeypatch.setattr(ray_connection, "check_ray", lambda: None)


def options_of(parser: Any) -> set[str]:
    return {action.dest for action in parser._actions} - {"help", "version"}


def arguments(options: dict[str, Typed]) -> list[str]:
    """Named options first: `--types` takes whatever follows it."""
    return [word for typed in options.values() for word in typed.arguments]


def expected(options: dict[str, Typed]) -> Settings:
    """The settings of a scan where nothing else is typed."""
    values = {"model" if name in MODELS else name: typed.value for name, typed in options.items()}
    return Settings(**{"types": ("mlp.down_proj",)} | values)


def scores() -> Result:
    return made.with_metrics(made.result(layers=4))


class Core:
    """The core's entries, which note what they are called with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.scans: list[Settings] = []
        self.asked: list[tuple[str, str]] = []
        self.named: list[tuple[str, bool]] = []
        for room in (inspection, scan_model, scan_plan, audit_names):
            monkeypatch.setattr(room, "inspect_model", self.inspect)
        monkeypatch.setattr(scan_model, "as_far_as_known", self.name)
        monkeypatch.setattr(kept_plans.KeptModel, "summary", lambda kept: kept.exact().summary)
        monkeypatch.setattr(kept_plans.KeptModel, "_is_current", lambda _: True)
        monkeypatch.setattr(kept_plans.KeptModel, "needs_imports", lambda _: False)
        monkeypatch.setattr(kept_plans, "as_far_as_known", self.name)
        monkeypatch.setattr(settings, "time", SimpleNamespace(time=lambda: NOW))
        monkeypatch.setattr(audit_names, "model_names", self.names)
        for place in (scan_run, scan_model):
            monkeypatch.setattr(place, "run_scan", self.scan)

    def inspect(self, model: str, revision: str = "", **_: Any) -> Any:
        self.asked.append((model, revision))
        scored = scores().scores
        types = [scored.type_names[kind] for kind in scored.type_ids.tolist()]
        layers = [
            SimpleNamespace(name=n, type=t) for n, t in zip(scored.layers, types, strict=True)
        ]
        return SimpleNamespace(
            summary=replace(summary(model), revision=revision),
            model=SimpleNamespace(layers=layers, embeddings=scores().embeddings),
        )

    def name(self, found: Any, settings: Settings) -> Any:
        self.named.append((settings.model_class, settings.allow_gptq))
        return found

    def names(self, settings: Settings, **_: Any) -> ModelNames:
        self.inspect(settings.model, settings.revision)
        self.name(None, settings)
        return ModelNames(
            model=settings.model, naming="by its class", names=("a.weight",), sizes=(4,), rows=(2,)
        )

    def scan(
        self,
        request: Settings,
        *_: Any,
        keep: Callable[[Result], None] = lambda _: None,
        **__: Any,
    ) -> Iterator[ResultReady]:
        self.scans.append(request)
        result = scores().with_metric(request.metric)
        files = store.save_scores(result, output_folder(request.output_dir))
        keep(result)
        yield ResultReady(str(files.scores), complete=True)


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Core:
    monkeypatch.chdir(tmp_path)
    Path("chosen.yaml").write_text("# policy: --top-percent 11\n", encoding="utf-8")
    return Core(monkeypatch)


@pytest.fixture
def started(core: Core, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], SpectrumApp]:
    """The app as a command line starts it, up to where it takes the terminal."""
    use_real_core(monkeypatch)
    apps: list[SpectrumApp] = []

    def start(words: list[str]) -> SpectrumApp:
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
            patch.setattr("sys.stderr", SimpleNamespace(isatty=lambda: True))
            assert main.main(words) == 0
        return apps.pop()

    def keep(app: SpectrumApp) -> int:
        apps.append(app)
        return 0

    monkeypatch.setattr(app_run, "run_app", keep)
    return start


async def through_the_app(pilot: Pilot[Any], app: SpectrumApp) -> ResultsScreen:
    """Enter and `s`, without a change of anything."""
    await until(pilot, lambda: app.setup_screen.summary and app._machine)
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(app.screen, LayersScreen) and app.screen.is_mounted)
    await pilot.press("s")
    await until(pilot, lambda: isinstance(app.screen, ResultsScreen) and app.screen.is_mounted)
    assert isinstance(app.screen, ResultsScreen)
    return app.screen


def test_every_option_is_typed_here() -> None:
    """A new option fails here until it is typed above."""
    assert {"model", *TYPED} == {*OPTIONS}
    assert options_of(main._app_parser()) == {*MODELS, *OPENING, "other", "last"}
    assert options_of(scan_command.make_parser()) == {*MODELS, *HEADLESS, "more"}
    assert not [name for name, typed in TYPED.items() if typed.value == OPTIONS[name].default]


@pytest.mark.parametrize("name", TYPED)
def test_what_changes_names_is_another_kept_plan(name: str) -> None:
    checkpoint = Checkpoint(folder=Path(), config={}, shards=(), fingerprint="f")
    found: Any = SimpleNamespace(checkpoint=checkpoint, summary=SimpleNamespace(origin="folder"))
    changed = kept_plans.KeptModel(found, Settings(**{name: TYPED[name].value}))._path()
    same = changed == kept_plans.KeptModel(found)._path()
    assert same is (name not in ("model_class", "allow_gptq"))


@pytest.mark.parametrize(
    ("named", "typed"),
    [("model", {}), *((named, SHARED) for named in MODELS)],
    ids=["defaults", *MODELS],
)
async def test_the_app_passes_every_option_on(
    core: Core, started: Callable[[list[str]], SpectrumApp], named: str, typed: dict[str, Typed]
) -> None:
    options = {named: MODELS[named], **typed}
    app = started(arguments(options))
    async with app.run_test(size=SIZE) as pilot:
        screen = await through_the_app(pilot, app)
        assert core.scans == [expected(options)]
        request = core.scans[0]
        assert set(core.asked) == {(request.model, request.revision)}
        assert core.named == [(request.model_class, request.allow_gptq)]
        assert screen.state.choice.percent == (37 if typed else 50)
        assert screen.state.ranking.metric.name == (request.metric or METRIC)
        await pilot.press("w")
        assert isinstance(app.screen, SaveScreen)
        assert app.screen.folder == output_folder(request.output_dir)


NOT_SCANNED = ("dry_run", "download")
SCANNED = {name: typed for name, typed in HEADLESS.items() if name not in NOT_SCANNED}
"""All but the one with which nothing is scanned, and the one that goes against `stream`."""


@pytest.mark.parametrize("typed", [{}, SCANNED], ids=["defaults", "every option"])
@pytest.mark.parametrize("named", MODELS)
def test_the_scan_command_passes_every_option_on(
    core: Core, capsys: pytest.CaptureFixture[str], named: str, typed: dict[str, Typed]
) -> None:
    options = {named: MODELS[named], **typed}
    assert main.main(["scan", *arguments(options)]) == 0
    assert core.scans == [expected(options)]
    request = core.scans[0]
    assert set(core.asked) == {(request.model, request.revision)}
    assert core.named == [(request.model_class, request.allow_gptq)]
    out = capsys.readouterr().out
    (recipe,) = output_folder(request.output_dir).glob("*_unfrozenparameters_*.yaml")
    assert recipe.name.endswith("_2B_shaped.yaml" if typed else "_50percent.yaml")
    written = policy_of(Settings(**read_policy(recipe)))
    assert written == policy_of(request)
    assert ("lm_head" in recipe.read_text()) is not bool(typed)
    assert out.startswith("{") is bool(typed)
    if typed:
        assert (json.loads(out)["top_percent"], json.loads(out)["metric"]) == (37, OTHER)


async def test_a_download_is_asked_for_with_every_option(
    core: Core, started: Callable[[list[str]], SpectrumApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    def remote(model: str, revision: str = "", **_: Any) -> Any:
        core.asked.append((model, revision))
        there = replace(summary(model, local=False), revision=revision)
        return SimpleNamespace(summary=there)

    def fetched(found: Any, *, branch: str, **_: Any) -> Any:
        assert branch == "v9"
        return SimpleNamespace(summary=replace(found.summary, folder="/models/x"))

    monkeypatch.setattr(inspection, "inspect_model", remote)
    monkeypatch.setattr(inspection, "fetch", fetched)
    # What is made up here has no matrices to measure the machine with.
    monkeypatch.setattr("spectrum_tui.worker.server.Worker._measure", lambda *_, **__: None)
    here = {name: typed for name, typed in SHARED.items() if name != "cluster"}
    app = started(arguments({"model": MODELS["model"], **here}))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: getattr(app.focused, "id", "") == "continue")
        await pilot.press("d")
        await until(pilot, lambda: len(core.named) == 2)  # before and after the download
        assert core.asked == [("good", "v9")]  # what was inspected is downloaded
        assert core.named == [("OtherModel", True)] * 2


async def test_the_model_of_an_audit_is_read_with_every_option(
    core: Core, started: Callable[[list[str]], SpectrumApp], tmp_path: Path
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("unfrozen_parameters:\n- ^a.weight$\n", encoding="utf-8")
    app = started([str(path), *arguments(SHARED)])
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, AuditScreen) and app.screen.is_mounted)
        await pilot.press("m", *"good", "enter")
        await until(pilot, lambda: core.named)
        assert core.asked == [("good", "v9")]
        assert core.named == [("OtherModel", True)]


async def test_saved_scores_open_with_every_option(
    core: Core, started: Callable[[list[str]], SpectrumApp], tmp_path: Path, monkeypatch: Any
) -> None:
    asked: list[tuple[Path, str]] = []

    def load_sized(*what: Any, **_: Any) -> Result:
        asked.append(what)
        return scores()

    monkeypatch.setattr(sizes, "load_sized", load_sized)
    path = store.save_scores(scores(), tmp_path / "saved").scores
    app = started([str(path), *arguments(OPENING)])
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, ResultsScreen) and asked)
        screen = app.screen
        assert isinstance(screen, ResultsScreen) and asked == [(path, "near")]
        assert (screen.state.choice.percent, screen.state.ranking.metric.name) == (37, OTHER)
        assert screen.state.settings.output_dir == "there"


async def test_saved_scores_open_with_what_the_fields_say(
    core: Core, started: Callable[[list[str]], SpectrumApp], tmp_path: Path
) -> None:
    path = store.save_scores(scores(), tmp_path / "saved").scores
    app = started(arguments(SHARED))
    async with app.run_test(size=SIZE) as pilot:
        typed = {"top_percent": "12", "output_dir": "else", "model": str(path)}
        for name, value in typed.items():
            app.setup_screen.query_one(f"#{name}", Input).value = value
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ResultsScreen) and app.screen.is_mounted)
        screen = app.screen
        assert isinstance(screen, ResultsScreen)
        assert (screen.state.choice.percent, screen.state.settings.output_dir) == (12, "else")
        assert screen.state.ranking.metric.name == OTHER
