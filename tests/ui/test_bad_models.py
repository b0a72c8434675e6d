"""Texts, folders and ids that are no model: the app says what the command line says."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from spectrum_tui.app.app import SpectrumApp
from spectrum_tui.app.screens.setup import SetupScreen
from spectrum_tui.core.checkpoint.shards import SINGLE_FILE
from spectrum_tui.core.settings import Settings
from spectrum_tui.worker import client
from spectrum_tui.worker.process import WorkerProcess
from tests.checkpoints import llama, save
from tests.commands import Capture, process
from tests.fake_hub import FakeHub
from tests.ui.refusals import SIZE, beside, failing, said_by_command_line
from tests.ui.worker_control import until
from tests.unit.checkpoint.files import save_raw, save_sharded, shard

pytestmark = pytest.mark.usefixtures("in_empty_folder", "real_core")


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
