"""How each trainer reads a recipe and what of a model it would unfreeze by it.

`trainers.CONSUMERS` is the list of them, `reports.report` what each would do with a text.
"""

from __future__ import annotations

from spectrum_tui.core.trainers.reports import ConsumerReport, report
from spectrum_tui.core.trainers.trainers import CONSUMERS, Consumer

__all__ = ["CONSUMERS", "Consumer", "ConsumerReport", "report"]
