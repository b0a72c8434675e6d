"""The kinds of recipe that train adapters: what each takes, counts, refuses and writes.

Layers in the high tier get LoRA of the high rank, those in the medium tier, where a kind has one,
LoRA of the medium rank. alpha is twice the rank, so that both are scaled alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.recipes.adapters import AdapterCount, AdapterLayers, adapter_layers
from spectrum_tui.core.recipes.choice import Choice, RecipeFile, RecipeKind
from spectrum_tui.core.recipes.peft_config import config_text, module_of, targets_of
from spectrum_tui.core.recipes.peft_script import Script, two_files
from spectrum_tui.core.results.results import BoolArray

Counted = tuple[int, int, int]
"""Parameters of adapters, of modules that train whole, and the layers that share an adapter."""


class AdapterKind(RecipeKind):
    """A kind of recipe that trains adapters, of the high rank on the high tier.

    `meaning` explains the kind to whoever chooses one; in it, `{measure}` stands for
    `AdapterLayers.measure`. With `keeps_high`, the modules of the high tier stay out of a 4-bit
    base and train whole.
    """

    meaning: str
    options: ClassVar[tuple[str, ...]] = ("high_rank",)
    keeps_high: ClassVar[bool] = False

    @property
    def has_medium(self) -> bool:
        """Whether there is a medium tier."""
        return "medium_rank" in self.options

    def end(self, choice: Choice) -> float:
        """Return the percentage up to which layers are in a tier."""
        return choice.medium_end if self.has_medium else choice.percent

    def tiers(self, layers: AdapterLayers, choice: Choice) -> tuple[BoolArray, BoolArray]:
        """(high, medium): which layers are in each tier; every other layer stays frozen."""
        return layers.tiers(choice.shape, choice.percent, self.end(choice))

    def count(self, choice: Choice) -> AdapterCount:
        """Count exactly what trains.

        The first call for a ranking looks at every layer (0.3 s at 60,000), and where adapters are
        shared reads the kept spectra from disk; later ones take 0.01 ms, or 0.5 ms.
        """
        layers = adapter_layers(choice.selection)
        adapters, full, shared = self._counted(layers, choice)
        full += layers.head_numel(choice.task_modules)
        high = layers.sums(choice.shape, choice.percent).layers
        medium = layers.sums(choice.shape, self.end(choice)).layers - high
        total = choice.selection.result.total_parameters
        share = (adapters + full) / total if total else 0.0
        return AdapterCount(
            high=high, medium=medium, adapters=adapters, full=full, shared=shared, share=share
        )

    def _counted(self, layers: AdapterLayers, choice: Choice) -> Counted:
        high = choice.tiers.high_rank * layers.sums(choice.shape, choice.percent).width
        return high + self._medium(layers, choice), 0, 0

    def _medium(self, layers: AdapterLayers, choice: Choice) -> int:
        shape = choice.shape
        end, high = layers.sums(shape, self.end(choice)), layers.sums(shape, choice.percent)
        return choice.tiers.medium_rank * (end.width - high.width)

    def trains(self, choice: Choice, count: AdapterCount) -> str:
        """Return what trains, tier by tier, in a few words."""
        high = "whole" if self.keeps_high else f"by rank {choice.tiers.high_rank}"
        medium = f", medium by rank {choice.tiers.medium_rank}" if self.has_medium else ""
        return f"high {high}{medium}"

    def lacking(self, layers: AdapterLayers, choice: Choice) -> str:
        """Return what `files` would refuse about these tiers, "" where it would not."""
        high, medium = self.tiers(layers, choice)
        if not (high | medium).any():
            return "No layer in a tier can take an adapter: raise the percentages."
        return ""

    def files(self, choice: Choice) -> tuple[RecipeFile, ...]:
        """Return the LoraConfig as JSON and the script that reads it; raises SelectionError."""
        layers = adapter_layers(choice.selection)
        high, medium = self.tiers(layers, choice)
        whole = layers.whole(high) & self.keeps_high
        self._check(choice, whole, medium | (high & ~whole))
        ranks = choice.tiers
        ranked = [(high & ~whole, ranks.high_rank), (medium, ranks.medium_rank)]
        targets = targets_of(
            layers,
            ranked,
            whole,
            heads=choice.task_modules,
            limit=layers.limit(choice.shape),
        )
        groups = self._groups(layers, choice)
        script = Script(
            layers=layers,
            targets=targets,
            count=self.count(choice),
            opening=self._opening(choice, groups),
            choice=choice,
            end=self.end(choice),
            always_4bit=self.keeps_high,
            groups=groups,
            notes=self._notes(layers, choice),
        )
        stem = f"_{self.name}_{self._ending(choice)}"
        return two_files(stem, config_text(targets, layers.result), script.text())

    def _ending(self, choice: Choice) -> str:
        """Return what the names of the files say of the choice: `25-50percent`."""
        start, shaped = choice.policy.ending, f"{choice.percent:g}percent"
        if not self.has_medium:
            return start
        return start.replace(shaped, f"{choice.percent:g}-{self.end(choice):g}percent")

    def _check(self, choice: Choice, whole: BoolArray, adapted: BoolArray) -> None:
        """Raise SelectionError for layers that PEFT could not make the recipe of."""

    def _groups(self, layers: AdapterLayers, choice: Choice) -> list[list[str]]:
        """Return the modules that share an adapter; raises SelectionError where none would."""
        return []

    def _opening(self, choice: Choice, groups: Sequence[Sequence[str]]) -> str:
        """One line that says what the adapter is."""
        rank = choice.tiers.high_rank
        return f"LoRA of rank {rank} on {choice.policy.words}"

    def _notes(self, layers: AdapterLayers, choice: Choice) -> tuple[str, ...]:
        """Remarks of the kind, one line each."""
        return ()


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
        "a heuristic, since only gradients would tell."
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
ADAPTER_KINDS = (LORA, TIERS, HYBRID, GROUPS)
"""In the order in which they are offered."""
