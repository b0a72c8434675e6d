"""From a scan to trained weights: what the YAML names has changed, bit for bit nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("accelerate")
pytest.importorskip("datasets")

from spectrum_tui.core.results.results import Result
from spectrum_tui.freeze import freeze_except
from tests.architectures.test_scans import intended, of_the_same_modules, scanned
from tests.architectures.tiny import ARCHITECTURES
from tests.training.runs import (
    STEPS,
    arguments,
    build,
    changed,
    collate,
    copied,
    recipe,
    rows,
    tokenizer,
    trained,
)

MODELS = ("llama", "llama_tied", "gpt2", "mixtral")
"""Untied, tied, Conv1D with biases, fused experts."""
PERCENTAGES = (10, 25, 50)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """The scan of each model's saved weights, embeddings and head among the types."""
    found = {}
    root = tmp_path_factory.mktemp("scans")
    for name in MODELS:
        model = deep(name)
        model.save_pretrained(root / name)
        found[name] = scanned(root / name, root / "out")
    return found


def deep(name: str) -> Any:
    """The tiny model with ten blocks, so that 10 % select one of each type."""
    import transformers

    kind = ARCHITECTURES[name]
    layers = "n_layer" if name == "gpt2" else "num_hidden_layers"
    quiet = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0} if name == "gpt2" else {}
    torch.manual_seed(1)
    config = getattr(transformers, kind.config)(**{**kind.options, layers: 10, **quiet})
    return getattr(transformers, kind.model)(config)


def wanted(result: Result, percent: int, *, embeddings: bool) -> set[str]:
    """What must train, by the rule typed again."""
    names = set(result.names)
    heads = {one.name for one in result.embeddings}
    best = intended(result, percent, names)
    return best | heads if embeddings else best - of_the_same_modules(heads, names)


@pytest.mark.parametrize("embeddings", [True, False], ids=["embeddings", "no-head"])
@pytest.mark.parametrize("percent", PERCENTAGES)
@pytest.mark.parametrize("name", MODELS)
def test_twenty_steps_change_what_was_selected(
    name: str, percent: int, embeddings: bool, scans: dict[str, Result], tmp_path: Path
) -> None:
    result = scans[name]
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe(result, percent, embeddings=embeddings), encoding="utf-8")
    model = deep(name)
    before = copied(model)
    assert set(before) == set(result.names)
    frozen = freeze_except(model, path)
    chosen = wanted(result, percent, embeddings=embeddings)
    assert set(frozen.matched) == chosen
    assert not frozen.unmatched
    trainer = trained(model, tmp_path)
    assert trainer.state.global_step == STEPS
    assert changed(model, before) == chosen
    held = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for n, p in model.named_parameters() if n in chosen}


def test_a_tied_head_trains_as_the_embedding(scans: dict[str, Result], tmp_path: Path) -> None:
    model = deep("llama_tied")
    before = copied(model)
    freeze_except(model, ["lm_head.weight"])
    trained(model, tmp_path)
    assert changed(model, before) == {"model.embed_tokens.weight"}
    assert model.lm_head.weight is model.model.embed_tokens.weight


@pytest.mark.parametrize("reentrant", [True, False])
def test_frozen_embeddings_and_gradient_checkpointing(
    reentrant: bool, scans: dict[str, Result], tmp_path: Path
) -> None:
    model = deep("llama")
    before = copied(model)
    chosen = set(freeze_except(model, _written(scans["llama"], tmp_path)).matched)
    options = {"gradient_checkpointing_kwargs": {"use_reentrant": reentrant}}
    trained(model, tmp_path, gradient_checkpointing=True, **options)
    assert changed(model, before) == chosen


def _written(result: Result, folder: Path, percent: int = 25) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(recipe(result, percent, embeddings=False), encoding="utf-8")
    return path


def test_sft(scans: dict[str, Result], tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    from datasets import Dataset

    model = deep("llama")
    before = copied(model)
    chosen = set(freeze_except(model, _written(scans["llama"], tmp_path)).matched)
    trainer = trl.SFTTrainer(
        model=model,
        args=trl.SFTConfig(**arguments(tmp_path, gradient_checkpointing=False)),
        train_dataset=Dataset.from_list([{"input_ids": row["input_ids"]} for row in rows()]),
        processing_class=tokenizer(),
    )
    trainer.train()
    assert trainer.state.global_step == STEPS
    assert changed(model, before) == chosen


def test_torch_compile() -> None:
    model = build("llama")
    before = copied(model)
    # The graphs are what may go wrong; turning them into C++ takes two minutes on a CPU.
    compiled: Any = torch.compile(model, backend="aot_eager")
    names = {"model.layers.1.mlp.down_proj.weight", "model.layers.0.self_attn.q_proj.weight"}
    assert set(freeze_except(compiled, sorted(names)).matched) == names
    parameters = [p for p in compiled.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.1)
    batch = collate(rows()[:2])
    for _ in range(3):
        compiled(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert changed(model, before) == names
