"""The ways to train that a proof compares, as they are typed and as they are trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.policy_values import parse_percent
from spectrum_tui.core.settings import parse_metric

Kind = Literal[
    "full", "top", "bottom", "random", "metric", "policy", "lora", "qlora", "tiers", "hybrid",
    "groups", "dynamic",
]  # fmt: skip
SELECTIONS: tuple[Kind, ...] = ("top", "bottom", "random", "metric", "policy")
"""Train parameters of the model as they are, chosen by layers."""
OTHERS: tuple[Kind, ...] = ("bottom", "random")
"""Those of them that take other layers than the best: as many of each type."""
ADAPTERS: dict[Kind, str] = {
    "lora": "peft-lora",
    "qlora": "peft-lora",
    "tiers": "peft-tiers",
    "hybrid": "peft-hybrid",
    "groups": "peft-groups",
    "dynamic": "peft-dynamic",
}
"""The kind of recipe that each trains by."""
USUAL_PERCENT = 25
"""Where none is typed; adapters of all layers (`lora`, `qlora`) are on 100 %."""
DEFAULT_METHODS = "full,top:25,random:25,bottom:25"
EXAMPLES = (
    "full", "top:25", "random:25", "bottom:25", "metric:NAME:25", "policy:FILE", "lora", "qlora",
    "tiers:25", "hybrid:25", "groups:25", "dynamic:25",
)  # fmt: skip
"""Every kind once, as help and errors list them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One way to train.

    `percent` of each layer type is chosen: the best by the scores' own metric (`top`), the worst
    (`bottom`), any (`random`), the best by another `metric`. `policy` is chosen as the recipe in
    `file` does. Adapters lie on the best by the scores' own metric.
    """

    kind: Kind
    percent: float = 0
    metric: str = ""
    file: str = ""

    @property
    def text(self) -> str:
        """The method as it is typed."""
        given = {"metric": f":{self.metric}", "policy": f":{self.file}"}.get(self.kind, "")
        return f"{self.kind}{given}" + (f":{self.percent:g}" if self.percent else "")

    @property
    def is_random(self) -> bool:
        """Whether each seed draws its own layers."""
        return self.kind == "random"

    @property
    def adapts(self) -> bool:
        """Whether adapters train."""
        return self.kind in ADAPTERS


def parse_methods(text: str) -> tuple[Method, ...]:
    """Return the methods of a list with commas, each once; raises InputError (field "methods")."""
    typed = [part.strip() for part in text.split(",") if part.strip()]
    if not typed:
        raise InputError(
            "No method is given.", f"Give some, as {DEFAULT_METHODS}.", field="methods"
        )
    return tuple(dict.fromkeys(map(parse_method, typed)))


def parse_method(text: str) -> Method:
    """Return one method, as `top:25`, `metric:gradient:25`, `policy:FILE`, `lora`; raises
    InputError (field "methods")."""
    kind, *rest = text.split(":")
    try:
        match kind, rest:
            case "full", []:
                return Method(kind="full")
            case "metric", [name, *percent] if name and len(percent) < 2:
                return Method(kind=kind, metric=parse_metric(name), percent=_percent(percent))
            case "policy", [_, *_]:
                return Method(kind="policy", file=text.partition(":")[2])
            case (("top" | "bottom" | "random"), [*percent]):
                return Method(kind=kind, percent=_percent(percent))
            case (("tiers" | "hybrid" | "groups" | "dynamic"), [*percent]):
                return Method(kind=kind, percent=_percent(percent))
            case (("lora" | "qlora"), [*percent]):
                return Method(kind=kind, percent=_percent(percent, usual=100))
    except InputError as exc:
        raise InputError(exc.message, exc.hint, field="methods") from None
    raise InputError(
        f"There is no method {text!r}.",
        f"There are: {', '.join(EXAMPLES)}.",
        field="methods",
    )


def _percent(typed: list[str], usual: float = USUAL_PERCENT) -> float:
    if len(typed) > 1:
        raise InputError(f"{':'.join(typed)!r} is not one percentage.", "Give one, as top:25.")
    return parse_percent(typed[0]) if typed else usual
