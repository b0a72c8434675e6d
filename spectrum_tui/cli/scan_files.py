"""The files that `spectrum-tui scan` writes once the scores are there, and its JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectrum_tui.cli.output import say_frozen, say_too_small
from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.files import OutputFiles, write_text
from spectrum_tui.core.memory.budget import filled
from spectrum_tui.core.numbers import finite, scored_text
from spectrum_tui.core.recipes.choice import Choice, Tiers
from spectrum_tui.core.recipes.kinds import DEFAULT_KIND
from spectrum_tui.core.recipes.policy_line import OPENING, policy_line
from spectrum_tui.core.recipes.writing import drafted
from spectrum_tui.core.results.policy import policy_of
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.saved import store
from spectrum_tui.core.settings import Settings
from spectrum_tui.stdio.streams import say


@dataclass(frozen=True)
class Written:
    """The files of a scan: its scores, and the recipe of what was chosen of them."""

    choice: Choice
    files: OutputFiles
    recipe: Path

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where they are."""
        return self.files.scores, self.files.sorted_scores, self.recipe

    @property
    def said(self) -> str:
        """How many layers were scored, and how many could not be."""
        scores = self.choice.selection.result.scores
        failed = len(scores.problems)
        return scored_text(len(scores) - failed, failed)

    def as_json(self, settings: Settings) -> dict[str, Any]:
        """Return what `scan --json` prints. "snr" is the value in the metric that ranks, as in the
        score files, which "metric" names."""
        result = self.choice.selection.result
        return {
            "model": result.provenance.model,
            "revision": result.provenance.revision,
            "naming": result.provenance.naming,
            "notes": list(result.provenance.notes),
            "metric": result.scores.metric,
            "top_percent": settings.top_percent,
            "policy": policy_line(self.choice.policy, result.scores.metric).removeprefix(OPENING),
            "files": {
                "scores": str(self.files.scores),
                "sorted": str(self.files.sorted_scores),
                "yaml": str(self.recipe),
            },
            "layers": _rows(self.choice),
        }


def write_files(result: Result, settings: Settings, output: Path) -> Written:
    """Write the recipe beside the scores, which are there; raises SpectrumError."""
    files = store.files_of(result, output)
    selection = Selection(result)
    try:
        policy = filled(policy_of(settings), selection, Tiers())
        choice = Choice(selection=selection, policy=policy, allow_missing=settings.allow_missing)
        recipe = drafted(DEFAULT_KIND, choice)[0]
    except SelectionError:
        say(f"the scores are in {files.scores}")
        raise
    path = files.ending(recipe.ending)
    write_text(path, recipe.text)
    say_too_small(selection, policy)
    say_frozen(choice)
    return Written(choice, files, path)


def _rows(choice: Choice) -> list[dict[str, Any]]:
    """Return the layers. A score that is infinite is null with "infinite": true, since strict JSON
    has no Infinity; among the matrices of a layer it is null."""
    scores = choice.selection.result.scores
    mask = choice.selection.trained(choice.policy)
    rows = []
    for i, layer in enumerate(scores.layers):
        score = float(scores.values[i])
        row: dict[str, Any] = {
            "layer": layer,
            "type": scores.type_names[scores.type_ids[i]],
            "snr": finite(score),
            "trains": bool(mask[i]),
            "metrics": {name: finite(column.values[i]) for name, column in scores.metrics.items()},
        }
        if math.isinf(score):
            row["infinite"] = True
        if i in scores.problems:
            row["problem"] = scores.problems[i]
        if i in scores.parts:
            parts = scores.parts[i]
            row["matrices"] = {label: finite(x) for label, x in parts}
        rows.append(row)
    return rows
