"""Ranks by the scores of layers, and what is said of the changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spectrum_tui.core.adapters.moves import moves_of
from spectrum_tui.core.adapters.tiers import RankTiers
from spectrum_tui.core.errors import InputError, SelectionError
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.saved.store import load_result

LAYERS = [f"model.layers.{i}.mlp.up_proj" for i in range(8)]
ROWS = {name: {"snr": float(8 - i), "type": "mlp.up_proj"} for i, name in enumerate(LAYERS)}
NOW = {name: 4 + i for i, name in enumerate(LAYERS)}


@pytest.fixture
def result(tmp_path: Path) -> Result:
    path = tmp_path / "snr_results_x.json"
    path.write_text(json.dumps(ROWS), encoding="utf-8")
    return load_result(path)


def ranks(result: Result, **options: object) -> list[int]:
    policy = Policy(percent=25, embeddings=False)
    tiers = RankTiers(**{"policy": policy, **options})  # type: ignore[arg-type]
    found = tiers.ranks(result, NOW)
    return [found[name] for name in LAYERS]


def test_tiers(result: Result) -> None:
    assert ranks(result) == [4, 5, 0, 0, 0, 0, 0, 0]
    assert ranks(result, high_rank=32) == [32, 32, 0, 0, 0, 0, 0, 0]
    assert ranks(result, high_rank=32, medium_rank=8) == [32, 32, 8, 8, 0, 0, 0, 0]
    assert ranks(result, high_rank=32, medium_rank=8, medium_percent=75) == [
        32,
        32,
        8,
        8,
        8,
        8,
        0,
        0,
    ]
    assert ranks(result, medium_percent=50) == [4, 5, 6, 7, 0, 0, 0, 0]
    pinned = Policy(percent=25, embeddings=False, pins=(LAYERS[7],), bans=(LAYERS[0],))
    assert ranks(result, policy=pinned) == [0, 5, 0, 0, 0, 0, 0, 11]


def test_what_cannot_be_asked_for(result: Result) -> None:
    wrong = ({"high_rank": 0}, {"high_rank": 2.5}, {"high_rank": "8"}, {"medium_rank": 8})
    for options in (*wrong, {"medium_percent": 10}):
        with pytest.raises(InputError):
            ranks(result, **options)
    with pytest.raises(SelectionError, match="No adapter would train") as caught:
        ranks(result, policy=Policy(percent=10, embeddings=False))
    assert "12" in caught.value.hint or "13" in caught.value.hint


def test_moves_in_words() -> None:
    change = [(4, 32, True, True)] * 6 + [(4, 4, True, False)] * 2 + [(32, 8, True, True)]
    assert moves_of(change).text == "6 layers up to rank 32, 1 down to rank 8, 2 off"
    assert moves_of([(4, 4, False, True)]).text == "1 layer on"
    assert moves_of([(4, 4, True, True)]).text == "no adapter changes"
    assert not moves_of([(4, 4, True, True)]).any
