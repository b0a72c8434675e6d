"""No regular expression takes long: none of the program's, and none that a recipe holds."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectrum_tui.core.audit.audit import audit
from spectrum_tui.core.errors import RecipeError, SpectrumError
from spectrum_tui.core.naming.wrapped import find_wrapping
from spectrum_tui.core.requests import ModelNames
from spectrum_tui.core.results.names import filter_names
from spectrum_tui.core.text import LONGEST_PATTERN
from spectrum_tui.core.trainers import recipe_text
from spectrum_tui.core.trainers.patterns import Form, anywhere, at_start, compiled
from spectrum_tui.core.trainers.recipe_text import RecipeText, StopsError, names_in_text
from spectrum_tui.core.trainers.safety import HazardError
from tests.regexes import Place, collected, pumped, pumps

PLACES, UNKNOWN = collected()
LENGTHS = (20, 22, 24, 30, 45, 70, 100, 150, 220, 330, 500, 1000, 3000, 10_000)
"""In small steps: what doubles with every character, or grows with the third power, is seen before
a length at which it never ends, however fast the processor."""
SECONDS = 0.1
"""Of the processor, for 10 kB. A pattern that goes through the text once needs 0.001 s."""


def use(pattern: re.Pattern[str], method: str, text: str) -> None:
    if method in ("sub", "subn"):
        getattr(pattern, method)("", text)
    elif method == "finditer":
        list(pattern.finditer(text))
    else:
        getattr(pattern, method)(text)


def seconds(pattern: re.Pattern[str], method: str, text: str) -> float:
    """The processor's time of one use, the least of three where it seems long."""
    least = SECONDS * 4
    for _ in range(3):
        start = time.thread_time()
        use(pattern, method, text)
        least = min(least, time.thread_time() - start)
        if not SECONDS < least < SECONDS * 2:
            break
    return least


def slow(pattern: re.Pattern[str], method: str) -> str:
    """The shortest text found that takes too long; a short one may be the one that never ends."""
    for length in LENGTHS:
        for pump in pumps(pattern):
            needed = seconds(pattern, method, pumped(pump, length))
            if needed > SECONDS:
                return f"{method} {pump} × {length}: {needed:.2f} s"
    return ""


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place.where}:{place.number}")
def test_ten_kilobytes_take_less_than_a_tenth_of_a_second(place: Place) -> None:
    assert [s for method in place.methods if (s := slow(place.pattern, method))] == []


def test_every_pattern_is_tried() -> None:
    """Those that are made while the program runs are bounded: by `safety`, by transformers, or by
    fnmatch, which never looks back."""
    assert sorted(UNKNOWN) == [
        "core/adapters/configuration.py: re.compile(pattern)",
        "core/naming/assemble.py: re.compile('|'.join((f'(?:{p})' for p in (*ALWAYS_IGNORED, "
        "*ignored_patterns(model)))))",
        "core/naming/coverage.py: re.search(wrapping.pattern, name)",
        "core/results/names.py: re.compile(translate(pattern))",
        "core/trainers/patterns.py: re.compile(form.regex)",
    ]
    assert len(PLACES) > 70


def test_shell_patterns_are_quick() -> None:
    begin = time.process_time()
    for pattern in ("*a" * 60 + "b", "[a-z]*" * 40 + "!", "?" * 400 + "*" * 400 + "!"):
        assert filter_names(["a" * 2000], pattern) == []
    assert time.process_time() - begin < 0.5


@pytest.mark.parametrize(
    "name",
    ["module._orig_mod.base_model.model.a.weight", "model.layers.0._fsdp_wrapped_module.a.weight"],
)
def test_what_takes_wrappers_out_of_names_is_quick(name: str) -> None:
    wrapping = find_wrapping([name], ())
    assert wrapping is not None
    assert slow(re.compile(wrapping.pattern), "search") == ""


@pytest.mark.parametrize("pattern", [r"(a|a)*b", r"\w*norm\w*$", r"(a+)+$", r"\s+:", r"a*a*a*b"])
def test_a_slow_pattern_is_found(pattern: str) -> None:
    assert slow(re.compile(pattern), "search")


# -- lines of a recipe -------------------------------------------------------------------------

NAMES = [f"model.layers.{n}.{part}.weight" for n in range(4) for part in ("norm", "mlp.up_proj")]
MODEL = ModelNames(
    model="made/model", naming="transformers", names=tuple(NAMES), sizes=(1,) * 8, rows=(1,) * 8
)
HOSTILE = [
    "_norm",
    "norm_",
    ".1",
    "_scale1",
    "(",
    "[",
    "{",
    "\\",
    "|",
    "a?",
    "{1",
    "[0:",
    "(a",
    ")",
]


