"""A PEFT adapter's folder: its tensors by the module that they belong to.

How PEFT names them (0.21, `save_and_load.py`): `base_model.model.` before the module's name, then
`lora_A.weight` and `lora_B.weight`, `lora_embedding_A` and `_B` of an embedding, or
`lora_magnitude_vector` of DoRA. An adapter of a parameter stands at its module; where several
parameters of one module have adapters, all but the last are behind one `base_layer.` more each.
Everything else is a parameter that trained whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from spectrum_tui.core.adapters.configuration import AdapterConfig, parse_adapter_config
from spectrum_tui.core.checkpoint.headers import ADAPTER_FILE, Tensor, read_header
from spectrum_tui.core.checkpoint.shards import parse_json, read_json
from spectrum_tui.core.disk import read_regular
from spectrum_tui.core.errors import AdapterError, reason_of
from spectrum_tui.core.files import is_file, is_folder, output_folder

WEIGHTS = "adapter_model.safetensors"
_PICKLE = "adapter_model.bin"
_PREFIX = "base_model.model."
_BASE_LAYER = ".base_layer"
_PARTS = (
    "lora_A.weight",
    "lora_B.weight",
    "lora_B.bias",
    "lora_embedding_A",
    "lora_embedding_B",
    "lora_magnitude_vector",
)
_TOKENS = ".token_adapter.trainable_tokens_delta"
_FLOATS = {"F64", "F32", "F16", "BF16"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRank:
    """One adapter: `down` is A (rank x inputs), `up` is B (outputs x rank); of a convolution both
    have the dimensions of its kernel besides, of experts all ranks follow each other.

    `wraps` counts the adapters of other parameters of its module that are around this one.
    """

    module: str
    wraps: int
    down: Tensor
    up: Tensor
    magnitude: Tensor | None = None
    up_bias: Tensor | None = None
    embedding: bool = False


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """What an adapter's folder holds, by names of the base model.

    `whole` are parameters that trained as they are, `beneath` those under an adapter of their own,
    as PEFT saves embeddings; `tokens` are rows of a module's table.
    """

    folder: Path
    config: AdapterConfig
    low_rank: tuple[LowRank, ...]
    whole: Mapping[str, Tensor] = field(default_factory=dict)
    beneath: Mapping[str, Tensor] = field(default_factory=dict)
    tokens: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """The sha256 of its two files; raises AdapterError where they can no longer be read."""
        digest = hashlib.sha256()
        for name in (ADAPTER_FILE, WEIGHTS):
            try:
                digest.update(hashlib.sha256(read_regular(self.folder / name, 2**40)).digest())
            except OSError as exc:
                raise _unreadable(self.folder / name, exc) from None
        return digest.hexdigest()


def read_adapter(typed: str) -> Adapter:
    """Describe the adapter in a folder, without its values; raises AdapterError or
    CheckpointError."""
    folder = output_folder(typed)
    if not typed or not is_folder(folder):
        raise AdapterError(
            f"There is no folder {typed}." if typed else "No adapter is given.",
            f"Give the folder that {ADAPTER_FILE} is in; `hf download` fetches one from the hub.",
        )
    data = read_json(folder / ADAPTER_FILE)
    if data is None:
        raise AdapterError(
            f"{typed} holds no adapter: there is no {ADAPTER_FILE}.", _nearest(folder)
        )
    config = parse_adapter_config(parse_json(data, str(folder / ADAPTER_FILE)))
    return _sorted(folder, config, _tensors(folder))


def _nearest(folder: Path) -> str:
    """Say which folder below has an adapter, if one has."""
    try:
        below = [path.parent.name for path in sorted(folder.glob(f"*/{ADAPTER_FILE}"))]
    except OSError:
        below = []
    if below:
        return f"There is one in {folder / below[-1]}."
    return "Give the folder that `save_pretrained` of a PEFT model wrote."


def _tensors(folder: Path) -> list[Tensor]:
    if not is_file(folder / WEIGHTS):
        if is_file(folder / _PICKLE):
            raise AdapterError(
                f"{folder} holds its weights as {_PICKLE}, which can run code when it is read.",
                "Load it with PEFT and save it again: save_pretrained writes safetensors.",
            )
        raise AdapterError(
            f"{folder} holds no {WEIGHTS}.", "Copy it beside the configuration, or train again."
        )
    return read_header(folder / WEIGHTS).tensors


def _unreadable(path: Path, exc: OSError) -> AdapterError:
    return AdapterError(f"{path} cannot be read ({reason_of(exc)}).", "Check its permissions.")


def _sorted(folder: Path, config: AdapterConfig, tensors: list[Tensor]) -> Adapter:
    pairs: dict[tuple[str, int], dict[str, Tensor]] = {}
    whole: dict[str, Tensor] = {}
    beneath: dict[str, Tensor] = {}
    tokens: dict[str, Tensor] = {}
    for tensor in tensors:
        name = tensor.name.removeprefix(_PREFIX)
        if tensor.dtype not in _FLOATS:
            raise AdapterError(
                f"{tensor.name} of the adapter is stored as {tensor.dtype}, not as numbers to add.",
                "Save the adapter in float32 or bfloat16.",
            )
        if found := _part(name):
            module, wraps, part = found
            pairs.setdefault((module, wraps), {})[part] = tensor
        elif name.endswith(_TOKENS):
            tokens[name.removesuffix(_TOKENS)] = tensor
        elif f"{_BASE_LAYER}." in name:
            beneath[name.replace(_BASE_LAYER, "")] = tensor
        else:
            whole[name] = tensor
    if not pairs and not whole and not tokens:
        raise AdapterError(f"{folder / WEIGHTS} holds no tensor.", "Save the adapter again.")
    low_rank = tuple(_pair(*place, parts) for place, parts in pairs.items())
    return Adapter(
        folder=folder, config=config, low_rank=low_rank, whole=whole, beneath=beneath, tokens=tokens
    )


def _part(name: str) -> tuple[str, int, str] | None:
    """Return the module, how many adapters are around this one, and which part of it a tensor is;
    None for what is no part of one."""
    name = name.removesuffix(".weight") if name.endswith("vector.weight") else name
    part = next((part for part in _PARTS if name.endswith(f".{part}")), "")
    if not part:
        return None
    inner = name.removesuffix(f".{part}")
    module = inner
    while module.endswith(_BASE_LAYER):
        module = module.removesuffix(_BASE_LAYER)
    return (module, (len(inner) - len(module)) // len(_BASE_LAYER), part) if module else None


def _pair(module: str, wraps: int, parts: Mapping[str, Tensor]) -> LowRank:
    embedding = "lora_embedding_A" in parts or "lora_embedding_B" in parts
    names = ("lora_embedding_A", "lora_embedding_B")
    down, up = map(parts.get, names if embedding else ("lora_A.weight", "lora_B.weight"))
    if down is None or up is None:
        raise AdapterError(
            f"The adapter of {module} has only one of its two matrices.",
            "It was not saved whole: gather sharded weights before save_pretrained.",
        )
    if min(len(down.shape), len(up.shape)) < 2 or 0 in (*down.shape, *up.shape):
        raise AdapterError(
            f"The adapter of {module} has a matrix of shape {list(down.shape)} and one of "
            f"{list(up.shape)}.",
            "It was not saved whole: gather sharded weights before save_pretrained.",
        )
    if down.shape[0] != up.shape[1]:
        raise AdapterError(
            f"The matrices of the adapter of {module} do not fit: {list(down.shape)} and "
            f"{list(up.shape)}.",
            "Copies of a grouped convolution cannot be merged; anything else is damaged.",
        )
    return LowRank(
        module=module,
        wraps=wraps,
        down=down,
        up=up,
        magnitude=parts.get("lora_magnitude_vector"),
        up_bias=parts.get("lora_B.bias"),
        embedding=embedding,
    )
