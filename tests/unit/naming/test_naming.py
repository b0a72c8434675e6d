"""From stored tensors to layers: what is scored, what trains with it, what is left out and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.naming.layers import ModelLayers
from spectrum_tui.core.naming.stored import model_layers
from tests import checkpoints
from tests.checkpoints import ODD_NAME, Tensors, llama, save


def layers_of(folder: Path, tensors: Tensors, **config: Any) -> ModelLayers:
    return model_layers(read_checkpoint(save(folder, tensors, config=config)))


def test_every_weight_of_a_llama_is_a_layer(tmp_path: Path) -> None:
    tensors = llama(3)
    model = layers_of(tmp_path, tensors)
    assert {p for layer in model.layers for p in layer.parameters} == set(tensors)
    assert all(layer.parameters[0] == f"{layer.name}.weight" for layer in model.layers)
    assert model.total_parameters == sum(t.numel() for t in tensors.values())
    assert model.skipped == ()
    assert [h.name for h in model.embeddings] == ["model.embed_tokens.weight", "lm_head.weight"]
    assert all(h.numel == tensors[h.name].numel() for h in model.embeddings)


def test_layers_come_in_natural_order(tmp_path: Path) -> None:
    model = layers_of(tmp_path, llama(12, norms=False, head=False))
    down = [layer.name for layer in model.layers if layer.type == "mlp.down_proj"]
    assert down == [f"model.layers.{i}.mlp.down_proj" for i in range(12)]


def test_sharding_changes_nothing(tmp_path: Path) -> None:
    whole = layers_of(tmp_path / "one", llama(3))
    parts = model_layers(read_checkpoint(save(tmp_path / "three", llama(3), shards=3)))
    assert [(x.name, x.rows, x.columns, x.numel) for x in whole.layers] == [
        (x.name, x.rows, x.columns, x.numel) for x in parts.layers
    ]
    assert whole.total_parameters == parts.total_parameters
    assert whole.embeddings == parts.embeddings


def test_a_bias_trains_with_its_layer_and_is_no_layer(tmp_path: Path) -> None:
    tensors = llama(1, bias=True)
    model = layers_of(tmp_path, tensors)
    by_name = {layer.name: layer for layer in model.layers}
    q = by_name["model.layers.0.self_attn.q_proj"]
    assert q.parameters == (f"{q.name}.weight", f"{q.name}.bias")
    assert q.numel == 32 * 32 + 32
    assert by_name["model.layers.0.mlp.up_proj"].parameters == (
        "model.layers.0.mlp.up_proj.weight",
    )
    assert not any(layer.name.endswith("bias") for layer in model.layers)
    assert model.total_parameters == sum(t.numel() for t in tensors.values())


def test_buffers_are_neither_layers_nor_parameters(tmp_path: Path) -> None:
    tensors = llama(1)
    plain = layers_of(tmp_path / "plain", tensors)
    more = layers_of(tmp_path / "more", {**tensors, **checkpoints.buffers()})
    assert [x.name for x in more.layers] == [x.name for x in plain.layers]
    assert more.total_parameters == plain.total_parameters
    assert {name for name, _ in more.skipped} == set(checkpoints.buffers())


def test_shapes_become_matrices(tmp_path: Path) -> None:
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, int], bool]] = {
        "conv": ((8, 3, 5, 5), (8, 75), False),
        "conv1d": ((8, 3, 5), (8, 15), False),
        "row": ((1, 9), (1, 9), False),
        "column": ((9, 1), (9, 1), False),
        "norm": ((9,), (1, 9), True),
        "single": ((1,), (1, 1), True),
    }
    tensors = {f"{name}.weight": torch.ones(shape) for name, (shape, _, _) in shapes.items()}
    model = layers_of(tmp_path, tensors)
    got = {x.name: ((x.rows, x.columns), x.one_dimensional) for x in model.layers}
    assert got == {name: (matrix, flat) for name, (_, matrix, flat) in shapes.items()}


def test_what_cannot_be_scored_is_listed_with_a_reason(tmp_path: Path) -> None:
    tensors = {
        **llama(1),
        "quantised.weight": torch.ones(8, 8, dtype=torch.int8),
        "fp8.weight": torch.ones(8, 8).to(torch.float8_e4m3fn),
        "empty.weight": torch.ones(0, 8),
        "scalar.weight": torch.tensor(1.0),
        "a_parameter": torch.ones(3, 3),
        "model.layers.0.mlp.experts.weight": torch.ones(2, 4, 4),
    }
    model = layers_of(tmp_path, tensors)
    reasons = dict(model.skipped)
    assert set(reasons) == set(tensors) - set(llama(1))
    assert "I8" in reasons["quantised.weight"]
    assert "F8_E4M3" in reasons["fp8.weight"]
    assert "experts" in reasons["model.layers.0.mlp.experts.weight"]
    assert {x.parameters[0] for x in model.layers} == set(llama(1))


def test_experts_are_layers_of_one_type_a_role(tmp_path: Path) -> None:
    model = layers_of(tmp_path, {**checkpoints.experts(0), **checkpoints.experts(1)})
    types = [layer.type for layer in model.layers]
    assert types.count("mlp.experts.*.up_proj") == 2 * 4
    assert types.count("mlp.gate") == 2
    assert len(types) == 2 * (1 + 4 * 3)


def test_an_odd_name_is_just_a_name(tmp_path: Path) -> None:
    model = layers_of(tmp_path, {f"{ODD_NAME}.weight": torch.ones(4, 4)})
    assert model.layers[0].name == model.layers[0].type == ODD_NAME


def test_a_head_that_is_tied_and_not_stored(tmp_path: Path) -> None:
    tensors = llama(1, head=False)
    model = layers_of(tmp_path, tensors, tie_word_embeddings=True)
    assert [h.name for h in model.embeddings] == ["model.embed_tokens.weight"]
    assert model.total_parameters == sum(t.numel() for t in tensors.values())


def test_a_tied_head_that_is_stored_twice_counts_once(tmp_path: Path) -> None:
    tensors = llama(1)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    model = layers_of(tmp_path, tensors, tie_word_embeddings=True)
    (head,) = model.embeddings
    assert (head.name, head.tied) == ("model.embed_tokens.weight", ("lm_head.weight",))
    assert not any(layer.name == "lm_head" for layer in model.layers)
    assert "lm_head.weight" in dict(model.skipped)
    whole = sum(t.numel() for t in tensors.values())
    assert model.total_parameters == whole - tensors["lm_head.weight"].numel()


def test_stored_twice_and_different_is_not_tied(tmp_path: Path) -> None:
    tensors = llama(1)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    tensors["lm_head.weight"][-1, -1] += 1  # the last of 64 sampled pieces
    model = layers_of(tmp_path, tensors, tie_word_embeddings=True)
    assert [h.name for h in model.embeddings] == ["model.embed_tokens.weight", "lm_head.weight"]
    assert model.total_parameters == sum(t.numel() for t in tensors.values())


def test_equal_but_not_tied_by_the_configuration(tmp_path: Path) -> None:
    tensors = llama(1)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    model = layers_of(tmp_path, tensors, tie_word_embeddings=False)
    assert len(model.embeddings) == 2


def test_the_text_model_of_a_multimodal_one_decides_on_tying(tmp_path: Path) -> None:
    tensors = {f"language_model.{name}": tensor for name, tensor in llama(1).items()}
    table = tensors["language_model.model.embed_tokens.weight"]
    tensors["language_model.lm_head.weight"] = table.clone()
    model = layers_of(tmp_path, tensors, text_config={"tie_word_embeddings": True})
    assert [h.name for h in model.embeddings] == ["language_model.model.embed_tokens.weight"]
