"""The tiny models, written once in a session, and the tables of what was matched and trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
import transformers

from spectrum_tui.core.results.results import Result
from tests.architectures.layouts import LAYOUTS, split_in_shards, write_layout
from tests.architectures.tiny import ARCHITECTURES, Architecture

T = TypeVar("T")
ALL_BUILD_FROM = 23
"""The minor version of transformers 5 from which every architecture here must build."""

Row = tuple[str, str, int, int, int]
"""Architecture, layout, parameters of the trainer's model; then those matched and expert slices,
or recipes applied and those that trained what was meant."""


class TinyModels:
    """Folders of tiny models, made when they are first asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._models: dict[str, Any] = {}
        self.results: dict[str, Result] = {}
        """Of scans of all types, by folder."""

    def model(self, name: str) -> Any:
        """The model itself; skips the test where this transformers does not have it."""
        if not ARCHITECTURES[name].available:
            pytest.skip(f"this transformers has no {ARCHITECTURES[name].model}")
        if name not in self._models:
            self._models = {name: built(name, Architecture.build)}
        return self._models[name]

    def folder(self, name: str, layout: str = "transformers-4", shards: int = 1) -> Path:
        """The folder of a model in a layout."""
        place = self._root / name / f"{layout}-{shards}"
        if place.exists():
            return place
        if shards > 1:
            return split_in_shards(self.folder(name, layout), place, shards)
        return write_layout(self.model(name), name, layout, place)


def built(name: str, build: Callable[[Architecture], T]) -> T:
    """What `build` makes, unless this is an older transformers that has faults of its own in it."""
    try:
        return build(ARCHITECTURES[name])
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
    """The tables: what was matched, and what trained as it was meant to."""
    _matched_table(terminalreporter, _rows(terminalreporter, "matched"))
    _trained_table(terminalreporter, _rows(terminalreporter, "trained"))
    _read_table(terminalreporter, _rows(terminalreporter, "read"))


def _rows(terminalreporter: Any, property_name: str) -> list[Row]:
    reports = [
        r for outcome in ("passed", "failed") for r in terminalreporter.stats.get(outcome, ())
    ]
    return [
        value for report in reports for key, value in report.user_properties if key == property_name
    ]


def _trained_table(terminalreporter: Any, rows: list[Row]) -> None:
    """One line for each architecture: recipes read in every way, and those that trained right."""
    if not rows:
        return
    terminalreporter.section("recipes applied to the model of from_pretrained")
    heads = ("architecture", "layout", "parameters", "recipes", "trainable as intended")
    terminalreporter.write_line("{:18}{:16}{:>12}{:>10}{:>23}".format(*heads))
    for row in rows:
        terminalreporter.write_line("{:18}{:16}{:>12}{:>10}{:>23}".format(*row))
    right, tried = sum(row[4] for row in rows), sum(row[3] for row in rows)
    terminalreporter.write_line(f"{right} of {tried} as intended")


def _read_table(terminalreporter: Any, rows: list[Row]) -> None:
    """One line for each architecture: of each kind of recipe, how often trainers read it right."""
    if not rows:
        return
    terminalreporter.section("recipes of each kind, as each trainer reads them")
    kinds = list(dict.fromkeys(row[1] for row in rows))
    line = "{:18}{:>12}" + "{:>22}" * len(kinds)
    terminalreporter.write_line(line.format("architecture", "parameters", *kinds))
    for name in dict.fromkeys(row[0] for row in rows):
        of_name = {row[1]: row for row in rows if row[0] == name}
        cells = [_of_tried(of_name.get(kind)) for kind in kinds]
        terminalreporter.write_line(line.format(name, next(iter(of_name.values()))[2], *cells))
    right, tried = sum(row[4] for row in rows), sum(row[3] for row in rows)
    terminalreporter.write_line(f"{right} of {tried} as intended")


def _of_tried(row: Row | None) -> str:
    return f"{row[4]}/{row[3]}" if row is not None and row[3] else "–"


def _matched_table(terminalreporter: Any, rows: list[Row]) -> None:
    """One line for each architecture: its parameters, and how many are named and equal."""
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
