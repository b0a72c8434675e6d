"""Which script a model has: by its class and its parameters, and what is said where none fits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.recipes.kinds import kind_named
from spectrum_tui.core.recipes.tasks import purpose_of
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Parameter, Result
from spectrum_tui.core.results.selection import Selection
from tests import made


def of_class(cls: str, *more: str) -> Result:
    result = made.with_parameters(made.result(layers=4))
    origin = replace(result.provenance, naming=f"transformers 5.24.0 {cls}")
    others = tuple(Parameter(name, (2, 2)) for name in more)
    return replace(result, provenance=origin, parameters=(*result.parameters, *others))


STACKS = ("encoder.block.0.layer.0.weight", "decoder.block.0.layer.0.weight")


@pytest.mark.parametrize(
    ("cls", "more", "task"),
    [
        ("LlamaForCausalLM", (), "text"),
        ("GPT2LMHeadModel", (), "text"),
        ("Gemma3ForConditionalGeneration", ("model.vision_tower.encoder.layers.0.w",), "text"),
        ("T5ForConditionalGeneration", STACKS, "seq2seq"),
        ("WhisperForConditionalGeneration", (*STACKS, "model.encoder.conv1.weight"), ""),
        ("MarianMTModel", STACKS, "seq2seq"),
        ("ViTForImageClassification", (), "images"),
        ("BertForSequenceClassification", (), "classes"),
        ("Wav2Vec2ForCTC", (), "speech"),
        ("BertForMaskedLM", (), ""),
        ("CLIPModel", (), ""),
    ],
)
def test_a_model_has_the_script_of_its_task(cls: str, more: tuple[str, ...], task: str) -> None:
    result = of_class(cls, *more)
    assert purpose_of(result).task == task
    choice = Choice(selection=Selection(result), policy=Policy(percent=50))
    for kind in ("trl", "sagemaker", "trainer"):
        fits = bool(task) and (task == "text") == (kind != "trainer")
        if fits:
            assert kind_named(kind).files(choice)
            continue
        with pytest.raises(SelectionError) as refused:
            kind_named(kind).files(choice)
        assert refused.value.message.startswith(f"This is a {cls}, which ")
        assert refused.value.message.endswith(f" {kind} does not train it.")
        assert ("has no head." in refused.value.message) == (cls == "CLIPModel")
        other = "trl" if task == "text" else "trainer" if task else "spectrum"
        assert refused.value.hint.startswith(f"Save {other}")


def test_a_class_that_is_not_known_may_write_text() -> None:
    result = made.result(layers=4)
    assert purpose_of(result).task == "text"
    choice = Choice(selection=Selection(result), policy=Policy(percent=50))
    with pytest.raises(SelectionError, match="Its class is not known"):
        kind_named("trainer").files(choice)
