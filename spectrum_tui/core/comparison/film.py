"""A training run as a film: how the ranking of its layers moved, from score file to score file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spectrum_tui.core.comparison.compare import Comparison, compare
from spectrum_tui.core.comparison.differences import Differences
from spectrum_tui.core.errors import ResultsError
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.saved.steps import adapter_moves, step_files
from spectrum_tui.core.saved.store import load_result

MOST_FRAMES = 500
"""Files that are read, the first ones: 500 of 200 layers take about 5 s."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The scores at a step of the training, compared with those of the first one; `moves` says
    what became of adapters then."""

    step: int
    comparison: Comparison
    differences: Differences
    moves: str = ""


@dataclass(frozen=True, slots=True)
class Film:
    """A training run; `notes` say which files are not in it and why, and where scores lack."""

    frames: tuple[Frame, ...]
    notes: tuple[str, ...]


def load_film(folder: Path) -> Film:
    """Return a training run, ranked by the metric of the first file.

    A file that cannot be read or compared with the first is left out. Raises ResultsError where
    fewer than two are left.
    """
    frames: list[Frame] = []
    notes: list[str] = []
    moves = adapter_moves(folder)
    for step, path in step_files(folder)[:MOST_FRAMES]:
        try:
            result = load_result(path)
            first = frames[0].comparison.a if frames else result
            comparison = compare(first, result)
        except Exception as exc:  # whatever stands in a file
            notes.append(f"{path.name} is left out: {exc}")
            continue
        if lacking := comparison.unranked:
            layers = counted(lacking, "layer has", "layers have")
            notes.append(f"{path.name}: {layers} no score there or at the first step.")
        comparison.work_out()
        frames.append(Frame(step, comparison, Differences(comparison), moves.get(step, "")))
    if len(frames) < 2:
        fault = next((f" {note}" for note in notes), "")
        raise ResultsError(
            f"{folder} holds no two score files of one training run.{fault}",
            "RescoreCallback and SpectrumAdapters write …-step-N.json files, one each time.",
        )
    return Film(tuple(frames), tuple(notes))
