"""Ranges of a file from the hub's store of chunks, by the real hf_xet: where anything of that
fails, plain ranges go on at the byte where it stopped."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.numpy import save_file

from spectrum_tui.core.hub import attended, xet
from spectrum_tui.core.hub.location import RemoteFile, XetFile, remote_files
from spectrum_tui.core.hub.outage import GivenUpError
from spectrum_tui.core.hub.ranges import RangeReader
from spectrum_tui.core.hub.remote import read_remote
from tests.fake_cas import TOKEN, FakeCas
from tests.fake_hub import GOOD_TOKEN, FakeHub
from tests.hostile_answers import plain

REPO = "org/chunked"
NAME = "model.safetensors"


@pytest.fixture(scope="session")
def shard(repos: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 50 chunks and a little."""
    folder = tmp_path_factory.mktemp("chunked")
    (folder / "config.json").write_text("{}", encoding="utf-8")
    values = np.random.default_rng(0).integers(0, 255, 50_123, dtype=np.uint8)
    save_file({"a.weight": values}, folder / NAME)
    repos[REPO] = folder
    return folder / NAME


@pytest.fixture
def cas(
    shard: Path, online: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeCas]:
    """The store, which small ranges are asked of too, in pieces of several xorbs."""
    monkeypatch.setattr(constants, "HF_XET_CACHE", str(tmp_path / "xet"))
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "xet"))
    monkeypatch.setattr(xet, "LEAST", 100)
    monkeypatch.setattr(xet, "LONGEST_STREAM", 15_500)
    monkeypatch.setattr(xet, "TRIAL", 0)
    monkeypatch.setattr(xet, "CONFIG", xet.CONFIG | {"client.retry_base_delay": "5ms"})
    with FakeCas(online, REPO) as running:
        yield running


@pytest.fixture
def file(cas: FakeCas, online: FakeHub) -> RemoteFile:
    """The file as the hub announces it; the requests for that are forgotten."""
    (found,) = remote_files(read_remote(REPO).files, [NAME]).values()
    online.requests.clear()
    return found


@pytest.fixture
def reader(file: RemoteFile) -> Iterator[RangeReader]:
    reader = RangeReader({"it": file})
    yield reader
    reader.close()


def read(reader: RangeReader, start: int, end: int) -> bytes:
    """A range of the file."""
    buffer = bytearray(end - start)
    reader.fetch("it", start, memoryview(buffer))
    return bytes(buffer)


def test_every_range_is_that_of_the_file(
    reader: RangeReader, cas: FakeCas, online: FakeHub, shard: Path
) -> None:
    data, random = shard.read_bytes(), np.random.default_rng(1)
    ends = [(0, len(data)), (999, 1001), (7000, 14_000), (len(data) - 100, len(data))]
    ends += [tuple(sorted(random.integers(0, len(data), 2))) for _ in range(20)]
    for start, end in ends:
        assert read(reader, int(start), int(end)) == data[start:end]
    assert all(last - first < 100 for first, last in online.ranges(NAME))
    assert reader.traffic.nbytes == sum(int(end - start) for start, end in ends)
    assert [one.status for one in online.requests].count(302) == 1


