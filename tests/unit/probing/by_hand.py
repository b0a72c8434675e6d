"""The same figures by plain autograd in float64, and jobs on tiny models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from spectrum_tui.core.dataset.examples import Example
from spectrum_tui.core.dataset.kept_examples import read_examples, write_examples
from spectrum_tui.core.probing.records import Probed, ProbeJob, Said, Target
from spectrum_tui.proving.batches import Encoder, Kind, drawn, in_batches, learned, tensors
from spectrum_tui.proving.loading import kind_of
from spectrum_tui.proving.probing.inputs import SEED
from spectrum_tui.proving.probing.work import Probing
from tests.unit.proving.texts import document
from tests.unit.proving.tiny_language import save_model

Gradients = dict[str, list[torch.Tensor]]
"""{parameter: its gradient in each batch}"""
CLASSES = {"bert": "AutoModelForMaskedLM", "t5": "AutoModelForSeq2SeqLM"}
EAGER = ("qwen3_moe", "gpt_oss")
"""Their grouped products know no float64."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A model on disk, its weights in float64, and their gradients by `plain_gradients`."""

    folder: Path
    weights: dict[str, torch.Tensor]
    gradients: Gradients


def saved(name: str, folder: Path) -> Path:
    """A tiny model that can be asked for answers."""
    save_model(name, folder, around=name == "bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "decoder_start_token_id": 0}))
    return folder


def measured(folder: Path, data: Path) -> Measured:
    """The model in a folder that is named as in `tests.architectures.tiny`, on `job`'s batches."""
    import transformers

    auto = getattr(transformers, CLASSES.get(folder.name, "AutoModelForCausalLM"))
    how = {"experts_implementation": "eager"} if folder.name in EAGER else {}
    model = auto.from_pretrained(folder, dtype=torch.float64, **how).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    gradients = plain_gradients(model, tokenizer, kind_of(model), job(folder, data))
    return Measured(folder, {n: p.detach() for n, p in model.named_parameters()}, gradients)


def assert_close(model: Measured, targets: Sequence[Target], outcome: Probed) -> None:
    """Each value within 1e-6; of layers with several matrices their mean square."""
    for target, values in zip(targets, outcome.values, strict=True):
        name = target.parameter
        each = model.gradients[name]
        if not any(gradient.any() for gradient in each):
            continue
        whole = wanted(each, model.weights[name])
        if len(values["fisher"]) > 1:
            mean = sum(values["fisher"]) / len(values["fisher"])
            assert mean == pytest.approx(whole["fisher"], rel=1e-6), name
            continue
        assert whole.keys() == values.keys() - {"activation"}, name
        for metric, value in whole.items():
            assert values[metric][0] == pytest.approx(value, rel=1e-6), name


def job(model: Path, folder: Path, *targets: Target, **changes: Any) -> ProbeJob:
    """Two batches of two sequences of 16 tokens."""
    data = folder / "data.jsonl"
    digest = write_examples(data, [Example(text=document(number)) for number in range(12)])
    usual = {"batches": 2, "batch": 2, "sequence": 16, "device": "cpu", "dtype": "float64"}
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
