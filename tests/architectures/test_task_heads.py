"""Heads of a task: fresh or not, they train with the embeddings, and are switched with them."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import transformers
import yaml

from spectrum_tui.app.screens.result_notes import embeddings_text
from spectrum_tui.core.model.inspection import inspect_model, with_exact_names
from spectrum_tui.core.recipes.choice import Choice, Tiers
from spectrum_tui.core.recipes.kinds import kind_named
from spectrum_tui.core.recipes.spectrum import SpectrumYaml
from spectrum_tui.core.requests import ResultReady
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.saved.store import load_result
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.settings import Settings
from spectrum_tui.freeze import freeze_except
from tests.architectures.tiny import ARCHITECTURES, STAGES, Architecture

CASES = {
    # checkpoint, the class that a trainer loads, its head, PEFT's task, as shown
    "labels": (
        replace(ARCHITECTURES["vit"], model="ViTModel"),
        "ViTForImageClassification",
        ["classifier"],
        None,
        "with classifier (66)",
    ),
    "reward": (
        ARCHITECTURES["llama"],
        "LlamaForSequenceClassification",
        ["score"],
        "SEQ_CLS",
        "with embeddings and score (3.14 K)",
    ),
    "tokens": (
        ARCHITECTURES["llama"],
        "LlamaForTokenClassification",
        ["score"],
        "TOKEN_CLS",
        "with embeddings and score (3.14 K)",
    ),
    "answers": (
        ARCHITECTURES["bert"],
        "BertForQuestionAnswering",
        ["qa_outputs"],
        "QUESTION_ANS",
        "with embeddings and qa_outputs (3.14 K)",
    ),
    "pooler": (
        ARCHITECTURES["bert"],
        "BertForSequenceClassification",
        ["classifier", "bert.pooler"],
        "SEQ_CLS",
        "with embeddings and task heads (4.19 K)",
    ),
    "several parts": (
        ARCHITECTURES["t5"],
        "T5ForSequenceClassification",
        ["classification_head"],
        "SEQ_CLS",
        "with embeddings and classification_head (4.19 K)",
    ),
    "speech": (
        replace(ARCHITECTURES["wav2vec2"], model="Wav2Vec2Model"),
        "Wav2Vec2ForCTC",
        ["lm_head"],
        None,
        "with lm_head (1.06 K)",
    ),
    "a whole decoder": (
        replace(STAGES["segformer"], model="SegformerModel"),
        "SegformerForSemanticSegmentation",
        ["decode_head"],
        None,
        "",
    ),
    "boxes": (
        Architecture(
            "YolosModel", "YolosConfig", {**ARCHITECTURES["vit"].options, "image_size": [32, 32]}
        ),
        "YolosForObjectDetection",
        ["class_labels_classifier", "bbox_predictor"],
        None,
        "",
    ),
}


TIERS = Tiers(medium_percent=100)
"""Of two blocks, one is in each tier."""


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(name, folder, result) of a scan under the names of the class that is loaded."""
    architecture, loaded = CASES[request.param][:2]
    folder = tmp_path_factory.mktemp("head") / "m"
    architecture.build().save_pretrained(folder)
    inspection = with_exact_names(inspect_model(str(folder)), Settings(model_class=loaded))
    asked = Settings(
        model=str(folder), device="cpu", output_dir=str(folder.parent), model_class=loaded
    )
    *_, ready = run_scan(asked, inspection)
    assert isinstance(ready, ResultReady)
    return request.param, folder, load_result(Path(ready.path))


def loaded(name: str, folder: Path) -> Any:
    return getattr(transformers, CASES[name][1]).from_pretrained(folder)


def of_the_head(name: str, model: Any) -> set[str]:
    """Every parameter below the modules of the head."""
    within = tuple(f"{module}." for module in CASES[name][2])
    return {n for n, _ in model.named_parameters() if n.startswith(within)}


def test_a_fresh_head_trains_and_is_switched_with_the_embeddings(
    case: tuple[str, Path, Result], caplog: pytest.LogCaptureFixture
) -> None:
    name, folder, result = case
    assert list(result.task_modules) == CASES[name][2]
    recipe = SpectrumYaml(Selection(result))
    model = loaded(name, folder)
    head = of_the_head(name, model)
    assert head
    on = freeze_except(
        model, yaml.safe_load(recipe.text(Policy(percent=50)))["unfrozen_parameters"]
    )
    assert head <= {n for n, p in model.named_parameters() if p.requires_grad}
    assert on.random == ()
    # transformers says on its own, depending on who set its verbosity, that the head is new
    assert not [r for r in caplog.records if r.name.startswith("spectrum_tui")]
    with caplog.at_level(logging.WARNING):
        text = recipe.text(Policy(percent=50, embeddings=False))
        off = freeze_except(model, yaml.safe_load(text)["unfrozen_parameters"])
    assert not head & {n for n, p in model.named_parameters() if p.requires_grad}
    assert set(off.random) == head - stored(folder)
    assert "from random values and stay" in str(off)
    assert "keep_new=True" in caplog.text


