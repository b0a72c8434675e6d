"""Which quantisation a checkpoint has, and whether its scores can mean anything.

FP8 and MXFP4 are how some models are published and trained on: what transformers decodes is
the model. Anything rounded after the training is an approximation and says so in a banner;
where the original weights are beyond recovery, or the layout is not known, the checkpoint is
refused. From config.json and headers alone, by the standard library.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from spectrum_tui.core.checkpoint.headers import Tensor

FP8, MXFP4, RAW_FP8 = "fp8", "mxfp4", "raw-fp8"
COMPRESSED_TENSORS, GPTQ = "compressed-tensors", "gptq"
BNB_4BIT, BNB_8BIT = "bitsandbytes-4bit", "bitsandbytes-8bit"

SCAN_INSTEAD = "Scan the full-precision model that it was made from."

_PACKED = {"U8", "I8", "U16", "I16", "U32", "I32", "F4", "F6_E2M3", "F6_E3M2"}
"""Stored types that hold quantised values; I64 and BOOL are indices and masks. With F8_*."""

_REFUSED = {
    "aqlm": "AQLM", "auto-round": "AutoRound", "intel/auto-round": "AutoRound",
    "bitnet": "BitNet", "deepspeedfp": "DeepSpeed FP", "eetq": "EETQ", "exl2": "EXL2",
    "exl3": "EXL3", "fouroversix": "Four Over Six", "fp_quant": "FP-Quant", "gemma": "Gemma",
    "gguf": "GGUF", "higgs": "HIGGS", "hqq": "HQQ", "metal": "Metal", "mlx": "MLX",
    "nvfp4": "NVFP4", "quanto": "Quanto", "quark": "Quark", "quip": "QuIP#", "quip#": "QuIP#",
    "sinq": "SINQ", "spqr": "SpQR", "torchao": "torchao", "vptq": "VPTQ",
}  # fmt: skip
"""Known by name and not decoded, as they are written."""

_CT_FORMATS = {
    "", "dense", "float-quantized", "int-quantized", "naive-quantized", "pack-quantized",
    "mixed-precision",
}  # fmt: skip
_CT_BITS = {2, 4, 8}
"""Of pack-quantized; other widths are laid out differently by different versions."""
GPTQ_BITS = (2, 4, 8)


@dataclass(frozen=True, slots=True)
class Quantisation:
    """How a checkpoint is quantised; `method` is empty where it is not.

    `banner` says where the weights are only a rounded copy of those that were trained,
    `refuse` says why it cannot be scanned; `settings` is the config's own entry.
    """

    method: str = ""
    banner: str = ""
    refuse: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


NOT_QUANTISED = Quantisation()

_NO_ENTRY = (
    "config.json does not say that the weights are quantised: transformers would not decode them."
)


def detect(
    config: Mapping[str, Any], tensors: Collection[Tensor], *, allow_lossy_gptq: bool = False
) -> Quantisation:
    """Return the quantisation by the config's entry, or by the tensors' names where it has none.

    A config entry beside weights that are all plain floats is left over from before they were
    decoded, and counts as none.
    """
    if not any(is_packed(tensor) for tensor in tensors):
        return NOT_QUANTISED
    settings = _settings(config)
    if not settings:
        found = _by_names(config, tensors)
        banner = f"{found.banner} {_NO_ENTRY}".strip() if found.method else ""
        return replace(found, banner=banner)
    return _by_settings(settings, allow_lossy_gptq=allow_lossy_gptq)


def is_packed(tensor: Tensor) -> bool:
    """Return whether a tensor's type is one that quantised values or their scales are stored in."""
    return tensor.dtype in _PACKED or tensor.dtype.startswith("F8_")


def _settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the quantisation entry: of the model, or of the part of it that has one."""
    parts = [config, *(part for part in config.values() if isinstance(part, Mapping))]
    for part in parts:
        for name in ("quantization_config", "compression_config"):
            entry = part.get(name)
            if isinstance(entry, Mapping) and entry:
                return entry
    return {}


def _by_settings(settings: Mapping[str, Any], *, allow_lossy_gptq: bool) -> Quantisation:
    method = _method(settings)
    if method in ("fp8", "mxfp8"):
        return Quantisation(FP8, settings=settings)
    if method == "mxfp4":
        return Quantisation(MXFP4, settings=settings)
    if method == "fbgemm_fp8":
        return _lossy(FP8, "FP8 (FBGEMM)", settings)
    if method in ("compressed-tensors", "compressed_tensors"):
        return _compressed_tensors(settings)
    if method == "gptq":
        return _gptq(settings, allow_lossy=allow_lossy_gptq)
    if method in (BNB_4BIT, BNB_8BIT):
        return _lossy(method, f"{method[-4]}-bit bitsandbytes", settings)
    if method == "modelopt":
        algorithm = str(settings.get("quant_algo") or "of unknown kind").upper()
        what = f"ModelOpt {algorithm}"
        return _lossy(FP8, what, settings) if algorithm == "FP8" else _refused(method, what)
    if method == "awq":
        return _awq()
    return _refused(method or "unknown", _REFUSED.get(method, f"{method or 'an unknown method'}"))


def _method(settings: Mapping[str, Any]) -> str:
    """Return the method's name; bitsandbytes says by a flag which of its two it is."""
    method = str(settings.get("quant_method") or "").lower()
    if method in ("", "bitsandbytes", "bitsandbytes_4bit", "bitsandbytes_8bit"):
        for flag, name in (("load_in_4bit", BNB_4BIT), ("load_in_8bit", BNB_8BIT)):
            if settings.get(flag) or settings.get(f"_{flag}"):
                return name
    return method


