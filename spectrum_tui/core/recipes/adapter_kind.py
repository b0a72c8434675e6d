"""What all kinds of recipe that train adapters have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from spectrum_tui.core.recipes.adapter_comments import Comments
from spectrum_tui.core.recipes.adapters import AdapterCount, AdapterLayers, adapter_layers
from spectrum_tui.core.recipes.choice import Choice, RecipeFile, RecipeKind
from spectrum_tui.core.recipes.peft_config import Targets, config_text, targets_of
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
    keeps: ClassVar[bool] = True
    """Whether its files name what must not be quantised."""

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
        targets = self.targets(choice)
        groups = self._groups(layers, choice)
        script = Script(
            comments=self._comments(choice, targets, groups),
            made=self.made(layers, choice),
            always_4bit=self.keeps_high,
            groups=groups,
            callback=self._callback(choice),
        )
        stem = f"_{self.name}_{self._ending(choice)}"
        return two_files(stem, config_text(targets, layers.result), script.text())

    def targets(self, choice: Choice) -> Targets:
        """Return what adapters are made of; raises SelectionError."""
        layers = adapter_layers(choice.selection)
        high, medium = self.tiers(layers, choice)
        whole = layers.whole(high) & self.keeps_high
        self._check(choice, whole, medium | (high & ~whole))
        return targets_of(
            layers,
            self._ranked(layers, choice, whole),
            whole,
            heads=choice.task_modules,
            limit=layers.limit(choice.shape),
        )

    def _comments(
        self, choice: Choice, targets: Targets, groups: Sequence[Sequence[str]] = ()
    ) -> Comments:
        layers = adapter_layers(choice.selection)
        return Comments(
            layers=layers,
            targets=targets,
            choice=choice,
            opening=self._opening(choice, groups),
            end=self.end(choice),
            notes=self._notes(layers, choice),
            keeps=self.keeps,
        )

    def _ranked(
        self, layers: AdapterLayers, choice: Choice, whole: BoolArray
    ) -> list[tuple[BoolArray, int]]:
        """Return (layers, the rank of their adapters), where `whole` need none."""
        high, medium = self.tiers(layers, choice)
        return [(high & ~whole, choice.tiers.high_rank), (medium, choice.tiers.medium_rank)]

    def made(self, layers: AdapterLayers, choice: Choice) -> int:
        """Return how many parameters train when the model has been made."""
        return self.count(choice).parameters

    def _callback(self, choice: Choice) -> tuple[str, ...]:
        """Return the arguments of the callback that changes the adapters; () without one."""
        return ()

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
