"""The LoRA adapters of a model in memory, as PEFT (0.18 to 0.21) keeps them on its layers.

No import of PEFT: its classes are known by their names. A layer of it has dicts by the adapter's
name: `lora_A`, `lora_B` (modules), `r`, `lora_alpha`, `scaling`. For an expert parameter, the
rows of A are grouped by expert, and the columns of B by rank.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spectrum_tui.core.errors import SpectrumError
from spectrum_tui.core.text import safe
from spectrum_tui.core.training.live_names import is_a, live_modules

if TYPE_CHECKING:
    import torch

ANY_LAYER, EXPERTS = "LoraLayer", "ParamWrapper"
"""PEFT's classes: of every layer that LoRA adapts, and of one that adapts a parameter."""


@dataclass(frozen=True, slots=True, eq=False)
class LiveAdapter:
    """The adapter of one layer: `layer` is its name in score files, `module` PEFT's layer, `name`
    the adapter's."""

    layer: str
    module: Any
    name: str

    @property
    def down(self) -> torch.nn.Parameter:
        """LoRA's A: (experts·rank) x inputs."""
        weight: torch.nn.Parameter = self.module.lora_A[self.name].weight
        return weight

    @property
    def up(self) -> torch.nn.Parameter:
        """LoRA's B: outputs x (rank·experts)."""
        weight: torch.nn.Parameter = self.module.lora_B[self.name].weight
        return weight

    @property
    def experts(self) -> int:
        """How many matrices it adapts."""
        return int(getattr(self.module, "num_experts", 1))

    @property
    def rank(self) -> int:
        """The rank, by the factors themselves."""
        return int(self.down.shape[0]) // self.experts

    @property
    def scale(self) -> float:
        """What the product of the factors is multiplied by."""
        return float(self.module.scaling[self.name])

    @property
    def is_rank_stabilised(self) -> bool:
        """Whether the scale is alpha/√rank, not alpha/rank (Kalajdzievski 2023,
        arXiv:2312.03732)."""
        return bool(self.module.use_rslora[self.name])

    @property
    def trains(self) -> bool:
        """Whether training changes it."""
        return self.down.requires_grad or self.up.requires_grad

    @property
    def base(self) -> torch.nn.Module:
        """The module that holds the weight."""
        module: torch.nn.Module = self.module.get_base_layer()
        return module

    @property
    def weight_name(self) -> str:
        """What the weight is called in its module."""
        return str(getattr(self.module, "parameter_name", "weight"))

    @property
    def dtype(self) -> torch.dtype | None:
        """The dtype of the weight as it is kept; None where it is kept under another name."""
        dtype: torch.dtype | None = getattr(
            getattr(self.base, self.weight_name, None), "dtype", None
        )
        return dtype

    def factors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(experts x rank x inputs, experts x outputs x rank): A and B of each matrix, as views."""
        down, up = self.down.detach(), self.up.detach()
        downs = down.reshape(self.experts, -1, down.shape[-1])
        return downs, up.reshape(up.shape[0], -1, self.experts).permute(2, 0, 1)

    def fill(self, downs: torch.Tensor, ups: torch.Tensor) -> None:
        """Put in factors of the shapes of `factors`, of any rank. The parameters stay the same
        objects, which their optimizer holds; the scale stays what it is."""
        rank = downs.shape[1]
        self._put(self.module.lora_A[self.name], downs.reshape(-1, downs.shape[-1]))
        self._put(self.module.lora_B[self.name], ups.permute(1, 2, 0).reshape(ups.shape[1], -1))
        self.say_rank(rank, self.scale)

    def say_rank(self, rank: int, scale: float) -> None:
        """Write a rank and a scale where PEFT keeps them."""
        alpha = alpha_of(rank, scale, self.is_rank_stabilised)
        self.module.lora_A[self.name].out_features = rank * self.experts
        self.module.lora_B[self.name].in_features = rank * self.experts
        self.module.r[self.name], self.module.lora_alpha[self.name] = rank, alpha
        self.module.scaling[self.name] = scale

    @staticmethod
    def _put(linear: Any, values: torch.Tensor) -> None:
        linear.weight.data = values.to(linear.weight).contiguous()
        linear.weight.grad = None

    def applies(self) -> bool:
        """Whether the forward pass adds it to the weight."""
        module = self.module
        return not module.disable_adapters and not module.merged and self.name in _active(module)


def alpha_of(rank: int, scale: float, rank_stabilised: bool) -> float:
    """Return PEFT's lora_alpha of a scale; whole where it is one to 1e-9."""
    alpha: float = scale * (rank**0.5 if rank_stabilised else rank)
    return round(alpha) if abs(alpha - round(alpha)) < 1e-9 * max(1.0, abs(alpha)) else alpha


def live_adapters(model: torch.nn.Module) -> list[LiveAdapter]:
    """Return the active adapters of linear layers and of expert parameters, in the model's order.

    Raises SpectrumError for a layer whose weight is not W + s·B·A (DoRA and other variants), and
    for one with several active adapters.
    """
    return list(_found(model))


def _found(model: torch.nn.Module) -> Iterator[LiveAdapter]:
    seen: set[int] = set()
    module: Any
    for name, module in live_modules(model):
        if id(module) in seen or not is_a(module, ANY_LAYER):
            continue
        seen.add(id(module))
        own = [one for one in _active(module) if one in getattr(module, "lora_A", ())]
        if not own:
            continue
        factor = module.lora_A[own[0]]
        if not hasattr(factor, "weight"):  # AdaLoRA: three parameters, no layers
            raise _not_plain(name, type(module).__name__)
        if factor.weight.ndim != 2:
            continue
        _check(name, module, own)
        parameter = getattr(module, "parameter_name", "weight")
        layer = name if parameter == "weight" else f"{name}.{parameter}"
        yield LiveAdapter(layer, module, own[0])


def _check(name: str, module: Any, active: list[str]) -> None:
    if len(active) > 1:
        raise SpectrumError(
            f"{safe(name)} has {len(active)} active adapters.",
            "Activate one: model.set_adapter(name).",
        )
    if active[0] in module.lora_variant:
        kind = type(module.lora_variant[active[0]]).__name__.removesuffix("LinearVariant")
        raise _not_plain(name, kind)


def _not_plain(name: str, kind: str) -> SpectrumError:
    return SpectrumError(
        f"The adapter of {safe(name)} is {safe(kind)}: its weight is not W + s·B·A.",
        "Use plain LoRA: LoraConfig, with use_dora=False.",
    )


def _active(module: Any) -> list[str]:
    active: str | list[str] = module.active_adapters
    return [active] if isinstance(active, str) else list(active)
