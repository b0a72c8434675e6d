"""The YAML: what is shown is what is written, and every kind of reader takes the same from it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.model.inspection import inspect_model
from spectrum_tui.core.naming.stored import model_layers
from spectrum_tui.core.recipes.spectrum import SpectrumYaml
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.scanning.outcome import Outcome, build_result
from spectrum_tui.core.scanning.plan import make_plan
from spectrum_tui.core.settings import DEMO_NAME
from tests import checkpoints, made
from tests.checkpoints import Tensors, llama, save
from tests.scans import done

PERCENTS = (1, 8, 9, 25, 33, 50, 66, 99, 100)


def by_yaml(text: str) -> list[str]:
    data = yaml.safe_load(text)
    assert list(data) == ["unfrozen_parameters"]
    assert all(isinstance(name, str) for name in data["unfrozen_parameters"])
    return list(data["unfrozen_parameters"])


def by_split(text: str) -> list[str]:
    """As training scripts do that have no YAML parser."""
    return [x.split("- ")[1] for x in text.split("\n") if x.startswith("- ")]


def by_strip(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line[2:].strip() for line in lines if line.startswith("- ")]


def trained_by_match(names: list[str], parameters: list[str]) -> set[str]:
    return {p for p in parameters if any(re.match(n, p) for n in names)}


def trained_by_escaped_match(names: list[str], parameters: list[str]) -> set[str]:
    """Dots escaped first, unless a plus sign follows."""
    patterns = [re.compile(re.sub(r"\.(?!\+)", r"\\.", n)) for n in names]
    return {p for p in parameters if any(x.match(p) for x in patterns)}


def trained_by_search(names: list[str], parameters: list[str]) -> set[str]:
    return {p for p in parameters if any(re.search(n, p) for n in names)}


def trained_by_substring(names: list[str], parameters: list[str]) -> set[str]:
    return {p for p in parameters if any(n in p for n in names)}


def intended(result: Result, percent: int, *, embeddings: bool) -> list[str]:
    """What must train, in any order."""
    ends = [h.name for h in result.embeddings]
    rows = np.flatnonzero(Selection(result).mask(Policy(percent=percent)))
    ranked = [name for row in rows for name in result.scores.parameters[row]]
    return [*(ends if embeddings else []), *(name for name in ranked if name not in ends)]


def scanned(folder: Path, *, failed: tuple[str, ...] = ()) -> tuple[Result, list[str]]:
    """A result of every layer of a model, and the model's parameters."""
    inspection = inspect_model(str(folder))
    layers = inspection.model.layers
    plan = make_plan(inspection.checkpoint, layers, device="cpu")
    scores = {
        x.name: done(x, (i * 37 % 101) / 7) for i, x in enumerate(layers) if x.name not in failed
    }
    names = [t.name for t in inspection.checkpoint.tensors]
    outcome = Outcome(done=scores, failed=dict.fromkeys(failed, "is all zero"))
    return build_result(inspection, plan, outcome), names


MODELS: dict[str, tuple[Callable[[], Tensors], dict[str, bool]]] = {
    "llama": (lambda: llama(12), {}),
    "biases": (lambda: llama(12, bias=True), {}),
    "tied": (lambda: llama(3, head=False), {"tie_word_embeddings": True}),
    "experts": (lambda: {**llama(2), **checkpoints.experts(0), **checkpoints.experts(11)}, {}),
    "nested": (
        lambda: {f"model.language_model.{k}": v for k, v in llama(3).items()},
        {},
    ),
}


@pytest.mark.parametrize("embeddings", [True, False], ids=["head", "no head"])
@pytest.mark.parametrize("model", MODELS)
def test_every_reader_trains_exactly_what_is_meant(
    model: str, embeddings: bool, tmp_path: Path
) -> None:
    make, config = MODELS[model]
    result, parameters = scanned(save(tmp_path, make(), config=config))
    recipe = SpectrumYaml(Selection(result))
    least = recipe.selection.smallest_percent(Policy())
    for percent in PERCENTS:
        if percent < least:
            continue
        meant = intended(result, percent, embeddings=embeddings)
        text = recipe.text(Policy(percent=percent, embeddings=embeddings))
        names = by_yaml(text)
        assert names == by_split(text) == by_strip(text)
        assert sorted(names) == sorted(meant)
        assert len(names) == len(set(names))
        assert set(names) <= set(parameters)
        for trainer in (
            trained_by_match,
            trained_by_escaped_match,
            trained_by_search,
            trained_by_substring,
        ):
            assert trainer(names, parameters) == set(meant), (trainer.__name__, percent)


