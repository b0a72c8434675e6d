"""`freeze_except`: exactly what a recipe names trains, in models however they are wrapped."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from spectrum_tui.core.training.live_names import live_parameters
from spectrum_tui.freeze import Frozen, RecipeError, SpectrumError, freeze_except
from tests.architectures.tiny import ARCHITECTURES

DOWN = "model.layers.1.mlp.down_proj"
QUERY = "model.layers.0.self_attn.q_proj"


def trains(model: nn.Module) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


@pytest.fixture
def llama() -> Any:
    return ARCHITECTURES["llama"].build()


@pytest.fixture
def tied() -> Any:
    return ARCHITECTURES["llama_tied"].build()


def refused(model: nn.Module, recipe: Any, **options: bool) -> SpectrumError:
    """The error, after which the model must be as it was."""
    before = [(p.requires_grad, p.grad) for p in model.parameters()]
    with pytest.raises(SpectrumError) as caught:
        freeze_except(model, recipe, **options)
    assert before == [(p.requires_grad, p.grad) for p in model.parameters()]
    assert caught.value.hint
    return caught.value


def test_only_what_is_named_trains_and_it_is_counted(llama: Any) -> None:
    frozen = freeze_except(llama, [f"{DOWN}.weight", "no.such.weight"])
    assert trains(llama) == {f"{DOWN}.weight"} == set(frozen.matched)
    sizes = [p.numel() for p in llama.parameters()]
    assert (frozen.trainable, frozen.total, frozen.parameters) == (32 * 48, sum(sizes), len(sizes))
    assert frozen.share == 32 * 48 / sum(sizes)
    assert frozen.unmatched == ("no.such.weight",)


def test_the_line_that_it_prints() -> None:
    frozen = Frozen(matched=("a",) * 57, unmatched=(), trainable=221, total=1000, parameters=201)
    assert str(frozen) == "57 of 201 parameters train: 22.1 % of 1.00 K"
    frozen = replace(frozen, unmatched=("b",), trainable=1, total=4)
    assert str(frozen).endswith("25.0 % of 4; 1 name matches no parameter")
    assert str(replace(frozen, unmatched=("b", "c"))).endswith("2 names match no parameter")


@pytest.mark.parametrize(
    "entry",
    [
        DOWN,
        f"{DOWN}.weight",
        f"^{DOWN}.weight$",
        f"{DOWN}.weight$",
        "^" + f"{DOWN}.weight".replace(".", r"\.") + "$",
        f"{DOWN}.weight".replace(".", "[.]"),
    ],
)
def test_every_form_of_a_name_means_that_name(llama: Any, entry: str) -> None:
    freeze_except(llama, [entry])
    assert trains(llama) == {f"{DOWN}.weight"}


def test_a_module_is_its_weight_and_bias_and_no_sibling() -> None:
    model = nn.Module()
    model.gate, model.gate_proj = nn.Linear(2, 3), nn.Linear(2, 3)
    model.gate.lora = nn.Linear(2, 2)
    freeze_except(model, ["gate"])
    assert trains(model) == {"gate.weight", "gate.bias"}


def test_a_module_that_only_holds_others_names_nothing(llama: Any) -> None:
    frozen = freeze_except(llama, ["model.layers.1.mlp", "model.layers.1", DOWN])
    assert frozen.unmatched == ("model.layers.1.mlp", "model.layers.1")
    assert trains(llama) == {f"{DOWN}.weight"}


def test_fused_experts_and_convolutions_and_biases() -> None:
    mixtral = ARCHITECTURES["mixtral"].build()
    freeze_except(mixtral, ["model.layers.0.mlp.experts.down_proj"])
    assert trains(mixtral) == {"model.layers.0.mlp.experts.down_proj"}
    gpt2 = ARCHITECTURES["gpt2"].build()
    freeze_except(gpt2, ["transformer.h.0.attn.c_attn", "transformer.h.1.mlp.c_fc.weight"])
    attention = {f"transformer.h.0.attn.c_attn.{end}" for end in ("weight", "bias")}
    assert trains(gpt2) == attention | {"transformer.h.1.mlp.c_fc.weight"}


def test_a_tied_head_is_the_embedding(tied: Any) -> None:
    frozen = freeze_except(tied, ["^lm_head.weight$"])
    assert tied.lm_head.weight is tied.model.embed_tokens.weight
    assert trains(tied) == {"model.embed_tokens.weight"} == set(frozen.matched)
    assert not frozen.unmatched
    assert frozen.total == sum(p.numel() for p in tied.parameters())


def test_a_recipe_that_names_everything_trains_everything(llama: Any) -> None:
    names = [name for name, _ in llama.named_parameters()]
    assert freeze_except(llama, names).share == 1.0
    assert trains(llama) == set(names)


def test_names_of_another_generation_are_reported(llama: Any, caplog: Any) -> None:
    old = "language_model.model.layers.0.mlp.down_proj.weight"
    assert freeze_except(llama, [old, DOWN]).unmatched == (old,)
    assert old in caplog.text
    error = refused(llama, [old, "model.layers.99.mlp.down_proj.weight"])
    assert "(0 of 2)" in error.message


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ([], "empty"),
        ([3], "not a name"),
        ([r"model.layers.\d+.mlp.down_proj.weight"], "regular expression"),
        ([".*down_proj"], "regular expression"),
        ([f"{DOWN}[0:4]"], "names rows"),
        ([f"{DOWN}.weight[3]"], "names rows"),
        (["down_proj"], "(0 of 1)"),
        ("no-such-file.yaml", "cannot be read"),
    ],
)
def test_what_is_refused(llama: Any, recipe: Any, said: str) -> None:
    assert said in refused(llama, recipe).message


def test_a_recipe_file(llama: Any, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"unfrozen_parameters:\n- ^lm_head.weight$\n# mlp\n- {DOWN}\n")
    wanted = {"lm_head.weight", f"{DOWN}.weight"}
    for recipe in (path, str(path)):
        assert set(freeze_except(llama, recipe).matched) == wanted
    path.write_text("unfrozen_parameters:\n")
    assert "empty" in refused(llama, path).message


# -- wrappers ---------------------------------------------------------------------------------


def test_the_parts_of_wrappers_are_seen_through(llama: Any) -> None:
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    plain = [p.name for p in live_parameters(llama)]
    llama.model.layers[1] = checkpoint_wrapper(llama.model.layers[1])
    compiled: Any = torch.compile(llama)
    parallel = nn.DataParallel(compiled)
    assert [p.name for p in live_parameters(parallel)] == plain
    freeze_except(parallel, [DOWN, f"{QUERY}.weight"])
    actual = {p.actual for p in live_parameters(parallel) if p.parameter.requires_grad}
    assert actual == trains(parallel)
    assert len(actual) == 2
    assert all(name.startswith("module._orig_mod.") for name in actual)


def test_a_module_of_the_models_own_called_module_is_no_wrapper() -> None:
    model = nn.Module()
    model.module = nn.Linear(2, 2)
    assert [p.name for p in live_parameters(model)] == ["module.weight", "module.bias"]


def test_names_as_the_wrapped_model_calls_them_match_too(llama: Any) -> None:
    compiled: Any = torch.compile(llama)
    freeze_except(compiled, [f"_orig_mod.{DOWN}.weight", f"_orig_mod.{QUERY}"])
    assert trains(llama) == {f"{DOWN}.weight", f"{QUERY}.weight"}


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    """A process group of this process alone."""
    place = f"file://{tmp_path / 'store'}"
    torch.distributed.init_process_group("gloo", init_method=place, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_ddp_has_fixed_what_trains(llama: Any) -> None:
    recipe = [DOWN, QUERY]
    assert (
        "DistributedDataParallel"
        in refused(nn.parallel.DistributedDataParallel(llama), recipe).message
    )
    freeze_except(llama, recipe)
    wrapped = nn.parallel.DistributedDataParallel(llama)
    assert freeze_except(wrapped, recipe).matched == (f"{QUERY}.weight", f"{DOWN}.weight")


@pytest.mark.usefixtures("one_process")
def test_fsdp_with_its_own_and_with_the_original_parameters() -> None:
    from torch.distributed.fsdp import FullyShardedDataParallel

    cpu = torch.device("cpu")
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1] = FullyShardedDataParallel(model[1], use_orig_params=True, device_id=cpu)
    freeze_except(model, ["1.weight"])
    assert trains(model) == {"1._fsdp_wrapped_module.weight"}
    flat = FullyShardedDataParallel(nn.Linear(4, 4), use_orig_params=False, device_id=cpu)
    assert "has flattened" in refused(flat, ["weight"]).message


@pytest.mark.usefixtures("one_process")
def test_fsdp_2_before_and_after() -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model: Any = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    fully_shard(model[1], mesh=init_device_mesh("cpu", (1,)))
    frozen = freeze_except(model, ["1.weight"])
    assert (trains(model), frozen.trainable, frozen.total) == ({"1.weight"}, 16, 40)
    model(torch.ones(2, 4)).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is not None] == ["1.weight"]


# -- too late, and what cannot train ----------------------------------------------------------


def test_an_optimizer_must_have_what_is_named(llama: Any) -> None:
    freeze_except(llama, [DOWN])
    optimizer = torch.optim.AdamW([p for p in llama.parameters() if p.requires_grad])
    assert "does not have 1 of" in refused(llama, [DOWN, QUERY]).message
    freeze_except(llama, [DOWN])
    optimizer.itself = optimizer  # type: ignore[attr-defined]  # a cycle, as a trainer has
    del optimizer
    freeze_except(llama, [DOWN, QUERY])


def test_a_gradient_from_before_moves_nothing(llama: Any) -> None:
    optimizer = torch.optim.AdamW(llama.parameters(), lr=0.1, weight_decay=0.5)
    tokens = torch.arange(12).view(2, 6)
    llama(tokens, labels=tokens).loss.backward()
    freeze_except(llama, [DOWN])
    before = {name: p.detach().clone() for name, p in llama.named_parameters()}
    optimizer.step()
    moved = {name for name, p in llama.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {f"{DOWN}.weight"}


def test_quantised_weights_stay_frozen_and_cannot_be_named() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    packed = torch.zeros(8, 1, dtype=torch.uint8)
    model[0].weight = nn.Parameter(packed, requires_grad=False)
    freeze_except(model, ["1.weight"])
    assert trains(model) == {"1.weight"}
    error = refused(model, ["0.weight", "1.weight"])
    assert "uint8" in error.message
    assert "1 of 2" in error.message


def test_checkpointed_blocks_behind_frozen_embeddings_get_gradients(llama: Any) -> None:
    llama.gradient_checkpointing_enable({"use_reentrant": True})
    llama.train()
    frozen = freeze_except(llama, [QUERY])
    assert "input gradients" in frozen.notes[0]
    tokens = torch.arange(12).view(2, 6)
    llama(tokens, labels=tokens).loss.backward()
    gradient = llama.get_submodule(QUERY).weight.grad
    assert gradient is not None
    assert float(gradient.abs().sum()) > 0
    assert not freeze_except(llama, [QUERY, "model.embed_tokens"]).notes


# -- what it imports --------------------------------------------------------------------------


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import sys, spectrum_tui.freeze\nprint(*{m.split('.')[0] for m in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "transformers", "numpy", "textual", "rich", "yaml", "peft"}
    assert not set(run.stdout.split()) & heavy
    assert RecipeError.__module__.startswith("spectrum_tui.core")
