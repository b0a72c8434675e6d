"""Apps of one process share their parsed styles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from textual.css.model import RuleSet
from textual.css.stylesheet import Stylesheet


@pytest.fixture(scope="session", autouse=True)
def styles_are_parsed_once() -> Iterator[None]:
    """Every app parses the same 15 kB for each theme, which takes a twentieth of its test; and as
    much again, to put the rules of all its widgets together each time a widget is new to it."""
    parsed: dict[tuple[object, ...], Any] = {}
    joined: dict[tuple[object, ...], Any] = {}
    parse, join = Stylesheet._parse_rules, Stylesheet.parse

    def parse_once(self: Stylesheet, css: str, read_from: Any, *more: Any, **named: Any) -> Any:
        key = (css, read_from, more, *named.items(), *self._variables.items())
        if key not in parsed:
            parsed[key] = parse(self, css, read_from, *more, **named)
        return parsed[key]

    def join_once(self: Stylesheet) -> None:
        key = (*self.source.items(), *self._variables.items())
        if key not in joined:
            join(self)
            joined[key] = (self._rules, self.rules_map)
        self._rules, self._rules_map = joined[key]
        self._require_parse = False

    with pytest.MonkeyPatch.context() as patch:
        # 1,000 times for every widget: the same, without a call of Python's.
        patch.setattr(RuleSet, "__hash__", object.__hash__)
        patch.setattr(Stylesheet, "_parse_rules", parse_once)
        patch.setattr(Stylesheet, "parse", join_once)
        yield
