"""A scan that reads from the hub's store of chunks has the same scores, whatever fails there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from spectrum_tui.core.events import LayerDone
from spectrum_tui.core.hub import xet
from spectrum_tui.core.model.inspection import inspect_model
from tests.checkpoints import llama, save
from tests.fake_cas import TOKEN, FakeCas
from tests.fake_hub import GOOD_TOKEN, FakeHub
from tests.streamed import REPO, Streamed, end, scores, stream_from

TYPES = ("mlp.down_proj", "self_attn.k_proj")


@pytest.fixture(scope="module")
def hub() -> Iterator[FakeHub]:
    with FakeHub({}) as running:
        yield running


@pytest.fixture
def model(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Streamed:
    """A Llama in three shards."""
    folder = save(tmp_path / "model", llama(3, hidden=48), shards=3)
    return stream_from(folder, hub, tmp_path, monkeypatch)


@pytest.fixture
def cas(model: Streamed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCas]:
    """The store of that model, of which small matrices are asked too."""
    monkeypatch.setattr(constants, "HF_XET_CACHE", str(tmp_path / "xet"))
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "xet"))
    monkeypatch.setattr(xet, "LEAST", 2)
    monkeypatch.setattr(xet, "TRIAL", 0)
    monkeypatch.setattr(xet, "CONFIG", xet.CONFIG | {"client.retry_base_delay": "5ms"})
    with FakeCas(model.hub, REPO) as running:
        yield running


def test_scores_are_those_of_the_files(model: Streamed, cas: FakeCas) -> None:
    events = model.scan()
    assert scores(events) == scores(model.local(since=1e12)) and end(events).failed == 0
    assert model.fetched() == 0
    assert {token for path, token in cas.requests if path.startswith("/v2/")} == {f"Bearer {TOKEN}"}
    assert {token for path, token in cas.requests if path.startswith("/xorbs")} == {""}
    assert set(cas.let_in) == {GOOD_TOKEN}


@pytest.mark.parametrize(
    ("part", "statuses", "cut"),
    [
        ("v2", [0] * 3 + [401] * 100, None),
        ("xorbs", [0] * 9 + [403] * 100, None),
        ("xorbs", [], 500),
        ("", [503] * 100, None),
    ],
    ids=["token over", "bytes refused", "bytes cut", "gone"],
)
def test_a_store_that_fails_costs_no_score_and_no_byte_twice(
    part: str, statuses: list[int], cut: int | None, model: Streamed, cas: FakeCas
) -> None:
    inspection = inspect_model(REPO)
    cas.failures[part] = statuses
    if cut:
        cas.cuts[part] = cut
    events = model.scan(inspection, types=TYPES)
    assert end(events).failed == 0
    local = scores(model.local(since=1e12, types=TYPES))
    assert scores(events) == local and local
    sizes = sum(event.bytes for event in events if isinstance(event, LayerDone))
    assert 0 < model.fetched() <= sizes


def test_a_scan_that_is_stopped_waits_for_nothing(model: Streamed, cas: FakeCas) -> None:
    inspection = inspect_model(REPO)
    cas.stalled = "xorbs"
    stopped = [0.0]

    def cancelled() -> bool:
        if not stopped[0] and "xorbs" in cas.asked:
            stopped[0] = time.monotonic()
        return bool(stopped[0])

    assert end(model.scan(inspection, cancelled=cancelled)).reason == "stopped"
    assert time.monotonic() - stopped[0] < 2
