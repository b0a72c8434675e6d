"""Models of which it is known by construction which layers can learn: the rows must show it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import torch

from spectrum_tui.core.proof.methods import parse_methods
from spectrum_tui.core.proof.plan import Plan
from spectrum_tui.core.proof.proof import Verdict
from spectrum_tui.core.proof.rows import Job
from spectrum_tui.core.proof.summary import Summary, summaries
from spectrum_tui.core.proof.verdict import verdict
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.proving.row import run_job
from tests import made
from tests.architectures.tiny import ARCHITECTURES, FOUR_LAYERS, Architecture
from tests.unit.proving.tiny_language import conditions, tokenizer

LAYERS, ALIVE = 4, 0
OUT, IN = ("self_attn.o_proj", "mlp.down_proj"), ("self_attn.v_proj", "mlp.up_proj")
"""What a block adds is a product of both. Where both are 0, no gradient reaches the block ever;
where only OUT is, it does as soon as that trains: random draws of the seeds 0 to 2 have no OUT of
block 0 among them."""


def planted(folder: Path, alive: Collection[int]) -> Path:
    """A Llama of four blocks that add nothing, of which only some can learn to."""
    plain = ARCHITECTURES["llama"]
    model = Architecture(plain.model, plain.config, {**plain.options, **FOUR_LAYERS}).build()
    with torch.no_grad():
        for number in range(LAYERS):
            for name in OUT if number in alive else (*OUT, *IN):
                model.get_parameter(f"model.layers.{number}.{name}.weight").zero_()
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def scored() -> Result:
    """Scores that rank blocks by their number, the one first that can learn."""
    layers = made.result(layers=LAYERS).scores.layers
    blocks = [int(name.split(".")[2]) for name in layers]
    return made.result(
        layers=LAYERS,
        snr={row: 9.0 - block for row, block in enumerate(blocks)},
    )


def proved(
    model: Path, folder: Path, methods: str, *, embeddings: bool
) -> tuple[dict[str, Summary], Verdict]:
    chosen = parse_methods(methods)
    texts = conditions(model, folder, judged=16)
    texts = replace(texts, kept="", digests=texts.digests[:2])
    plan = Plan(
        selection=Selection(scored()),
        methods=chosen,
        seeds=3,
        steps=8,
        embeddings=embeddings,
        rates={method.text: 1e-2 for method in chosen},
    )
    jobs = [Job(conditions=texts, row=row) for row in plan.rows(plan.rates)]
    found = summaries(
        [run_job(job, lambda progress: None) for job in jobs], [m.text for m in chosen]
    )
    assert all(len(one.held_out) == 3 for one in found)
    return {one.method: one for one in found}, verdict(found)


def test_where_one_block_can_learn_the_table_finds_it(tmp_path: Path) -> None:
    found, said = proved(
        planted(tmp_path / "model", {ALIVE}),
        tmp_path,
        "top:25,random:25,bottom:25",
        embeddings=False,
    )
    before = found["top:25"].before
    assert max(found["top:25"].held_out.values()) < before - 0.05
    for method in ("random:25", "bottom:25"):
        assert set(found[method].held_out.values()) == {before}
    assert said.best == "top:25"
    assert said.lines[0] == "A difference was found in 2 of 3 comparisons over 3 seeds."
    for method in ("random:25", "bottom:25"):
        more = f"top:25 learned more than {method}: "
        assert any(line.startswith(more) for line in said.lines)


def test_where_no_layer_differs_the_verdict_says_so(tmp_path: Path) -> None:
    found, said = proved(
        planted(tmp_path / "model", ()), tmp_path, "top:25,random:25", embeddings=True
    )
    losses = [one.held_out for one in found.values()]
    assert losses[0] == losses[1]
    assert losses[0][0] != losses[0][1] and losses[0][0] < found["top:25"].before
    assert said.lines[0] == "No difference was found (1 comparison over 3 seeds)."
