"""`scan` without a screen and the app's save write the same files, byte for byte."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from textual.widgets import Input

from spectrum_tui.app.app import SpectrumApp
from spectrum_tui.app.screens.layers import LayersScreen
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.screens.save import SaveScreen
from spectrum_tui.cli.main import main
from spectrum_tui.core.settings import Settings
from tests.checkpoints import Tensors, experts, llama, save, spoil
from tests.commands import Capture
from tests.ui.real_core import use_real_core
from tests.ui.worker_control import until

MODELS = {
    "sharded bf16 with biases": (llama(3, bias=True), 3, {}),
    "fp16, tied head, a failure": (
        spoil(
            llama(3, dtype=torch.float16, head=False),
            "model.layers.1.mlp.up_proj",
            float("nan"),
        ),
        1,
        {"tie_word_embeddings": True},
    ),
    "60 experts a layer": (
        llama(3) | experts(0, count=60) | experts(1, count=60) | experts(2, count=60),
        1,
        {},
    ),
}


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("name", MODELS)
async def test_headless_and_app_write_the_same_bytes(
    name: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors, shards, config = MODELS[name]
    model = save_model(tmp_path / "model_1", tensors, shards, config)
    headless, scanned, saved = (tmp_path / place for place in ("headless", "scanned", "saved"))
    code = main(["scan", model, "--output-dir", str(headless), "--top-percent", "37"])
    assert code == (1 if "failure" in name else 0)
    # Computed again by the app: the journal and the details of the first scan are elsewhere.
    monkeypatch.setenv("SPECTRUM_TUI_CACHE", str(tmp_path / "cache"))
    use_real_core(monkeypatch)
    app = SpectrumApp(Settings(model=model, top_percent=37, output_dir=str(scanned)))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.setup_screen.summary)
        await pilot.press("ctrl+n")
        await until(pilot, lambda: isinstance(app.screen, LayersScreen))
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, ResultsScreen) and app.screen.is_mounted)
        for folder in (scanned, saved, saved):  # twice: replacing changes nothing
            await pilot.press("w")
            await until(pilot, lambda: isinstance(app.screen, SaveScreen) and app.screen.is_mounted)
            app.screen.query_one("#folder", Input).value = str(folder)
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(app.screen, ResultsScreen))
    expected = contents(headless)
    assert len(expected) == 3
    assert contents(scanned) == contents(saved) == expected
    capsys.readouterr()
    recipe = next(name for name in expected if name.endswith("_37percent.yaml"))
    (scores,) = (scanned / "model_snr_results").iterdir()
    assert main(["yaml", str(scores), "--top-percent", "37"]) == 0
    assert capsys.readouterr().out.encode() == expected[recipe]


def save_model(folder: Path, tensors: Tensors, shards: int, config: Mapping[str, object]) -> str:
    return str(save(folder, tensors, shards=shards, config=config))
