"""A hub that names a time is asked again after it, within bounds, and the user is told."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from spectrum_tui.core.hub import attended, patience
from spectrum_tui.core.hub.errors import RateLimitedError, named_wait
from spectrum_tui.core.hub.patience import LONGEST_WAIT, MOST_WAITS, Patience
from tests.fake_hub import FakeHub
from tests.unit.hub.clock import Clock
from tests.unit.hub.scripts import run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of `patience`."""
    clock = Clock()
    monkeypatch.setattr(patience, "time", clock)
    return clock


class Limited:
    """A request that is refused with these waits, one after the other, and then answered."""

    def __init__(self, *seconds: float) -> None:
        self._seconds = iter(seconds)

    def __call__(self) -> str:
        for seconds in self._seconds:
            raise RateLimitedError(seconds)
        return "answer"


def test_the_named_time_is_waited_for_and_said(clock: Clock) -> None:
    said: list[str] = []
    assert Patience((), say=said.append).ask(Limited(55, 3)) == "answer"
    assert clock.now == pytest.approx(1000 + 56 + 4)
    assert [line.split("co ")[1] for line in said] == [
        "refuses further requests for 56 s (429, rate limit); waiting.",
        "refuses further requests for 4 s (429, rate limit); waiting.",
    ]


@pytest.mark.parametrize("seconds", [LONGEST_WAIT + 1, 1e9, math.inf])
def test_a_time_too_far_away_is_not_waited_for(clock: Clock, seconds: float) -> None:
    with pytest.raises(RateLimitedError, match="refuses further requests for now"):
        Patience(()).ask(Limited(seconds))
    assert clock.now == 1000.0


def test_waits_come_to_an_end(clock: Clock) -> None:
    said: list[str] = []
    with pytest.raises(RateLimitedError):
        Patience((), say=said.append).ask(Limited(*[0.0] * 99))
    assert len(said) == MOST_WAITS
    assert clock.now == pytest.approx(1000 + MOST_WAITS)


def test_a_wait_is_given_up(clock: Clock) -> None:
    def check() -> None:
        if clock.now > 1010:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Patience((), check=check).ask(Limited(300))
    assert clock.now < 1011


def test_passing_failures_have_waits_of_their_own(clock: Clock) -> None:
    failures: Iterator[Exception] = iter([type("ReadError", (Exception,), {})() for _ in range(3)])

    def request() -> None:
        raise next(failures)

    with pytest.raises(Exception) as caught:
        Patience((0.5, 2.0)).ask(request)
    assert type(caught.value).__name__ == "ReadError"
    assert clock.now == pytest.approx(1002.5)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "120"}, 120.0),
        ({"retry-after": " 0 "}, 0.0),
        ({"retry-after": "9" * 10}, math.inf),
        ({"retry-after": "-5"}, math.inf),
        ({"retry-after": "\u0665"}, math.inf),
        ({"retry-after": "soon"}, math.inf),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "Wed, 99 Oct 2015 07:28:00 GMT"}, math.inf),
        ({"retry-after": ""}, math.inf),
        ({}, math.inf),
        ({"ratelimit": '"api";r=0;t=55'}, 55.0),
        ({"ratelimit": '"api";r=12;t=55', "retry-after": "3"}, 3.0),
        ({"ratelimit": "x", "retry-after": "3"}, 3.0),
    ],
)
def test_how_a_time_is_named(headers: dict[str, str], seconds: float) -> None:
    assert named_wait(headers) == seconds


def test_a_time_may_be_a_date() -> None:
    assert named_wait({"retry-after": formatdate(time.time() + 60, usegmt=True)}) == pytest.approx(
        60, abs=2
    )


def test_a_model_is_read_and_fetched_by_a_hub_that_asks_to_wait(
    fake: FakeHub, tmp_path: Path
) -> None:
    fake.retry_after = "0"
    weights = f"/org/single/resolve/{fake.commit('org/single')}/model.safetensors"
    fake.failures |= {"GET /api/models/": [429], f"GET {weights}": [429], f"HEAD {weights}": [429]}
    script = """
from spectrum_tui.core.hub.patience import Patience
said = []
files = read_remote("org/single", patience=Patience((), say=said.append)).files
download(files, progress=lambda *step: None, cancelled=lambda: False, say=said.append)
answer = said
"""
    host = fake.url.removeprefix("http://")
    told = f"{host} refuses further requests for 1 s (429, rate limit); waiting."
    assert run(fake.url, tmp_path, script) == [told] * 3
    assert not any(fake.failures.values())


def test_a_shorter_time_that_another_thread_is_told_shortens_no_wait(clock: Clock) -> None:
    asked, said = iter((RateLimitedError(100.0), RateLimitedError(10.0))), list[str]()
    patience = Patience(say=said.append)

    def request() -> float:
        if clock.now == 1000.0:
            patience._hold(next(asked))
            raise next(asked)
        return clock.now

    assert patience.ask(request) >= 1101.0
    assert len(said) == 1


def test_a_slow_disk_is_no_slow_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """While nobody takes what came, nothing was asked for."""
    monkeypatch.setattr(attended, "STALL", 0.05)
    for _piece in attended.attended_pieces(lambda: (b"a" * 30 for _ in range(4)), lambda: None):
        time.sleep(0.08)


def test_what_comes_after_somebody_has_left_is_not_taken() -> None:
    """The buffer is another request's by then."""
    attempt, taken = attended.Attempt(), list[int]()
    attempt.came(1, lambda: taken.append(1))
    attempt.leave()
    with pytest.raises(attended.LeftError):
        attempt.came(1, lambda: taken.append(2))
    assert taken == [1] and attempt.count == 1