@pytest.mark.parametrize("embeddings", [True, False])
@pytest.mark.parametrize("percent", PERCENTS)
def test_the_preview_is_the_file(percent: int, embeddings: bool) -> None:
    recipe = SpectrumYaml(Selection(made.result(bias=True, norms=True)))
    view = recipe.view(Policy(percent=percent, embeddings=embeddings))
    text = view.text()
    assert text.endswith("\n")
    assert [view.line(i) for i in range(len(view))] == text.splitlines()
    if percent >= recipe.selection.smallest_percent(Policy()):
        assert recipe.text(Policy(percent=percent, embeddings=embeddings)) == text


def test_the_best_of_a_type_come_first() -> None:
    result = made.result(layers=4, types=1, snr={0: 1.0, 1: 4.0, 2: 3.0, 3: 2.0}, embeddings=False)
    names = by_yaml(SpectrumYaml(Selection(result)).text(Policy(percent=100)))
    assert names == [f"model.layers.{i}.mlp.down_proj.weight" for i in (1, 2, 3, 0)]


def test_a_bias_follows_its_weight() -> None:
    result = made.result(layers=4, types=1, bias=True, embeddings=False)
    lines = by_split(SpectrumYaml(Selection(result)).text(Policy(percent=50, embeddings=False)))
    for weight, bias in zip(lines[::2], lines[1::2], strict=True):
        assert weight.removesuffix(".weight") == bias.removesuffix(".bias")


def test_headers_count_what_is_selected_and_stand_only_over_lines(tmp_path: Path) -> None:
    result, _ = scanned(save(tmp_path, llama(4)))
    for percent, embeddings in ((25, True), (100, True), (100, False)):
        lines = (
            SpectrumYaml(Selection(result))
            .text(Policy(percent=percent, embeddings=embeddings))
            .splitlines()
        )
        key = lines.index("unfrozen_parameters:")
        for at in range(key + 1, len(lines)):
            if not lines[at].startswith("#"):
                continue
            assert lines[at + 1].startswith("- "), lines[at]
            counted = re.fullmatch(r"# (\S+): (\d+) of (\d+)", lines[at])
            if counted:
                under = 0
                while at + 1 + under < len(lines) and lines[at + 1 + under].startswith("- "):
                    under += 1
                assert int(counted[2]) == under


def test_the_head_stands_under_its_real_name_once(tmp_path: Path) -> None:
    tensors = llama(2)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    folder = save(tmp_path, tensors, config={"tie_word_embeddings": True})
    result, _ = scanned(folder)
    names = by_yaml(SpectrumYaml(Selection(result)).text(Policy(percent=100)))
    assert names.count("model.embed_tokens.weight") == 1
    assert "lm_head.weight" not in names


def test_without_the_head_none_of_it_is_written_even_at_hundred(tmp_path: Path) -> None:
    result, _ = scanned(save(tmp_path, llama(2)))
    assert "lm_head" in result.scores.layers
    names = by_yaml(SpectrumYaml(Selection(result)).text(Policy(percent=100, embeddings=False)))
    assert not {"lm_head.weight", "model.embed_tokens.weight"} & set(names)
    assert len(names) == len(result.scores) - 2


def test_a_failed_layer_is_never_written(tmp_path: Path) -> None:
    bad = "model.layers.1.mlp.up_proj"
    result, _ = scanned(save(tmp_path, llama(3)), failed=(bad,))
    names = by_yaml(SpectrumYaml(Selection(result)).text(Policy(percent=100)))
    assert f"{bad}.weight" not in names
    assert len(names) == len(result.scores) - 1


def test_an_empty_selection_is_refused_with_the_smallest_percentage() -> None:
    recipe = SpectrumYaml(Selection(made.result(layers=12)))
    for percent in (0, 1, 8):
        with pytest.raises(SelectionError, match=r"selects no layer.* 8\.4 %") as caught:
            recipe.text(Policy(percent=percent))
        assert caught.value.field == "top_percent"
    assert by_yaml(recipe.text(Policy(percent=9)))


def test_nothing_scored_is_refused() -> None:
    result = made.result(layers=1, types=1, failed={0: "is all zero"})
    with pytest.raises(SelectionError, match="No layer has a score"):
        SpectrumYaml(Selection(result)).text(Policy(percent=100))


def test_only_the_head_and_that_switched_off_is_refused(tmp_path: Path) -> None:
    inspection = inspect_model(str(save(tmp_path, llama(1))))
    layers = [x for x in inspection.model.layers if x.name == "lm_head"]
    plan = make_plan(inspection.checkpoint, layers, device="cpu")
    recipe = SpectrumYaml(
        Selection(build_result(inspection, plan, Outcome(done={"lm_head": done(layers[0], 1.0)})))
    )
    assert "lm_head.weight" in by_yaml(recipe.text(Policy(percent=100)))
    with pytest.raises(SelectionError, match="switched off"):
        recipe.text(Policy(percent=100, embeddings=False))


