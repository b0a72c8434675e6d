"""The script for TRL and what it defines, for tests of it."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.recipes.kinds import kind_named
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection
from tests import made

RESULT = made.with_parameters(made.result(layers=4, bias=True))


def script_of(result: Result, percent: int = 50, *, embeddings: bool = True) -> str:
    (file,) = kind_named("trl").files(
        Choice(selection=Selection(result), policy=Policy(percent=percent, embeddings=embeddings))
    )
    assert file.ending == f"_trl_{percent}percent.py"
    return file.text


def values_in(text: str, folder: Path) -> dict[str, Any]:
    path = folder / "train.py"
    path.write_text(text, encoding="utf-8")
    return runpy.run_path(str(path))
