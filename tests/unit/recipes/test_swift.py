"""The keys of ms-swift: what stands in the file, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import yaml

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.recipes import swift
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.recipes.kinds import kind_named
from spectrum_tui.core.recipes.spectrum import named
from spectrum_tui.core.recipes.writing import drafted
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection
from tests import made

SWIFT = kind_named("swift")


def choice(result: Result | None = None, percent: int = 25) -> Choice:
    plain = result or made.with_parameters(made.result())
    return Choice(selection=Selection(plain), policy=Policy(percent=percent))


def of_class(name: str) -> Result:
    plain = made.with_parameters(made.result(layers=4))
    origin = replace(plain.provenance, naming=f"transformers 5.23.0 {name}")
    return replace(plain, provenance=origin)


def test_everything_is_frozen_and_the_names_train_again() -> None:
    asked = choice()
    (file,) = drafted(SWIFT, asked)
    assert file.ending == "_swift_25percent.yaml"
    keys = yaml.safe_load(file.text)
    assert sorted(keys.pop("trainable_parameters")) == sorted(named(asked.selection, asked.policy))
    assert keys == {"tuner_type": "full", "freeze_parameters_ratio": 1.0, "freeze_aligner": True}
    assert "\n# policy: --top-percent 25 " in file.text


@pytest.mark.parametrize(
    "name",
    [
        "ViTForImageClassification",
        "Wav2Vec2ForCTC",
        "BertForMaskedLM",
        "MarianMTModel",
    ],
)
def test_what_ms_swift_does_not_load_is_refused(name: str) -> None:
    with pytest.raises(
        SelectionError, match=f"This is a {name}, .* swift does not train it"
    ) as caught:
        drafted(SWIFT, choice(of_class(name), 50))
    assert caught.value.field == "kind" and caught.value.hint


@pytest.mark.parametrize(
    "name", ["LlamaForCausalLM", "GPT2LMHeadModel", "Gemma3ForConditionalGeneration"]
)
def test_what_writes_text_is_not(name: str) -> None:
    assert drafted(SWIFT, choice(of_class(name), 50))


def test_all_of_a_model_needs_no_recipe() -> None:
    whole = made.with_parameters(made.result(layers=4))
    scored = {name for row in whole.scores.parameters for name in row}
    heads = {one.name for one in whole.embeddings}
    known = tuple(p for p in whole.parameters if p.name in scored | heads)
    with pytest.raises(SelectionError, match="All of the model"):
        drafted(SWIFT, choice(replace(whole, parameters=known), 100))


def test_more_names_than_a_command_takes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swift, "LONGEST_COMMAND", 1_000)
    with pytest.raises(SelectionError, match=r"\d+ names as arguments"):
        drafted(SWIFT, choice())


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of Linux")
def test_the_limit_is_one_that_linux_takes() -> None:
    names = [f"model.layers.{i}.self_attn.q_proj.weight" for i in range(100_000)]
    kept, length = 0, 0
    while length + len(names[kept]) + 9 <= swift.LONGEST_COMMAND:
        length += len(names[kept]) + 9
        kept += 1
    code = "import sys; sys.exit(len(sys.argv) - 1 != int(sys.argv[1]) + 1)"
    done = subprocess.run([sys.executable, "-Pc", code, str(kept), *names[:kept]], check=False)
    assert kept > 25_000 and done.returncode == 0
