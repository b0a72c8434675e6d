"""A result ranked by each of its metrics: made when first shown, kept for the next time."""

from __future__ import annotations

from functools import cached_property

from spectrum_tui.app.screens.result_notes import Ties
from spectrum_tui.core.errors import ResultsError
from spectrum_tui.core.recipes.spectrum import SpectrumYaml
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.scoring.metrics import described
from spectrum_tui.core.settings import METRICS


class Ranking:
    """A result in one metric, and what follows from it; the file waits until it is looked at."""

    def __init__(self, result: Result, other: Ranking | None = None) -> None:
        self.result = result
        self.metric = described(result.scores.metric)
        self.selection: Selection = Selection(result, other.selection if other else None)
        self.ties = Ties(self.selection)

    @cached_property
    def recipe(self) -> SpectrumYaml:
        """The YAML."""
        return SpectrumYaml(self.selection)


class Rankings:
    """All metrics of a result."""

    def __init__(self, result: Result) -> None:
        self._result = result
        self._known: dict[str, Ranking] = {}

    def of(self, metric: str) -> Ranking:
        """The ranking by a metric; raises ResultsError where the result lacks it."""
        if metric not in self._known:
            other = next(iter(self._known.values()), None)
            self._known[metric] = Ranking(self._result.with_metric(metric), other)
        return self._known[metric]

    def first(self, wanted: str) -> Ranking:
        """The ranking by the wanted metric, or by the file's own."""
        try:
            return self.of(wanted or self._result.scores.metric)
        except ResultsError:
            return self.of(self._result.scores.metric)

    def after(self, metric: str) -> str:
        """The metric that follows among those of the result; raises ResultsError without any."""
        names = self._result.metrics
        if len(names) < 2:
            missing = next(name for name in METRICS if name != metric)
            self._result.with_metric(missing)
        return names[(names.index(metric) + 1) % len(names)]

    @property
    def several(self) -> bool:
        """Whether there is more than one metric."""
        return len(self._result.metrics) > 1
