"""A model in a bucket of S3, as moto has it on 127.0.0.1."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("obstore")
pytest.importorskip("moto.server")

import obstore
from moto.server import ThreadedMotoServer
from obstore.store import from_url

from spectrum_tui.core.errors import CheckpointError, HubError, ModelChangedError, SpectrumError
from spectrum_tui.core.events import LayerDone, ScanEnded
from spectrum_tui.core.hub import attended, cloud, outage
from spectrum_tui.core.model.inspection import inspect_model
from spectrum_tui.core.requests import ResultReady
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.settings import Settings
from tests.checkpoints import llama, save
from tests.streamed import scores

URL = "s3://models/family/tiny"


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadedMotoServer]:
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def folder(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model in two shards, the same as in the bucket."""
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    cloud._bucket.cache_clear()
    import urllib.request

    urllib.request.urlopen(
        urllib.request.Request(f"http://{host}:{port}/models", method="PUT")
    ).close()
    made = save(tmp_path / "model", llama(2), shards=2)
    upload(made)
    return made


def upload(folder: Path) -> None:
    store = from_url("s3://models", client_options={"allow_http": True})
    for path in folder.iterdir():
        obstore.put(store, f"family/tiny/{path.name}", path.read_bytes())


def settings(tmp_path: Path, **options: Any) -> Settings:
    return Settings(model=URL, device="cpu", output_dir=str(tmp_path / "out"), **options)


def test_it_is_scanned_where_it_lies(folder: Path, tmp_path: Path) -> None:
    found = list(run_scan(settings(tmp_path)))
    local = Settings(model=str(folder), device="cpu", output_dir=str(tmp_path / "local"))
    assert scores(found) == scores(list(run_scan(local))) and scores(found)
    assert isinstance(found[-1], ResultReady)
    assert "snr_results_tiny.json" in found[-1].path


def test_an_object_that_was_replaced_is_noticed(folder: Path, tmp_path: Path) -> None:
    inspection = inspect_model(URL)
    upload(save(tmp_path / "other", {n: 2 * t for n, t in llama(2).items()}, shards=2))
    with pytest.raises(ModelChangedError, match="has changed on its server"):
        list(run_scan(settings(tmp_path), inspection))


def test_what_is_not_there_is_said(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"There is no config\.json at s3://models/none"):
        inspect_model("s3://models/none")


def test_a_store_that_is_gone_stops_the_scan(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "GIVE_UP", 0.01)
    monkeypatch.setattr(outage, "FIRST_WAIT", 0.02)
    inspection = inspect_model(URL)

    def gone(*_: object, **__: object) -> None:
        raise obstore.exceptions.GenericError("secret")

    monkeypatch.setattr(obstore, "get", gone)
    events = list(run_scan(settings(tmp_path), inspection))
    (ended,) = [event for event in events if isinstance(event, ScanEnded)]
    assert (ended.reason, ended.failed) == ("stopped", 0)
    assert "goes on from there" in ended.notes[-1] and "secret" not in ended.notes[-1]
    assert not [e for e in events if isinstance(e, LayerDone) and len(e.shape) > 1]


def test_a_store_without_encryption_needs_nothing_more(folder: Path) -> None:
    assert inspect_model(URL).summary.origin == "web"


def test_encryption_is_asked_for_where_the_user_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ALLOW_HTTP", "false")
    with pytest.raises(HubError, match="has no encryption") as caught:
        inspect_model(URL)
    assert "AWS_ALLOW_HTTP=true" in caught.value.hint


def test_missing_credentials_are_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = inspect_model(URL)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1/169.254.169.254")
    cloud._bucket.cache_clear()
    monkeypatch.setattr(cloud, "RETRIES", 0)
    with pytest.raises(HubError, match=r"No credentials for s3://models/family/tiny") as caught:
        inspect_model(URL)
    assert "AWS_SKIP_SIGNATURE" in caught.value.hint
    # Nor are they waited for in a scan.
    file = next(iter(found.web.values()))
    with pytest.raises(HubError, match="No credentials"):
        cloud.CloudReader({file.url: file}).fetch(file.url, 0, memoryview(bytearray(1)))


def test_a_store_that_is_not_reached_keeps_no_scores(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setattr(cloud, "RETRIES", 0)
    with pytest.raises(HubError, match=r"connection refused") as caught:
        inspect_model(URL)
    assert "kept" not in str(caught.value)


@pytest.mark.parametrize("allowed", ["true", None])
def test_a_store_that_says_nothing_is_given_up(
    allowed: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = inspect_model(URL)
    monkeypatch.setattr(attended, "STALL", 0.3)
    monkeypatch.setattr(outage, "GIVE_UP", 0.1)
    monkeypatch.setattr(outage, "FIRST_WAIT", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.delenv("AWS_ALLOW_HTTP", raising=False)
        if allowed:
            monkeypatch.setenv("AWS_ALLOW_HTTP", allowed)
        cloud._bucket.cache_clear()
        with pytest.raises(HubError, match=r"127\.0\.0\.1 sends nothing"):
            inspect_model(URL)
        file = next(iter(found.web.values()))
        reader = cloud.CloudReader({file.url: file})
        with pytest.raises(outage.GivenUpError, match=r"127\.0\.0\.1 sends nothing"):
            reader.fetch(file.url, 0, memoryview(bytearray(1)))


@pytest.mark.parametrize("url", ["s3://", "s3:///x", "s3://no such/x", "az://a"])
def test_addresses_that_are_none(url: str, folder: Path) -> None:
    with pytest.raises(SpectrumError):
        inspect_model(url)


def test_an_object_without_tags_is_told_by_its_time(folder: Path, tmp_path: Path) -> None:
    found = inspect_model(URL)
    files = {name: replace(file, tag="") for name, file in found.web.items()}
    list(run_scan(settings(tmp_path, since=1e12), replace(found, web=files)))
    files = {name: replace(file, modified="2001-01-01") for name, file in files.items()}
    with pytest.raises(ModelChangedError, match="has changed on its server"):
        list(run_scan(settings(tmp_path, since=1e12), replace(found, web=files)))
