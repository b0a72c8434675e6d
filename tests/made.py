"""Made-up results in the shape of a Llama, for tests that need scores but no scan.

`made.result(layers=2, types=3)` has 6 layers; every number in it is the same in every run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from spectrum_tui.core.recipes.kinds import KINDS
from spectrum_tui.core.results.results import (
    EmbeddingParameter,
    FloatArray,
    Generation,
    MetricColumn,
    ModuleKind,
    Parameter,
    Parts,
    Provenance,
    Result,
    Scores,
)
from spectrum_tui.core.scoring.metrics import ONE_DIMENSIONAL
from spectrum_tui.core.settings import METRIC

TEXT_KINDS = tuple(kind for kind in KINDS if kind.name not in ("trainer", "llama-factory"))
"""The kinds of recipes for models that write text, as these results are of."""

TYPES = (
    ("mlp.down_proj", 4096, 14336),
    ("mlp.gate_proj", 14336, 4096),
    ("mlp.up_proj", 14336, 4096),
    ("self_attn.k_proj", 1024, 4096),
    ("self_attn.o_proj", 4096, 4096),
    ("self_attn.q_proj", 4096, 4096),
    ("self_attn.v_proj", 1024, 4096),
)
"""Type, rows and columns of an 8 B Llama; more types than these are experts."""
HEAD = (
    EmbeddingParameter("model.embed_tokens.weight", 128256 * 4096),
    EmbeddingParameter("lm_head.weight", 128256 * 4096),
)


def type_of(number: int) -> tuple[str, int, int]:
    """Type `number`: one of TYPES, then `mlp.experts.0.down_proj` and so on."""
    if number < len(TYPES):
        return TYPES[number]
    expert, part = divmod(number - len(TYPES), 3)
    return f"mlp.experts.{expert}.{('down', 'gate', 'up')[part]}_proj", 1536, 5120


def result(
    *,
    layers: int = 12,
    types: int = 7,
    bias: bool = False,
    norms: bool = False,
    embeddings: bool = True,
    sizes: bool = True,
    planned: int | None = None,
    failed: Mapping[int, str] | None = None,
    snr: Mapping[int, float] | None = None,
    names: Mapping[int, str] | None = None,
    model: str = "made/llama",
) -> Result:
    """A result of `layers` × `types` layers, types together as in a real one.

    `bias` gives every layer a bias, `norms` adds a type of norms (1.0 each). `failed` maps rows
    to reasons, `snr` rows to scores and `names` rows to layer names that replace the made-up
    ones. `sizes=False` is a score file of another tool: no shapes, assumed head, no version.
    `planned` above the number of layers is a scan that was stopped.
    """
    kinds = [type_of(number) for number in range(types)]
    if norms:
        kinds.append(("input_layernorm", 1, 4096))
    scores = _scores(kinds, layers, bias=bias, sizes=sizes)
    for row, value in (snr or {}).items():
        scores.values[row] = value
    for row, reason in (failed or {}).items():
        scores.values[row] = np.nan
        scores.problems[row] = reason
    for row, name in (names or {}).items():
        scores.layers[row] = name
        scores.parameters[row] = (f"{name}.weight",)
    heads = HEAD if sizes else tuple(EmbeddingParameter(h.name, 0) for h in HEAD)
    return Result(
        scores=scores,
        embeddings=heads if embeddings else (),
        provenance=_provenance(model, sizes),
        total_parameters=int(scores.numel.sum()) + sum(h.numel for h in HEAD) if sizes else 0,
        planned=len(scores) if planned is None else planned,
        source="" if sizes else f"snr_results_{model.replace('/', '-')}.json",
        embeddings_are_guessed=embeddings and not sizes,
    )


def _scores(kinds: list[tuple[str, int, int]], layers: int, *, bias: bool, sizes: bool) -> Scores:
    names = [f"model.layers.{i}.{kind}" for kind, _, _ in kinds for i in range(layers)]
    rows = np.repeat([r for _, r, _ in kinds], layers)
    columns = np.repeat([c for _, _, c in kinds], layers)
    known = 1 if sizes else 0
    ends = (".weight", ".bias") if bias else (".weight",)
    return Scores(
        layers=names,
        type_names=[kind for kind, _, _ in kinds],
        type_ids=np.repeat(np.arange(len(kinds)), layers),
        rows=rows * known,
        columns=columns * known,
        numel=(rows * columns + (rows if bias else 0)) * known,
        parameters=[tuple(name + end for end in ends) for name in names],
        metrics={METRIC: MetricColumn(_snr(kinds, layers))},
    )


def ranked(scores: Scores, values: FloatArray | None = None, parts: Parts | None = None) -> Scores:
    """The same layers with other values, or other matrices, in the metric that ranks."""
    column = MetricColumn(
        scores.values if values is None else values, scores.parts if parts is None else parts
    )
    return replace(scores, metrics={**scores.metrics, scores.metric: column})


def _snr(
    kinds: list[tuple[str, int, int]], layers: int
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Each type on a scale of its own, with a hump over the depth and noise on it."""
    rng = np.random.default_rng(0)
    depth = np.linspace(0, 1, layers)
    values = []
    for number, (_, rows, _) in enumerate(kinds):
        if rows == 1:
            values.append(np.ones(layers))
            continue
        middle, scale = rng.uniform(0.1, 0.9), 0.05 * 3.0 ** (number * 5 % 7)
        hump = 0.25 + np.exp(-(((depth - middle) / 0.25) ** 2))
        values.append(scale * hump * rng.lognormal(0, 0.3, layers))
    return np.concatenate(values)


