"""What has no room is left out as a whole."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from spectrum_tui.app.widgets.adapter_table import _columns
from spectrum_tui.app.widgets.compare_lines import _shown
from spectrum_tui.app.widgets.key_footer import _fitting
from spectrum_tui.app.widgets.layer_facts import whole


@pytest.mark.parametrize(
    ("width", "text"),
    [(17, "one · two · three"), (16, "one · two"), (9, "one · two"), (8, "one"), (1, "one")],
)
def test_the_last_parts_go_first(width: int, text: str) -> None:
    assert whole(["one", "two", "three"], width).plain == text


def test_a_shorter_part_after_one_without_room_goes_too() -> None:
    assert whole(["one", "a long one", "b"], 12).plain == "one"
    assert whole([], 12).plain == ""


def test_keys_leave_from_the_end_and_help_stays() -> None:
    keys = [
        (name[0], name[0], name, name, False, "") for name in ("percent", "save", "help", "back")
    ]
    names = [[key[3] for key in _fitting(keys, width)] for width in (40, 28, 20, 3)]
    assert names == [
        ["percent", "save", "help", "back"],
        ["percent", "save", "help"],
        ["percent", "help"],
        ["help"],
    ]


def test_what_trains_is_cut_between_its_parts() -> None:
    wide, narrow = (_columns("PEFT", "high by 32, medium by 8", "1 M", "2 %", n) for n in (80, 56))
    assert "high by 32, medium by 8" in wide
    assert "high by 32  " in narrow and "," not in narrow
    assert cell_len(narrow) == 56


def test_agreement_has_room_before_the_number_of_layers() -> None:
    assert _shown(64)[0][0] == "in both"
    assert _shown(63)[0][0] == "Spearman"
