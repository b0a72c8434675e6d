"""Made-up outcomes and proofs, for tests that need them but no training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spectrum_tui.core.proof.proof import Proof, Texts
from spectrum_tui.core.proof.rows import Bytes, Conditions, Losses, Outcome

CONDITIONS = Conditions(
    model="made/llama", train="/a/train.jsonl", held_out="/a/held_out.jsonl", digests=("1", "2")
)
SIZES = {"full": 1000, "lora": 20, "qlora": 20}
"""Millions of parameters that a method trains; a selection a quarter of them."""


def outcome(method: str, seed: int, loss: float, kept: float | None = None) -> Outcome:
    millions = SIZES.get(method, 250)
    return Outcome(
        method=method,
        seed=seed,
        rate=2e-4,
        steps=200,
        before=Losses(held_out=3.158, kept=None if kept is None else 3.694),
        after=Losses(held_out=loss, kept=kept),
        curve=((1, 3.2), (2, 3.0)),
        trained=millions * 1_000_000,
        memory=Bytes(
            weights=2_000_000_000,
            gradients=millions * 2_000_000,
            optimizer=millions * 4_000_000,
            peak_device=3_000_000_000 + millions * 6_000_000,
            peak_process=1_000_000_000,
        ),
        tokens=204_800,
        step_seconds=0.2 + millions / 5000,
        seconds=60.0 + millions / 10,
        device="cuda NVIDIA H200",
        finished="2026-01-31 12:00 UTC",
        versions={"torch": "2.9"},
    )


def outcomes(
    losses: Mapping[str, Sequence[float]], kept: Mapping[str, Sequence[float]] | None = None
) -> tuple[Outcome, ...]:
    """The outcomes of methods with seeds 0, 1, …: {method: losses}."""
    return tuple(
        outcome(method, seed, loss, kept[method][seed] if kept else None)
        for method, each in losses.items()
        for seed, loss in enumerate(each)
    )


def proof(rows: Sequence[Outcome], model: str = "made/llama") -> Proof:
    methods = tuple(dict.fromkeys(row.method for row in rows))
    texts = Texts(files=("a.jsonl",), documents=100, form="text", digest="1", tokens=12_000)
    return Proof(
        model=model,
        scores="snr_results_made-llama.json",
        conditions=CONDITIONS,
        texts={"train": texts, "held_out": texts},
        methods=methods,
        seeds=3,
        steps=200,
        rates=dict.fromkeys(methods, 2e-4),
        total_parameters=1_000_000_000,
        outcomes=tuple(rows),
        program="spectrum-tui 0.1.0",
        written="2026-01-31 12:00 UTC",
    )
