"""The readers of recipes against PyYAML: they agree, or say in a line why not."""

from __future__ import annotations

import math
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spectrum_tui.core import numbers
from spectrum_tui.core.audit.entries import open_recipe, parse
from spectrum_tui.core.errors import InputError, RecipeError
from spectrum_tui.core.trainers.recipe_text import KEY, RecipeText, StopsError, names_in_text

NAMES = st.from_regex(r"[a-z_^][a-z0-9_.^$\[\]:*#'\"\\ -]{0,30}", fullmatch=True)
ODD = st.sampled_from(
    ["true", "null", "~", "1", "1.5", "0x1f", "2001-01-01", "=", "<<", "", " ", "é", "- a", "? a",
     "a: b", "a #b", "a# b", "'a'", '"a\\n"', "&x a", "*x", "!!str a", "[a, b]", "{a: b}", "|",
     ">-", "on", "No", "1:30", "\ufeff", "\x85", "\u2028", "\x00", "a\tb", "model.x.weight[3:5]"]
)  # fmt: skip
LINES = st.one_of(
    st.tuples(st.sampled_from(["- ", "  - ", "-  ", "-", "# ", "", "\t- "]), NAMES | ODD).map(
        "".join
    ),
    st.sampled_from([f"{KEY}:", f"'{KEY}':", "training:", f"  {KEY}:", "other:", "---", "...", "",
                     "# by hand", "base: &base", "<<: *base", f"{KEY}: [a, 'b']", "%YAML 1.1"]),
)  # fmt: skip
TEXTS = st.tuples(
    st.sampled_from(["", f"{KEY}:\n", f"# c\n{KEY}:\n- lm_head.weight\n"]),
    st.lists(LINES, max_size=8).map("\n".join),
    st.sampled_from(["", "\n", "\r\n"]),
).map("".join)


def loaded(text: str) -> Any:
    """What PyYAML makes of it, None where it makes nothing."""
    with suppress(yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError):
        return yaml.safe_load(text)
    return None


@given(TEXTS)
@settings(max_examples=100, deadline=None)
@example(f"{KEY}:\n- a\n{KEY}:\n- b\n")
@example(f"base: &b\n  {KEY}: [a]\n<<: *b\n")
@example(f"{KEY}:\n- a\n...\n")
@example(f"{KEY}:\n- a\n# \0")
def test_the_quick_reader_of_plain_lists_reads_as_pyyaml(text: str) -> None:
    try:
        found = RecipeText(text).parsed
    except StopsError:
        found = None
    assert found == loaded(text)


@given(TEXTS)
@settings(max_examples=100, deadline=None)
@example(f"{KEY}:\n- a\n{KEY}:\n- b\n")
def test_the_names_of_a_recipe_are_those_of_pyyaml(text: str) -> None:
    data = loaded(text)
    listed = data.get(KEY) if isinstance(data, dict) else None
    are_names = isinstance(listed, list) and all(isinstance(n, str) and n.strip() for n in listed)
    try:
        names = names_in_text(text, "r.yaml")
    except RecipeError as error:
        assert not (are_names and listed)
        assert error.message.isprintable()
        return
    assert isinstance(listed, list) and are_names
    assert names == tuple(dict.fromkeys(name.strip() for name in listed))


@given(TEXTS)
@settings(max_examples=100, deadline=None)
@example(f"{KEY}:\n- a\n{KEY}:\n- b\n")
@example(f"base: &b\n  {KEY}: [a]\n<<: *b\n")
@example(f"training:\n  {KEY}: [a]\n")
def test_the_lines_of_an_audit_are_those_of_pyyaml(text: str) -> None:
    data = loaded(text)
    try:
        recipe = parse(text)
    except InputError as error:
        assert error.message.isprintable()
        return
    assert isinstance(data, dict)
    listed = (data["training"] if recipe.path else data)[KEY]
    assert [entry.pattern for entry in recipe.entries] == (listed or [])
    lines = text.removeprefix("\ufeff").splitlines()
    assert all(0 <= entry.line <= len(lines) for entry in recipe.entries)


@given(st.one_of(st.binary(max_size=40), TEXTS.map(lambda text: text.encode("utf-8"))))
@settings(max_examples=100, deadline=None)
@example(b"\xef\xbb\xbfa: 1")
@example(b"[1, 2]")
def test_a_file_is_its_text_or_said_to_be_none(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r.yaml"
        path.write_bytes(data)
        try:
            assert open_recipe(path) == data.decode("utf-8-sig")
        except InputError as error:
            assert error.field == "recipe"
            assert error.message.isprintable()


# -- numbers -------------------------------------------------------------------------------------

ANY = st.floats(min_value=0, max_value=1e308) | st.just(math.inf) | st.just(math.nan)


@given(ANY)
def test_a_score_is_short_and_near(value: float) -> None:
    text = numbers.score(value)
    assert len(text) <= 8
    if math.isfinite(value):
        assert abs(float(text) - value) <= max(0.06 * value, 6e-5)


@given(st.floats(min_value=0, max_value=1e15))
def test_counts_and_sizes_keep_three_digits(value: float) -> None:
    units = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
    for text, plain in ((numbers.count(value), ""), (numbers.size(value), "B")):
        number, _, unit = text.partition(" ")
        told = float(number) * (1 if unit == plain else units[unit])
        assert abs(told - value) <= max(0.5, 0.0051 * value)


@given(st.floats(min_value=0, max_value=1))
def test_a_share_of_something_is_never_nothing(share: float) -> None:
    text = numbers.percent(share)
    assert text.endswith(" %")
    assert (float(text[:-2]) == 0) == (share == 0)
    assert len(numbers.short_percent(share)) <= 7


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_duration_is_a_dash_or_has_a_unit(seconds: float) -> None:
    for text in (numbers.duration(seconds), numbers.about(seconds)):
        assert text == "–" or text.split()[-1] in ("s", "min")
    assert numbers.finite(seconds) is None or numbers.finite(seconds) == seconds
