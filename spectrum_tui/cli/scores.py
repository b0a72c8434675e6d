"""The saved scores that a command works on."""

from __future__ import annotations

import argparse
from pathlib import Path

from spectrum_tui.core.hub.patience import Patience
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.saved.library import record
from spectrum_tui.core.saved.sizes import load_sized
from spectrum_tui.core.settings import Settings
from spectrum_tui.core.text import safe
from spectrum_tui.stdio.streams import say


def load_scores(options: argparse.Namespace, settings: Settings) -> Result:
    """Return the file RESULTS, sized by `--sizes-from` or a cached model, and record it in the
    library; raises SpectrumError.

    Of imported scores it is said where their sizes come from and what did not come with them; the
    notes of a scan were said when it ran.
    """
    path = Path(options.results)
    result = load_sized(path, settings.sizes_from, patience=Patience(say=say))
    record(result, path)
    if not result.provenance.version:
        for note in result.provenance.notes:
            say(f"note: {safe(note)}")
    return result
