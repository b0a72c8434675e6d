"""Records of five fields or more are made by name: two of a type are easily swapped by position."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import spectrum_tui

ROOT = Path(spectrum_tui.__file__).parent
MOST_BY_POSITION = 4


def made_by_position(text: str) -> Iterator[tuple[str, int]]:
    """The dataclasses with a field that has a place among the arguments; how many they have."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            decorators = [ast.unparse(one) for one in node.decorator_list]
            if any(one.startswith("dataclass") and "kw_only=True" not in one for one in decorators):
                fields = [one for one in node.body if isinstance(one, ast.AnnAssign)]
                yield node.name, sum("ClassVar" not in ast.unparse(one) for one in fields)


def test_records_of_many_fields_are_made_by_name() -> None:
    texts = [path.read_text(encoding="utf-8") for path in ROOT.rglob("*.py")]
    found = dict(row for text in texts if "@dataclass" in text for row in made_by_position(text))
    assert {name for name, fields in found.items() if fields > MOST_BY_POSITION} == set()
    assert found["Trained"] == 4


def test_records_made_by_position_are_found() -> None:
    text = "@dataclass(frozen=True)\nclass A:\n    a: int\n    b: ClassVar[int]\n    c: int = 1\n"
    assert list(made_by_position(text)) == [("A", 2)]
    assert list(made_by_position(text.replace("True", "True, kw_only=True"))) == []
