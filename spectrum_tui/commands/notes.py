"""What a command says of the scores it read, on stderr."""

from __future__ import annotations

import sys

from spectrum_tui.core.results import Result


def say_notes(result: Result) -> None:
    """Of imported scores, where their sizes come from and what did not come with them; those of
    a scan were said when it ran."""
    if not result.provenance.version:
        for note in result.provenance.notes:
            shown = "".join(c if c.isprintable() else "?" for c in note)
            sys.stderr.write(f"note: {shown}\n")
