"""The tiny models, written once in a session, and the table of what was matched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tests.architectures.layouts import LAYOUTS, split_in_shards, write_layout
from tests.architectures.tiny import ARCHITECTURES

ALL_BUILD_FROM = 23
"""The minor version of transformers 5 from which every architecture here must build."""

Row = tuple[str, str, int, int, int]
"""Architecture, layout, parameters of the trainer's model, those matched, expert slices."""


class TinyModels:
    """Folders of tiny models, made when they are first asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._models: dict[str, Any] = {}

    def model(self, name: str) -> Any:
        """The model itself; skips the test where this transformers does not have it."""
        if not ARCHITECTURES[name].available:
            pytest.skip(f"this transformers has no {ARCHITECTURES[name].model}")
        if name not in self._models:
            self._models = {name: _built(name)}
        return self._models[name]

    def folder(self, name: str, layout: str = "transformers-4", shards: int = 1) -> Path:
        """The folder of a model in a layout."""
        place = self._root / name / f"{layout}-{shards}"
        if place.exists():
            return place
        if shards > 1:
            return split_in_shards(self.folder(name, layout), place, shards)
        return write_layout(self.model(name), name, layout, place)


def _built(name: str) -> Any:
    """The model, unless this is an older transformers that has faults of its own in it."""
    try:
        return ARCHITECTURES[name].build()
    except Exception:
        if int(transformers.__version__.split(".")[1]) >= ALL_BUILD_FROM:
            raise
        pytest.skip(f"transformers {transformers.__version__} cannot build {name}")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    """All tiny models of this session, computed on one thread."""
    torch.set_num_threads(1)
    return TinyModels(tmp_path_factory.mktemp("architectures"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line for each architecture: its parameters, and how many are named and equal."""
    reports = [
        r for outcome in ("passed", "failed") for r in terminalreporter.stats.get(outcome, ())
    ]
    rows: list[Row] = [
        value for report in reports for key, value in report.user_properties if key == "matched"
    ]
    if not rows:
        return
    terminalreporter.section("parameters matched with from_pretrained")
    terminalreporter.write_line(f"{'architecture':18}" + "".join(f"{n:>20}" for n in LAYOUTS))
    cells = {(name, layout): counts for name, layout, *counts in rows}
    for name in dict.fromkeys(row[0] for row in rows):
        line = "".join(f"{_cell(cells.get((name, layout))):>20}" for layout in LAYOUTS)
        terminalreporter.write_line(f"{name:18}{line}")
    wanted, got, slices = (sum(counts[i] for counts in cells.values()) for i in range(3))
    terminalreporter.write_line(f"{got} of {wanted} parameters, {slices} expert slices")


def _cell(counts: list[int] | None) -> str:
    if counts is None:
        return "–"
    wanted, got, slices = counts
    return f"{got}/{wanted}" + (f" +{slices}" if slices else "")
