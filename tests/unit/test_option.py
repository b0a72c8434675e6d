"""Numbers as they are typed."""

from __future__ import annotations

import math

import pytest

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.option import number, whole_number


@pytest.mark.parametrize("text", ["", "x", "1.5", "٣", "４", "0x3", "-1", "0", "11", "9" * 5000])
def test_what_is_no_whole_number_in_its_bounds_is_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        whole_number(text, 1, 10, "steps", "--steps", "1 to 10")
    assert caught.value.field == "steps"


def test_numbers_are_read_in_ascii_digits() -> None:
    assert whole_number(" 7 ", 1, 10, "steps", "--steps", "1 to 10") == 7
    assert number("2e-4") == 0.0002
    assert all(math.isnan(number(text)) for text in ("", "x", "٣", "1٫5", "nan"))
