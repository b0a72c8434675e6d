"""Comparing two results: ranks, selections and names against rules typed again."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spectrum_tui.cli.main import main
from spectrum_tui.core.comparison.compare import (
    Comparison,
    compare,
    file_names,
    mean_ranks,
    notes,
    spearman,
)
from spectrum_tui.core.errors import ResultsError
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.saved.store import flat_text, load_result
from tests import made, oracle
from tests.commands import Capture, refused


def other(plain: Result, seed: int = 5, spread: float = 0.4) -> Result:
    """The same layers after a training that moved every score."""
    noise = np.random.default_rng(seed).lognormal(0, spread, len(plain.scores))
    return replace(plain, scores=made.ranked(plain.scores, plain.scores.values * noise))


def saved(result: Result, path: Path) -> Path:
    path.write_text(flat_text(result), encoding="utf-8")
    return path


def by_hand(values: list[float]) -> list[float]:
    """The mean of the places that equal values take up, counted one by one."""
    return [sum(v < x for v in values) + (sum(v == x for v in values) + 1) / 2 for x in values]


@pytest.mark.parametrize("values", [[3.0, 1.0, 3.0, math.inf, 2.0, math.inf], [1.0] * 4, [7.0]])
def test_equal_values_share_their_ranks(values: list[float]) -> None:
    assert mean_ranks(np.asarray(values)).tolist() == by_hand(values)


def test_spearman_against_pearson_of_ranks() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, y = rng.integers(0, 6, 15).astype(float), rng.integers(0, 6, 15).astype(float)
        x[rng.integers(0, 15)] = math.inf
        wanted = np.corrcoef(by_hand(x.tolist()), by_hand(y.tolist()))[0, 1]
        assert spearman(x, y) == pytest.approx(wanted, abs=1e-12)
    x = rng.normal(size=30)
    assert spearman(x, np.exp(x)) == pytest.approx(1.0)
    assert spearman(x, -x) == pytest.approx(-1.0)


def test_a_layer_that_lost_its_score_is_said() -> None:
    plain = made.result(layers=6)
    snr = plain.scores.values.copy()
    snr[0] = math.nan
    found = compare(plain, replace(plain, scores=made.ranked(plain.scores, snr)))
    assert not found.moves
    assert notes(found) == ["1 layer has a score in one file only, so no rank change."]


def test_spearman_says_nothing_where_there_is_no_order() -> None:
    assert math.isnan(spearman(np.ones(1), np.ones(1)))
    assert math.isnan(spearman(np.ones(3), np.arange(3.0)))


def test_a_result_agrees_with_itself() -> None:
    plain = made.result(norms=True)
    found = compare(plain, plain)
    assert not found.moves
    assert [kind.rho for kind in found.types[:-1]] == pytest.approx([1.0] * 7)
    assert math.isnan(found.types[-1].rho)  # norms are all 1.0
    assert found.rho == pytest.approx(1.0)
    for percent in (1, 25, 50, 100):
        assert all(g.a == g.b == g.shared for g in found.at(Policy(percent=percent)))
    assert not notes(found)


@pytest.mark.parametrize("percent", [10, 34, 50, 100])
def test_agreement_is_that_of_the_two_selections(percent: int) -> None:
    a = made.result(layers=16)
    b = other(a)
    scored = [
        {kind: dict[str, float]() for kind in a.scores.type_names},
        {kind: dict[str, float]() for kind in a.scores.type_names},
    ]
    for result, types in zip((a, b), scored, strict=True):
        for row, layer in enumerate(result.scores.layers):
            kind = result.scores.type_names[result.scores.type_ids[row]]
            types[kind][layer] = float(result.scores.values[row])
    found = compare(a, b)
    for kind, agreement in zip(found.types, found.at(Policy(percent=percent)), strict=True):
        x, y = (set(oracle.selected(types[kind.name], percent)) for types in scored)
        assert (agreement.a, agreement.b, agreement.shared) == (len(x), len(y), len(x & y))
        if x | y:
            assert agreement.jaccard == len(x & y) / len(x | y)
        else:
            assert math.isnan(agreement.jaccard)


def test_moves_are_the_ranks_on_both_sides_farthest_first() -> None:
    a = made.result(layers=6, types=2, snr={i: 10.0 - i for i in range(6)})
    b = replace(a, scores=made.ranked(a.scores, a.scores.values.copy()))
    b.scores.values[:6] = [4.0, 9.0, 8.0, 7.0, 6.0, 5.5]  # the first one falls to the last place
    first, *rest = compare(a, b).moves
    assert (first.row_a, first.rank_a, first.rank_b, first.by, first.of) == (0, 1, 6, 5, 6)
    assert [move.by for move in rest] == [-1] * 5


def test_layers_of_one_result_alone_and_layers_without_a_score() -> None:
    a = made.result(layers=8, types=3)
    b = other(made.result(layers=6, types=4, failed={0: "holds NaN"}))
    found = compare(a, b)
    assert [(k.common, k.only_a, k.only_b) for k in found.types] == [(6, 2, 0)] * 3 + [(0, 0, 6)]
    assert found.types[-1].name == "self_attn.k_proj"
    assert (found.whole(Policy(percent=50)).a, found.whole(Policy(percent=50)).b) == (
        12,
        2 + 3 + 3,
    )  # one of 6 has no score
    assert math.isnan(found.types[-1].rho)
    assert {move.of for move in found.moves if move.type == "mlp.down_proj"} == {5}


def test_other_generations_of_names_are_matched_by_type_and_number() -> None:
    a = made.result(layers=5, types=3)
    layers = [n.replace("model.layers", "model.language_model.layers") for n in a.scores.layers]
    b = replace(a, scores=replace(a.scores, layers=layers))
    found = compare(a, b)
    assert found.pairs.renamed == len(a.scores) == len(found.pairs)
    assert not found.moves
    assert "a different name" in notes(found)[0]
    twice = [*layers[:5], *(n.replace("language_model", "vision") for n in layers[:5])]
    names = [kind for kind in a.scores.type_names if kind == "mlp.down_proj"]
    ambiguous = replace(made.result(layers=10, types=1).scores, layers=twice, type_names=names)
    with pytest.raises(ResultsError, match="no layer in common"):
        compare(a, replace(a, scores=ambiguous))


def test_a_metric_that_one_lacks() -> None:
    plain = made.result()
    rich = made.with_metrics(plain)
    assert compare(rich, rich, "stable_rank").a.scores.metric == "stable_rank"
    with pytest.raises(ResultsError, match="stable_rank"):
        compare(rich, plain, "stable_rank")
    with pytest.raises(ResultsError, match=r"The scores in b\.json hold no stable_rank") as caught:
        compare(rich, replace(plain, source="b.json"), "stable_rank")
    assert "--metric spectrum" in caught.value.hint


def test_a_partial_selection_of_the_whole() -> None:
    found = Comparison(made.result(layers=32), other(made.result(layers=32)))
    assert len(found.moves) > 100
    assert -1 < found.rho < 1


# -- the command ------------------------------------------------------------------------------


def test_the_table(tmp_path: Path, capsys: Capture) -> None:
    a = made.result(layers=16, sizes=False)
    paths = [str(saved(a, tmp_path / "a.json")), str(saved(other(a), tmp_path / "b.json"))]
    assert main(["compare", *paths, "--top-percent", "25"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    header = next(i for i, line in enumerate(lines) if line.startswith("type"))
    body = lines[header + 1 : header + 9]
    assert body[-1].startswith("all")
    assert {len(line) for line in lines[header : header + 9]} == {len(lines[header])}
    assert "28     28" in body[-1]  # 4 of 16 in each of 7 types
    assert "Layers that changed rank" in out
    assert len(lines) == header + 9 + 2 + 10
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        (("x/a.json", "x/b.json"), ("a.json", "b.json")),
        (("one/s/a.json", "two/s/a.json"), ("one/s/a.json", "two/s/a.json")),
        (("a.json", "two/a.json"), ("a.json", "two/a.json")),
        (("a.json", "a.json"), ("a.json", "a.json")),
        (("", "x/a.json"), ("", "a.json")),
    ],
)
def test_files_are_named_so_that_they_are_told_apart(
    sources: tuple[str, str], said: tuple[str, str]
) -> None:
    a, b = (replace(made.result(layers=2, types=1), source=source) for source in sources)
    assert file_names(compare(a, b)) == said


def test_one_model_in_two_files_is_two_lines(tmp_path: Path, capsys: Capture) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    a = made.result(layers=2, types=1, sizes=False)
    paths = [str(saved(a, folder / "a.json")) for folder in folders]
    assert main(["compare", *paths]) == 0
    first, second = (line[3:] for line in capsys.readouterr().out.splitlines()[:2])
    assert first != second
    assert (Path(first).name, Path(second).name) == ("a.json", "a.json")


def test_the_json_is_strict_and_says_the_same(tmp_path: Path, capsys: Capture) -> None:
    a = made.result(layers=16, sizes=False, norms=True)
    b = other(a)
    paths = [str(saved(a, tmp_path / "a.json")), str(saved(b, tmp_path / "b.json"))]
    assert main(["compare", *paths, "--top-percent", "25", "--json"]) == 0
    data = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    found = compare(load_result(Path(paths[0])), load_result(Path(paths[1])))
    assert data["types_in_both"]["spearman"] == found.rho
    assert [kind["shared"] for kind in data["types"]] == [
        g.shared for g in found.at(Policy(percent=25))
    ]
    assert len(data["moves"]) == len(found.moves)
    assert data["top_percent"] == 25
    entered = {m["layer"] for m in data["moves"] if m["selected_b"] and not m["selected_a"]}
    mask_a, mask_b = found.masks(Policy(percent=25))
    wanted = {found.a.scores.layers[i] for i in np.flatnonzero(mask_b & ~mask_a)}
    assert entered == wanted


def test_what_cannot_be_compared_is_one_line(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    a = str(saved(made.result(), tmp_path / "a.json"))
    alien = made.result(layers=1, types=1, names={0: "encoder.dense"})
    alien = replace(alien, scores=replace(alien.scores, type_names=["dense"]))
    b = str(saved(alien, tmp_path / "b.json"))
    assert "no layer in common" in refused(capsys, "compare", a, b)
    assert "cannot be read" in refused(capsys, "compare", a, "nowhere.json")
    assert "required" in refused(capsys, "compare", a)
    assert "stable_rank" in refused(capsys, "compare", a, a, "--metric", "stable_rank")
    assert "1 to 100" in refused(capsys, "compare", a, a, "--top-percent", "0")


def test_names_with_escape_codes_do_not_reach_the_terminal(tmp_path: Path, capsys: Capture) -> None:
    a = made.result(layers=2, types=1, names={0: "a.0.\x1b[31mw", 1: "a.1.\x1b[31mw"})
    b = replace(a, scores=made.ranked(a.scores, a.scores.values[::-1].copy()))
    paths = [str(saved(a, tmp_path / "a.json")), str(saved(b, tmp_path / "b.json"))]
    assert main(["compare", *paths]) == 0
    assert "\x1b" not in capsys.readouterr().out
