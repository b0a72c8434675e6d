"""Whatever a hub answers: one line, exit code 2, nothing outside the cache, in bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import urljoin

import pytest

from spectrum_tui.core.errors import HubError
from spectrum_tui.core.hub import guard
from spectrum_tui.core.hub.cache import HubFiles
from spectrum_tui.core.hub.contents import file_is_blob, is_blob
from spectrum_tui.core.hub.transfer import MOST_ANEW, _Job, _Watch
from tests.checkpoints import llama, save
from tests.fake_hub import GOOD_TOKEN, FakeHub, oid
from tests.hostile_answers import (
    Answer,
    as_json,
    bomb,
    drip,
    endless,
    head_drip,
    plain,
    redirect,
    reset,
    silence,
)
from tests.unit.hub.scripts import run

NO_ANSWER = "did not answer in time"
OTHER_ID = "ab" * 32
SECONDS = 12.0
"""That a case may take; the waits of the client are made short."""
MEGABYTES = 150
"""That the process may grow by, in all cases together; the bombs have 200, the endless no end."""

SCAN = """
import contextlib, io, resource, time, types
import huggingface_hub.file_download
from huggingface_hub import constants
from spectrum_tui.cli.main import main
from spectrum_tui.core.hub import guard, transfer

huggingface_hub.file_download.time = types.SimpleNamespace(sleep=lambda s: None, time=time.time)
guard.BYTES_A_SECOND = 10**9
transfer.TOO_LITTLE_FOR, transfer.DOWNLOAD_WAITS = 2.0, (0.01, 0.01)

def megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def scan(model, patience):
    guard.LEAST_SECONDS, constants.HF_HUB_ETAG_TIMEOUT = 1.5 * patience, patience
    out, err, begin = io.StringIO(), io.StringIO(), time.monotonic()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["scan", model, "--device", "cpu", "--output-dir", OUTPUT])
    return [code, out.getvalue(), err.getvalue(), time.monotonic() - begin]

