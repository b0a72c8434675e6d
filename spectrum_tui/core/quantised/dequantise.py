"""A checkpoint's tensors as a loader sees them: each weight with its scales applied.

What a trainer would load is bfloat16, or what config.json names: values are decoded in float32
and rounded to that, as transformers does, so that scores are those of the weights that train.
Nothing is decoded until a source is read, one tensor at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

from spectrum_tui.core.checkpoint.headers import Checkpoint, Tensor
from spectrum_tui.core.errors import CheckpointError
from spectrum_tui.core.naming.parameters import StoredSource, plain_source
from spectrum_tui.core.quantised import detect
from spectrum_tui.core.quantised.companions import Stored
from spectrum_tui.core.quantised.detect import Quantisation
from spectrum_tui.core.quantised.rules import RULES

_COMPANIONS = (
    "activation_scale", "input_scale", "input_global_scale", "input_zero_point", "output_scale",
    "output_zero_point", "k_scale", "v_scale", "q_scale", "prob_output_scale", "weight_format",
    "weight_g_idx", "weight_scale", "weight_scale_inv", "weight_zero_point", "weight_shape",
)  # fmt: skip
"""Last parts of the names of tensors that only a quantised checkpoint has, and no parameter."""


@dataclass(frozen=True)
class Dequantised:
    """What there is to load, in the checkpoint's order, and how it was stored.

    `dropped` are the names of tensors that only an inference engine uses (scales of
    activations and caches): not parameters, and not part of one.
    """

    sources: tuple[StoredSource, ...]
    quantisation: Quantisation
    dropped: tuple[str, ...] = ()

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Return the sources as if they were stored as their values: for what names, shapes and
        sizes tell, not to be read."""
        return tuple(map(_as_if_stored, self.sources))


def dequantise(checkpoint: Checkpoint, *, allow_gptq: bool = False) -> Dequantised:
    """Return the sources of a checkpoint, quantised or not: what to decode, and how.

    Raise CheckpointError for what cannot be scanned, with what to scan instead, and for
    tensors that do not fit each other.
    """
    quantisation = detect.detect(checkpoint.config, checkpoint.tensors, allow_lossy_gptq=allow_gptq)
    if quantisation.refuse:
        raise CheckpointError(quantisation.refuse, detect.SCAN_INSTEAD, field="model")
    rule = RULES.get(quantisation.method)
    if rule is None:
        return _as_stored(checkpoint, quantisation)
    stored = Stored(checkpoint, quantisation)
    decoded = {t.name: source for t in checkpoint.tensors if (source := rule(t, stored))}
    if not decoded:
        return _as_stored(checkpoint, detect.NOT_QUANTISED)
    used = {part.name for source in decoded.values() for part in source.parts} | stored.described
    rest = {t.name: plain_source(t) for t in checkpoint.tensors if t.name not in used}
    dropped = tuple(name for name in rest if name.rpartition(".")[2] in _COMPANIONS)
    for name in dropped:
        del rest[name]
    kept = decoded | rest
    sources = tuple(kept[t.name] for t in checkpoint.tensors if t.name in kept)
    return Dequantised(sources, quantisation, dropped)


def _as_if_stored(source: StoredSource) -> Tensor:
    first = source.parts[0]
    if source.decode is None:
        return first
    return Tensor(
        name=source.name,
        shape=source.shape,
        dtype=source.dtype,
        file=first.file,
        start=first.start,
        end=first.start + source.nbytes,
    )


def _as_stored(checkpoint: Checkpoint, quantisation: Quantisation) -> Dequantised:
    return Dequantised(tuple(map(plain_source, checkpoint.tensors)), quantisation)
