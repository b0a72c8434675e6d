"""The description under exact names: kept on disk, and made anew when anything of it changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from spectrum_tui.core.files import cache_dir
from spectrum_tui.core.model import kept_plans, places
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


def test_the_same_weights_elsewhere_are_described_as_they_lie(
    tiny: TinyModels, tmp_path: Path, planned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One plan for a copy and another commit, another one for the cache, with its own notes."""
    folder = tiny.folder("qwen3")
    cached = [tmp_path / "hub" / "snapshots" / commit for commit in ("a" * 40, "b" * 40)]
    copies = [shutil.copytree(folder, copy) for copy in (tmp_path / "m", *cached)]
    for copy in copies:
        (copy / "adapter_config.json").write_text("{}")
    found: dict[str, str | tuple[Path, str]] = {"org/a": (copies[1], "a" * 40)}
    found["org/b"] = (copies[2], "b" * 40)
    monkeypatch.setattr(places, "find_local", lambda model, revision: found[model])
    for name in (str(copies[0]), "org/a", "org/b"):
        inspection = inspect_model(name)
        assert KeptModel(inspection).summary() == with_exact_names(inspection).summary
        assert ("the repository has an adapter" in str(inspection.summary.notes)) == ("org" in name)
    assert planned == ["", ""]


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
    exact = with_exact_names(inspect_model(folder)).summary
    assert (after.scored, after.kept) == (exact.scored, exact.kept)
    for one in after.types:
        if not one.one_dimensional:
            kept = after.kept[one.name]
            assert kept.nbytes == one.nbytes and kept.cost == pytest.approx(one.cost)
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