@pytest.mark.parametrize("names", [None, MODEL], ids=["text", "model"])
def test_long_lines_are_not_looked_into(names: ModelNames | None) -> None:
    of_patterns = sorted({pump[1] for place in PLACES for pump in pumps(place.pattern)[:40]})
    units = [u for u in (*HOSTILE, *of_patterns[:40]) if u.isprintable() and "'" not in u]
    lines = "".join(f"- 'x{pumped(('', unit, ''), 10_000)}'\n" for unit in units)
    text = f"unfrozen_parameters:\n{lines}"
    start = time.thread_time()
    found = audit(text, names)
    assert time.thread_time() - start < 30
    by_code = {one.code: one for one in found.findings}
    assert by_code["long"].count == found.lines == text.count("\n- ")
    assert "characters" in by_code["long"].message
    assert found.fixed == ""


def test_the_longest_line_that_is_looked_into_takes_little_time() -> None:
    for unit in HOSTILE:
        line = "x" + unit * (LONGEST_PATTERN // len(unit) - 1)
        text = f"unfrozen_parameters:\n- '{line}'\n"
        start = time.thread_time()
        audit(text, MODEL)
        assert time.thread_time() - start < 2, unit


PARTS = st.sampled_from(
    ["a", "_", ".", "[a_]", "[^.]", r"\w", r"\d", "norm", r"\.", "(?=a)", "^", "$", "[a-z_]", "\\b"]
)
REPEATS = st.sampled_from(["", "", "*", "+", "?", "*?", "+?", "{2,}", "{,9}", "{1,30}", "{3}"])
PATTERNS = st.recursive(
    st.tuples(PARTS, REPEATS).map("".join),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=5).map("".join),
        st.tuples(st.sampled_from(["({}|{})", "(?:{}{})", "(?:{}|{})?", "({}{})*", "({}|{})+"]),
                  inner, inner).map(lambda one: one[0].format(*one[1:])),
    ),
    max_leaves=8,
)  # fmt: skip


@given(PATTERNS, st.sampled_from([at_start, anywhere]))
@settings(max_examples=100, deadline=None)
def test_a_regular_expression_of_a_recipe_is_quick_or_not_tried(
    pattern: str, understand: Callable[[str], Form]
) -> None:
    """On names of 100 characters of its own alphabet, made to fail at their end."""
    form = understand(pattern)
    if not form.regex:
        return
    try:
        tried = compiled(form, 100)
    except HazardError:
        return
    for pump in pumps(re.compile(pattern)):
        name = pumped(pump, 100 - len(pump[0]) - len(pump[2]))[:100]
        start = time.thread_time()
        tried(name)
        assert time.thread_time() - start < 2, (pattern, name)


def test_a_long_entry_is_no_name() -> None:
    with pytest.raises(RecipeError, match=r"Entry 2 of r\.yaml has 5,000 characters"):
        names_in_text(f"unfrozen_parameters:\n- lm_head.weight\n- {'_norm' * 1000}\n", "r.yaml")


# -- YAML that would keep PyYAML busy ------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        ":".join(["1"] * 50_000),
        ":".join(["1"] * 50_000) + ".5",
        "1" * 4000,
        "[" + "a," * 2_600_000 + "]",
    ],
    ids=["base 60", "base 60 with a point", "digits", "5 MB"],
)
def test_a_value_that_takes_minutes_is_refused(value: str) -> None:
    with pytest.raises(StopsError, match=r"cannot make|not a plain list"):
        assert RecipeText(f"more: {value}\n").parsed


def test_merges_of_merges_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe_text, "MOST_MERGED", 1000)
    keys = ", ".join(f"k{n}: 1" for n in range(50))
    merges = ", ".join(["*a"] * 50)
    with pytest.raises(StopsError, match="cannot make"):
        assert RecipeText(f"a: &a {{{keys}}}\nb: {{<<: [{merges}]}}\n").parsed
    assert RecipeText("a: &a {x: 1}\nb: {<<: *a}\n").parsed["b"] == {"x": 1}


def test_lists_of_lists_of_lists_are_not_spelled_out() -> None:
    """Nine lines that stand for a thousand million items."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for n in range(1, 10):
        items = ", ".join([f"*a{n - 1}"] * 9)
        lines.append(f"a{n}: &a{n} [{items}]")
    for more in ("unfrozen_parameters: *a9", "unfrozen_parameters: [lm_head]\nplugins: *a9",
                 "unfrozen_parameters: [lm_head]\nfsdp: true\nfsdp_version: *a9"):  # fmt: skip
        text = "\n".join([*lines, more, ""])
        start = time.thread_time()
        with suppress(SpectrumError):
            audit(text, MODEL)
        with suppress(SpectrumError):
            names_in_text(text, "r.yaml")
        assert time.thread_time() - start < 5
