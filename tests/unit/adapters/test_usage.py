"""Ranks and weights of updates against numpy, on the whole product."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spectrum_tui.cli.main import main
from spectrum_tui.core.adapters.configuration import Patterns
from spectrum_tui.core.adapters.usage import effective_rank, stable_rank, suggested_rank
from tests.checkpoints import Tensors, llama, matrix, save
from tests.commands import Capture, refused
from tests.peft_folders import PREFIX, config, pairs, save_adapter

pytestmark = pytest.mark.usefixtures("in_empty_folder")

Q, V = (f"model.layers.{i}.self_attn.{part}_proj" for i, part in ((0, "q"), (1, "v")))


def test_ranks_by_hand() -> None:
    values = torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64)
    assert stable_rank(values) == 1.5
    assert effective_rank(values) == pytest.approx(math.exp(1.5 * math.log(2)))
    assert suggested_rank(values) == 3
    assert suggested_rank(torch.tensor([10.0, 2.0, 0.1])) == 2
    assert suggested_rank(torch.tensor([10.0, 2.0, 0.1]) * 1e-30) == 2
    assert suggested_rank(torch.tensor([10.0, 0.9])) == 1
    for zero in (torch.zeros(3), torch.zeros(0)):
        assert (stable_rank(zero), effective_rank(zero), suggested_rank(zero)) == (0, 0, 0)


@pytest.fixture
def tensors() -> Tensors:
    """Of q in block 0 two of four ranks are used, v in block 1 has learned nothing."""
    made = pairs(llama(2, dtype=torch.float32))
    made[f"{PREFIX}{Q}.lora_B.weight"][:, 2:] = 0
    made[f"{PREFIX}{V}.lora_B.weight"].zero_()
    return made


def report(capsys: Capture, *arguments: str) -> dict[str, Any]:
    assert main(["adapter", *arguments, "--json"]) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    return data


def test_a_report_against_numpy(tensors: Tensors, tmp_path: Path, capsys: Capture) -> None:
    base = llama(2, dtype=torch.float32)
    folder = save(tmp_path / "base", base)
    fields = config(folder, use_rslora=True, alpha_pattern={"down_proj": 3})
    data = report(capsys, str(save_adapter(tmp_path / "a", tensors, fields)))
    assert [row["layer"] for row in data["layers"]] == sorted(
        {n.removeprefix(PREFIX).partition(".lora_")[0] for n in tensors}
    )
    for row in data["layers"]:
        name = row["layer"]
        down = tensors[f"{PREFIX}{name}.lora_A.weight"].double().numpy()
        up = tensors[f"{PREFIX}{name}.lora_B.weight"].double().numpy()
        scale = (3 if name.endswith("down_proj") else 8) / 2
        values = np.linalg.svd(scale * up @ down, compute_uv=False)
        assert row["scale"] == scale
        assert row["update_norm"] == pytest.approx(np.linalg.norm(values))
        weight = base[f"{name}.weight"].double().numpy()
        assert row["weight_norm"] == pytest.approx(np.linalg.norm(weight))
        assert row["share"] == pytest.approx(row["update_norm"] / row["weight_norm"])
        if name == V:
            assert row["suggested_rank"] == 0
            continue
        squares = np.cumsum(values**2) / np.sum(values**2)
        assert row["suggested_rank"] == int(np.argmax(squares >= 0.99)) + 1
        assert row["stable_rank"] == pytest.approx(np.sum(values**2) / values[0] ** 2)
        shares = values[:4][values[:4] > 1e-12] / np.sum(values[:4])
        expected = np.exp(-np.sum(shares * np.log(shares)))
        assert row["effective_rank"] == pytest.approx(expected, rel=1e-6)
    assert data["idle"] == [V]
    key = Q.replace(".", r"\.")
    assert data["rank_pattern"][key] <= 2
    assert V.replace(".", r"\.") not in data["rank_pattern"]
    rank = data["rank_pattern"][key]
    assert data["alpha_pattern"][key] == pytest.approx(4 * math.sqrt(rank))


def test_the_patterns_keep_the_scale(tensors: Tensors, tmp_path: Path, capsys: Capture) -> None:
    data = report(capsys, str(save_adapter(tmp_path / "a", tensors, config("no/base"))))
    ranks, alphas = Patterns(data["rank_pattern"]), Patterns(data["alpha_pattern"])
    for row in data["layers"]:
        if row["layer"] != V:
            rank = ranks.of(row["layer"], 0)
            assert rank == row["suggested_rank"]
            assert alphas.of(row["layer"], 0) / rank == pytest.approx(2.0)


def test_the_table(tensors: Tensors, tmp_path: Path, capsys: Capture) -> None:
    folder = save_adapter(tmp_path / "a", tensors, config("no/base"))
    assert main(["adapter", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "note: Without the base there are no shares of weights: no/base is not on" in out
    (row,) = (line for line in out.splitlines() if line.startswith(V))
    assert row.split()[1:] == ["4", "–", "–", "–", "0", "idle"]
    assert "1 of 6 layers learned nothing (B is zero), first " + V in out
    assert "less than the rank given" in out
    base = save(tmp_path / "base", llama(2))
    assert main(["adapter", str(folder), "--base", str(base)]) == 0
    assert "note" not in capsys.readouterr().out


def test_fused_experts_are_told_apart(tmp_path: Path, capsys: Capture) -> None:
    """A's rows follow expert by expert, B's columns rank by rank, as PEFT has them."""
    module = "model.layers.0.mlp.experts"
    down, up = matrix("A", 3 * 2, 16), matrix("B", 24, 2 * 3)
    tensors = {
        f"{PREFIX}{module}.lora_A.weight": down,
        f"{PREFIX}{module}.lora_B.weight": up,
    }
    fields = config("no/base", r=2, target_parameters=["mlp.experts.gate_up_proj"])
    data = report(capsys, str(save_adapter(tmp_path / "a", tensors, fields)))
    (row,) = data["layers"]
    assert (row["layer"], row["experts"]) == (f"{module}.gate_up_proj", 3)
    a = down.double().numpy().reshape(3, 2, 16)
    b = up.double().numpy().reshape(24, 2, 3)
    deltas = 4 * np.einsum("ore,eri->eoi", b, a)
    assert row["update_norm"] == pytest.approx(np.linalg.norm(deltas))
    values = np.linalg.svd(deltas, compute_uv=False)
    stable = np.mean(np.sum(values**2, -1) / values[:, 0] ** 2)
    assert row["stable_rank"] == pytest.approx(stable)


def test_bad_input(tensors: Tensors, tmp_path: Path, capsys: Capture) -> None:
    assert "There is no folder nothing" in refused(capsys, "adapter", "nothing")
    tensors[f"{PREFIX}{Q}.lora_A.weight"][0, 0] = torch.nan
    folder = save_adapter(tmp_path / "a", tensors, config("no/base"))
    assert f"The adapter of {Q} has NaN" in refused(capsys, "adapter", str(folder))
    other = save(tmp_path / "other", llama(1))
    line = refused(capsys, "adapter", str(folder), "--base", str(other))
    assert "not of this base" in line


def test_patterns_match_as_peft_matches() -> None:
    """`re.match(rf"(.*\\.)?({key})$", name)`, and the first key that matches counts."""
    patterns = Patterns({
        "up_proj": 1, r"model\.layers\.1\.mlp": 2, "layers.1.*proj": 3, "q_proj": 4, "q|v": 5,
    })  # fmt: skip
    expected = {
        "model.layers.1.mlp.up_proj": 1,
        "model.layers.1.self_attn.q_proj": 3,
        "model.layers.11.self_attn.q_proj": 3,
        "model.layers.0.self_attn.q_proj": 4,
        "model.layers.1.mlp": 2,
        "a.big_up_proj": 0,
        "up_proj": 1,
        "x.v": 5,
    }
    assert {name: patterns.of(name, 0) for name in expected} == expected