def _by_names(config: Mapping[str, Any], tensors: Iterable[Tensor]) -> Quantisation:
    """By the endings of the names, for a config that says nothing."""
    tensors = list(tensors)
    endings = set(_endings(tensors))
    if ".biases" in endings and ".scales" in endings and "quantization" in config:
        return _refused("mlx", "MLX integers")
    if ".weight_scale_2" in endings or ".weight_global_scale" in endings:
        return _refused("nvfp4", "NVFP4")
    if ".qweight" in endings:
        return Quantisation(
            "gptq-or-awq",
            refuse="The weights are packed as GPTQ or AWQ does it, and config.json has no"
            " quantization_config that says which.",
        )
    if "_blocks" in endings and "_scales" in endings:
        return Quantisation(MXFP4)
    if ".weight_packed" in endings:
        return _compressed_tensors({})
    if ".absmax" in endings:
        return _lossy(BNB_4BIT, "4-bit bitsandbytes")
    if ".SCB" in endings:
        return _lossy(BNB_8BIT, "8-bit bitsandbytes")
    if "_scale_inv" in endings:
        return Quantisation(FP8)
    return _fp8_by_type(tensors, endings)


def _fp8_by_type(tensors: Iterable[Tensor], endings: set[str]) -> Quantisation:
    """FP8 whose scales have another name, or no scales at all; integers may be buffers."""
    if not any(tensor.dtype.startswith("F8_E") for tensor in tensors):
        return NOT_QUANTISED
    if ".weight_scale" in endings or ".scale" in endings:
        return _lossy(FP8, "FP8")
    return Quantisation(
        RAW_FP8,
        banner="Stored as FP8 without scales: the scores are those of the weights as stored.",
    )


_ENDINGS = ("_scale_inv", "_blocks", "_scales")


def _endings(tensors: Iterable[Tensor]) -> Iterator[str]:
    for tensor in tensors:
        yield "." + tensor.name.rpartition(".")[2]
        yield from (ending for ending in _ENDINGS if tensor.name.endswith(ending))


def _compressed_tensors(settings: Mapping[str, Any]) -> Quantisation:
    named = {str(part.get("format") or "") for part in (settings, *_groups(settings))}
    sparsity = settings.get("sparsity_config")
    if isinstance(sparsity, Mapping) and sparsity.get("format") not in (None, "dense"):
        named.add(str(sparsity["format"]))
    unknown = sorted(named - _CT_FORMATS)
    if unknown:
        return _refused(COMPRESSED_TENSORS, f"compressed-tensors {unknown[0]}")
    odd = sorted(packed_bits(settings) - _CT_BITS) if "pack-quantized" in named else []
    if odd:
        return _refused(COMPRESSED_TENSORS, f"{odd[0]}-bit compressed-tensors")
    return _lossy(COMPRESSED_TENSORS, "compressed-tensors", settings)


def _groups(settings: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    groups = settings.get("config_groups")
    values = groups.values() if isinstance(groups, Mapping) else ()
    return [group for group in values if isinstance(group, Mapping)]


def weight_schemes(settings: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return how each group of layers of a compressed-tensors config has its weights quantised."""
    schemes = [group.get("weights") for group in _groups(settings)]
    return [scheme for scheme in schemes if isinstance(scheme, Mapping)]


def packed_bits(settings: Mapping[str, Any]) -> set[int]:
    """Return the widths of the weights that a compressed-tensors config names."""
    widths = (scheme.get("num_bits") for scheme in weight_schemes(settings))
    return {width for width in widths if isinstance(width, int)}


def _gptq(settings: Mapping[str, Any], *, allow_lossy: bool) -> Quantisation:
    layout = str(settings.get("checkpoint_format") or "gptq")
    bits = settings.get("bits")
    if layout not in ("gptq", "gptq_v2"):
        return _refused(GPTQ, f"GPTQ in the layout of the {layout} kernels")
    if bits not in GPTQ_BITS:
        return _refused(GPTQ, f"{bits}-bit GPTQ")
    if not allow_lossy:
        return Quantisation(
            GPTQ,
            refuse=f"The weights are stored as {bits}-bit GPTQ: the scores would be those of"
            " the rounded weights.",
            settings=settings,
        )
    return _lossy(GPTQ, f"{bits}-bit GPTQ", settings)


def _awq() -> Quantisation:
    """Its channel scales are folded into the norms: the singular values are of other matrices.

    Measured on noise with a low-rank part: scores 59 to 77 % too low.
    """
    return Quantisation(
        "awq",
        refuse="The weights are stored as AWQ, which rescales their columns: the scores would be"
        " less than half of the model's.",
    )


def _lossy(method: str, what: str, settings: Mapping[str, Any] | None = None) -> Quantisation:
    banner = f"Stored as {what}: the scores are those of the rounded weights. For the model's own,"
    banner += " scan the full-precision model that it was made from."
    return Quantisation(method, banner=banner, settings=settings or {})


def _refused(method: str, what: str) -> Quantisation:
    refuse = f"The weights are stored as {what}, which cannot be decoded here."
    return Quantisation(method, refuse=refuse)
