"""Ranges of a file on the hub: whatever goes wrong, the bytes are the file's, each of them once."""

from __future__ import annotations

import gzip
import threading
import time
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from safetensors.numpy import save_file

from spectrum_tui.core.errors import HubError, ModelChangedError
from spectrum_tui.core.hub import attended, location, outage
from spectrum_tui.core.hub.errors import RateLimitedError
from spectrum_tui.core.hub.location import RemoteFile, remote_files
from spectrum_tui.core.hub.ranges import RangeReader
from spectrum_tui.core.hub.reader import NoRangesError
from spectrum_tui.core.hub.remote import read_remote
from tests.fake_hub import CHUNK, GOOD_TOKEN, FakeHub
from tests.hostile_answers import (
    Answer,
    drip,
    endless,
    head_drip,
    nothing,
    part_drip,
    plain,
    redirect,
    silence,
)
from tests.unit.hub.clock import Clock

REPO = "org/large"
NAME = "model.safetensors"


@pytest.fixture(scope="session")
def shard(repos: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 8 pieces of 64 KiB and a little, in a repository of its own."""
    folder = tmp_path_factory.mktemp("large")
    (folder / "config.json").write_text("{}", encoding="utf-8")
    values = np.random.default_rng(0).integers(0, 255, 8 * CHUNK + 1000, dtype=np.uint8)
    save_file({"a.weight": values.view(np.uint8)}, folder / NAME)
    repos[REPO] = folder
    return folder / NAME


@pytest.fixture
def file(shard: Path, online: FakeHub) -> RemoteFile:
    """The file as the hub announces it; the requests for that are forgotten."""
    files = read_remote(REPO).files
    online.requests.clear()
    online.bytes_sent = 0
    (found,) = remote_files(files, [NAME]).values()
    return found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures are waited for in milliseconds."""
    monkeypatch.setattr(outage, "FIRST_WAIT", 0.002)
    monkeypatch.setattr(outage, "MOST_WAIT", 0.01)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which failures are waited for."""
    clock = Clock()
    monkeypatch.setattr(outage, "time", clock)
    return clock


def read(file: RemoteFile, start: int = 0, end: int | None = None, **how: Any) -> bytes:
    """What a reader makes of a range of the file."""
    buffer = bytearray((file.size if end is None else end) - start)
    RangeReader({"it": file}, **how).fetch("it", start, memoryview(buffer))
    return bytes(buffer)


def statuses(hub: FakeHub, host: str) -> list[int]:
    """What was answered at a host, in order."""
    return [request.status for request in hub.requests if request.host == host]


def test_the_token_goes_to_the_hub_alone(file: RemoteFile, online: FakeHub, shard: Path) -> None:
    assert read(file) == shard.read_bytes()
    tokens = {request.host: request.token for request in online.requests}
    assert tokens == {"127.0.0.1": GOOD_TOKEN, "localhost": ""}


def test_an_address_is_asked_for_once(file: RemoteFile, online: FakeHub, shard: Path) -> None:
    reader, data = RangeReader({"it": file}), bytearray(10)
    for start in range(0, 5000, 100):
        reader.fetch("it", start, memoryview(data))
        assert data == shard.read_bytes()[start : start + 10]
    assert statuses(online, "127.0.0.1") == [302]
    assert statuses(online, "localhost") == [206] * 50


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("cut", [*range(CHUNK, 9 * CHUNK, CHUNK), CHUNK - 1, CHUNK + 1])
def test_a_range_that_breaks_off_goes_on_where_it_did(
    cut: int, file: RemoteFile, online: FakeHub, shard: Path
) -> None:
    online.cut_each = cut
    reader, data = RangeReader({"it": file}), bytearray(file.size - 8)
    reader.fetch("it", 8, memoryview(data))
    assert data == shard.read_bytes()[8:]
    assert reader.traffic.nbytes == file.size - 8  # none twice
    assert len(statuses(online, "localhost")) == -(-(file.size - 8) // cut)


@pytest.mark.usefixtures("quick")
def test_an_address_that_expires_in_the_middle_is_asked_for_anew(
    file: RemoteFile, online: FakeHub, shard: Path
) -> None:
    online.cut_each = CHUNK
    online.failures["/signed/"] = [0, 0, 403, 0, 403]
    reader, data = RangeReader({"it": file}), bytearray(file.size)
    reader.fetch("it", 0, memoryview(data))
    assert data == shard.read_bytes()
    assert statuses(online, "127.0.0.1") == [302] * 3
    assert reader.traffic.nbytes == file.size


@pytest.mark.usefixtures("quick")
def test_an_address_that_is_over_by_any_status_is_asked_for_anew_once(
    file: RemoteFile, online: FakeHub, shard: Path
) -> None:
    """S3 and GCS answer 400 (ExpiredToken)."""
    online.cut_each = CHUNK
    online.failures["/signed/"] = [0, 400, 0, 404, 0, 401]
    reader, data = RangeReader({"it": file}), bytearray(file.size)
    reader.fetch("it", 0, memoryview(data))
    assert data == shard.read_bytes() and statuses(online, "127.0.0.1") == [302] * 4
    online.failures["/signed/"] = [400, 400]
    with pytest.raises(HubError, match=r"refuses .*HTTP 400.*") as caught:
        reader.fetch("it", 0, memoryview(data))
    assert "--download" in caught.value.hint


def test_a_whole_file_from_an_address_that_is_over_comes_from_another(
    file: RemoteFile, online: FakeHub, shard: Path
) -> None:
    online.failures["/signed/"] = [400]
    came: list[bytes] = []
    RangeReader({"it": file}).fetch_whole("it", came.extend)
    assert b"".join(came) == shard.read_bytes()
    online.failures["/signed/"] = [400, 400]
    with pytest.raises(HubError, match="HTTP 400"):
        RangeReader({"it": file}).fetch_whole("it", came.extend)


def test_a_file_on_the_web_that_is_gone_has_changed(file: RemoteFile, online: FakeHub) -> None:
    url = f"{online.url}/web/{REPO}/{NAME}"
    there = replace(file, repo="folder", url=url, commit="", blob="")
    online.failures["/web/"] = [404]
    with pytest.raises(ModelChangedError):
        read(there, 0, 9)
    online.failures["/web/"] = [401]
    with pytest.raises(HubError, match="HTTP 401") as caught:
        read(there, 0, 9)
    assert "give its path" in caught.value.hint and "--download" not in caught.value.hint


def test_whether_ranges_come_is_asked_again_after_an_error(
    file: RemoteFile, online: FakeHub
) -> None:
    online.failures["/signed/"] = [403, 403]
    reader = RangeReader({"it": file})
    with pytest.raises(HubError):
        reader.gives_ranges()
    reader.outage.begin()
    online.no_ranges = True
    assert not reader.gives_ranges()


def test_a_fresh_address_that_is_refused_is_an_error_with_what_is_said(
    file: RemoteFile, online: FakeHub
) -> None:
    online.hostile[f"READ /signed/{REPO}/{NAME}"] = plain(b"<Error>No \x1b[1mrights</Error>", 403)
    with pytest.raises(HubError, match=r"refuses .*HTTP 403.*No .*rights") as caught:
        read(file)
    assert "\x1b" not in caught.value.message
    assert statuses(online, "127.0.0.1") == [302, 302]  # expired once, then an error


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("named", ["7", "date", ""])
def test_the_time_that_a_server_names_holds_everybody(
    status: int, named: str, file: RemoteFile, online: FakeHub, shard: Path, clock: Clock
) -> None:
    after = formatdate(time.time() + 7, usegmt=True) if named == "date" else named
    online.retry_after = online.busy_for = after
    online.failures["/signed/"] = [status]
    said: set[str] = set()
    reader = RangeReader({"it": file}, check=lambda: said.add(reader.outage.reason))
    data = bytearray(file.size)
    reader.fetch("it", 0, memoryview(data))
    assert data == shard.read_bytes()
    said.discard("")
    if named:
        assert 5.5 < clock.now - 1000 < 8.1
        (reason,) = said
        assert reason.startswith("The server asks to wait")
    else:
        assert 0 < clock.now - 1000 < 1 and not said
    assert not reader.outage.reason


def test_a_time_that_is_too_far_away_is_an_error(file: RemoteFile, online: FakeHub) -> None:
    online.retry_after = "86400"
    online.failures["/signed/"] = [429]
    with pytest.raises(HubError, match="429"):
        read(file)


def test_a_network_that_is_gone_is_waited_for_and_told(
    file: RemoteFile, online: FakeHub, clock: Clock
) -> None:
    gone = replace(file, url="http://127.0.0.1:9/nobody")
    reader = RangeReader({"it": gone})
    with pytest.raises(HubError, match=r"Cannot reach 127\.0\.0\.1 .connection refused") as caught:
        reader.fetch("it", 0, memoryview(bytearray(100)))
    assert outage.GIVE_UP < clock.now - 1000 < outage.GIVE_UP + 60
    assert "Check the connection" in caught.value.hint
    assert reader.outage.reason == caught.value.message


def test_whoever_waits_can_stop(file: RemoteFile, online: FakeHub, clock: Clock) -> None:
    def stop() -> None:
        if clock.now > 1005:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read(replace(file, url="http://127.0.0.1:9/nobody"), check=stop)
    assert clock.now < 1010


@pytest.mark.usefixtures("quick")
def test_a_connection_that_stalls_is_made_anew(
    file: RemoteFile, online: FakeHub, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spectrum_tui.core.hub.attended.STALL", 0.2)
    online.stalled = "/signed/"

    def come_back() -> None:
        online.stalled = ""

    assert read(file, check=come_back) == shard.read_bytes()


def test_a_server_without_ranges_is_one(file: RemoteFile, online: FakeHub) -> None:
    online.no_ranges = True
    with pytest.raises(NoRangesError, match="whole file"):
        read(file, 100, 200)


@pytest.mark.parametrize(
    ("body", "given"),
    [
        (b"x" * 100, "bytes 0-99/{size}"),
        (b"x" * 100, "bytes 100-199/12"),
        (b"x" * 50, "bytes 100-149/{size}"),
        (b"x" * 100, ""),
        (b"x" * 200, "bytes 100-199/{size}"),
    ],
    ids=["another part", "of another file", "shorter", "not named", "longer"],
)
def test_a_range_is_checked(body: bytes, given: str, file: RemoteFile, online: FakeHub) -> None:
    named = given.format(size=file.size)
    online.hostile[f"READ /signed/{REPO}/{NAME}"] = plain(body, 206, Content_Range=named)
    with pytest.raises((HubError, ModelChangedError)):
        read(file, 100, 200)


def test_another_file_than_was_inspected_is_refused(file: RemoteFile, online: FakeHub) -> None:
    with pytest.raises(HubError, match="not the file that was announced"):
        read(replace(file, blob="a" * 64))
    assert statuses(online, "localhost") == []


def test_an_address_without_encryption_is_not_used(
    file: RemoteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = SimpleNamespace(
        has_redirect_location=True,
        is_error=False,
        headers={"location": "http://elsewhere/x", "x-linked-etag": f'"{file.blob}"'},
    )
    monkeypatch.setattr(location, "request", lambda *_: answer)
    with pytest.raises(HubError, match="without encryption"):
        read(replace(file, url="https://hub/x"))


@pytest.mark.parametrize(
    "answer",
    [endless(206), plain(b"", 302), plain(b"", 302, Location="nowhere"), plain(b"", 404)],
    ids=["endless", "redirect to nothing", "redirect to itself", "not there"],
)
def test_answers_that_mean_harm_are_errors(
    answer: Answer, file: RemoteFile, online: FakeHub
) -> None:
    online.hostile[f"READ /signed/{REPO}/{NAME}"] = answer
    online.hostile[f"READ /signed/{REPO}/nowhere"] = plain(b"", 302, Location="nowhere")
    with pytest.raises(HubError):
        read(file, 100, 200)


@pytest.mark.usefixtures("quick")
def test_a_client_that_was_closed_elsewhere_is_made_anew(
    file: RemoteFile, online: FakeHub, shard: Path
) -> None:
    from huggingface_hub.utils import close_session  # type: ignore[attr-defined]

    reader, data = RangeReader({"it": file}), bytearray(10)
    for start in (0, 100, 200):
        reader.fetch("it", start, memoryview(data))
        assert data == shard.read_bytes()[start : start + 10]
        close_session()


def test_a_certificate_that_is_not_trusted_is_not_waited_for(
    file: RemoteFile, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    class ConnectError(Exception):
        """As the client has it."""

    def refuse(*_: object) -> None:
        raise ConnectError("CERTIFICATE_VERIFY_FAILED: certificate verify failed")

    monkeypatch.setattr(location, "request", refuse)
    with pytest.raises(HubError, match="its certificate is not trusted"):
        read(file)
    assert clock.now == 1000


def test_an_address_is_asked_for_anew_at_the_end_of_its_life(
    file: RemoteFile, online: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(location, "LIFE", -1.0)
    reader = RangeReader({"it": file})
    for _ in range(3):
        reader.fetch("it", 0, memoryview(bytearray(10)))
    assert statuses(online, "127.0.0.1") == [302] * 3


def test_what_one_thread_is_told_holds_the_others(
    file: RemoteFile, online: FakeHub, clock: Clock
) -> None:
    reader = RangeReader({"it": file})
    reader.outage.limited(RateLimitedError(7.0), iter(()))
    assert clock.now == 1000
    reader.fetch("it", 0, memoryview(bytearray(10)))
    assert clock.now == pytest.approx(1007, abs=0.2)


SIGNED = f"READ /signed/{REPO}/{NAME}"


def test_an_answer_without_a_byte_is_a_failure(
    file: RemoteFile, online: FakeHub, clock: Clock
) -> None:
    online.hostile[SIGNED] = nothing
    with pytest.raises(outage.GivenUpError, match="localhost sends nothing"):
        read(file)
    assert outage.GIVE_UP < clock.now - 1000 < outage.GIVE_UP + 60


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("named", ["0", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_time_that_is_over_is_waited_for_as_any_failure(
    named: str, status: int, file: RemoteFile, online: FakeHub, clock: Clock
) -> None:
    asked: list[int] = []

    def answer(handler: Any) -> None:
        asked.append(1)
        plain(b"", status, Retry_After=named)(handler)

    online.hostile[SIGNED] = answer
    with pytest.raises(outage.GivenUpError, match=f"localhost refuses .*{status}"):
        read(file)
    assert len(asked) < 80 and outage.GIVE_UP < clock.now - 1000 < outage.GIVE_UP + 60


@pytest.mark.parametrize("answer", [part_drip, head_drip, silence], ids=["body", "head", "nothing"])
def test_whoever_waits_for_single_bytes_can_stop(
    answer: Answer, file: RemoteFile, online: FakeHub
) -> None:
    def stop() -> None:
        if time.monotonic() > begin + 0.2:
            raise KeyboardInterrupt

    online.hostile[SIGNED] = answer
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        read(file, check=stop)
    assert time.monotonic() - begin < 3


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("answer", [part_drip, head_drip], ids=["body", "head"])
@pytest.mark.parametrize("where", ["signed", "hub"])
def test_single_bytes_are_no_progress(
    where: str,
    answer: Answer,
    file: RemoteFile,
    online: FakeHub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attended, "STALL", 0.15)
    monkeypatch.setattr(outage, "GIVE_UP", 0.3)
    online.hostile[SIGNED] = answer
    if where == "hub":
        online.hostile[f"HEAD {urlsplit(file.url).path}"] = head_drip
    begin = time.monotonic()
    with pytest.raises(outage.GivenUpError, match="sends nothing"):
        read(file)
    assert time.monotonic() - begin < 5


@pytest.mark.usefixtures("quick")
def test_a_whole_file_in_single_bytes_is_given_up(
    file: RemoteFile, online: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attended, "STALL", 0.15)
    online.hostile[SIGNED.replace("READ", "GET")] = drip
    with pytest.raises(outage.GivenUpError, match="localhost sends nothing"):
        RangeReader({"it": file}).fetch_whole("it", b"".join)

    monkeypatch.setattr(attended, "STALL", 20.0)
    begin = time.monotonic()

    def stop() -> None:
        if reader.traffic.nbytes:
            raise KeyboardInterrupt

    reader = RangeReader({"it": file}, check=stop)
    with pytest.raises(KeyboardInterrupt):
        reader.fetch_whole("it", b"".join)
    assert time.monotonic() - begin < 3


def test_a_file_that_has_changed_ends_the_waits_of_others(
    file: RemoteFile, online: FakeHub
) -> None:
    online.failures["/signed/"] = [503]
    online.busy_for = "300"
    reader, found = RangeReader({"it": file, "other": replace(file, size=7)}), []

    def wait() -> None:
        try:
            reader.fetch("it", 0, memoryview(bytearray(100)))
        except ModelChangedError as exc:
            found.append(exc)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    while not reader.outage.reason:
        time.sleep(0.005)
    with pytest.raises(ModelChangedError):
        reader.fetch("other", 0, memoryview(bytearray(100)))
    waiting.join(1)
    assert len(found) == 1


@pytest.mark.parametrize("status", [520, 522, 524])
@pytest.mark.usefixtures("quick")
def test_what_a_cdn_says_of_its_origin_passes(
    status: int, file: RemoteFile, online: FakeHub, shard: Path
) -> None:
    online.failures["/signed/"] = [status]
    assert read(file) == shard.read_bytes()


@pytest.mark.parametrize(
    "answer", [redirect(), plain(b"", 304), plain(b"", 204)], ids=["circle", "304", "204"]
)
def test_a_host_that_is_not_the_hub_is_named_itself(
    answer: Answer, file: RemoteFile, online: FakeHub
) -> None:
    online.hostile[SIGNED] = answer
    with pytest.raises(HubError, match=r"^localhost ") as caught:
        read(file)
    assert "127.0.0.1" not in str(caught.value)


def test_who_refuses_and_how_is_said() -> None:
    hub, other = RateLimitedError(60.0), RateLimitedError(999999999.0, "files.example")
    assert "429, rate limit" in hub.message and "hf auth login" in hub.hint
    assert other.message.startswith("files.example refuses") and "login" not in other.hint
    assert "11,575 days" in other.hint and "minutes" not in other.hint
    assert "(HTTP 503)" in RateLimitedError(60.0, status=503).message


@pytest.mark.parametrize(
    "target", ["http://localhost:99999999/", "http://[::1", "http://a\x07b/", "https:///x"]
)
def test_an_address_that_is_none_is_an_error(
    target: str, file: RemoteFile, online: FakeHub
) -> None:
    online.hostile[SIGNED] = redirect(target)
    with pytest.raises(HubError, match=r"^localhost sends on to what is no address"):
        read(file)


@pytest.mark.parametrize("announced", ["", "a" * 64])
def test_a_hub_that_sends_on_in_mid_file_must_announce_the_same_file(
    announced: str, file: RemoteFile, online: FakeHub, shard: Path
) -> None:
    """It gave the first bytes itself."""
    online.signed_seconds = 0.0
    reader, data = RangeReader({"it": file}), bytearray(10)
    reader.fetch("it", 0, memoryview(data))
    assert data == shard.read_bytes()[:10] and set(statuses(online, "127.0.0.1")) == {200, 206}
    online.signed_seconds = 3600.0
    reader.fetch("it", 10, memoryview(data))
    assert data == shard.read_bytes()[10:20]
    reader, asked = RangeReader({"it": file}), urlsplit(file.url).path
    online.signed_seconds = 0.0
    reader.fetch("it", 0, memoryview(data))
    there = online.signed(REPO, NAME)
    online.hostile[f"READ {asked}"] = plain(b"", 302, Location=there, X_Linked_ETag=announced)
    with pytest.raises(HubError, match="does not answer like a model hub"):
        reader.fetch("it", 0, memoryview(data))


def test_a_range_that_comes_packed_is_unpacked(
    file: RemoteFile, online: FakeHub, shard: Path
) -> None:
    """Its Content-Length is that of the packed bytes."""
    data = gzip.compress(shard.read_bytes()[100:5000])
    given = f"bytes 100-4999/{file.size}"
    online.hostile[SIGNED] = plain(data, 206, Content_Range=given, Content_Encoding="gzip")
    assert read(file, 100, 5000) == shard.read_bytes()[100:5000]


def test_an_error_in_a_packing_that_nobody_knows_is_still_that_error(
    file: RemoteFile, online: FakeHub
) -> None:
    online.hostile[SIGNED] = plain(b"\x0b\x02\x80", 418, Content_Encoding="br")
    with pytest.raises(HubError, match=r"localhost refuses .*HTTP 418"):
        read(file)


def test_after_bytes_have_come_a_failure_is_the_first_again(
    file: RemoteFile, online: FakeHub, clock: Clock, shard: Path
) -> None:
    online.cut_each = CHUNK // 2
    assert read(file) == shard.read_bytes()
    cuts = len(statuses(online, "localhost")) - 1
    assert cuts >= 16 and clock.now - 1000 <= cuts * 1.3 * outage.FIRST_WAIT + 1.0