from spectrum_tui.core.model.inspection import as_far_as_known, inspect_model
as_far_as_known(inspect_model("org/ok"))  # what is imported once
before = megabytes()
"""


class Case(NamedTuple):
    """What answers which requests for a model, and what is said of it."""

    request: str
    answer: Answer
    said: str


def _description(hub: FakeHub, name: str, **changes: object) -> dict[str, Any]:
    return {**hub.describe(f"org/{name}"), **changes}


def _files(hub: FakeHub, name: str, **changes: object) -> dict[str, Any]:
    """The description with every file changed; `lfs` goes, so that the changes count."""
    found = _description(hub, name)
    files: list[dict[str, Any]] = found["siblings"]
    found["siblings"] = [{**file, **changes, "lfs": None} for file in files]
    return found


WEIGHTS = "/org/{name}/resolve/{commit}/model.safetensors"
API, READ, GET, HEAD = (
    "GET /api/models/org/{name}",
    *(f"{m} {WEIGHTS}" for m in ("READ", "GET", "HEAD")),
)
CONFIG = "READ /org/{name}/resolve/{commit}/config.json"
NO_HUB = "does not answer like a model hub"
NOT_IT = "is not the file that was announced"


def reading(hub: FakeHub) -> dict[str, Case]:
    """Answers to the first question, and to that for the headers."""
    ids: dict[str, dict[str, Any]] = {
        "ids-path": {"blobId": "../../x"},
        "ids-upper": {"blobId": "AB" * 20},
        "size-below-0": {"size": -5},
        "size-text": {"size": "x"},
    }
    odd: dict[str, object] = {
        "list": [1],
        "null": None,
        "text": "x",
        "no-file": _description(hub, "no-file", siblings=[None]),
        "no-commit": _description(hub, "no-commit", sha=None),
        "commit-path": _description(hub, "commit-path", sha="../../evil"),
    }
    api = {
        **{name: Case(API, as_json(_files(hub, name, **ids[name])), NO_HUB) for name in ids},
        **{name: Case(API, as_json(value), NO_HUB) for name, value in odd.items()},
        "endless": Case(API, endless(), "sent more than 32.0 MB"),
        "endless-error": Case(API, endless(500), "an error of its own (HTTP 500)"),
        "endless-redirect": Case(API, endless(404), "an error of its own (HTTP 404)"),
        "bomb": Case(API, bomb(), "sent more than 32.0 MB"),
        "bomb-error": Case(API, bomb(503), "an error of its own (HTTP 503)"),
        "packed-oddly": Case(API, plain(b"{}", Content_Encoding="br"), NO_HUB),
        "packed-badly": Case(API, plain(b"{}", Content_Encoding="gzip"), NO_HUB),
        "drip": Case(API, drip, NO_ANSWER),
        "head-drip": Case(API, head_drip, NO_ANSWER),
        "silence": Case(API, silence, NO_ANSWER),
        "reset": Case(API, reset, "broke off"),
        "circle": Case(API, redirect(), NO_HUB),
        "to-a-file": Case(API, redirect("file:///etc/passwd"), "Cannot reach"),
        "login": Case(API, plain(b"<html>Log in", Content_Type="text/html"), NO_HUB),
        "deep": Case(API, plain(b"[" * 200_000), NO_HUB),
        "nothing": Case(API, plain(b"", 204), NO_HUB),
    }
    files = {
        "html": Case(READ, plain(b"<html>" * 99), "not a safetensors file"),
        "file-drip": Case(READ, drip, NO_ANSWER),
        "file-silence": Case(READ, silence, NO_ANSWER),
        "file-circle": Case(READ, redirect(), NO_HUB),
        "other-part": Case(READ, plain(b"x", 206, Content_Range="bytes 7-8/99"), NO_HUB),
        "other-size": Case(READ, plain(b"x", 206, Content_Range="bytes 0-8/99"), NOT_IT),
        "commit-of-file": Case(READ, plain(b"x", X_Repo_Commit="../../../evil"), NO_HUB),
        "other-config": Case(CONFIG, plain(b"{}"), NOT_IT),
        "endless-config": Case(CONFIG, endless(), NOT_IT),
    }
    return {**api, **files}


def fetching(hub: FakeHub, evil: Path) -> dict[str, Case]:
    """Answers during the download."""
    weights = hub.files("org/ok")["model.safetensors"]
    data, etag = weights.read_bytes(), f'"{oid(weights)}"'
    size = str(len(data))
    wrong = data[:-100] + b"\x11" * 100

    def head(name: str, **headers: str) -> Answer:
        commit = hub.commit(f"org/{name}")
        return plain(b"", 200, len(data), X_Repo_Commit=commit, **headers)

    heads = {
        "etag-absolute": head("etag-absolute", X_Linked_ETag=f'"{evil}"', X_Linked_Size=size),
        "etag-up": head("etag-up", ETag='"../../../../../evil"'),
        "etag-hex": head("etag-hex", ETag=f'"{OTHER_ID}"'),
        "linked-size": head("linked-size", X_Linked_ETag=etag, X_Linked_Size="7"),
        "etag-none": head("etag-none"),
        "commit-up": plain(b"", length=len(data), X_Repo_Commit="../../evil", ETag=etag),
        "commit-other": plain(b"", length=len(data), X_Repo_Commit="c" * 40, ETag=etag),
        "commit-404": plain(b"", 404, X_Repo_Commit=str(evil), X_Error_Code="EntryNotFound"),
        "head-of-head": head_drip,
        "head-circle": redirect(),
    }
    said = dict.fromkeys(heads, NO_HUB)
    said |= {"etag-hex": NOT_IT, "linked-size": NOT_IT, "head-of-head": "almost nothing for 2 s"}
    bodies = {
        "wrong": Case(GET, plain(wrong), NOT_IT),
        "short": Case(GET, plain(data[:900], length=len(data)), "broke off"),
        "long": Case(GET, plain(data * 2), ", the limit for this answer"),
        "endless-file": Case(GET, endless(), ", the limit for this answer"),
        "body-drip": Case(GET, drip, "almost nothing for 2 s"),
        "body-reset": Case(GET, reset, "broke off"),
        "body-html": Case(GET, plain(b"<html>"), "broke off"),
        "body-error": Case(GET, endless(500), "an error of its own (HTTP 500)"),
        "body-to-a-file": Case(GET, redirect("file:///etc/passwd"), "Cannot reach"),
    }
    cases = {name: Case(HEAD, answer, said[name]) for name, answer in heads.items()}
    return cases | bodies


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 40 kB."""
    return save(tmp_path_factory.mktemp("repo") / "small", llama(1))