def _provenance(model: str, own: bool) -> Provenance:
    if not own:
        return Provenance(model=model, generation=Generation.UNKNOWN)
    return Provenance(
        model=model,
        revision="8cde5ca8380496c9a6cc7ef3a8b46a0372a1d920",
        architecture="LlamaForCausalLM",
        dtypes="bf16",
        device="cpu",
        finished="2026-01-31 12:00 UTC",
        version="0.1.0",
    )


def with_parameters(plain: Result) -> Result:
    """The same result with every parameter of the model, a norm for each block among them."""
    scores = plain.scores
    found: list[Parameter] = []
    for row, names in enumerate(scores.parameters):
        rows, columns = int(scores.rows[row]), int(scores.columns[row])
        matrix = Parameter(names[0], (rows, columns), "linear")
        found.append(matrix if rows > 1 else Parameter(names[0], (columns,), "other"))
        found += [Parameter(name, (rows,), "linear") for name in names[1:]]
    blocks = sorted({int(name.split(".")[2]) for name in scores.layers})
    norms = [Parameter(f"model.layers.{i}.post_norm.weight", (4096,), "other") for i in blocks]
    embeddings = [Parameter(h.name, (h.numel // 4096, 4096), kind) for h, kind in _kinds(plain)]
    parameters = (*embeddings[:1], *found, *norms, *embeddings[1:])
    return replace(plain, parameters=parameters, total_parameters=sum(p.numel for p in parameters))


def _kinds(plain: Result) -> Iterator[tuple[EmbeddingParameter, ModuleKind]]:
    for one in plain.embeddings:
        yield one, "embedding" if "embed" in one.name else "linear"


def with_metrics(plain: Result) -> Result:
    """The same result with every metric: shares below 1, and ranks in another order."""
    scores = plain.scores
    rng = np.random.default_rng(1)
    share = 0.3 * scores.values / (0.2 + scores.values) * rng.uniform(0.5, 1.5, len(scores))
    rank = 5.0 + 40.0 * rng.lognormal(0, 0.5, len(scores))
    failed, vectors = np.isnan(scores.values), scores.rows == 1
    columns = {"spectrum": scores.values, "calibrated": share, "stable_rank": rank}
    columns["effective_rank"] = 8.0 * rank
    metrics = {
        name: MetricColumn(
            np.where(failed, np.nan, np.where(vectors, ONE_DIMENSIONAL[name], values)),
            {
                row: tuple((label, value * (i + 1)) for i, (label, value) in enumerate(parts))
                for row, parts in scores.parts.items()
            }
            if name != "spectrum"
            else scores.parts,
        )
        for name, values in columns.items()
    }
    return replace(plain, scores=replace(scores, metrics=metrics))
