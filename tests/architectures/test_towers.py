"""The towers of a multimodal model: rankings of their own, language alone unless asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from spectrum_tui.cli.main import main
from spectrum_tui.core.errors import InputError
from spectrum_tui.core.model.inspection import inspect_model, with_exact_names
from spectrum_tui.core.recipes.spectrum import SpectrumYaml
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.saved.store import load_result
from spectrum_tui.core.scanning.chosen import match_types
from tests.architectures.conftest import TinyModels
from tests.architectures.layouts import Tensors, rewrite
from tests.architectures.test_scans import intended, scanned
from tests.commands import FLAT, Capture

MULTIMODAL = (
    "gemma3", "llava", "mistral3", "llama4", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe",
    "qwen3_5", "qwen3_5_moe", "internvl",
)  # fmt: skip


pytestmark = pytest.mark.usefixtures("in_empty_folder")


@pytest.mark.parametrize("name", MULTIMODAL)
def test_each_tower_has_types_of_its_own(name: str, tiny: TinyModels) -> None:
    inspection = with_exact_names(inspect_model(str(tiny.folder(name, "published"))))
    types = {t.name: t for t in inspection.summary.types}
    towers = {t.tower for t in types.values()}
    assert {"language", "vision"} <= towers
    for layer in inspection.model.layers:
        kind = types[layer.type]
        assert layer.tower == kind.tower
        prefix = "" if layer.tower == "language" else f"{layer.tower}:"
        assert layer.type.startswith(prefix) and (prefix or ":" not in layer.type)
        seen = "visual" in layer.name or "vision" in layer.name
        assert not (layer.tower == "language" and seen), layer.name
        assert not (layer.tower != "language" and "language_model" in layer.name), layer.name
    chosen = match_types(types.values(), ())
    assert chosen
    assert {types[t].tower for t in chosen} == {"language"}
    vision = [t.name for t in types.values() if t.tower == "vision"]
    assert list(match_types(types.values(), ["vision:*"])) == vision


def test_a_model_of_one_tower_keeps_the_plain_types(tiny: TinyModels) -> None:
    for name in ("llama", "vit", "bert", "clip"):
        summary = with_exact_names(inspect_model(str(tiny.folder(name)))).summary
        towers = {t.tower for t in summary.types}
        assert (towers == {""}) == (name != "clip")
        assert match_types(summary.types, ())


def test_without_a_language_model_everything_is_chosen(tiny: TinyModels, tmp_path: Path) -> None:
    def no_language(tensors: Tensors) -> Tensors:
        return {n: t for n, t in tensors.items() if "vision" in n or "projector" in n}

    config = {"model_type": "of-our-own"}
    folder = rewrite(tiny.folder("llava"), tmp_path / "m", no_language, config)
    types = with_exact_names(inspect_model(str(folder))).summary.types
    assert {t.tower for t in types} == {"vision", "projector"}
    chosen = match_types(types, ())
    assert {t.name for t in types if not t.one_dimensional} == set(chosen)


def test_the_command_line(tiny: TinyModels, capsys: Capture) -> None:
    folder = str(tiny.folder("llava", "published"))
    assert main(["scan", folder]) == 0
    language = load_result(Path(FLAT.format("published-1")))
    assert not any(":" in name for name in language.scores.type_names)
    assert all("vision" not in layer for layer in language.scores.layers)
    assert main(["scan", folder, "--types", "vision:*", "--top-percent", "50"]) == 0
    vision = load_result(Path(FLAT.format("published-1")))
    assert all(name.startswith("vision:") for name in vision.scores.type_names)
    text = next(Path.cwd().glob("*_50percent.yaml")).read_text()
    names = set(yaml.safe_load(text)["unfrozen_parameters"])
    heads = {head.name for head in vision.embeddings}
    assert names - heads == intended(vision, 50, set(vision.names))
    assert main(["scan", folder, "--types", "audio:*"]) == 2
    assert "No layer type matches 'audio:*'" in capsys.readouterr().err


def test_towers_are_ranked_apart(tiny: TinyModels, tmp_path: Path) -> None:
    result = scanned(tiny.folder("llava", "published"), tmp_path)
    scores = result.scores
    names = {scores.type_names[i] for i in scores.type_ids}
    assert {"self_attn.q_proj", "vision:self_attn.q_proj"} <= names
    selection = Selection(result)
    chosen = [scores.layers[i] for i in selection.mask(Policy(percent=50)).nonzero()[0]]
    for tower in ("language_model", "vision_tower"):
        picked = [x for x in chosen if tower in x and x.endswith("self_attn.q_proj")]
        assert len(picked) == 1
    assert SpectrumYaml(selection).text(Policy(percent=50))


def test_no_such_tower_names_the_types_there_are(tiny: TinyModels) -> None:
    types = with_exact_names(inspect_model(str(tiny.folder("llava")))).summary.types
    with pytest.raises(InputError, match="audio") as caught:
        match_types(types, ["audio:*"])
    assert "vision:" in caught.value.hint or "self_attn" in caught.value.hint