def stored(folder: Path) -> set[str]:
    """The names in the checkpoint, as the class of the case has them."""
    names = set()
    for file in folder.glob("*.safetensors"):
        size = int.from_bytes(file.read_bytes()[:8], "little")
        names |= json.loads(file.read_bytes()[8 : 8 + size]).keys()
    return {f"{prefix}{name}" for name in names for prefix in ("", "bert.", "vit.", "model.")}


def test_what_is_new_trains_on_request(case: tuple[str, Path, Result]) -> None:
    name, folder, result = case
    model = loaded(name, folder)
    text = SpectrumYaml(Selection(result)).text(Policy(percent=50, embeddings=False))
    frozen = freeze_except(model, yaml.safe_load(text)["unfrozen_parameters"], keep_new=True)
    assert of_the_head(name, model) - stored(folder) <= set(frozen.matched)
    assert frozen.random == ()


def test_what_is_shown_says_which_head(case: tuple[str, Path, Result]) -> None:
    name, _, result = case
    if shown := CASES[name][4]:
        on, off = (
            embeddings_text(Choice(selection=Selection(result), policy=Policy(embeddings=on)))
            for on in (True, False)
        )
        assert on == shown
        assert off == f"{shown[5:].rpartition(' (')[0]} frozen"


@pytest.mark.parametrize("kind", ["peft-lora", "peft-tiers", "peft-hybrid"])
def test_peft_trains_the_head_whole(kind: str, case: tuple[str, Path, Result]) -> None:
    name, _, result = case
    modules, task = CASES[name][2:4]
    on, script = kind_named(kind).files(
        Choice(selection=Selection(result), policy=Policy(percent=50), tiers=TIERS)
    )
    config = json.loads(on.text)
    assert config.get("modules_to_save", [])[-len(modules) :] == modules
    assert config["task_type"] == task
    assert f"The task head trains whole: {', '.join(modules)}." in flowing(script.text)
    off, script = kind_named(kind).files(
        Choice(
            selection=Selection(result), policy=Policy(percent=50, embeddings=False), tiers=TIERS
        )
    )
    config = json.loads(off.text)
    assert not set(modules) & set(config.get("modules_to_save", ()))
    assert config["task_type"] not in ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS")
    assert "including the task head" in flowing(script.text)


def flowing(script: str) -> str:
    return " ".join(script.replace("\n#", " ").split())


def test_a_language_model_has_no_head_of_a_task(tmp_path: Path) -> None:
    ARCHITECTURES["llama"].build().save_pretrained(tmp_path)
    model = with_exact_names(inspect_model(str(tmp_path))).model
    assert [(h.name, h.task) for h in model.embeddings] == [
        ("model.embed_tokens.weight", False),
        ("lm_head.weight", False),
    ]


def test_a_longer_vocabulary_is_partly_random(tmp_path: Path) -> None:
    ARCHITECTURES["llama"].build().save_pretrained(tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    model.resize_token_embeddings(120)
    assert "lm_head.weight" in freeze_except(model, ["model.norm.weight"]).random


def test_a_model_that_was_loaded_whole_has_nothing_new(tmp_path: Path) -> None:
    ARCHITECTURES["llama"].build().save_pretrained(tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert freeze_except(model, ["model.norm.weight"]).random == ()
    unmarked = ARCHITECTURES["llama"].build()
    assert freeze_except(unmarked, ["model.norm.weight"]).random == ()


def test_a_head_that_shares_the_embeddings_is_no_module_to_copy(tmp_path: Path) -> None:
    """A bare BERT as a language model: PEFT would train a copy of the table that `cls` holds."""
    folder = tmp_path / "m"
    bare = replace(ARCHITECTURES["bert"], model="BertModel")
    bare.build().save_pretrained(folder)
    asked = Settings(
        model=str(folder), device="cpu", output_dir=str(tmp_path), model_class="BertForMaskedLM"
    )
    *_, ready = run_scan(asked, with_exact_names(inspect_model(str(folder)), asked))
    assert isinstance(ready, ResultReady)
    result = load_result(Path(ready.path))
    assert "cls.predictions.transform.dense.weight" in {one.name for one in result.task_head}
    assert result.task_modules == ("cls.predictions.transform",)
