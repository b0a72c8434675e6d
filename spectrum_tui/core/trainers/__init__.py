"""How each trainer reads a recipe and what of a model it would unfreeze by it.

`trainers.TRAINERS` is the list of them, `reports.report` what each would do with a text.
"""

from __future__ import annotations

from spectrum_tui.core.trainers.reports import TrainerReport, report
from spectrum_tui.core.trainers.trainers import TRAINERS, Trainer

__all__ = ["TRAINERS", "Trainer", "TrainerReport", "report"]
