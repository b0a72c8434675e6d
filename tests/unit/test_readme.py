"""What README and hints tell to install."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from spectrum_tui.core.recipes.kinds import OFFERED
from spectrum_tui.core.settings import ALL_METRICS

ROOT = Path(__file__).parents[2]
EXTRA = re.compile(r"pip install '([^'\[]*)\[(\w+)\]'")


def test_extras_are_installed_in_one_way_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    files = [ROOT / "README.md", *(ROOT / "spectrum_tui").rglob("*.py")]
    told = {found for path in files for found in EXTRA.findall(path.read_text(encoding="utf-8"))}
    extras = {extra for _, extra in told}
    assert {"png", "web", "train"} <= extras <= {*project["optional-dependencies"]}
    # by name: that is found from any folder once the program is installed
    assert {name for name, _ in told} == {project["name"]}
    assert project["requires-python"].removeprefix(">=") in (ROOT / "README.md").read_text()


def test_every_kind_of_recipe_and_every_metric_has_its_row() -> None:
    rows = [
        line.split("|")[1]
        for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    ]
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert {kind.name for kind in OFFERED} | set(ALL_METRICS) <= named
