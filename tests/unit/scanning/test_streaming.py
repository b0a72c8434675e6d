"""A scan without a download has the same scores, goes on after a network that was gone, and fetches
nothing of what is finished."""

from __future__ import annotations

import contextlib
import errno
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import hf_hub_download

from spectrum_tui.app.screens.result_notes import caveats
from spectrum_tui.core import disk
from spectrum_tui.core.errors import HubError, InputError, OutputError
from spectrum_tui.core.events import Fetched, LayerDone, ScanEnded, ScanNote
from spectrum_tui.core.files import cache_dir
from spectrum_tui.core.hub import outage
from spectrum_tui.core.hub.ranges import RangeReader
from spectrum_tui.core.hub.reader import Traffic
from spectrum_tui.core.hub.transfer import download
from spectrum_tui.core.hub.whole_files import WholeFiles
from spectrum_tui.core.journal.journal import journal_path, read_entries
from spectrum_tui.core.model import places
from spectrum_tui.core.model.inspection import inspect_model
from spectrum_tui.core.requests import ResultReady
from spectrum_tui.core.saved.store import load_result
from spectrum_tui.core.scanning import cluster_task, read_ahead, streaming
from spectrum_tui.core.scanning.cluster_task import Reference, WorkOrder, carry_out
from spectrum_tui.core.scanning.read_order import Events
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.scanning.streaming import streams
from spectrum_tui.core.scoring import svd
from spectrum_tui.core.settings import Settings
from tests import fake_hub
from tests.checkpoints import Tensors, experts, llama, save
from tests.fake_hub import FakeHub, oid
from tests.forked import Forked
from tests.streamed import REPO, Streamed, end, resumed, scores, stream_from

WIDE = 48
CONFIG = {"tie_word_embeddings": True}


@pytest.fixture(scope="module")
def hub() -> Iterator[FakeHub]:
    with FakeHub({}) as running:
        yield running


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "FIRST_WAIT", 0.002)
    monkeypatch.setattr(outage, "MOST_WAIT", 0.01)


