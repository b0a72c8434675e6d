"""Models in buckets of each provider, and what is said where one does not give them."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("obstore")

from spectrum_tui.core.errors import CheckpointError, HubError, ModelChangedError
from spectrum_tui.core.events import ScanEnded
from spectrum_tui.core.hub import cloud, outage
from spectrum_tui.core.hub.patience import Patience
from spectrum_tui.core.model.inspection import Inspection, inspect_model
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.settings import Settings
from tests.checkpoints import llama, save
from tests.cloud.fake_store import KEY, URLS, FakeStore, fake_store
from tests.streamed import scores

PREFIXES = {"s3": "AWS", "gs": "GOOGLE", "az": "AZURE"}


@dataclass
class Bucket:
    """A model in the bucket of a store, and the same in a folder."""

    scheme: str
    store: FakeStore
    folder: Path

    @property
    def url(self) -> str:
        return URLS[self.scheme]

    def inspect(self) -> Inspection:
        cloud._bucket.cache_clear()
        return inspect_model(self.url)


@pytest.fixture(params=list(URLS))
def bucket(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bucket]:
    for name in [name for name in os.environ if name.startswith(tuple(PREFIXES.values()))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(cloud, "RETRIES", 0)
    with fake_store() as store:
        for name, value in store.environment(request.param).items():
            monkeypatch.setenv(name, value)
        folder = save(tmp_path / "model", llama(2), shards=2)
        store.put(folder)
        cloud._bucket.cache_clear()
        yield Bucket(request.param, store, folder)


@pytest.fixture
def without_credentials(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Nobody is signed in, and no machine of the cloud is asked either."""
    aws = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    for name in (*aws, "GOOGLE_BEARER_TOKEN", "AZURE_STORAGE_ACCOUNT_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1/169.254.169.254")
    monkeypatch.setenv("AZURE_MSI_ENDPOINT", "http://127.0.0.1:1/169.254.169.254")
    monkeypatch.setenv("GCE_METADATA_ROOT", "127.0.0.1:1")
    return bucket


def settings(bucket: Bucket, tmp_path: Path, **options: Any) -> Settings:
    return Settings(model=bucket.url, device="cpu", output_dir=str(tmp_path / "out"), **options)


def test_it_is_scanned_where_it_lies(bucket: Bucket, tmp_path: Path) -> None:
    found = list(run_scan(settings(bucket, tmp_path)))
    local = Settings(model=str(bucket.folder), device="cpu", output_dir=str(tmp_path / "local"))
    assert scores(found) == scores(list(run_scan(local))) and scores(found)


def test_an_object_that_was_replaced_is_noticed(bucket: Bucket, tmp_path: Path) -> None:
    found = bucket.inspect()
    other = save(tmp_path / "other", {n: 2 * t for n, t in llama(2).items()}, shards=2)
    bucket.store.put(other)
    with pytest.raises(ModelChangedError, match="has changed on its server"):
        list(run_scan(settings(bucket, tmp_path), found))


def test_what_is_not_there_is_said(bucket: Bucket) -> None:
    bucket.store.objects.clear()
    with pytest.raises(CheckpointError, match=rf"There is no config\.json at {bucket.url}/"):
        bucket.inspect()


def test_a_public_bucket_needs_no_credentials(
    without_credentials: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = without_credentials
    bucket.store.public = True
    variable = f"{PREFIXES[bucket.scheme]}_SKIP_SIGNATURE"
    with pytest.raises(HubError, match=f"No credentials for {bucket.url}") as caught:
        bucket.inspect()
    assert f"{variable}=1" in caught.value.hint
    monkeypatch.setenv(variable, "1")
    assert bucket.inspect().summary.tensors
    bucket.store.public = False
    with pytest.raises(HubError, match=r"is not public \(HTTP 403\)"):
        bucket.inspect()


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_names_no_secret(
    status: int, bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    bucket.store.answer = status, f"<Code>Denied</Code> {KEY}"
    with caplog.at_level(logging.DEBUG), pytest.raises(HubError) as caught:
        bucket.inspect()
    assert f"is not given to these credentials (HTTP {status})" in caught.value.message
    assert "secret" not in f"{caught.value}{caplog.text}" and KEY not in caplog.text


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, "<Code>ExpiredToken</Code>"),
        (403, "Signature not valid in the specified time frame"),
        (403, "<Code>ExpiredToken</Code>"),
    ],
)
def test_credentials_that_expire_in_mid_scan(
    status: int, body: str, bucket: Bucket, tmp_path: Path
) -> None:
    found = bucket.inspect()
    bucket.store.after = len(bucket.store.headers) + 3
    bucket.store.answer = status, body
    with pytest.raises(HubError, match="have expired") as caught:
        list(run_scan(settings(bucket, tmp_path), found))
    assert "goes on from there" in caught.value.hint


