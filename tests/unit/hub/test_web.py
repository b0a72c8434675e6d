"""A model in a folder on the web: looked at by its headers, scanned in ranges, with no token."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from spectrum_tui.cli.main import main
from spectrum_tui.core.errors import CheckpointError, HubError, ModelChangedError, SpectrumError
from spectrum_tui.core.events import LayerDone
from spectrum_tui.core.files import slug, slug_of_name
from spectrum_tui.core.hub import attended, patience, remote, web
from spectrum_tui.core.hub.location import MOST_MOVES, RemoteFile, WebLocation
from spectrum_tui.core.hub.patience import Patience
from spectrum_tui.core.hub.ranges import RangeReader
from spectrum_tui.core.hub.reader import NoRangesError
from spectrum_tui.core.hub.web import is_web_folder, read_web, web_name
from spectrum_tui.core.model import places
from spectrum_tui.core.model.inspection import inspect_model
from spectrum_tui.core.model.places import called
from spectrum_tui.core.requests import ResultReady
from spectrum_tui.core.results.results import read_notes
from spectrum_tui.core.saved.store import load_result
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.settings import Settings
from tests.checkpoints import llama, save
from tests.fake_hub import FakeHub
from tests.hostile_answers import Answer, halved, packed_part, plain, silence
from tests.hostile_answers import part_drip as drip
from tests.streamed import end, resumed, scores
from tests.unit.hub.clock import Clock

REPO = "org/on-the-web"


@pytest.fixture
def address(
    online: FakeHub, repos: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A folder with a model in two shards, at another host than the hub's."""
    monkeypatch.setitem(repos, REPO, save(tmp_path / "made", llama(1), shards=2))
    assert online._server is not None
    return f"http://localhost:{online._server.server_port}/web/{REPO}"


def test_it_is_what_the_folder_is(address: str, repos: dict[str, Path]) -> None:
    found, local = inspect_model(address), inspect_model(str(repos[REPO]))
    assert (found.summary.origin, found.summary.name) == ("web", "on-the-web")
    assert not found.summary.is_local
    assert found.summary.types == local.summary.types
    assert found.summary.parameters == local.summary.parameters


def test_it_is_scanned_in_ranges_without_a_token(
    address: str, online: FakeHub, repos: dict[str, Path], tmp_path: Path
) -> None:
    out = str(tmp_path / "out")
    found = list(run_scan(Settings(model=address, device="cpu", output_dir=out)))
    local = Settings(model=str(repos[REPO]), device="cpu", output_dir=f"{out}2")
    assert scores(found) == scores(list(run_scan(local)))
    assert isinstance(found[-1], ResultReady) and "on-the-web" in found[-1].path
    there = [request for request in online.requests if request.path.startswith("/web/")]
    assert there and not any(request.token for request in there)
    assert {request.status for request in there} == {206, 404}  # 404: there is an index instead


def test_a_file_that_changes_is_noticed(
    address: str, repos: dict[str, Path], tmp_path: Path
) -> None:
    found = inspect_model(address)
    save(repos[REPO], {name: tensor * 2 for name, tensor in llama(1).items()}, shards=2)
    settings = Settings(model=address, device="cpu", output_dir=str(tmp_path / "out"))
    with pytest.raises(ModelChangedError, match="has changed on its server"):
        list(run_scan(settings, found))


def changed(folder: Path, second: int = 0) -> None:
    """Put other weights into a folder, of the same header and size."""
    others = {name: -tensor for name, tensor in llama(1).items()}
    for path in save(folder, others, shards=2).iterdir():
        os.utime(path, (second, second))


