"""Errors are one line with a hint, and survive the way between the processes."""

from __future__ import annotations

import json

import pytest

from spectrum_tui.core import errors
from spectrum_tui.core.errors import SpectrumError, from_dict, to_dict

FAMILY = [
    errors.SpectrumError,
    errors.InputError,
    errors.CheckpointError,
    errors.HubError,
    errors.ResultsError,
    errors.SelectionError,
    errors.OutputError,
    errors.ScanError,
]


@pytest.mark.parametrize("kind", FAMILY)
def test_round_trip_keeps_kind_and_words(kind: type[SpectrumError]) -> None:
    error = kind("It is broken.", "Mend it.", field="model")
    back = from_dict(json.loads(json.dumps(to_dict(error))))
    assert type(back) is kind
    assert (back.message, back.hint, back.field) == ("It is broken.", "Mend it.", "model")
    assert str(back) == "It is broken. Mend it."


def test_every_kind_has_a_title_of_its_own() -> None:
    assert len({kind.title for kind in FAMILY}) == len(FAMILY)


def test_an_unknown_kind_is_still_an_error() -> None:
    data = {"kind": "OfALaterVersion", "message": "m", "hint": "h", "field": ""}
    assert type(from_dict(data)) is SpectrumError


@pytest.mark.parametrize(
    "text", ["two\nlines", "a\r\nb", "tab\there", "\x1b[31mred", "a\x85b\u2028c", "bell\x07"]
)
def test_whatever_was_put_in_comes_out_as_one_printable_line(text: str) -> None:
    error = SpectrumError(text, text)
    assert len(str(error).splitlines()) == 1
    assert error.message.isprintable()
    assert error.hint.isprintable()


def test_without_a_hint_there_is_no_trailing_space() -> None:
    assert str(SpectrumError("Only this.")) == "Only this."