def test_several_streams_at_once(reader: RangeReader, cas: FakeCas, shard: Path) -> None:
    data, found = shard.read_bytes(), dict[int, bytes]()

    def work(start: int) -> None:
        found[start] = read(reader, start, start + 6000)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(0, 44_000, 4000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {start: data[start : start + 6000] for start in range(0, 44_000, 4000)}
    assert cas.let_in == [GOOD_TOKEN]


def test_each_token_goes_where_it_belongs(reader: RangeReader, cas: FakeCas, shard: Path) -> None:
    read(reader, 0, 40_000)
    tokens = {path.split("/")[1]: token for path, token in cas.requests}
    assert tokens == {"v2": f"Bearer {TOKEN}", "xorbs": ""}  # and no report of the transfer
    assert cas.let_in == [GOOD_TOKEN]


def test_a_small_range_is_plain(
    reader: RangeReader, cas: FakeCas, online: FakeHub, shard: Path
) -> None:
    assert reader.gives_ranges()
    assert read(reader, 500, 599) == shard.read_bytes()[500:599]
    assert not cas.requests and len(online.ranges(NAME)) == 2


FAILURES: dict[str, dict[str, list[int] | int]] = {
    "where it is: refused": {"v2": [0, 403]},
    "where it is: the token is not good any more": {"v2": [401]},
    "where it is: not there": {"v2": [0, 404]},
    "where it is: limited": {"v2": [0, 429, 429, 429]},
    "where it is: cut": {"v2": 50},
    "bytes: refused": {"xorbs": [0] * 4 + [403] * 30},
    "bytes: gone": {"xorbs": [0] * 4 + [404]},
    "bytes: server error": {"xorbs": [500] * 30},
    "bytes: cut": {"/2?": 600},
}


@pytest.mark.parametrize("wrong", FAILURES.values(), ids=FAILURES)
def test_a_failure_goes_on_by_plain_ranges_where_it_stopped(
    wrong: dict[str, list[int] | int],
    reader: RangeReader,
    cas: FakeCas,
    online: FakeHub,
    shard: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for part, what in wrong.items():
        if isinstance(what, int):
            cas.cuts[part] = what
        else:
            cas.failures[part] = list(what)
    with caplog.at_level(logging.INFO):
        assert read(reader, 8, 50_000) == shard.read_bytes()[8:50_000]
    ((first, last),) = online.ranges(NAME)
    assert last == 49_999 and first in (8, 15_508, *range(7000, 50_000, 7000))
    assert reader.traffic.nbytes == 50_000 - 8  # no byte twice
    asked = len(cas.requests)
    assert read(reader, 0, 20_000) == shard.read_bytes()[:20_000]
    assert len(cas.requests) == asked
    (said,) = [text for text in caplog.messages if "hf_xet" in text]
    assert "plain ranges take its place" in said and "secret" not in said


def test_a_failure_that_passes_costs_nothing(
    reader: RangeReader, cas: FakeCas, online: FakeHub, shard: Path
) -> None:
    cas.failures["xorbs"] = [0, 503, 0, 403]
    cas.failures["v2"] = [0, 502]
    assert read(reader, 8, 50_000) == shard.read_bytes()[8:50_000]
    assert not online.ranges(NAME)


def test_a_hub_that_gives_no_token_for_now_is_waited_for(
    reader: RangeReader, cas: FakeCas, online: FakeHub, shard: Path
) -> None:
    route = f"GET {cas._route}"
    let_in, limits, asked = online.hostile[route], [plain(b"", 429, Retry_After="1")] * 2, []

    def limited(request: Any) -> None:
        asked.append(time.monotonic())
        (limits.pop() if limits else let_in)(request)

    online.hostile[route] = limited
    before = time.monotonic()
    assert read(reader, 8, 20_000) == shard.read_bytes()[8:20_000]
    assert time.monotonic() - before >= 2.0 and len(asked) == 3
    assert "xorbs" in cas.asked and not online.ranges(NAME)


def test_a_stall_is_given_up_for_plain_ranges(
    reader: RangeReader, cas: FakeCas, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attended, "STALL", 0.3)
    cas.stalled = "/1?"
    others, before = _requests(), time.monotonic()
    assert read(reader, 0, 50_000) == shard.read_bytes()[:50_000]
    assert time.monotonic() - before < 5
    _all_end_but(others)


def test_a_stop_ends_what_is_under_way(
    file: RemoteFile, cas: FakeCas, monkeypatch: pytest.MonkeyPatch
) -> None:
    cas.stalled = "xorbs"
    stopped, others = threading.Event(), _requests()

    def check() -> None:
        if stopped.is_set():
            raise GivenUpError("stopped")

    reader = RangeReader({"it": file}, check=check)
    threading.Timer(0.5, stopped.set).start()
    before = time.monotonic()
    with pytest.raises(GivenUpError, match="stopped"):
        read(reader, 0, 50_000)
    reader.close()
    assert time.monotonic() - before < 2
    _all_end_but(others)


def _requests() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "hub-request"}


def _all_end_but(others: set[threading.Thread]) -> None:
    until = time.monotonic() + 5
    while _requests() - others:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_token_is_asked_for_anew_before_its_end(
    reader: RangeReader, cas: FakeCas, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    read(reader, 0, 1000)
    monkeypatch.setattr(time, "time", lambda: now + 3600 - xet.MARGIN + 5)
    cas.life = 7200.0
    read(reader, 0, 1000)
    read(reader, 0, 1000)
    assert len(cas.let_in) == 2 and cas.asked == ["v2", "xorbs"] * 3


@pytest.mark.parametrize(
    ("address", "life"),
    [
        ("local:///{folder}/cas", 3600),
        ("http://10.0.0.1/", 3600),
        ("ftp://127.0.0.1/", 3600),
        ("https:///x", 3600),
        ("https://[::1/", 3600),
        ("https://a b/", 3600),
        ("", 3600),
        ("http://127.0.0.1:9", 3600),
        ("http://127.0.0.1:9", 30),
    ],
)
def test_a_store_that_cannot_be_used_is_left(
    address: str,
    life: int,
    reader: RangeReader,
    cas: FakeCas,
    shard: Path,
    tmp_path: Path,
) -> None:
    cas.address, cas.life = address.format(folder=tmp_path), life
    assert read(reader, 0, 20_000) == shard.read_bytes()[:20_000]
    assert read(reader, 0, 20_000) == shard.read_bytes()[:20_000]
    assert len(cas.let_in) == 1
    assert not (tmp_path / "cas").exists()


def test_a_hub_with_encryption_names_a_store_with_encryption(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "https://huggingface.co")
    assert xet._is_safe("https://cas-server.xethub.hf.co")
    assert not xet._is_safe("http://127.0.0.1:80")


@pytest.mark.parametrize(
    ("announced", "route"),
    [("0" * 63, "https://huggingface.co/x"), ("x" * 64, "https://huggingface.co/x")],
)
def test_no_other_hash_is_used(
    announced: str, route: str, file: RemoteFile, cas: FakeCas, online: FakeHub, shard: Path
) -> None:
    online.announced = lambda path: {"X-Xet-Hash": announced, "X-Xet-Refresh-Route": route}
    assert read(RangeReader({"it": file}), 0, 20_000) == shard.read_bytes()[:20_000]
    assert not cas.let_in


def test_a_user_may_forbid_it(
    file: RemoteFile, cas: FakeCas, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    assert read(RangeReader({"it": file}), 0, 20_000) == shard.read_bytes()[:20_000]
    assert not cas.let_in


@pytest.mark.parametrize(
    ("installed", "used"), [("1.6.0", False), ("1.7.0", True), ("1.10.2rc1", True), ("2.0", True)]
)
def test_versions_that_hold_the_interpreter_are_not_used(
    installed: str, used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xet, "version", lambda name: installed)
    monkeypatch.setattr(xet, "TRIAL", 0)
    assert xet.XetStore().gives(xet.LEAST) is used


def test_a_home_that_cannot_be_written_keeps_its_log_off_the_screen(
    reader: RangeReader,
    cas: FakeCas,
    shard: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(constants, "HF_XET_CACHE", str(tmp_path / "file" / "xet"))
    assert read(reader, 0, 20_000) == shard.read_bytes()[:20_000]
    assert not cas.requests and not "".join(capfd.readouterr())


@pytest.mark.parametrize(("seconds", "is_kept"), [(0.9, True), (1.1, False)])
def test_the_faster_way_is_kept(
    seconds: float, is_kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, nbytes = xet.XetStore(), xet.LEAST
    store.took(nbytes - 1, 1e-3)  # a small range tells nothing: it is always plain
    for _ in range(xet.TRIAL):
        assert not store.gives(nbytes)
        store.took(nbytes, 1.0)
    for _ in range(xet.TRIAL):
        assert store.gives(nbytes)
        store.took(nbytes, seconds, by_xet=True)
    for _ in range(xet.TRIAL):  # the line gets slower: no reason to leave it
        assert store.gives(nbytes) is is_kept
        store.took(nbytes, 9.0, by_xet=is_kept)


def test_its_log_lies_in_the_home_that_a_person_names(
    reader: RangeReader,
    cas: FakeCas,
    shard: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(constants, "HF_XET_CACHE", "~/elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert read(reader, 0, 20_000) == shard.read_bytes()[:20_000] and cas.requests
    assert (tmp_path / "elsewhere" / "logs").is_dir() and not (tmp_path / "~").exists()


def test_who_waited_while_it_was_left_asks_the_hub_for_nothing(
    reader: RangeReader, cas: FakeCas, online: FakeHub
) -> None:
    read(reader, 0, 99)
    file = reader._places["it"].xet
    assert file is not None
    reader.xet._opening.acquire()
    failed = list[xet.XetError]()

    def work() -> None:
        with pytest.raises(xet.XetError) as caught:
            next(reader.xet.pieces(file, 1000, 0, 1000))
        failed.append(caught.value)

    thread = threading.Thread(target=work)
    thread.start()
    reader.xet.leave(xet.XetError("the hub is silent"))
    reader.xet._opening.release()
    thread.join()
    assert failed and not cas.let_in


def test_more_bytes_than_were_asked_for_are_no_use(monkeypatch: pytest.MonkeyPatch) -> None:
    class Group:
        def download_stream(self, info: object, start: int, end: int) -> list[bytes]:
            return [b"12", b"345"]

    store, file = xet.XetStore(), XetFile("0" * 64, "")
    monkeypatch.setattr(store, "_group", lambda route: Group())
    got = store.pieces(file, 10, 0, 4)
    assert next(got) == b"12"
    with pytest.raises(xet.XetError, match="gives 5 bytes for 4"):
        next(got)


def test_a_process_ends_with_streams_open(file: RemoteFile, cas: FakeCas, tmp_path: Path) -> None:
    cas.stalled = "xorbs"
    code = f"""
import threading, time
from spectrum_tui.core.hub import guard, xet
guard.guard_client()
xet._access = lambda route: ({cas.address!r}, {TOKEN!r}, int(time.time()) + 3600)
store, file = xet.XetStore(), xet.XetFile({_hash(cas)!r}, "")
work = lambda: next(store.pieces(file, {file.size}, 0, 40_000))
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.5)
print("open", flush=True)
"""
    before = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "open\n", "")
    assert time.monotonic() - before < 10 and cas.asked.count("xorbs")
    (written,) = (tmp_path / "xet" / "logs").iterdir()
    assert written.stat().st_size < 1000  # else 40 kB of these three ranges


def _hash(cas: FakeCas) -> str:
    path = cas.hub.files(REPO)[NAME]
    return cas.hub.announced(path)["X-Xet-Hash"]