class Everything(dict[str, Path]):
    """Every id is this one model."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def __contains__(self, name: object) -> bool:
        return name != "org/no-such"

    def __missing__(self, name: str) -> Path:
        return self.folder


@pytest.fixture
def hub(small: Path) -> Iterator[FakeHub]:
    """A hub on which every model is the small one."""
    with FakeHub(Everything(small)) as running:
        yield running


def check(hub: FakeHub, home: Path, cases: Mapping[str, Case]) -> None:
    """Scan each model in one process, and judge what is said, left behind and used."""
    for name, case in cases.items():
        request = case.request.format(name=name, commit=hub.commit(f"org/{name}"))
        hub.hostile[request] = case.answer
    script = f"OUTPUT = {str(home.parent / 'output')!r}\n{SCAN}"
    # An answer that comes too late is not waited for as long as one that comes.
    waits = {f"org/{name}": 0.2 if case.said == NO_ANSWER else 1 for name, case in cases.items()}
    script += f"answer = [[scan(*each) for each in {waits}.items()], megabytes() - before]"
    results, grown = run(hub.url, home, script, HF_HUB_DOWNLOAD_TIMEOUT="1")
    for (name, case), (code, out, err, seconds) in zip(cases.items(), results, strict=True):
        said = [line for line in err.splitlines() if not line.startswith(("org/", "downloading "))]
        assert (code, out, len(said)) == (2, "", 1), (name, err)
        assert said[0].startswith("spectrum-tui: ") and case.said in said[0], (name, err)
        assert said[0].isprintable() and GOOD_TOKEN not in err, (name, err)
        assert seconds < SECONDS, (name, seconds)
    assert grown < MEGABYTES
    left = [path for path in home.parent.rglob("*") if path.is_file()]
    assert all(path.is_relative_to(home / "hub") for path in left), left
    assert not list(home.rglob("*evil*")) and not list(home.rglob("*.safetensors"))
    assert not list(home.rglob("*.incomplete"))


def test_answers_to_the_first_questions(hub: FakeHub, tmp_path: Path) -> None:
    cases = reading(hub)
    check(hub, tmp_path / "home", cases)


def test_answers_during_a_download(hub: FakeHub, tmp_path: Path) -> None:
    cases = fetching(hub, tmp_path / "evil")
    check(hub, tmp_path / "home", cases)


def test_a_redirect_is_followed_without_the_token(
    hub: FakeHub, small: Path, tmp_path: Path
) -> None:
    with FakeHub(Everything(small)) as other:
        there = redirect(other.url + "{path}")
        for request in (API, READ, CONFIG, GET):
            hub.hostile[request.format(name="away", commit=hub.commit("org/away"))] = there
        answer = run(hub.url, tmp_path, "answer = fetch('org/away')")
    files = {path.name: path.read_bytes() for path in Path(answer["folder"]).iterdir()}
    assert files == {name: (small / name).read_bytes() for name in files}
    assert set(files) == {"model.safetensors", "config.json"}
    asked = [(request.method, request.token) for request in other.requests]
    assert len(asked) == 4 and {token for _, token in asked} == {""}


def test_a_token_goes_to_the_hub_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://mirror.example:8080")
    for url, goes in (
        ("http://mirror.example:8080/x", True),
        ("https://mirror.example/x", True),
        ("http://mirror.example/x", False),
        ("http://mirror.example.org:8080/x", False),
        ("https://cdn.example/x", False),
        ("http://mirror.example:99999999/x", False),
    ):
        request = SimpleNamespace(url=url, headers={"authorization": "Bearer secret"})
        guard._before_request(request)
        assert ("authorization" in request.headers) is goes, url
        assert request.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("way", ["http://cdn.example/x", "ftp://cdn.example/x"])
def test_no_answer_leads_out_of_encryption(way: str) -> None:
    answer = SimpleNamespace(
        status_code=302,
        is_redirect=True,
        request=SimpleNamespace(url="https://hub.example/x", method="GET"),
        headers={"location": way},
    )
    with pytest.raises(HubError, match=r"hub\.example sends on to an address without encryption"):
        guard._on_answer(answer)


@pytest.mark.parametrize("way", ["https://cdn.example/x", "//cdn.example/x", "/x", ""])
def test_an_address_may_lead_on_with_encryption(way: str) -> None:
    guard.check_downgrade("https://hub.example/x", urljoin("https://hub.example/x", way))


@pytest.mark.parametrize(
    ("route", "kept"),
    [("https://huggingface.co/api/x", True), ("http://10.0.0.1/x", False), ("/x", False)],
)
def test_the_faster_storage_gets_no_token_sent_elsewhere(route: str, kept: bool) -> None:
    for headers, links in (
        ({"x-xet-hash": "0", "x-xet-refresh-route": route}, {}),
        ({"x-xet-hash": "0"}, {"xet-auth": {"url": route}}),
    ):
        guard._check_refresh(SimpleNamespace(headers=headers, links=links))
        assert ("x-xet-hash" in headers) is kept


@pytest.mark.parametrize("address", ["http://cas.example", "local:///home/me/cas", "", "x"])
def test_the_faster_storage_is_asked_with_encryption(address: str) -> None:
    answer = SimpleNamespace(
        status_code=200,
        is_redirect=False,
        request=SimpleNamespace(url="https://hub.example/api/x", method="GET"),
        headers={"x-xet-cas-url": address},
    )
    with pytest.raises(HubError, match=r"hub\.example sends on to an address without encryption"):
        guard._on_answer(answer)


def test_a_file_that_comes_again_and_again_is_given_up() -> None:
    files = HubFiles(
        repo_id="org/x", revision="", commit="c" * 40, sizes={"a": 1000}, blobs={"a": OTHER_ID}
    )
    job = _Job(files, lambda text: None)
    for _ in range(MOST_ANEW):
        job._came("a", 1000)
    with pytest.raises(HubError, match="keeps breaking off while it sends a"):
        job._came("a", 1)


def test_only_a_stall_is_a_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("spectrum_tui.core.hub.transfer.time.monotonic", lambda: now[0])
    watch, moved = _Watch(), 0
    for now[0] in range(0, 600, 10):  # 2 kB/s: a slow line
        moved += 20_000
        assert not watch.look(moved, waiting=False)
    now[0] += 2.1
    assert watch.look(moved, waiting=False)  # the network is waited for
    now[0] += 500
    assert watch.look(moved, waiting=True)  # the hub asked to wait
    now[0] += 60
    assert not watch.look(moved + 100, waiting=False)
    now[0] += 1
    with pytest.raises(HubError, match="almost nothing for 60 s"):
        watch.look(moved + 200, waiting=False)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_contents_are_known_by_their_id(small: Path, name: str) -> None:
    path, counted = small / name, list[int]()
    assert file_is_blob(path, oid(path), counted.append)
    assert sum(counted) == path.stat().st_size
    assert not file_is_blob(path, OTHER_ID, counted.append)
    assert not file_is_blob(path, OTHER_ID[:40], counted.append)
    assert is_blob(path.read_bytes(), oid(path))


def test_git_itself_gives_the_short_id(small: Path) -> None:
    # git hash-object: 'test content' and a line break, from the book "Pro Git", chapter 10.2.
    assert is_blob(b"test content\n", "d670460b4b4aece5915caf5c68d12f560a9fe3e4")
