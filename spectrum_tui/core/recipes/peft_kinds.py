"""The kinds of recipe that train adapters: what each takes, counts, refuses and writes.

Layers in the high tier get LoRA of the high rank, those in the medium tier, where a kind has one,
LoRA of the medium rank. alpha is twice the rank, so that both are scaled alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.recipes.adapter_kind import AdapterKind, Counted
from spectrum_tui.core.recipes.adapters import AdapterCount, AdapterLayers
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.recipes.peft_config import module_of
from spectrum_tui.core.recipes.peft_script import EVERY
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import BoolArray
from spectrum_tui.core.settings import DATA_METRICS


class LoraKind(AdapterKind):
    """LoRA on the selected layers and on no other: QLoRA with the adapters where the signal is."""

    name = "peft-lora"
    title = "PEFT LoRA"
    purpose = "(Q)LoRA on the selected layers"
    meaning = (
        "LoRA on the high tier, everything else frozen. The medium tier is not used. "
        "With --4bit, the file loads the model as QLoRA does."
    )


class TiersKind(AdapterKind):
    """LoRA in tiers: layers of high SNR get a high rank, of medium SNR a low one; the rest stay
    frozen."""

    name = "peft-tiers"
    title = "PEFT tiers"
    purpose = "Adapters of a high and a low rank"
    meaning = (
        "LoRA on both tiers, with the higher rank where there is more signal; alpha is twice the "
        "rank, so both are scaled alike. With --4bit, the file loads the model as QLoRA does."
    )
    options = ("high_rank", "medium_percent", "medium_rank")

    def _opening(self, choice: Choice, groups: Sequence[Sequence[str]]) -> str:
        medium = f", of rank {choice.tiers.medium_rank} from there to {choice.medium_end:g} %"
        return super()._opening(choice, groups) + medium


class DynamicKind(TiersKind):
    """LoRA on every layer; which of them train, and by which rank, is chosen anew while training,
    by `spectrum_tui.adapters`."""

    name = "peft-dynamic"
    title = "PEFT dynamic"
    purpose = "Adapters that follow the scores"
    meaning = (
        "LoRA on every layer that can have it. The tiers are those that train at the start; every "
        f"{counted(EVERY, 'step')} all layers are scored again as they are by then, and ranks and "
        "what trains follow. The training needs spectrum-tui installed."
    )

    def lacking(self, layers: AdapterLayers, choice: Choice) -> str:
        """Return what `files` would refuse about these tiers, "" where it would not."""
        if choice.policy.budget is not None:
            return "A budget cannot be followed while training: choose by a percentage."
        return super().lacking(layers, choice)

    def _check(self, choice: Choice, whole: BoolArray, adapted: BoolArray) -> None:
        if choice.policy.budget is not None:
            raise SelectionError(
                "A budget cannot be followed while training.",
                f"Choose by a percentage, or save {TIERS.name}.",
                field="budget",
            )

    def _ranked(
        self, layers: AdapterLayers, choice: Choice, whole: BoolArray
    ) -> list[tuple[BoolArray, int]]:
        if not np.logical_or(*self.tiers(layers, choice)).any():
            return []  # nothing would train at the start, which is refused
        high, others = layers.tiers(choice.shape, choice.percent, 100)
        return [(high, choice.tiers.high_rank), (others, choice.tiers.medium_rank)]

    def made(self, layers: AdapterLayers, choice: Choice) -> int:
        """Return the parameters of all adapters, and of a head that trains."""
        every, high = (layers.sums(choice.shape, p).width for p in (100, choice.percent))
        ranks = choice.tiers
        adapters = ranks.high_rank * high + ranks.medium_rank * (every - high)
        return adapters + layers.head_numel(choice.task_modules)

    def _callback(self, choice: Choice) -> tuple[str, ...]:
        metric, policy = choice.selection.result.scores.metric, choice.policy
        followed = "gradient" if metric in DATA_METRICS else metric
        return (
            *_policy_code(policy),
            f"medium_percent={self.end(choice):g}",
            f"high_rank={choice.tiers.high_rank}",
            f"medium_rank={choice.tiers.medium_rank}",
            f'metric="{followed}"',
        )

    def _opening(self, choice: Choice, groups: Sequence[Sequence[str]]) -> str:
        return (
            f"LoRA on every layer, of which some train at a time: by rank {choice.tiers.high_rank} "
            f"{choice.policy.words}, by rank {choice.tiers.medium_rank} those from there to "
            f"{self.end(choice):g} %, chosen anew every {counted(EVERY, 'step')}"
        )

    def _notes(self, layers: AdapterLayers, choice: Choice) -> tuple[str, ...]:
        return (
            "Train with callbacks=[callback()]: without it, all adapters train. What is saved then "
            "has the ranks that it ended with.",
        )


def _policy_code(policy: Policy) -> tuple[str, ...]:
    """Return the arguments that ask `SpectrumAdapters` for a policy."""
    if replace(policy, embeddings=True).is_plain:
        return (f"top_percent={policy.percent:g}",)
    default = Policy()
    changed = ((f.name, getattr(policy, f.name)) for f in fields(policy) if f.name != "embeddings")
    inside = [f"{name}={value!r}" for name, value in changed if value != getattr(default, name)]
    return (f"policy=Policy({', '.join([*inside, 'embeddings=False'])})",)


class HybridKind(AdapterKind):
    """A 4-bit base whose high tier stays out of quantisation and trains whole, the medium by LoRA.

    `modules_to_save` names the high tier. PEFT needs at least one adapter, so an empty medium tier
    is refused. Fused experts are no modules, which alone can train whole: those of the high tier
    get adapters of the high rank.
    """

    name = "peft-hybrid"
    title = "PEFT hybrid"
    purpose = "4-bit; best whole, next with LoRA"
    meaning = (
        "The model is loaded in 4 bits, except the high tier, which trains whole in 16 bits; "
        "the medium tier trains by LoRA. Fused experts always train by LoRA."
    )
    options = ("high_rank", "medium_percent", "medium_rank")
    keeps_high = True

    def _counted(self, layers: AdapterLayers, choice: Choice) -> Counted:
        high = layers.sums(choice.shape, choice.percent)
        experts = choice.tiers.high_rank * high.expert_width
        return experts + self._medium(layers, choice), high.full, 0

    def lacking(self, layers: AdapterLayers, choice: Choice) -> str:
        """Return what `files` would refuse about these tiers, "" where it would not."""
        high, medium = self.tiers(layers, choice)
        whole = layers.whole(high)
        if whole.any() and (medium | (high & ~whole)).any():
            return ""
        return "The hybrid needs layers in both tiers: widen the empty one."

    def _check(self, choice: Choice, whole: BoolArray, adapted: BoolArray) -> None:
        if not whole.any():
            raise SelectionError(
                f"The top {choice.percent:g} % hold no linear module that could train whole.",
                f"Raise the percentage, or save {TIERS.name}.",
                field="top_percent",
            )
        if not adapted.any():
            raise SelectionError(
                f"From {choice.percent:g} to {choice.medium_end:g} % there is no layer for LoRA, "
                "which PEFT needs.",
                "Raise the end of the medium tier: --medium-percent, or key a on the results.",
                field="medium_percent",
            )

    def _opening(self, choice: Choice, groups: Sequence[Sequence[str]]) -> str:
        return (
            f"4-bit base; {choice.policy.words} train whole, those from "
            f"there to {choice.medium_end:g} % by LoRA of rank {choice.tiers.medium_rank}"
        )

    def _notes(self, layers: AdapterLayers, choice: Choice) -> tuple[str, ...]:
        notes = (
            "KEEP names what bitsandbytes leaves in 16 bits: the layers that train whole (PEFT "
            "trains a copy of each and keeps the original), and linear modules outside the blocks.",
            "To load a saved adapter: PeftModel.from_pretrained(load_base(model), folder).",
        )
        high, _ = self.tiers(layers, choice)
        if not (high & ~layers.whole(high)).any():
            return notes
        rank = choice.tiers.high_rank
        return (*notes, f"Fused experts of the top {choice.percent:g} % get LoRA of rank {rank}.")


class GroupsKind(AdapterKind):
    """One adapter for each group of similar neighbours: a heuristic, and labelled as one.

    PEFT has no setting for it: the modules' adapters are made one after another and then tied.
    """

    name = "peft-groups"
    title = "PEFT groups"
    purpose = "Shared adapters, by a heuristic"
    meaning = (
        "LoRA on the high tier. Neighbours of one type share an adapter where they have {measure}: "
        "a heuristic, and their gradients were orthogonal where they were looked at (SmolLM2-135M)."
    )

    def _counted(self, layers: AdapterLayers, choice: Choice) -> Counted:
        high, _ = self.tiers(layers, choice)
        sharing = layers.sharing(high)
        every, _, _ = super()._counted(layers, choice)
        spared = choice.tiers.high_rank * int(layers.width[sharing].sum())
        return every - spared, 0, int(sharing.sum())

    def trains(self, choice: Choice, count: AdapterCount) -> str:
        """Return what trains, and how many adapters the layers share, in a few words."""
        adapters = counted(count.high - count.shared, "adapter")
        return f"{super().trains(choice, count)}, {adapters} for {count.high:,}"

    def lacking(self, layers: AdapterLayers, choice: Choice) -> str:
        """Return what `files` would refuse about these tiers, "" where it would not."""
        high, _ = self.tiers(layers, choice)
        if problem := super().lacking(layers, choice):
            return problem
        if layers.sharing(high).any():
            return ""
        return "No two selected neighbours are similar, so none would share: widen the high tier."

    def _groups(self, layers: AdapterLayers, choice: Choice) -> list[list[str]]:
        high, _ = self.tiers(layers, choice)
        found = adapter_groups(layers, high)
        if found:
            return found
        raise SelectionError(
            f"Among the top {choice.percent:g} % no two neighbours are similar: none would share.",
            f"Raise the percentage, or save {LORA.name}, which would be the same.",
            field="top_percent",
        )

    def _opening(self, choice: Choice, groups: Sequence[Sequence[str]]) -> str:
        each = f"one adapter for each of {counted(len(groups), 'group')} of similar neighbours"
        return f"{super()._opening(choice, groups)}, {each}"

    def _notes(self, layers: AdapterLayers, choice: Choice) -> tuple[str, ...]:
        return (
            "A group is a heuristic: a run of selected layers of one type and size, none between "
            f"them, each with the one before it: {layers.measure()}.",
            "Be warned: such layers need not want the same update. On SmolLM2-135M and real text, "
            "their gradients had a cosine of 0.002 in the mean of 147 pairs, and of 0.075 at the "
            'most. SpectrumAdapters(groups="gradient") of spectrum_tui.adapters lets layers share '
            "only where their gradients are alike.",
            "A saved adapter holds a copy of the shared one for each module. To go on training "
            "from it, call "
            "share(PeftModel.from_pretrained(load_base(model), folder, is_trainable=True)).",
        )


def adapter_groups(layers: AdapterLayers, high: BoolArray) -> list[list[str]]:
    """Return the modules of every group of two or more, in the model's order."""
    weights = layers.result.scores.parameters
    sharing = layers.sharing(high)
    found: list[list[str]] = []
    for row in np.flatnonzero(high).tolist():
        module = module_of(weights[row][0])
        if sharing[row]:
            found[-1].append(module)
        else:
            found.append([module])
    return [group for group in found if len(group) > 1]


LORA, TIERS, HYBRID, GROUPS = LoraKind(), TiersKind(), HybridKind(), GroupsKind()
DYNAMIC = DynamicKind()
ADAPTER_KINDS = (LORA, TIERS, HYBRID, GROUPS, DYNAMIC)
"""In the order in which they are offered."""
