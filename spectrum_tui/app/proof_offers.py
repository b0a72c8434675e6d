"""The methods that a proof can compare, as they are offered: which are checked, of what size."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from spectrum_tui.core.proof.methods import USUAL_PERCENT, Kind, Method, parse_method
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.scoring.metrics import described

SELECTION_FILE = "selection.yaml"
"""In the folder of a proof: the selection on the screen, as the recipe that its row trains by."""
INSTALL = "pip install 'spectrum-tui[train]'"
NEEDED: dict[Kind, str] = {
    "lora": "peft",
    "qlora": "bitsandbytes",
    "tiers": "peft",
    "hybrid": "bitsandbytes",
    "groups": "peft",
    "dynamic": "peft",
}
"""The package of the extra that a method cannot do without."""
_ALL_LAYERS: tuple[Kind, ...] = ("lora", "qlora")
_WORDS: dict[Kind, str] = {
    "full": "every parameter",
    "random": "any layers, as many and as large, drawn anew for each seed",
    "lora": "adapters on all layers",
    "qlora": "adapters on all layers of a 4-bit model",
    "tiers": "adapters, of a higher rank on the best layers",
    "hybrid": "4-bit; the best layers train whole, the next by adapters",
    "groups": "adapters that similar neighbours share",
    "dynamic": "adapters whose ranks follow the scores while they train",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A method that can be checked: `percent` 0 where it has none, `what` it trains."""

    kind: Kind
    percent: float = 0
    metric: str = ""
    what: str = ""
    checked: bool = False

    @property
    def name(self) -> str:
        """What it is called in the list."""
        return "selection" if self.kind == "policy" else self.metric or self.kind

    @property
    def moves(self) -> bool:
        """Whether its percentage can be set."""
        return self.percent > 0 and self.kind not in _ALL_LAYERS

    def method(self, folder: Path) -> Method:
        """Return the method, that of a selection with its file in a folder."""
        file = str(folder / SELECTION_FILE) if self.kind == "policy" else ""
        return Method(kind=self.kind, percent=self.percent, metric=self.metric, file=file)


def offers_of(choice: Choice, metrics: Sequence[str]) -> tuple[Offer, ...]:
    """Return all methods for these scores; the four of the usual question are checked, and the
    selection where it is more than a percentage."""
    policy = choice.policy
    percent = policy.percent or USUAL_PERCENT
    shown = choice.selection.result.scores.metric
    by = described(shown).words
    best, worst = f"the best of each layer type by {by}", f"the worst of each layer type by {by}"
    offers = [
        Offer(kind="full", what=_WORDS["full"], checked=True),
        Offer(kind="top", percent=percent, what=best, checked=True),
        Offer(kind="random", percent=percent, what=_WORDS["random"], checked=True),
        Offer(kind="bottom", percent=percent, what=worst, checked=True),
    ]
    if not policy.is_plain:
        offers.insert(1, Offer(kind="policy", what=policy.words, checked=True))
    for metric in metrics:
        if metric != shown:
            words = f"the best of each layer type by {described(metric).words}"
            offers.append(Offer(kind="metric", metric=metric, percent=percent, what=words))
    for kind in NEEDED:
        share = 100 if kind in _ALL_LAYERS else percent
        offers.append(Offer(kind=kind, percent=share, what=_WORDS[kind]))
    return tuple(offers)


def moved(offers: Sequence[Offer], at: int, percent: float) -> tuple[Offer, ...]:
    """Return the offers with another percentage at `at`, and at all that had the same there: what
    is to be compared stays of one size."""
    before = offers[at].percent
    percent = min(100.0, max(1.0, percent))
    return tuple(
        replace(one, percent=percent) if one.moves and one.percent == before else one
        for one in offers
    )


def again_at(offers: Sequence[Offer], at: int) -> tuple[Offer, ...]:
    """Return the offers with one more below `at`, at half of its percentage."""
    one = offers[at]
    if not one.moves:
        return tuple(offers)
    more = replace(one, percent=max(1.0, float(round(one.percent / 2))), checked=True)
    return (*offers[: at + 1], more, *offers[at + 1 :])


def as_before(offers: Sequence[Offer], methods: Sequence[str]) -> tuple[Offer, ...]:
    """Return the offers with those checked that an earlier proof compared."""
    wanted = [parse_method(method) for method in methods]
    found: list[Offer] = []
    for one in offers:
        same = [m for m in wanted if (m.kind, m.metric) == (one.kind, one.metric)]
        found += [replace(one, percent=m.percent or one.percent, checked=True) for m in same]
        found += [] if same else [replace(one, checked=False)]
    return tuple(found)


def missing() -> frozenset[str]:
    """Return the packages that adapters need and that are not installed."""
    return frozenset(name for name in NEEDED.values() if importlib.util.find_spec(name) is None)


def checked(offers: Sequence[Offer], folder: Path) -> Iterator[Method]:
    """Yield the methods that are checked."""
    return (one.method(folder) for one in offers if one.checked)