@pytest.fixture
def model(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Streamed:
    """A Llama in three shards."""
    folder = save(tmp_path / "model", llama(3, hidden=WIDE), shards=3)
    return stream_from(folder, hub, tmp_path, monkeypatch)


def tied() -> Tensors:
    tensors = llama(1)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    return tensors


def untied() -> Tensors:
    tensors = tied()
    tensors["lm_head.weight"] *= torch.linspace(0.5, 2, 32)
    return tensors


@pytest.mark.parametrize(
    ("tensors", "config"),
    [
        (llama(2), {}),
        (llama(2, dtype=torch.float32), {}),
        (llama(1) | experts(1), {}),
        (tied(), CONFIG),
        (untied(), CONFIG),
    ],
    ids=["bf16", "float32", "experts", "tied", "stored as tied, but trained apart"],
)
@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_scores_are_those_of_the_files(
    tensors: Tensors,
    config: dict[str, Any],
    precision: str,
    hub: FakeHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = save(tmp_path / "model", tensors, shards=2, config=config)
    model = stream_from(folder, hub, tmp_path, monkeypatch)
    found = model.scan(precision=precision)
    wanted = model.local(precision=precision, since=1e12)
    assert scores(found) == scores(wanted) and scores(found)
    paths = [Path(event.path) for events in (found, wanted) for event in events[-1:]]  # type: ignore[union-attr]
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("has_room", [True, False])
def test_wide_matrices_take_no_more_memory_than_others(
    has_room: bool, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read in strips: what the pool cannot hold lies on the disk meanwhile, or is fetched
    for each strip."""
    tensors = {"model.layers.0.mlp.down_proj.weight": torch.randn(64, 700, dtype=torch.bfloat16)}
    folder = save(tmp_path / "model", tensors)
    model = stream_from(folder, hub, tmp_path, monkeypatch)
    wanted = scores(model.local())
    monkeypatch.setattr(streaming, "SEGMENT", 8192)
    monkeypatch.setattr(streaming, "POOL", 2 * 8192)
    monkeypatch.setattr(svd, "CHUNK_ELEMENTS", 64 * 100)
    monkeypatch.setattr(svd, "STRIP_ELEMENTS", 64 * 100)
    if not has_room:
        monkeypatch.setattr(disk, "free_space", lambda folder: 0)
    events = model.scan()
    found = scores(events)
    assert found.keys() == wanted.keys() and len(found) == 1
    assert next(iter(found.values())) == pytest.approx(next(iter(wanted.values())), rel=1e-9)
    notes = [event.text for event in events if isinstance(event, ScanNote)]
    told = [note for note in notes if str(cache_dir()) in note and "fetches its whole" in note]
    assert len(told) == (not has_room)
    size = 2 * 64 * 700
    assert model.fetched() == size if has_room else 4 * size < model.fetched() < 8 * size
    assert not [path for path in cache_dir().iterdir() if path.name.startswith(".")]


def test_every_byte_of_a_matrix_is_fetched_once(model: Streamed) -> None:
    events = model.scan(types=("mlp.down_proj", "self_attn.k_proj"))
    sizes = [event.bytes for event in events if isinstance(event, LayerDone)]
    assert len(sizes) == 6
    assert model.fetched() == sum(sizes)
    assert not (model.folder.parent / "hub-cache").exists()


def test_shards_that_are_in_the_cache_are_read_there(model: Streamed) -> None:
    first, *_, last = sorted(path.name for path in model.folder.glob("*.safetensors"))
    hf_hub_download(REPO, first, revision=model.hub.commit(REPO))
    wanted = scores(model.local(since=1e12))
    model.hub.requests.clear()
    assert scores(model.scan()) == wanted
    assert [r for r in model.hub.ranges(last) if r[0]]
    assert not model.hub.ranges(first)


def test_the_provenance_says_what_was_not_checked(model: Streamed) -> None:
    *_, ready = model.scan()
    assert isinstance(ready, ResultReady)
    provenance = load_result(Path(ready.path)).provenance
    commit = model.hub.commit(REPO)
    assert [note for note in provenance.notes if commit[:12] in note and "not checked" in note]
    assert caveats(load_result(Path(ready.path))) == [provenance.unhashed] != [""]


@pytest.mark.usefixtures("quick")
def test_a_bad_line_costs_no_score(model: Streamed) -> None:
    wanted, inspection = scores(model.local()), inspect_model(REPO)
    model.hub.cut_each = 700
    model.hub.failures["/signed/"] = [0, 503, 0, 0, 429, 0, 403, 0, 502]
    model.hub.retry_after = "0"
    found = model.scan(inspection, since=1e12)
    assert scores(found) == wanted
    assert end(found).failed == 0


def test_a_network_that_is_gone_stops_the_scan_which_goes_on_later(
    model: Streamed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "GIVE_UP", 0.05)
    monkeypatch.setattr(outage, "FIRST_WAIT", 0.01)
    inspection = inspect_model(REPO)
    model.hub.failures["/signed/"] = [0] * 6 + [503] * 1000
    events = model.scan(inspection)
    ended = end(events)
    assert (ended.reason, ended.failed) == ("stopped", 0)
    assert "503" in ended.notes[-1] and "the same command goes on from there" in ended.notes[-1]
    before = {event.layer for event in events if isinstance(event, LayerDone)}
    model.hub.failures.clear()
    model.hub.requests.clear()
    later = model.scan()
    assert end(later).reason == "finished"
    assert {name for name in before if "norm" not in name} <= resumed(later)
    assert scores(later) == scores(model.local(since=1e12))


def test_waiting_for_values_is_no_work(model: Streamed) -> None:
    """Else the time left would be that of slow matrices, and many of them after an outage."""
    model.local()  # what is loaded once
    inspection = inspect_model(REPO)
    model.hub.rate = sum(path.stat().st_size for path in model.folder.glob("*.safetensors")) / 0.6
    begin = time.monotonic()
    events = model.scan(inspection)
    took = time.monotonic() - begin
    assert took > 0.4
    assert sum(event.seconds for event in events if isinstance(event, LayerDone)) < took / 2


def test_an_outage_is_no_slow_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "TICK", 0.05)
    reader: Any = SimpleNamespace(traffic=Traffic(), outage=SimpleNamespace(reason="Gone."))
    events: Events = SimpleQueue()
    with streaming._telling(reader, 4000, events):
        for _ in range(streaming.WINDOW):
            assert events.get() == Fetched(0, 4000, 0.0, "Gone.")
        reader.traffic.nbytes, reader.outage.reason = 1000, ""
        told = [event for _ in range(3) if isinstance(event := events.get(), Fetched)]
    speed = next(one.speed for one in told if one.done and not one.waited)
    assert speed > 1000 / 0.2


def test_what_is_finished_is_not_fetched_again(model: Streamed) -> None:
    model.scan(types=("mlp.down_proj",))
    model.hub.requests.clear()
    events = model.scan(types=("mlp.down_proj", "mlp.up_proj"))
    assert len(resumed(events)) == 3
    new = [e.bytes for e in events if isinstance(e, LayerDone) and not e.resumed]
    assert model.fetched() == sum(new)


def test_a_download_afterwards_has_the_scores_already(model: Streamed) -> None:
    streamed = model.scan()
    files = inspect_model(REPO).files
    assert files is not None
    download(files, progress=lambda *_: None, cancelled=lambda: False)
    local = inspect_model(REPO)
    assert local.summary.is_local
    later = model.scan(local)
    assert {name for name in scores(later) if "norm" not in name} <= resumed(later)
    assert scores(later) == scores(streamed)


def test_progress_over_the_network_is_told(
    model: Streamed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "TICK", 0.01)
    model.hub.delay = 0.02
    told = [event for event in model.scan() if isinstance(event, Fetched)]
    assert told and told[-1].total == sum(
        path.stat().st_size for path in model.folder.glob("*.safetensors")
    ) - _headers(model.folder)
    assert sorted(event.done for event in told) == [event.done for event in told]
    assert all(event.done <= event.total for event in told)


def _headers(folder: Path) -> int:
    """Bytes that are no matrix: headers and norms."""
    from spectrum_tui.core.checkpoint.headers import read_checkpoint

    tensors = read_checkpoint(folder).tensors
    sizes = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return sizes - sum(tensor.nbytes for tensor in tensors if len(tensor.shape) > 1)


@pytest.mark.parametrize("status", [403, 404, 418])
def test_a_server_that_refuses_is_an_error_and_costs_no_score(status: int, model: Streamed) -> None:
    inspection = inspect_model(REPO)
    model.hub.failures["/signed/"] = [0] * 6 + [status] * 1000
    with pytest.raises(HubError, match=rf"localhost refuses .*HTTP {status}") as caught:
        model.scan(inspection, batch_size=1)
    assert not isinstance(caught.value, outage.GivenUpError)
    assert "scores are kept" in caught.value.hint
    kept = list(read_entries(journal_path(inspection.checkpoint.fingerprint)))
    model.hub.failures.clear()
    assert {entry.layer for entry in kept} <= resumed(model.scan())


def test_a_stop_ends_the_wait_for_a_network(
    model: Streamed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "FIRST_WAIT", 300.0)
    found = inspect_model(REPO)
    model.hub.failures["/signed/"] = [0] * 6 + [503] * 1000

    def cancelled() -> bool:
        return any(request.status == 503 for request in model.hub.requests)

    ended = end(model.scan(found, cancelled=cancelled))
    assert (ended.reason, ended.failed) == ("stopped", 0)
    assert not any("network" in note for note in ended.notes), "who stops a scan knows why"


@pytest.mark.parametrize("status", [429, 503])
def test_the_time_that_a_server_asks_for_is_told_and_a_stop_does_not_wait_for_it(
    status: int, model: Streamed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the files have changed meanwhile is not asked before."""
    monkeypatch.setattr(streaming, "TICK", 0.01)
    found = inspect_model(REPO)
    model.hub.retry_after = model.hub.busy_for = "300"
    model.hub.failures["/signed/"] = [0] * 6 + [status] * 1000
    settings = Settings(model=REPO, stream=True, device="cpu", output_dir=str(model.out))
    told: list[str] = []
    ended: list[ScanEnded] = []
    begin = time.monotonic()
    for event in run_scan(settings, found, cancelled=lambda: bool(told)):
        if isinstance(event, Fetched) and event.waited:
            told.append(event.waited)
        if isinstance(event, ScanEnded):
            ended.append(event)
    assert set(told) == {"The server asks to wait 5 min 00 s."}
    assert [(one.reason, one.failed) for one in ended] == [("stopped", 0)]
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize(
    ("typed", "room", "wanted"),
    [
        ({}, True, False),
        ({}, False, True),
        ({"stream": True}, True, True),
        ({"download": True}, False, False),
    ],
)
def test_where_the_disk_has_no_room_the_model_is_streamed(
    typed: dict[str, bool],
    room: bool,
    wanted: bool,
    model: Streamed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(places, "free_space", lambda: 2**40 if room else 1000)
    found = inspect_model(REPO)
    assert streams(Settings(model=REPO, **typed), found) is wanted  # type: ignore[arg-type]


def test_both_ways_at_once_are_refused(model: Streamed) -> None:
    with pytest.raises(InputError, match="--stream and --download"):
        streams(Settings(model=REPO, stream=True, download=True), inspect_model(REPO))


@pytest.fixture
def slots_made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The slots of each pool that was made."""
    made: list[int] = []
    real = read_ahead.ReadAhead

    def recorded(*arguments: Any, slots: int) -> Any:
        made.append(slots)
        return real(*arguments, slots=slots)

    monkeypatch.setattr(streaming, "ReadAhead", recorded)
    return made


@pytest.fixture
def small(slots_made: list[int], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A pool of two slots, of which a matrix of the model needs several."""
    monkeypatch.setattr(streaming, "SEGMENT", 1500)
    monkeypatch.setattr(streaming, "POOL", 3000)
    yield
    assert set(slots_made) == {2}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("precision", ["exact", "fast"])
@pytest.mark.parametrize("workers", [1, 2, 5, 8])
def test_a_pool_of_two_slots_suffices(workers: int, precision: str, model: Streamed) -> None:
    """Exact scores of square matrices read a second time; fast ones are settled afterwards."""
    wanted = scores(model.local(precision=precision))
    found = model.scan(precision=precision, batch_size=workers, since=1e12)
    assert scores(found) == wanted
    assert end(found).failed == 0


@pytest.mark.usefixtures("small")
def test_matrices_that_are_put_back_are_read_again(
    model: Streamed, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = scores(model.local())
    real, failed = svd.singular_values, set[int]()

    def short_of_memory(values: Any, *how: Any) -> Any:
        found = real(values, *how)
        if id(values) not in failed and len(failed) < 5:
            failed.add(id(values))
            raise MemoryError
        return found

    monkeypatch.setattr(svd, "singular_values", short_of_memory)
    found = model.scan(batch_size=8, since=1e12)
    assert scores(found) == wanted
    assert any("ran out of memory" in note for note in end(found).notes)


def killed_once(model: Streamed, lines: int) -> None:
    """Kill a scan without mercy once it has written down so many matrices, and go on: the file is
    that of one scan, and nothing is fetched of what was finished."""
    wanted = Path(_ready(model.local(since=1e12)).path).read_bytes()
    inspection = inspect_model(REPO)
    journal = journal_path(inspection.checkpoint.fingerprint)
    journal.unlink(missing_ok=True)
    model.hub.requests.clear()
    model.hub.delay = 0.004
    child = Forked(lambda: model.scan(inspection, batch_size=2))
    latest = time.monotonic() + 30
    while _count(journal) < lines and child.alive() and time.monotonic() < latest:
        time.sleep(0.002)
    child.send(signal.SIGKILL)
    child.wait()
    model.hub.delay = 0.0
    _wait_until_quiet(model.hub)
    kept = list(read_entries(journal))
    model.hub.requests.clear()
    events = model.scan(inspection)
    assert Path(_ready(events).path).read_bytes() == wanted
    done = [event for event in events if isinstance(event, LayerDone)]
    assert {entry.layer for entry in kept} == {e.layer for e in done if e.resumed and e.bytes > 200}
    assert model.fetched() == sum(event.bytes for event in done if not event.resumed)


def _wait_until_quiet(hub: FakeHub) -> None:
    """Wait until the hub has counted what a killed process had asked for."""
    seen = -1
    while seen != len(hub.requests):
        seen = len(hub.requests)
        time.sleep(0.1)


def _ready(events: list[Any]) -> ResultReady:
    assert isinstance(events[-1], ResultReady)
    return events[-1]


def _count(journal: Path) -> int:
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


@pytest.mark.parametrize("lines", [1, 9])
def test_a_scan_that_is_killed_goes_on(lines: int, model: Streamed) -> None:
    killed_once(model, lines)


def most_files(folder: Path, over: threading.Event) -> list[int]:
    """How many files lay below a folder at each look, until it is over."""
    counts: list[int] = []
    while not over.wait(0.001):
        with contextlib.suppress(OSError):
            counts.append(sum(path.is_file() for path in folder.glob("*/*")))
    return counts


def test_without_ranges_the_files_are_read_one_after_the_other(model: Streamed) -> None:
    wanted, inspection = scores(model.local()), inspect_model(REPO)
    model.hub.no_ranges = True
    folder, over = cache_dir() / "whole-files", threading.Event()
    with ThreadPoolExecutor(1) as pool:
        looks = pool.submit(most_files, folder, over)
        found = model.scan(inspection, since=1e12)
        over.set()
    assert scores(found) == wanted
    assert [event for event in found if isinstance(event, ScanNote) and "no ranges" in event.text]
    whole = [r.path for r in model.hub.requests if r.path.startswith("/signed/") and not r.range]
    assert len(whole) == len({path.partition("?")[0] for path in whole}) == 3
    assert not load_result(Path(_ready(found).path)).provenance.unhashed  # they were
    assert max(looks.result()) <= 2 and not list(folder.rglob("*.*"))
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_what_a_killed_scan_has_left_is_deleted_by_the_next_one(model: Streamed) -> None:
    model.hub.no_ranges = True
    place = cache_dir() / "whole-files"
    (place / "dead").mkdir(parents=True)
    (place / "dead" / "shard").write_bytes(b"1")
    (place / "dead.lock").touch()
    (place / "dead-before-its-first-file.lock").touch()
    with WholeFiles(RangeReader({}), place).opened() as alive:
        alive._folder.mkdir()
        (alive._folder / "shard").write_bytes(b"2")
        model.local(since=1e12)  # of a model on this machine
        names = {str(path.relative_to(place)) for path in place.rglob("*")}
        mine = alive._folder.name
        assert names == {mine, f"{mine}/shard", f"{mine}.lock"}
    assert not list(place.iterdir())


def test_a_process_of_a_node_fetches_each_file_once(model: Streamed) -> None:
    found = inspect_model(REPO)
    model.hub.no_ranges = True
    reference = Reference(
        model=REPO, revision=found.summary.revision, identity=found.checkpoint.identity
    )
    names = [layer.name for layer in found.model.layers if "layers.0.mlp" in layer.name][:3]
    try:
        for name in names:
            order = WorkOrder(names=(name,), device="cpu", precision="exact")
            answer = carry_out(reference, order)
            assert [entry.layer for entry, _ in answer.scores] == [name]
        whole = [r.path for r in model.hub.requests if "/signed/" in r.path and not r.range]
        assert len(whole) == len({path.partition("?")[0] for path in whole})
        for path in (cache_dir() / "whole-files").glob("*/*"):
            path.unlink()
        lost = carry_out(reference, order)
        assert lost.refused and "has lost files" in lost.refused["message"] and not lost.failed
    finally:
        cluster_task._known.clear()
        cluster_task._streamed.close()
    assert not list((cache_dir() / "whole-files").iterdir())


def test_a_whole_file_that_is_another_is_not_used(model: Streamed) -> None:
    inspection = inspect_model(REPO)
    model.hub.no_ranges = True
    for path in model.folder.glob("*.safetensors"):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        oids = {name: oid(name) for name in model.folder.glob("*.safetensors")}
        path.write_bytes(data)
        state = path.stat()
        fake_hub._oids[str(path), state.st_size, state.st_mtime_ns] = oids[path]
    with pytest.raises(HubError, match="not the file that was announced"):
        model.scan(inspection)


def test_a_disk_without_room_for_a_whole_file_ends_the_scan(
    model: Streamed, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspection = inspect_model(REPO)
    model.hub.no_ranges = True

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(disk, "replace", full)
    with pytest.raises(OutputError, match="No space left on device"):
        model.scan(inspection)


def test_after_a_stop_nothing_more_is_fetched(
    model: Streamed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though a matrix is in work for long."""
    monkeypatch.setattr(streaming, "TICK", 0.001)
    monkeypatch.setattr(streaming, "SEGMENT", 1500)
    found = inspect_model(REPO)
    stopped, real = threading.Event(), svd.singular_values

    def slow(*arguments: Any) -> svd.Spectrum:
        spectrum = real(*arguments)
        stopped.set()
        count = -1
        while count < (count := len(model.hub.requests)):  # until nobody asks any more
            time.sleep(0.3)
        return spectrum

    monkeypatch.setattr(svd, "singular_values", slow)
    events = model.scan(found, cancelled=stopped.is_set, batch_size=1)
    assert end(events).reason == "stopped"
    assert model.fetched() < sum(path.stat().st_size for path in model.folder.glob("*.s*")) / 2


@pytest.mark.parametrize(("free", "slots"), [(2**40, 32), (2**28, 8), (2**20, 2), (None, 32)])
def test_the_pool_is_a_share_of_the_free_memory(
    free: int | None,
    slots: int,
    model: Streamed,
    slots_made: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streaming, "known_free", lambda: free)
    model.scan(types=("self_attn.k_proj",))
    assert set(slots_made) == {slots}
