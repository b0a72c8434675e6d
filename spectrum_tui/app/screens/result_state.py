"""What the results screen knows: how the result is ranked, and what is chosen of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from spectrum_tui.app.screens.rankings import Rankings
from spectrum_tui.core.recipes.choice import Choice, Tiers
from spectrum_tui.core.recipes.kinds import DEFAULT_KIND
from spectrum_tui.core.recipes.spectrum import YamlView
from spectrum_tui.core.recipes.writing import drafted
from spectrum_tui.core.results.results import BoolArray, Result
from spectrum_tui.core.settings import Settings


class ResultState:
    """A result in the metric that is shown, and the choice that the views show and dialogs change.

    Only this knows what a choice selects: views ask for `mask` and `yaml`, and whoever changes
    the choice puts another one in its place.
    """

    def __init__(
        self,
        result: Result,
        settings: Settings,
        *,
        head: bool = True,
        tiers: Tiers | None = None,
        kind: str = "",
    ) -> None:
        """`head`: whether embeddings and output head train, where the model has any; `kind`: the
        name of the kind of recipe to offer first when saving."""
        self.settings = settings
        self.rankings = Rankings(result)
        self.ranking = self.rankings.first(settings.metric)
        self.choice = Choice(
            self.ranking.selection,
            settings.top_percent,
            head and bool(result.head),
            tiers or Tiers(),
            allow_missing=settings.allow_missing,
        )
        self.kind = kind
        self.saved: Path | None = None

    def of(self, result: Result) -> ResultState:
        """The same metric and choice of another result."""
        choice = self.choice
        metric = self.ranking.metric.name
        settings = replace(self.settings, top_percent=choice.percent, metric=metric)
        head = choice.head or not self.result.head
        return ResultState(result, settings, head=head, tiers=choice.tiers, kind=self.kind)

    @property
    def result(self) -> Result:
        """The result in the metric that is shown."""
        return self.ranking.result

    def rank_by(self, metric: str = "") -> None:
        """Rank by a metric, or by the next one; raises ResultsError where the result lacks it."""
        name = metric or self.rankings.after(self.ranking.metric.name)
        self.ranking = self.rankings.of(name)
        self.choice = replace(self.choice, selection=self.ranking.selection)

    def mask(self) -> BoolArray:
        """The layers that are selected."""
        return self.choice.selection.mask(self.choice.percent, head=self.choice.head)

    def yaml(self) -> YamlView:
        """The lines of the file to save, each made when it is looked at."""
        return self.ranking.recipe.view(self.choice.percent, head=self.choice.head)

    def text(self) -> str:
        """The whole of that file; raises SelectionError where it must not be written."""
        return drafted(DEFAULT_KIND, self.choice)[0].text
