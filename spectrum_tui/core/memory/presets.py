"""What is kept in memory for each parameter: named ways to train, and to divide it over GPUs."""

from __future__ import annotations

from dataclasses import dataclass

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.platforms import has_nvidia_gpu
from spectrum_tui.core.recipes.choice import Tiers

DEFAULT_TIERS = Tiers()
MAX_GPUS = 4096
MAX_TOKENS = 2**24
"""More than anyone trains on at a time; keeps every number exact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One way to train. `weights` are bytes for each parameter of the model; `gradients` and
    `optimizer` for each that trains, with adapters for each of theirs.

    `eight_bit`: the two moments take a byte each, and a float32 for every 256 values; tensors
    below 4,096 elements and embedding tables keep theirs in float32 (bitsandbytes' own rule, and
    what transformers' Trainer asks of it). `four_bit`: weights of linear modules, the output head
    apart, are NF4 with double quantisation. `adapters`: only LoRA's matrices train, in float32.
    `hybrid`: besides them bf16 copies of the best layers, which stay out of quantisation; what
    these take is `COPY`.
    """

    name: str
    title: str
    meaning: str
    weights: float
    gradients: float
    optimizer: float
    eight_bit: bool = False
    four_bit: bool = False
    adapters: bool = False
    hybrid: bool = False


COPY = (2, 2, 4)
"""Bytes of a copy's weight, gradient and optimizer state: PEFT keeps it in the model's bf16."""

PRESETS = (
    Preset(
        name="bf16",
        title="bf16 AdamW",
        meaning="Weights, gradients and both moments in bf16 (torch's AdamW)",
        weights=2,
        gradients=2,
        optimizer=4,
    ),
    Preset(
        name="mixed",
        title="fp32 master",
        meaning="bf16 weights; fp32 gradients, master copy and moments of what trains",
        weights=2,
        gradients=4,
        optimizer=12,
    ),
    Preset(
        name="8bit",
        title="8-bit AdamW",
        meaning="bf16 weights and gradients; moments in 8 bits, of embeddings in 32",
        weights=2,
        gradients=2,
        optimizer=2 + 8 / 256,
        eight_bit=True,
    ),
    Preset(
        name="fp32",
        title="fp32 AdamW",
        meaning="Everything in fp32: a model loaded in fp32, with autocast or without",
        weights=4,
        gradients=4,
        optimizer=8,
    ),
    Preset(
        name="lora",
        title="LoRA",
        meaning="bf16 weights, all frozen; fp32 adapters on the selected layers",
        weights=2,
        gradients=4,
        optimizer=8,
        adapters=True,
    ),
    Preset(
        name="qlora",
        title="QLoRA",
        meaning="Linear weights in 4 bits (NF4), the rest in bf16; fp32 adapters",
        weights=2,
        gradients=4,
        optimizer=8,
        four_bit=True,
        adapters=True,
    ),
    Preset(
        name="hybrid",
        title="Hybrid",
        meaning="NF4, but the selected layers train whole in bf16, the next best by LoRA",
        weights=2,
        gradients=4,
        optimizer=8,
        four_bit=True,
        adapters=True,
        hybrid=True,
    ),
)
"""In the order in which they are offered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharding:
    """What is divided evenly over the GPUs; the rest is on each of them in full."""

    name: str
    title: str
    meaning: str
    weights: bool
    gradients: bool
    optimizer: bool


SHARDINGS = (
    Sharding(
        name="none",
        title="none",
        meaning="nothing divided (DDP)",
        weights=False,
        gradients=False,
        optimizer=False,
    ),
    Sharding(
        name="zero2",
        title="ZeRO-2",
        meaning="gradients and optimizer state divided",
        weights=False,
        gradients=True,
        optimizer=True,
    ),
    Sharding(
        name="zero3",
        title="ZeRO-3",
        meaning="weights, gradients and optimizer state divided",
        weights=True,
        gradients=True,
        optimizer=True,
    ),
    Sharding(
        name="fsdp",
        title="FSDP",
        meaning="weights, gradients and optimizer state divided",
        weights=True,
        gradients=True,
        optimizer=True,
    ),
)
"""`fsdp` divides by parameter (FSDP2). FSDP1 joins the weights of a block and keeps gradients of
the frozen ones among them too, which is not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How it is to be trained: everything that an estimate depends on besides the choice.

    `batch` sequences of `sequence` tokens are on each GPU at a time. `tiers` say LoRA's ranks.
    """

    preset: Preset = PRESETS[0]
    gpus: int = 1
    sharding: Sharding = SHARDINGS[2]
    batch: int = 1
    sequence: int = 2048
    checkpointing: bool = True
    tiers: Tiers = DEFAULT_TIERS

    @property
    def divided(self) -> Sharding:
        """What is divided: one GPU has everything."""
        return self.sharding if self.gpus > 1 else SHARDINGS[0]

    @property
    def ranks(self) -> str:
        """Of the adapters, in words; empty without any."""
        if not self.preset.adapters:
            return ""
        tiers = self.tiers
        return f"rank {tiers.medium_rank if self.preset.hybrid else tiers.high_rank}"

    @property
    def tokens(self) -> int:
        """Tokens on each GPU at a time."""
        return self.batch * self.sequence


def preset_named(name: str) -> Preset:
    """Return the preset of that name; raises InputError (field "preset")."""
    for preset in PRESETS:
        if preset.name == name:
            return preset
    known = ", ".join(preset.name for preset in PRESETS)
    raise InputError(f"There is no preset {name!r}.", f"Choose from {known}.", field="preset")


def sharding_named(name: str) -> Sharding:
    """Return the sharding of that name, as `zero3` or `ZeRO-3`; raises InputError (field
    "sharding")."""
    for sharding in SHARDINGS:
        if sharding.name == name.lower().replace("-", ""):
            return sharding
    known = ", ".join(sharding.name for sharding in SHARDINGS)
    raise InputError(f"There is no sharding {name!r}.", f"Choose from {known}.", field="sharding")


def is_half(device: str, dtype: str = "auto") -> bool:
    """Return whether a training or a probe has its weights in bfloat16, as far as an estimate can
    know: `auto` is that on a GPU, float32 elsewhere, and `auto` takes a GPU where there is one."""
    return dtype == "bfloat16" or (dtype == "auto" and device != "cpu" and has_nvidia_gpu())


def parse_gpus(text: str) -> int:
    """Return how many GPUs; raises InputError (field "gpus")."""
    return _whole(text, "gpus", "number of GPUs", MAX_GPUS)


def parse_batch(text: str) -> int:
    """Sequences on each GPU at a time; raises InputError (field "batch")."""
    return _whole(text, "batch", "batch", 65_536)


def parse_sequence(text: str) -> int:
    """Tokens of a sequence; raises InputError (field "sequence")."""
    return _whole(text, "sequence", "sequence length", MAX_TOKENS)


CARDS = (8, 10, 11, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 141, 192)
"""GiB of the GPUs that are sold; "24 GB" on the box are 24,564 MiB in nvidia-smi."""


def _whole(text: str, field: str, what: str, highest: int) -> int:
    typed = text.strip().replace(",", "").replace("_", "")
    value = int(typed) if typed.isdecimal() and typed.isascii() and len(typed) < 10 else 0
    if not 1 <= value <= highest:
        raise InputError(
            f"The {what} {text.strip()!r} is not usable.",
            f"Give a whole number, 1 to {highest:,}.",
            field=field,
        )
    return value
