"""Which matrices go to a process together: enough to be worth the way, few enough to lose."""

from __future__ import annotations

from spectrum_tui.core.scanning.chunks import MOST, Item, Pile


def pile(*costs: float, alone: tuple[str, ...] = ()) -> Pile:
    """Matrices of these costs, called by their place."""
    return Pile([Item(str(i), cost, 1, str(i) in alone) for i, cost in enumerate(costs)])


def names(items: list[Item]) -> str:
    return "".join(item.name for item in items)


def test_the_costliest_come_first_as_long_as_they_take_seconds() -> None:
    left = pile(*[1.0] * 500)
    assert len(left.take(1.0, 2)) == MOST
    assert left.cost == len(left) == 490
    assert names(pile(1.0, 3.0, 2.0).take(0.0, 1)) == "1"


def test_towards_the_end_all_have_half_of_a_share() -> None:
    left = pile(*[1.0] * 16)
    assert [len(left.take(1.0, 2)) for _ in range(4)] == [4, 3, 2, 1]


def test_as_many_come_as_are_computed_at_once_but_no_more_than_a_share() -> None:
    assert len(pile(*[1.0] * 16).take(0.0, 2, at_once=4)) == 4
    assert len(pile(*[1.0] * 5).take(0.0, 2, at_once=4)) == 3


def test_what_has_ended_a_process_goes_alone() -> None:
    left = pile(4.0, 3.0, 2.0, 1.0, alone=("1",))
    assert [names(left.take(1.0, 1)) for _ in range(3)] == ["0", "1", "2"]
    assert names(pile(4.0, 1.0, alone=("1",)).take(1.0, 1, at_once=2)) == "0"


def test_what_is_put_back_is_on_top() -> None:
    left = pile(3.0, 2.0, 1.0)
    taken = left.take(0.0, 1, at_once=2)
    assert (names(taken), left.cost) == ("01", 1.0)
    left.put_back(taken)
    assert (left.top.name, left.cost, len(left)) == ("0", 6.0, 3)
    assert names(left.take(1.0, 1, at_once=3)) == "012" and left.cost == 0.0
