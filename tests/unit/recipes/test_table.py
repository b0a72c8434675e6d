"""The layers as a table: every value, read back by others' readers, and names that are hostile."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import pytest

from spectrum_tui.cli.main import main
from spectrum_tui.core.policy_values import parse_budget
from spectrum_tui.core.recipes.choice import Choice, RecipeKind
from spectrum_tui.core.recipes.kinds import KINDS, OFFERED, kind_named
from spectrum_tui.core.recipes.table import TABLES
from spectrum_tui.core.recipes.writing import drafted
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.saved.store import save_scores
from spectrum_tui.core.settings import METRICS
from tests import hostile, made
from tests.commands import Capture

Row = dict[str, str]


def choice(result: Result, **policy: object) -> Choice:
    return Choice(selection=Selection(result), policy=Policy(**policy))  # type: ignore[arg-type]


def text(kind: str, chosen: Choice) -> str:
    (file,) = drafted(kind_named(kind), chosen)
    return file.text


def read(chosen: Choice) -> list[Row]:
    return list(csv.DictReader(io.StringIO(text("csv", chosen)), strict=True))


def test_every_layer_with_every_value() -> None:
    result = made.with_metrics(made.result(layers=4, failed={2: "holds NaN or Inf"}, bias=True))
    chosen = choice(result, percent=50)
    rows, scores = read(chosen), result.scores
    mask = chosen.selection.trained(chosen.policy)
    assert [row["layer"] for row in rows] == scores.layers
    for i, row in enumerate(rows):
        assert row["type"] == scores.type_names[scores.type_ids[i]]
        assert int(row["rank"]) == chosen.selection.rank[i]
        assert int(row["parameters"]) == scores.numel[i]
        assert row["shape"] == f"{scores.rows[i]} × {scores.columns[i]}"
        assert row["trains"] == ("yes" if mask[i] else "no")
        for name in METRICS:
            value = float(scores.metrics[name].values[i])
            assert row[name] == "" if math.isnan(value) else float(row[name]) == value
    assert {row["of"] for row in rows} == {"3", "4"}
    assert [row["problem"] for row in rows if row["problem"]] == ["holds NaN or Inf"]
    assert rows[2]["by"] == "no score"


def test_what_decides() -> None:
    result = made.result(layers=4)
    down, gate, up = (kind for kind, _, _ in made.TYPES[:3])
    rows = read(
        choice(
            result,
            percent=50,
            type_percents=((up, 0.0),),
            blocks=((1, None),),
            pins=(f"model.layers.0.{down}",),
            bans=(f"model.layers.3.{gate}",),
        )
    )
    by = {row["layer"]: (row["by"], row["trains"]) for row in rows}
    assert by[f"model.layers.0.{down}"] == ("pin", "yes")
    assert by[f"model.layers.3.{gate}"] == ("ban", "no")
    assert by[f"model.layers.0.{gate}"] == ("blocks", "no")
    assert by[f"model.layers.2.{up}"] == ("type-percent", "no")
    assert {by[f"model.layers.{i}.{down}"][0] for i in (1, 2, 3)} == {"rule"}


def test_a_budget_decides_and_a_ban_before_the_embeddings() -> None:
    result = made.result(layers=4, names={0: "lm_head"})
    budget = parse_budget("1B")
    rows = read(choice(result, budget=budget, layers=3, bans=("lm_head",)))
    assert (rows[0]["by"], rows[0]["trains"]) == ("ban", "no")
    assert {row["by"] for row in rows[1:]} == {"budget"}


@pytest.mark.parametrize("on", [True, False])
def test_embeddings_among_the_layers_train_with_the_embeddings(on: bool) -> None:
    rows = read(choice(made.result(names={0: "lm_head"}), percent=1, embeddings=on))
    assert (rows[0]["by"], rows[0]["trains"]) == ("embeddings", "yes" if on else "no")


def test_infinity() -> None:
    result = made.result(layers=2, snr={0: math.inf})
    assert read(choice(result, percent=50))[0]["spectrum"] == "inf"
    assert "| ∞ |" in text("markdown", choice(result, percent=50))


def test_scores_of_others_have_no_sizes() -> None:
    rows = read(choice(made.result(sizes=False), percent=25))
    assert {(row["shape"], row["parameters"]) for row in rows} == {("", "0")}


@pytest.mark.parametrize("kind", TABLES, ids=lambda kind: kind.name)
def test_a_table_is_written_of_what_no_recipe_is(kind: RecipeKind) -> None:
    """Nothing selected, most without a score: it says so, and trains nothing."""
    failed = dict.fromkeys(range(20), "holds NaN or Inf")
    chosen = choice(made.result(layers=4, failed=failed), percent=1, embeddings=False)
    assert kind not in KINDS and kind in OFFERED
    assert "no score" in text(kind.name, chosen)


@pytest.mark.parametrize(
    "name",
    [
        *("=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", " =1", "＝1", "\u3000－1"),
        *("\x1b=1", "\u200b=1"),
    ],
)
def test_no_spreadsheet_takes_a_name_for_a_formula(name: str) -> None:
    result = made.result(layers=2, names={0: name}, failed={0: name})
    row = read(choice(result, percent=50))[0]
    for cell in (row["layer"], row["problem"]):
        assert cell.startswith(("'", "?")), cell


@pytest.mark.parametrize("name", ["a,b", 'a"b', "a;=1", "a\nb,c", "a'b", "é 中"])
def test_odd_names_stay_in_their_cell(name: str) -> None:
    rows = read(choice(made.result(layers=2, names={0: name}), percent=50))
    assert len(rows) == 14
    assert rows[0]["layer"] == name.replace("\n", "?")
    lines = text("csv", choice(made.result(layers=2, names={0: name}), percent=50)).splitlines()
    assert len(lines) == 15


@pytest.mark.parametrize("kind", ["csv", "markdown"])
def test_hostile_names_control_no_terminal(kind: str) -> None:
    result = made.result(layers=2, names={0: hostile.JSON_TEXT}, failed={1: hostile.TEXT})
    hostile.assert_plain(text(kind, choice(result, percent=50)).encode())


def test_markdown_has_a_row_for_each_layer() -> None:
    name = "a|b`<script>*__x__*[c](d)\\"
    chosen = choice(made.with_metrics(made.result(layers=3, names={0: name})), percent=25)
    about, empty, *table = text("markdown", chosen).splitlines()
    assert "made/llama" in about and "top 25 %" in about and empty == ""
    titles, sides, *rows = ([c.strip() for c in line.split("|")[1:-1]] for line in table)
    assert len(rows) == 21
    assert {len(row) for row in rows} == {len(titles)} == {len(sides)}
    assert titles[:4] == ["layer", "type", "rank", "of"]
    assert sides[0] == "---" and sides[2] == "---:"
    assert not set(rows[0][0]) & set("|`<>*[]\\_")
    assert rows[1][0] == f"`{chosen.selection.result.scores.layers[1]}`"


def test_the_command_writes_it(tmp_path: Path, capsys: Capture) -> None:
    path = str(save_scores(made.result(layers=4), tmp_path).scores)
    assert main(["export", path, "--as", "csv", "--pin", "*layers.0.mlp*"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count('"pin"') == 3
    assert main(["export", path, "--as", "markdown", "-o", str(tmp_path / "t.md")]) == 0
    assert (tmp_path / "t.md").read_text().count("\n") == 28 + 4
    assert main(["export", path, "--as", "csv", "--experts"]) == 2