@pytest.mark.parametrize("status", [500, 501, 503])
def test_a_store_with_an_error_of_its_own_is_named(
    status: int, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = bucket.inspect()
    bucket.store.answer = status, ""
    with pytest.raises(HubError, match=rf"127\.0\.0\.1 reports .* \(HTTP {status}\)"):
        bucket.inspect()
    monkeypatch.setattr(outage, "GIVE_UP", 0.01)
    monkeypatch.setattr(outage, "FIRST_WAIT", 0.02)
    events = list(run_scan(settings(bucket, tmp_path), found))
    (ended,) = [event for event in events if isinstance(event, ScanEnded)]
    assert (ended.reason, ended.failed) == ("stopped", 0)
    assert f"127.0.0.1 reports an error of its own (HTTP {status})" in ended.notes[-1]


@pytest.mark.parametrize("bucket", ["s3"], indirect=True)
def test_a_bucket_in_another_region(bucket: Bucket) -> None:
    bucket.store.answer = 301, "<Code>PermanentRedirect</Code>"
    with pytest.raises(HubError, match="is in another region") as caught:
        bucket.inspect()
    assert "AWS_REGION" in caught.value.hint


# -- where else credentials stand --------------------------------------------------------------


def only(scheme: str) -> Callable[[Any], Any]:
    return pytest.mark.parametrize("bucket", [scheme], indirect=True)


@only("az")
@pytest.mark.parametrize("how", ["the names of az", "a connection string"])
def test_azure_as_its_own_command_has_it(
    how: str, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ACCOUNT_NAME", "ACCOUNT_KEY"):
        monkeypatch.delenv(f"AZURE_STORAGE_{name}")
    with pytest.raises(HubError, match="does not say which storage account") as caught:
        bucket.inspect()
    assert "AZURE_STORAGE_ACCOUNT_NAME" in caught.value.hint
    if how == "the names of az":
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "account")
        monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    else:
        monkeypatch.delenv("AZURE_STORAGE_ENDPOINT")
        text = f"AccountName=account;AccountKey={KEY};BlobEndpoint={bucket.store.address}/account;"
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    assert bucket.inspect().summary.tensors


@only("az")
@pytest.mark.parametrize("key", ["not base64!", "é"])
def test_a_key_that_is_none(key: str, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", key)
    with pytest.raises(HubError, match="are not usable") as caught:
        bucket.inspect()
    assert key not in str(caught.value)


@only("s3")
def test_keys_that_aws_configure_has_written(
    without_credentials: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_REGION")
    files = tmp_path / ".aws"
    files.mkdir()
    pair = "aws_access_key_id = {}\naws_secret_access_key = x%y\n"
    text = f"[default]\n{pair.format('first')}[work]\n{pair.format('second')}"
    (files / "credentials").write_text(f"{text}aws_session_token = session\n[sso]\n")
    (files / "config").write_text(
        "[default]\nregion=eu-north-1\n[profile work]\nregion = eu-west-3"
    )
    for profile, signs in [("", ("first/", "/eu-north-1/")), ("work", ("second/", "/eu-west-3/"))]:
        monkeypatch.setenv("AWS_PROFILE", profile)
        assert without_credentials.inspect().summary.tensors
        headers = without_credentials.store.headers[-1]
        assert all(sign in headers["authorization"] for sign in signs)
        assert headers.get("x-amz-security-token") == ("session" if profile else None)
    for name in ("sso", "none"):
        monkeypatch.setenv("AWS_PROFILE", name)
        with pytest.raises(HubError, match="No credentials") as caught:
            without_credentials.inspect()
        assert "aws configure export-credentials" in caught.value.hint


@only("s3")
def test_a_bucket_whose_readers_pay(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REQUEST_PAYER", "requester")
    bucket.inspect()
    assert bucket.store.headers[-1]["x-amz-request-payer"] == "requester"
    bucket.store.answer = 403, ""
    with pytest.raises(HubError) as caught:
        bucket.inspect()
    assert "AWS_REQUEST_PAYER=requester" in caught.value.hint


@only("gs")
@pytest.mark.parametrize("text", [None, "secret nonsense"])
def test_google_s_file_that_is_none(
    text: str | None, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOOGLE_BEARER_TOKEN")
    file = tmp_path / "adc.json"
    if text:
        file.write_text(text)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    with pytest.raises(HubError, match="are not usable") as caught:
        bucket.inspect()
    assert "gcloud auth application-default login" in caught.value.hint


def test_a_stop_ends_the_look_at_a_silent_store(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    monkeypatch.setattr(cloud, "_asked", lambda *_: over.wait(20))

    def stop() -> None:
        raise outage.GivenUpError("stopped")

    before = time.monotonic()
    with pytest.raises(outage.GivenUpError, match="stopped"):
        inspect_model(bucket.url, patience=Patience(check=stop))
    over.set()
    assert time.monotonic() - before < 5
