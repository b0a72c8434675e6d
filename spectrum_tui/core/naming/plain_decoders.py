"""The four dense decoders that most people train: their parameters without asking transformers.

Their parameters are the checkpoint's tensors, under the same names and in a fixed order, so the
exact plan costs nothing where importing transformers costs 5 s. Taken only when everything
agrees: the class that the configuration names, every tensor that it implies, and every shape;
anything else is left to transformers. That this list is what `from_pretrained` has, for these
classes in the transformers that is installed, is what the tests of architectures show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spectrum_tui.core.checkpoint.headers import Checkpoint
from spectrum_tui.core.experts import Shape
from spectrum_tui.core.naming.parameters import ParameterPlan, RuntimeParameter, StoredSource
from spectrum_tui.core.naming.values import DirectValues
from spectrum_tui.core.results.results import ModuleKind

MOST_LAYERS = 1_000
"""Of a configuration without weights: above, its number is made up."""
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseDecoder:
    """What sets one architecture apart; `*_bias` None where the configuration says it."""

    model_class: str
    query_bias: bool | None = None
    output_bias: bool | None = None
    mlp_bias: bool | None = None
    query_norms: bool = False


DECODERS = {
    "llama": DenseDecoder(model_class="LlamaForCausalLM"),
    "mistral": DenseDecoder(
        model_class="MistralForCausalLM", query_bias=False, output_bias=False, mlp_bias=False
    ),
    "qwen2": DenseDecoder(
        model_class="Qwen2ForCausalLM", query_bias=True, output_bias=False, mlp_bias=False
    ),
    "qwen3": DenseDecoder(
        model_class="Qwen3ForCausalLM",
        query_bias=None,
        output_bias=None,
        mlp_bias=False,
        query_norms=True,
    ),
}
"""By the configuration's `model_type`."""


def known_plan(
    checkpoint: Checkpoint, sources: Sequence[StoredSource], *, model_class: str = ""
) -> ParameterPlan | None:
    """Return the plan of a checkpoint that is exactly what its configuration says; None for
    another."""
    config = checkpoint.config
    decoder = DECODERS.get(str(config.get("model_type", "")))
    if decoder is None or not _is_plain(config, decoder, model_class):
        return None
    try:
        if config["num_hidden_layers"] > len(sources):
            return None  # a number made up to keep this loop busy
        expected = dict(_parameters(config, decoder))
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    stored = {source.name: source for source in sources}
    if {n: s.shape for n, s in stored.items()} != expected or any(s.decode for s in sources):
        return None
    tied = bool(config["tie_word_embeddings"])
    parameters = tuple(_parameter(stored[name], tied=tied) for name in expected)
    return ParameterPlan(
        parameters=parameters,
        naming="known",
        embeddings=(EMBEDDING,) if tied else (EMBEDDING, HEAD),
        model_class=decoder.model_class,
        values={name: DirectValues(stored[name]) for name in expected},
    )


def known_shapes(config: Mapping[str, Any]) -> dict[str, Shape] | None:
    """Return {parameter: shape} of a plain decoder of this configuration, in the order of the
    model; None for another one."""
    decoder = DECODERS.get(str(config.get("model_type", "")))
    layers = config.get("num_hidden_layers")
    if decoder is None or type(layers) is not int or not 0 < layers <= MOST_LAYERS:
        return None
    try:
        shapes = dict(_parameters(config, decoder)) if _is_plain(config, decoder, "") else {}
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    sizes = (size for shape in shapes.values() for size in shape)
    return shapes if shapes and all(type(size) is int and size > 0 for size in sizes) else None


def _is_plain(config: Mapping[str, Any], decoder: DenseDecoder, model_class: str) -> bool:
    return (
        model_class in ("", decoder.model_class)
        and config.get("architectures") == [decoder.model_class]
        and "auto_map" not in config
        and "quantization_config" not in config
    )


def _parameter(source: StoredSource, *, tied: bool) -> RuntimeParameter:
    aliases = (HEAD,) if tied and source.name == EMBEDDING else ()
    name, shape, dtype = source.name, source.shape, source.dtype
    kind = _module_kind(name)
    return RuntimeParameter(
        name=name, shape=shape, dtype=dtype, sources=(source,), aliases=aliases, module=kind
    )


def _module_kind(name: str) -> ModuleKind:
    if name == EMBEDDING:
        return "embedding"
    return "other" if "norm" in name else "linear"


def _parameters(config: Mapping[str, Any], decoder: DenseDecoder) -> Iterator[tuple[str, Shape]]:
    """(name, shape) of every parameter, in the order of the model; KeyError where config.json
    leaves something to a default."""
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    yield EMBEDDING, (vocabulary, hidden)
    for layer in range(config["num_hidden_layers"]):
        for name, shape in _layer(config, decoder):
            yield f"model.layers.{layer}.{name}", shape
    yield "model.norm.weight", (hidden,)
    if not config["tie_word_embeddings"]:
        yield HEAD, (vocabulary, hidden)


def _layer(config: Mapping[str, Any], decoder: DenseDecoder) -> Iterator[tuple[str, Shape]]:
    hidden, intermediate = config["hidden_size"], config["intermediate_size"]
    heads, pairs = config["num_attention_heads"], config["num_key_value_heads"]
    width = config["head_dim"] if decoder.query_norms else config.get("head_dim")
    width = width or hidden // heads
    query = _says(decoder.query_bias, config, "attention_bias")
    yield from _linear("self_attn.q_proj", heads * width, hidden, bias=query)
    yield from _linear("self_attn.k_proj", pairs * width, hidden, bias=query)
    yield from _linear("self_attn.v_proj", pairs * width, hidden, bias=query)
    output = _says(decoder.output_bias, config, "attention_bias")
    yield from _linear("self_attn.o_proj", hidden, heads * width, bias=output)
    if decoder.query_norms:
        yield "self_attn.q_norm.weight", (width,)
        yield "self_attn.k_norm.weight", (width,)
    mlp = _says(decoder.mlp_bias, config, "mlp_bias")
    yield from _linear("mlp.gate_proj", intermediate, hidden, bias=mlp)
    yield from _linear("mlp.up_proj", intermediate, hidden, bias=mlp)
    yield from _linear("mlp.down_proj", hidden, intermediate, bias=mlp)
    yield "input_layernorm.weight", (hidden,)
    yield "post_attention_layernorm.weight", (hidden,)


def _says(fixed: bool | None, config: Mapping[str, Any], key: str) -> bool:
    return bool(config.get(key, False)) if fixed is None else fixed


def _linear(name: str, rows: int, columns: int, *, bias: bool) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (rows, columns)
    if bias:
        yield f"{name}.bias", (rows,)
