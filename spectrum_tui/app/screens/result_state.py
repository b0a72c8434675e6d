"""What the results screen knows: how the result is ranked, and what is chosen of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from spectrum_tui.app.screens.result_notes import Ties
from spectrum_tui.app.training_memory import TrainingMemory
from spectrum_tui.core.recipes.choice import Choice, Tiers
from spectrum_tui.core.recipes.kinds import DEFAULT_KIND
from spectrum_tui.core.recipes.spectrum import SpectrumYaml, YamlView
from spectrum_tui.core.recipes.writing import drafted
from spectrum_tui.core.results.results import BoolArray, Result
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.scoring.metrics import described
from spectrum_tui.core.settings import METRICS, Settings


class Ranking:
    """A result in one metric, and what follows from it; the file waits until it is looked at."""

    def __init__(self, result: Result, other: Ranking | None = None) -> None:
        self.result = result
        self.metric = described(result.scores.metric)
        self.selection: Selection = Selection(result, other.selection if other else None)
        self.ties = Ties(self.selection)

    @cached_property
    def recipe(self) -> SpectrumYaml:
        return SpectrumYaml(self.selection)


class ResultState:
    """A result in the metric that is shown, and the choice that the views show and dialogs change.

    Only this knows what a choice selects: views ask for `mask` and `yaml`. Whoever changes the
    choice puts another one in its place, and what `watch` was given is called.
    """

    def __init__(
        self,
        result: Result,
        settings: Settings,
        *,
        embeddings: bool = True,
        tiers: Tiers | None = None,
        kind: str = "",
    ) -> None:
        """`embeddings`: whether they and the output head train, where the model has any; `kind`:
        the name of the kind of recipe to offer first when saving."""
        self.settings = settings
        self._whole = result
        self._rankings: dict[str, Ranking] = {}
        wanted = settings.metric if settings.metric in result.metrics else ""
        self.ranking = self._ranked(wanted or result.scores.metric)
        self._watchers: list[Callable[[], None]] = []
        self._choice = Choice(
            selection=self.ranking.selection,
            percent=settings.top_percent,
            embeddings=embeddings and bool(result.embeddings),
            tiers=tiers or Tiers(),
            allow_missing=settings.allow_missing,
        )
        self.memory = TrainingMemory(result)
        self.kind = kind
        self.saved: Path | None = None

    @property
    def choice(self) -> Choice:
        """What is selected and how it trains; to assign another one is to show it."""
        return self._choice

    @choice.setter
    def choice(self, choice: Choice) -> None:
        self._choice = choice
        self.changed()

    def watch(self, follow: Callable[[], None]) -> None:
        """Have `follow` called after every change, before the next frame."""
        self._watchers.append(follow)

    def changed(self) -> None:
        for follow in self._watchers:
            follow()

    def of(self, result: Result) -> ResultState:
        """Return the same metric and choice of another result."""
        choice = self.choice
        metric = self.ranking.metric.name
        settings = replace(self.settings, top_percent=choice.percent, metric=metric)
        embeddings = choice.embeddings or not self.result.embeddings
        return ResultState(
            result, settings, embeddings=embeddings, tiers=choice.tiers, kind=self.kind
        )

    @property
    def result(self) -> Result:
        return self.ranking.result

    @property
    def has_metrics(self) -> bool:
        return len(self._whole.metrics) > 1

    def rank_by(self, metric: str = "") -> None:
        """Rank by a metric, or by the next one; raises ResultsError where the result lacks it."""
        self.ranking = self._ranked(metric or self._next_metric())
        self.choice = replace(self.choice, selection=self.ranking.selection)

    def _ranked(self, metric: str) -> Ranking:
        """Return the ranking by a metric, made when it is first shown and kept for the next
        time."""
        if metric not in self._rankings:
            other = next(iter(self._rankings.values()), None)
            self._rankings[metric] = Ranking(self._whole.with_metric(metric), other)
        return self._rankings[metric]

    def _next_metric(self) -> str:
        """Return the metric that follows, or one that the result lacks where it has no other."""
        shown, names = self.ranking.metric.name, self._whole.metrics
        if not self.has_metrics:
            return next(name for name in METRICS if name != shown)
        return names[(names.index(shown) + 1) % len(names)]

    def mask(self) -> BoolArray:
        return self.choice.selection.mask(self.choice.percent, embeddings=self.choice.embeddings)

    def yaml(self) -> YamlView:
        """Return the lines of the file to save, each made when it is looked at."""
        return self.ranking.recipe.view(self.choice.percent, embeddings=self.choice.embeddings)

    def text(self) -> str:
        """Return the whole of that file; raises SelectionError where it must not be written."""
        return drafted(DEFAULT_KIND, self.choice)[0].text
