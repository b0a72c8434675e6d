"""Recipes read back: what is in them, and one line for everything that is wrong with a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from spectrum_tui.core.errors import RecipeError
from spectrum_tui.core.recipes.spectrum import SpectrumYaml
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.trainers.recipe_text import names_in_file, names_in_text
from tests import made

GOOD = "unfrozen_parameters:\n- ^lm_head.weight$\n# mlp layers\n- model.norm\n"


def refused(text: str) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        names_in_text(text, "x.yaml")
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        GOOD.replace("\n", "\r\n"),
        f"---\nbase_model: x\n{GOOD}learning_rate: 1.0\n",
        'unfrozen_parameters: ["^lm_head.weight$", model.norm]',
        "unfrozen_parameters:\n  - '^lm_head.weight$'  # tied\n  - model.norm\n  - model.norm\n",
    ],
)
def test_every_way_of_writing_the_list(text: str) -> None:
    assert names_in_text(text, "x.yaml") == ("^lm_head.weight$", "model.norm")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    result = made.result(layers=8, types=3, bias=True)
    path = tmp_path / "a.yaml"
    recipe = SpectrumYaml(Selection(result))
    path.write_text("\ufeff" + recipe.text(Policy(percent=50)), encoding="utf-8")
    names = names_in_file(path)
    assert len(names) == 2 + 3 * 4 * 2
    assert names[:2] == tuple(head.name for head in result.embeddings)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no unfrozen_parameters"),
        ("- model.norm\n", "has no unfrozen_parameters"),
        ("just words", "has no unfrozen_parameters"),
        ("unfrozen_parameters:\n", "is empty"),
        ("unfrozen_parameters: []\n", "is empty"),
        ("unfrozen_parameters: model.norm\n", "is not a list"),
        ("unfrozen_parameters:\n  a: b\n", "is not a list"),
        ("unfrozen_parameters:\n- a\n- 1.5\n", "Entry 2"),
        ("unfrozen_parameters:\n- a: b\n", "Entry 1"),
        ("unfrozen_parameters:\n- ''\n", "Entry 1"),
        ("a: [b\n", "is not YAML"),
        ("a:\n\t- b\n", "line 2"),
        ("- *nobody\n", "is not YAML"),
        ("a: !!python/object/apply:os.system [ls]\n", "is not YAML"),
        ("\x00\x01", "is not YAML"),
        pytest.param("[" * 100_000, "nested too deeply", id="nested 100,000 times"),
    ],
)
def test_what_is_no_recipe_is_said_in_one_line(text: str, said: str) -> None:
    assert said in refused(text).message


def test_a_score_file_is_told_by_its_looks() -> None:
    assert "spectrum-tui yaml" in refused('{"a": {"snr": 1.0, "type": "b"}}').hint
    assert "spectrum-tui yaml" in refused('{"mlp": {"a": 1.0, "b": 2.0}}').hint
    assert "spectrum-tui yaml" not in refused("a:\n  b: c\n").hint


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\xff")
    for name, said in (("nowhere.yaml", "No such file"), ("binary.yaml", "not a text file")):
        with pytest.raises(RecipeError, match=said):
            names_in_file(tmp_path / name)
    with pytest.raises(RecipeError, match="cannot be read"):
        names_in_file(tmp_path)


def test_fifty_thousand_names() -> None:
    text = "unfrozen_parameters:\n" + "".join(f"- model.layers.{i}.w\n" for i in range(50_000))
    assert len(names_in_text(text, "x.yaml")) == 50_000
