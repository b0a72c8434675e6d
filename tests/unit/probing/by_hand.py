"""The same figures by plain autograd in float64, and jobs on tiny models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from spectrum_tui.core.dataset.examples import Example
from spectrum_tui.core.dataset.kept_examples import read_examples, write_examples
from spectrum_tui.core.probing.records import Probed, ProbeJob, Said, Target
from spectrum_tui.proving.batches import Encoder, Kind, drawn, in_batches, learned, tensors
from spectrum_tui.proving.probing.work import SEED, Probing
from tests.unit.proving.texts import document

Gradients = dict[str, list[torch.Tensor]]
"""{parameter: its gradient in each batch}"""


def job(model: Path, folder: Path, *targets: Target, **changes: Any) -> ProbeJob:
    """Three batches of two sequences of 24 tokens."""
    data = folder / "data.jsonl"
    digest = write_examples(data, [Example(text=document(number)) for number in range(12)])
    usual = {"batches": 3, "batch": 2, "sequence": 24, "device": "cpu", "dtype": "float64"}
    given = {**usual, "checkpoint": "made up", **changes}
    return ProbeJob(model=str(model), data=str(data), digest=digest, targets=targets, **given)


def probed(job: ProbeJob) -> Probed:
    """The outcome of a job in this process."""
    return said(job)[1]


def said(job: ProbeJob) -> tuple[list[Said], Probed]:
    """All that a job says, and its outcome."""
    lines: list[Said] = []
    return lines, Probing(job, lines.append).run()


def plain_gradients(model: Any, tokenizer: Any, kind: Kind, job: ProbeJob) -> Gradients:
    """The gradients of every batch, by a loop that anyone would write."""
    encoder = Encoder(tokenizer, kind, job.sequence)
    examples = read_examples(Path(job.data), job.digest)
    found: Gradients = {}
    for group in in_batches(drawn(encoder, examples, job.batches * job.batch, SEED), job.batch):
        batch = tensors(group, encoder.padding, "cpu")
        model.zero_grad()
        labels = batch.pop("labels")
        logits = model(**batch, **({"labels": labels} if kind == "seq2seq" else {})).logits
        if kind == "causal":
            logits, labels = logits[:, :-1], labels[:, 1:]
        loss = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
        (loss / learned(kind, group)).backward()  # type: ignore[no-untyped-call]
        for name, parameter in model.named_parameters():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            found.setdefault(name, []).append(gradient.detach().clone())
    return found


def wanted(gradients: list[torch.Tensor], weight: torch.Tensor) -> dict[str, float]:
    """The metrics of one matrix by their definitions."""
    each = torch.stack(gradients)
    mean = each.mean(0)
    spread = (each - mean).square().sum() / (len(each) - 1)
    return {
        "gradient": float(mean.norm() / weight.detach().norm()),
        "fisher": float(each.square().mean()),
        "gradient_snr": float(mean.square().sum() / spread),
    }
