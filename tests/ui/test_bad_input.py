"""Bad input in the app: the command line's words, beside the field that caused them.

The app and the core are the real ones. Each case is refused twice, first by the command line and
then by the app, and the two must say the same; neither may leave a file behind.
"""

from __future__ import annotations

import contextlib
import os
import resource
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Button, Input

from spectrum_tui.app.app import SpectrumApp
from spectrum_tui.app.screens.layers import LayersScreen
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.screens.save import SaveScreen
from spectrum_tui.app.screens.scan import ScanScreen
from spectrum_tui.app.screens.setup import SetupScreen
from spectrum_tui.app.widgets.field import Field
from spectrum_tui.cli.main import main
from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.checkpoint.shards import SINGLE_FILE
from spectrum_tui.core.files import OutputFiles
from spectrum_tui.core.journal.journal import journal_path, read_journal
from spectrum_tui.core.settings import Settings
from spectrum_tui.worker import client
from spectrum_tui.worker.process import WorkerProcess
from tests.checkpoints import ODD_NAME, llama, matrix, save, spoil, zero
from tests.commands import Capture, process, refused
from tests.fake_hub import FakeHub
from tests.ui.real_core import use_real_core
from tests.ui.worker_control import until
from tests.unit.checkpoint.files import save_raw, save_sharded, shard

SIZE = (80, 24)
BAD = "model.layers.1.mlp.down_proj"


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_real_core(monkeypatch)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


def said_by_command_line(capsys: Capture, *arguments: str) -> str:
    return refused(capsys, "scan", *arguments).removeprefix("spectrum-tui: ")


def beside(app: SpectrumApp, field: str) -> str:
    """What the app says beside a field, and it must be marked as an error there."""
    found = app.setup_screen.query_one(f"#field-{field}", Field)
    assert found.has_class("-error")
    return found.help_text.removeprefix("✗ ")


def failing(app: SpectrumApp) -> list[str]:
    return [str(field.id) for field in app.setup_screen.query(Field) if field.error]


async def to_layers(pilot: Pilot[Any], app: SpectrumApp) -> None:
    """From the first screen, the model being given, to the layers."""
    await until(pilot, lambda: app.setup_screen.summary)
    await pilot.press("ctrl+n")
    await until(pilot, lambda: isinstance(app.screen, LayersScreen))


async def to_results(pilot: Pilot[Any], app: SpectrumApp) -> ResultsScreen:
    await to_layers(pilot, app)
    await pilot.press("s")
    await until(pilot, lambda: isinstance(app.screen, ResultsScreen) and app.screen.is_mounted)
    assert isinstance(app.screen, ResultsScreen)
    return app.screen


async def assert_same_words(capsys: Capture, models: Mapping[str, str]) -> None:
    """Typed one after another and given on the command line, each model gets the same answer.

    `models` maps to a part of that answer.
    """
    words = {model: said_by_command_line(capsys, model) for model in models}
    before = sorted(Path.cwd().parent.rglob("*"))
    app = SpectrumApp(Settings())
    async with app.run_test(size=SIZE) as pilot:
        for model, part in models.items():
            app.setup_screen.query_one("#model", Input).value = model
            await pilot.pause()
            assert failing(app) == []
            await pilot.press("enter")
            await until(pilot, lambda: failing(app))
            assert failing(app) == ["field-model"]
            assert beside(app, "model") == words[model]
            assert part in words[model]
            assert isinstance(app.screen, SetupScreen)
    assert sorted(Path.cwd().parent.rglob("*")) == before


# -- folders that hold no readable model -----------------------------------------------------------


def only(name: str, content: bytes = b"\x80\x02") -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def adapter(folder: Path) -> None:
    save_raw(folder / "adapter_model.safetensors", {})
    (folder / "adapter_config.json").write_text("{}")


def truncated(folder: Path) -> None:
    path = save_sharded(folder) / shard(2, 3)
    os.truncate(path, path.stat().st_size - 10)


def shard_missing(folder: Path) -> None:
    (save_sharded(folder) / shard(2, 3)).unlink()


FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda folder: None, "holds no weights"),
    "bin": (only("pytorch_model.bin"), "only PyTorch .bin"),
    "adapter": (adapter, "LoRA/PEFT adapter"),
    "gguf": (only("model-Q4_K_M.gguf", b"GGUF"), "only GGUF"),
    "pointer": (
        only(SINGLE_FILE, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "git lfs pull",
    ),
    "truncated": (truncated, "is truncated: it needs"),
    "missing": (shard_missing, "1 of 3 shards is missing"),
    "garbage": (lambda folder: save_raw(folder / SINGLE_FILE, b"\xff\xfeno"), "damaged header"),
    "header": (only(SINGLE_FILE, struct.pack("<Q", 10**6) + b"{}"), "does not fit"),
}


async def test_folders_without_a_model(tmp_path: Path, capsys: Capture) -> None:
    models = {}
    for name, (make, part) in FOLDERS.items():
        folder = tmp_path / name
        folder.mkdir()
        make(folder)
        models[str(folder)] = part
    await assert_same_words(capsys, models)


async def test_texts_that_name_no_model(capsys: Capture) -> None:
    no_id = "is neither a folder nor a model id"
    models = {
        "./nothing": "There is no folder ./nothing",
        "/nothing/here": "There is no folder /nothing/here",
        "~nobody-of-this-name/x": "is not a usable path",
        "x" * 5000: "is not a usable path",
        **dict.fromkeys(("a b", "a/b/c", "a[/b][red]", "org/"), no_id),
        "https://huggingface.co/Qwen/Qwen3-8B": "Give the id alone: Qwen/Qwen3-8B",
        "org-of-nobody/name": "HF_HUB_OFFLINE",
    }
    await assert_same_words(capsys, models)


async def test_score_files_that_are_not_there() -> None:
    app = SpectrumApp(Settings())
    async with app.run_test(size=SIZE) as pilot:
        for name in ("~nobody-of-this-name/x.json", "gone.json", "x" * 300 + ".json"):
            app.setup_screen.query_one("#model", Input).value = name
            await pilot.pause()
            await pilot.press("enter")
            await until(pilot, lambda: failing(app))
            assert "cannot be read" in beside(app, "model")
            assert isinstance(app.screen, SetupScreen)


async def test_the_hub_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not there, gated, no such revision; with the real worker, because the hub's client reads
    where the hub is when it is imported."""
    save(tmp_path / "repo", llama(1))
    repos = {"org/gated": tmp_path / "repo", "org/model": tmp_path / "repo"}
    with FakeHub(repos, gated=frozenset({"org/gated"})) as hub:
        use_hub(monkeypatch, hub.url, tmp_path)
        app = SpectrumApp(Settings())
        async with app.run_test(size=SIZE) as pilot:
            for model, revision, field, part in (
                ("org/gone", "", "model", "There is no model org/gone"),
                ("org/model", "v9", "revision", "has no revision 'v9'"),
                ("org/gated", "", "model", "org/gated is gated"),
            ):
                app.setup_screen.query_one("#revision", Input).value = revision
                assert part in await refused_by_hub(pilot, app, model, field)
            assert not (tmp_path / "hub").exists(), "something half-written in the hub's cache"
            words = beside(app, "model")
        assert process("scan", "org/gated").stderr == f"spectrum-tui: {words}\n"


async def test_a_hub_that_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path)
    app = SpectrumApp(Settings())
    async with app.run_test(size=SIZE) as pilot:
        words = await refused_by_hub(pilot, app, "org/model", "model")
        assert "Cannot reach 127.0.0.1:9 (connection refused)" in words
    assert process("scan", "org/model").stderr == f"spectrum-tui: {words}\n"


def use_hub(monkeypatch: pytest.MonkeyPatch, url: str, home: Path) -> None:
    monkeypatch.setattr(client, "WorkerProcess", WorkerProcess)
    for name, value in (("ENDPOINT", url), ("HUB_OFFLINE", "0"), ("HOME", str(home))):
        monkeypatch.setenv(f"HF_{name}", value)


async def refused_by_hub(pilot: Pilot[Any], app: SpectrumApp, model: str, field: str) -> str:
    """What the app says beside `field`, which must be the only one that it complains about."""
    box = app.setup_screen.query_one("#model", Input)
    box.value = model
    box.focus()
    await pilot.press("enter")
    await until(pilot, lambda: failing(app))
    assert failing(app) == [f"field-{field}"]
    return beside(app, field)


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
    recipe = OutputFiles(out, "tiny").recipe(50)
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
                assert OutputFiles(Path(folder), "tiny").recipe(50).is_file()
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
        await pilot.press("end")
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
