"""The description under exact names: kept on disk, and made anew when anything of it changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from spectrum_tui.core.files import cache_dir
from spectrum_tui.core.model import kept_plans
from spectrum_tui.core.model.inspection import Inspection, inspect_model, with_exact_names
from spectrum_tui.core.model.kept_plans import KeptModel
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.settings import Settings
from tests.architectures.conftest import TinyModels
from tests.architectures.layouts import rewrite


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The classes that plans were made for."""
    calls: list[str] = []
    real = with_exact_names

    def spy(inspection: Inspection, settings: Settings) -> Inspection:
        calls.append(settings.model_class)
        return real(inspection, settings)

    monkeypatch.setattr(kept_plans, "as_far_as_known", spy)
    return calls


def test_the_second_look_is_the_first_one_from_disk(tiny: TinyModels, planned: list[str]) -> None:
    inspection = inspect_model(str(tiny.folder("mixtral")))
    first = KeptModel(inspection).summary()
    assert KeptModel(inspection).summary() == first
    assert first == with_exact_names(inspection).summary
    assert planned == [""]


def test_another_class_or_configuration_is_another_plan(
    tiny: TinyModels, tmp_path: Path, planned: list[str]
) -> None:
    folder = rewrite(tiny.folder("llama4"), tmp_path / "m")
    whole = KeptModel(inspect_model(str(folder))).summary()
    asked = Settings(model_class="AutoModelForCausalLM")
    text = KeptModel(inspect_model(str(folder)), asked).summary()
    assert text.model_class == "Llama4ForCausalLM" != whole.model_class
    assert planned == ["", "AutoModelForCausalLM"]
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"llama4"', '"no-such-model"'))
    unknown = KeptModel(inspect_model(str(folder))).summary()
    assert unknown.naming == "the checkpoint"
    assert len(planned) == 3


def test_what_was_scored_since_is_counted(tiny: TinyModels, tmp_path: Path) -> None:
    folder = str(tiny.folder("qwen3_moe"))
    first = KeptModel(inspect_model(folder))
    assert first.summary().scored == {}
    list(run_scan(Settings(model=folder, device="cpu", output_dir=str(tmp_path))))
    after = KeptModel(inspect_model(folder)).summary()
    assert after.scored == {t.name: t.layers for t in after.types if not t.one_dimensional}
    assert after.scored == with_exact_names(inspect_model(folder)).summary.scored
    assert first.summary().scored == {}
    first.recount()
    assert first.summary() == after


@pytest.mark.parametrize("damage", ["", "{}\n[]\n", "x", "a\nb\nc\n"])
def test_a_damaged_copy_is_made_anew(damage: str, tiny: TinyModels, planned: list[str]) -> None:
    inspection = inspect_model(str(tiny.folder("gemma2")))
    first = KeptModel(inspection).summary()
    (kept,) = (cache_dir() / "plans").iterdir()
    kept.write_text(damage)
    assert KeptModel(inspection).summary() == first
    assert len(planned) == 2