NASTY = [
    "a[/b][red]",
    "line\nbreak",
    "- dash",
    "key: value",
    "hash #x",
    "quo'te",
    "{a}",
    "*star",
    "ünï",
    "with space",
    "",
    "x\u2028y",
    "a+b",
    "a(b)",
    "a\\b",
    "a|b",
    "^a",
    "a$",
]


@pytest.mark.parametrize("name", NASTY, ids=repr)
def test_a_name_that_a_reader_would_misread_is_refused(name: str) -> None:
    result = made.result(layers=2, types=1, names={0: name}, snr={0: 9.0, 1: 1.0})
    recipe = SpectrumYaml(Selection(result))
    with pytest.raises(SelectionError) as caught:
        recipe.text(Policy(percent=50, embeddings=False))
    assert len(str(caught.value).splitlines()) == 1
    assert repr(name)[1:-1] in caught.value.message
    assert len(recipe.view(Policy(percent=50, embeddings=False))) > 0  # the preview still works


def test_a_nasty_name_that_is_not_selected_does_no_harm() -> None:
    result = made.result(layers=2, types=1, names={0: "a[/b][red]"}, snr={0: 1.0, 1: 9.0})
    assert (
        len(by_yaml(SpectrumYaml(Selection(result)).text(Policy(percent=50, embeddings=False))))
        == 1
    )


def test_a_nasty_head_is_refused_too(tmp_path: Path) -> None:
    tensors = llama(2)
    tensors["a\n- b.embed_tokens.weight"] = tensors.pop("model.embed_tokens.weight")
    result, _ = scanned(save(tmp_path, tensors))
    recipe = SpectrumYaml(Selection(result))
    with pytest.raises(SelectionError):
        recipe.text(Policy(percent=50))
    assert by_yaml(recipe.text(Policy(percent=50, embeddings=False)))


@pytest.mark.parametrize("model", ["a\nb: c\n- d", "x\r\n- y", "a\u2028- b", "\x1b[31m", "# x"])
def test_whatever_the_model_is_called_comments_stay_comments(model: str) -> None:
    result = made.result(layers=2, model=model)
    text = SpectrumYaml(Selection(result)).text(Policy(percent=50))
    assert sorted(by_yaml(text)) == sorted(intended(result, 50, embeddings=True))
    assert by_split(text) == by_strip(text) == by_yaml(text)
    assert all(line.isprintable() for line in text.split("\n"))


def test_a_type_called_oddly_cannot_break_its_comment() -> None:
    result = made.result(layers=2, types=1)
    result.scores.type_names[0] = "a\n- evil.weight"
    assert (
        len(by_yaml(SpectrumYaml(Selection(result)).text(Policy(percent=50, embeddings=False))))
        == 1
    )


def test_comments_say_what_the_file_is() -> None:
    text = SpectrumYaml(Selection(made.result())).text(Policy(percent=25))
    comments = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    for word in ("25 %", "made/llama", "0.1.0", "8cde5ca83804"):
        assert word in comments
    assert "partial" not in text
    assert "demonstration" not in text


def test_a_stopped_scan_a_guessed_head_and_the_demo_are_labelled() -> None:
    text = SpectrumYaml(Selection(made.result(layers=4, planned=100))).text(Policy(percent=50))
    assert "partial: 28 of 100" in text
    text = SpectrumYaml(Selection(made.result(sizes=False))).text(Policy(percent=50))
    assert "names assumed" in text
    text = SpectrumYaml(Selection(made.result(model=DEMO_NAME))).text(Policy(percent=50))
    assert "random" in text


def test_infinite_scores_are_selected_first() -> None:
    result = made.result(layers=4, types=1, snr={2: math.inf}, embeddings=False)
    names = by_yaml(SpectrumYaml(Selection(result)).text(Policy(percent=25, embeddings=False)))
    assert names == ["model.layers.2.mlp.down_proj.weight"]


def test_names_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    folder = save(tmp_path, llama(2, bias=True), shards=3)
    layers = model_layers(read_checkpoint(folder)).layers
    result, parameters = scanned(folder)
    assert {n for x in layers for n in x.parameters} == set(parameters)
    text = SpectrumYaml(Selection(result)).text(Policy(percent=100))
    assert set(by_yaml(text)) == set(parameters)
