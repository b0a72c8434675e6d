"""Why the network is waited for is told as long as it is, in whatever order threads come."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from spectrum_tui.core.hub import outage
from spectrum_tui.core.hub.errors import RateLimitedError
from spectrum_tui.core.hub.outage import Outage

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Outage:
    monkeypatch.setattr(outage, "TOLD_AFTER", 0.0)
    return Outage(check=lambda: None)


def test_bytes_end_the_wait(made: Outage) -> None:
    made.wait(TimeoutError(), iter([0.0]))
    assert made.reason == "The server sends nothing."
    made.over()
    assert made.reason == ""


def test_bytes_that_come_while_another_thread_fails_end_it_too(
    made: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, entries = made._lock, itertools.count()

    @contextmanager
    def lock() -> Iterator[None]:
        number = next(entries)
        if number == 1:  # between the failure and what is told of it
            made.over()
        with real:
            yield

    class Between:
        def __enter__(self) -> None:
            self._held = lock()
            self._held.__enter__()

        def __exit__(self, *error: object) -> None:
            self._held.__exit__(None, None, None)

    monkeypatch.setattr(made, "_lock", Between())
    made.wait(TimeoutError(), iter([0.0]))
    assert made.reason == ""


def test_a_time_that_a_server_names_is_told_though_bytes_still_come(made: Outage) -> None:
    made.limited(RateLimitedError(60.0), iter([]))
    made.over()  # of an answer that was on its way
    assert made.reason == "The server asks to wait 1 min 00 s."


def test_the_first_error_of_any_thread_counts(made: Outage) -> None:
    made.fail(ValueError("first"))
    made.fail(ValueError("second"))
    with pytest.raises(ValueError, match="first"):
        made.check()
    made.begin()
    made.check()