def test_two_folders_with_one_tag_are_two_models(
    address: str, repos: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(repos, "org/other", tmp_path / "other")
    for folder in (repos[REPO], tmp_path / "other"):
        changed(folder)  # the same weights, even
    one, other = read_web(address), read_web(address.replace(REPO, "org/other"))
    assert [f.tag for f in one.files.values()] == [f.tag for f in other.files.values()]
    assert one.checkpoint.fingerprint != other.checkpoint.fingerprint


@pytest.mark.parametrize("marks", [(), ("ETag",), ("Last-Modified",)])
def test_changed_weights_are_another_model(
    marks: tuple[str, ...], address: str, online: FakeHub, repos: dict[str, Path]
) -> None:
    online.web_marks = marks
    for path in repos[REPO].iterdir():
        os.utime(path, (0, 0))
    before = read_web(address).checkpoint.fingerprint
    assert read_web(address).checkpoint.fingerprint == before
    changed(repos[REPO])
    assert read_web(address).checkpoint.fingerprint != before


def test_changed_weights_far_from_the_header_are_seen(
    address: str, online: FakeHub, repos: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "FIRST_READ", 16)  # nothing of the values comes with the header
    online.web_marks = ()
    before = read_web(address).checkpoint.fingerprint
    changed(repos[REPO])
    assert read_web(address).checkpoint.fingerprint != before
    of_values = [r for r in online.requests if r.status == 206 and "bytes=0-" not in r.range]
    assert 0 < len(of_values) <= 2 * web.SAMPLES


@pytest.mark.parametrize("then", [("Last-Modified",), ()])
def test_a_change_is_noticed_without_tags(
    then: tuple[str, ...], address: str, online: FakeHub, repos: dict[str, Path], tmp_path: Path
) -> None:
    online.web_marks = ("Last-Modified",)
    found = inspect_model(address)
    changed(repos[REPO], second=7)
    online.web_marks = then
    settings = Settings(model=address, device="cpu", output_dir=str(tmp_path / "out"))
    with pytest.raises(ModelChangedError, match="has changed on its server"):
        list(run_scan(settings, found))


def test_what_a_server_says_nothing_of_is_looked_at_again(
    address: str, online: FakeHub, repos: dict[str, Path], tmp_path: Path
) -> None:
    online.web_marks = ()
    out = tmp_path / "out"
    settings = Settings(model=address, device="cpu", output_dir=str(out), since=1e12)
    (*_, ready) = run_scan(settings)
    assert isinstance(ready, ResultReady)
    assert any("neither ETag nor" in n for n in load_result(Path(ready.path)).provenance.notes)
    found = inspect_model(address)
    changed(repos[REPO])
    with pytest.raises(ModelChangedError, match="changed during the scan"):
        list(run_scan(settings, found))


def test_scores_of_files_without_marks_say_so_in_every_scan(
    address: str, online: FakeHub, tmp_path: Path
) -> None:
    """Not the one alone that has read them."""
    online.web_marks = ()
    settings = Settings(model=address, device="cpu", output_dir=str(tmp_path / "out"))
    said = []
    for _ in range(2):
        (*_, ready) = run_scan(settings)
        assert isinstance(ready, ResultReady)
        said.append(load_result(Path(ready.path)).provenance.notes)
    assert said == [read_notes(address, unmarked=True)] * 2 and len(said[0]) == 2


def test_a_change_within_a_second_is_seen_at_the_end(
    address: str, online: FakeHub, repos: dict[str, Path], tmp_path: Path
) -> None:
    online.web_marks = ("Last-Modified",)
    for path in repos[REPO].iterdir():
        os.utime(path, (0, 0))
    out = tmp_path / "out"
    settings = Settings(model=address, device="cpu", output_dir=str(out), since=1e12)
    events = run_scan(settings)
    next(event for event in events if isinstance(event, LayerDone))
    changed(repos[REPO])
    with pytest.raises(ModelChangedError):  # by a range, if one comes between write and time
        list(events)
    assert not list(out.rglob("*.json"))


def test_headers_are_bounded_together(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MAX_HEADERS", 500)
    with pytest.raises(CheckpointError, match="are too large for a model"):
        read_web(address)


@pytest.mark.parametrize(
    "url", ["az://acct/c/m?sig=SEKRIT", "s3://k:SEKRIT@b/m", "gs://b/m#SEKRIT"]
)
def test_a_bucket_has_no_password_either(url: str) -> None:
    for look in (inspect_model, called):
        with pytest.raises(HubError, match="without user, password") as caught:
            look(url)
        assert "SEKRIT" not in str(caught.value)


def test_a_download_is_refused(address: str, tmp_path: Path) -> None:
    settings = Settings(model=address, download=True, output_dir=str(tmp_path / "out"))
    with pytest.raises(HubError, match="without a download"):
        list(run_scan(settings))


def test_a_revision_is_said_to_mean_nothing(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert main(["scan", address, "--revision", "v2", "--output-dir", out, "--dry-run"]) == 0
    assert capsys.readouterr().err.count("note: --revision is ignored") == 1


def test_a_first_look_promises_no_scores(online: FakeHub) -> None:
    with pytest.raises(HubError, match=r"Cannot reach 127\.0\.0\.1") as caught:
        read_web("http://127.0.0.1:1/x/y", Patience(()))
    assert "kept" not in str(caught.value)


def test_a_server_without_ranges_is_said(address: str, online: FakeHub) -> None:
    online.no_ranges = True
    with pytest.raises(HubError, match="answers a range with the whole file"):
        read_web(address)


@pytest.mark.parametrize(
    ("lacks", "said"),
    [
        ("config.json", "There is no config.json at"),
        ("model.safetensors.index.json", "There is no model.safetensors and model.saf"),
        ("model-00002-of-00002.safetensors", "There is no model-00002"),
    ],
)
def test_what_a_folder_lacks_is_said(
    lacks: str, said: str, address: str, repos: dict[str, Path]
) -> None:
    (repos[REPO] / lacks).unlink()
    with pytest.raises(CheckpointError, match=said) as caught:
        read_web(address)
    assert "config.json" in caught.value.hint


def test_files_without_a_byte_are_said_to_be_damaged(address: str, repos: dict[str, Path]) -> None:
    (repos[REPO] / "model-00002-of-00002.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        read_web(address)
    (repos[REPO] / "model.safetensors.index.json").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"index\.json is empty"):
        read_web(address)


@pytest.mark.parametrize(
    "address",
    [
        "http://example.org/model",
        "https://user:secret@example.org/model",
        "https://example.org/model?x=1",
        "https://example.org:port/model",
        "https://[broken/model",
        "https://example.org/\x1b[1mmodel",
        "https://example.org/my model",
        "https://",
    ],
)
def test_addresses_that_are_refused(address: str) -> None:
    with pytest.raises(SpectrumError) as caught:
        read_web(address)
    assert "secret" not in str(caught.value) and "\x1b" not in str(caught.value)


@pytest.mark.parametrize("typed", ["https://", "https:///x", "http://:80/x", "s3:///x", "gs://"])
def test_an_address_has_a_host(typed: str) -> None:
    with pytest.raises(HubError, match="is no usable address"):
        inspect_model(typed)


def test_nobody_there(online: FakeHub) -> None:
    with pytest.raises(HubError, match=r"Cannot reach 127\.0\.0\.1 .connection refused"):
        read_web("http://127.0.0.1:9/model")


def test_which_addresses_are_folders(online: FakeHub) -> None:
    assert is_web_folder("https://example.org/a/model/")
    assert not is_web_folder(f"{online.url}/org/model")  # a page of the hub
    assert not is_web_folder("org/model")
    assert web_name("https://example.org/a/my%20model/") == "my model"
    assert web_name("https://example.org") == "example.org"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("org/%2e%2e", "org"),
        ("a/./%2e/", "a"),
        ("a/%20/", "a"),
        ("%7eroot", "root"),
        ("%7e", "example.org"),
        ("a%2f..%2fb", "b"),
        ("%2fetc%2fpasswd", "passwd"),
        ("linked", "linked"),
        ("x" * 300, f"{'x' * 48} … {'x' * 48}"),
        ("%1b[31mred", "?[31mred"),
    ],
)
def test_a_name_is_no_path(
    path: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "linked").symlink_to("elsewhere")
    assert web_name(f"https://example.org/{path}") == name
    assert slug(name) == slug_of_name(name)


def test_a_folder_in_single_bytes_is_given_up(
    address: str, online: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attended, "STALL", 0.15)
    online.hostile[f"READ /web/{REPO}/config.json"] = drip
    with pytest.raises(HubError, match="localhost sends nothing"):
        read_web(address)


def test_a_web_server_that_limits_is_named(address: str, online: FakeHub) -> None:
    online.failures["/web/"] = [429] * 50  # threads of a test before may still ask
    online.retry_after = "86400"
    with pytest.raises(HubError, match="localhost refuses further requests") as caught:
        read_web(address)
    assert "hf auth login" not in caught.value.hint


PARTS = f"READ /web/{REPO}/model-00001-of-00002.safetensors"
CONFIG = f"READ /web/{REPO}/config.json"
QUICK = Patience((0.01, 0.01))


@pytest.mark.parametrize(
    ("request_line", "answer", "said"),
    [
        (CONFIG, halved, "The connection to localhost broke off"),
        (PARTS, halved, "The connection to localhost broke off"),
        (CONFIG, packed_part("br"), "localhost sends what cannot be unpacked"),
        (CONFIG, packed_part("gzip"), "localhost sends what cannot be unpacked"),
        (CONFIG, plain(b"a" * 9, 206, Content_Range="bytes 0-8/*"), "does not give the range"),
        (CONFIG, plain(b"a" * 9, 206, Content_Range="bytes 0-8/90"), "does not give the range"),
        (CONFIG, plain(b"a" * 9, 206), "localhost does not give the range"),
        (CONFIG, plain(b"a" * 9, 206, Content_Range="bytes 0-7/8"), "does not give the range"),
        (CONFIG, plain(b"", 503), "localhost reports an error of its own"),
        (CONFIG, plain(b"", 503, Retry_After="86400"), "localhost refuses further requests"),
        (CONFIG, plain(b"", 401), "without a login: download this one and give its path"),
    ],
)  # fmt: skip
def test_answers_that_are_of_no_use_are_said_as_they_are(
    request_line: str, answer: Answer, said: str, address: str, online: FakeHub
) -> None:
    online.hostile[request_line] = answer
    with pytest.raises(HubError, match=said) as caught:
        read_web(address, QUICK)
    assert online.url not in str(caught.value)


def test_what_may_pass_is_asked_again(
    address: str, online: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = read_web(address).checkpoint
    said: list[str] = []
    monkeypatch.setattr(patience, "time", Clock())
    online.failures[f"GET /web/{REPO}"] = [503, 503, 503, 502, 0, 429]
    online.busy_for, online.retry_after = "0", "0"
    assert read_web(address, Patience((0.01, 0.01), say=said.append)).checkpoint == wanted
    assert [line for line in said if "HTTP 503" in line]


@pytest.mark.parametrize("marks", [(), ("ETag",)])
def test_a_server_that_is_gone_at_the_end_matters_where_nothing_else_tells_of_changes(
    marks: tuple[str, ...],
    address: str,
    online: FakeHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    online.web_marks = marks
    found = inspect_model(address)

    def gone(*_: object) -> None:
        raise HubError("Nobody is there.")

    monkeypatch.setattr(places, "read_web", gone)
    settings = Settings(model=address, device="cpu", output_dir=str(tmp_path / "out"))
    if marks:
        assert isinstance(list(run_scan(settings, found))[-1], ResultReady)
    else:
        with pytest.raises(HubError, match="Nobody"):
            list(run_scan(settings, found))


@pytest.mark.parametrize("marks", [(), ("ETag",)])
def test_a_stop_ends_the_look_at_the_end(
    marks: tuple[str, ...], address: str, online: FakeHub, tmp_path: Path
) -> None:
    """A silent server holds it up for 20 s, three times. Files without marks are not known to be
    the same then: no score of them is kept."""
    online.web_marks = marks
    found = inspect_model(address)
    stopped = threading.Event()

    def silent(handler: Any) -> None:
        stopped.set()
        silence(handler)

    online.hostile[CONFIG] = silent
    out, before = str(tmp_path / "out"), time.monotonic()
    settings = Settings(model=address, device="cpu", output_dir=out)
    events = list(run_scan(settings, found, cancelled=stopped.is_set))
    assert time.monotonic() - before < 10 and stopped.is_set()
    how = end(events)
    assert (how.reason == "finished") == isinstance(events[-1], ResultReady) == bool(marks)
    assert (how.done > 0) == bool(marks)
    assert any("not kept" in note for note in how.notes) != bool(marks)
    del online.hostile[CONFIG]
    assert bool(resumed(list(run_scan(settings)))) == bool(marks)


def test_a_small_model_is_known_by_what_came_with_its_headers(
    address: str, online: FakeHub
) -> None:
    read_web(address)
    assert not [r for r in online.requests if r.status == 206 and "bytes=0-" not in r.range]


@pytest.mark.parametrize("then", [("b", 0), ("a", 1), ("a", 0)])
def test_a_file_that_changes_while_it_is_looked_at_is_noticed(
    then: tuple[str, int], address: str, repos: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "FIRST_READ", 16)

    def part(url: str, start: int, end: int) -> web.Part | None:
        path = repos[REPO] / url.rpartition("/")[2]
        if not path.is_file():
            return None
        data = path.read_bytes()
        tag, longer = then if start else ("a", 0)
        return web.Part(data[start:end], len(data) + longer, tag, "")

    folder = web.Folder("https://there/", part)
    if then == ("a", 0):
        assert folder.read().checkpoint.tensors
    else:
        with pytest.raises(ModelChangedError):
            folder.read()


def test_a_server_that_stops_to_give_ranges_is_said(address: str, online: FakeHub) -> None:
    found = inspect_model(address)
    reader = RangeReader(found.web)
    name = next(iter(found.web))
    reader.fetch(name, 0, memoryview(bytearray(10)))
    online.no_ranges = True
    with pytest.raises(NoRangesError, match="answers a range with the whole file") as caught:
        reader.fetch(name, 0, memoryview(bytearray(10)))
    assert caught.value.hint == "Instead, download the folder and give its path."


def test_an_address_in_a_new_life_may_move_again() -> None:
    file = RemoteFile(repo="r", name="n", url="https://there/n", size=1)
    place = WebLocation(file)
    url = place.url()
    assert all(place.move(url, url) for _ in range(MOST_MOVES)) and not place.move(url, url)
    place.forget(url)
    assert place.url() == url and place.move(url, url)
