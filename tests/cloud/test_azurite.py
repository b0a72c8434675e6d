"""A model in Azure's own emulator, where `azurite-blob` is installed (npm install azurite)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

pytest.importorskip("obstore")

import obstore
from obstore.store import AzureStore

from spectrum_tui.core.errors import HubError, ModelChangedError
from spectrum_tui.core.hub import cloud
from spectrum_tui.core.model.inspection import inspect_model
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.settings import Settings
from tests.checkpoints import llama, save
from tests.streamed import scores

PROGRAM = shutil.which("azurite-blob")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs azurite-blob on the PATH")

ACCOUNT = "devstoreaccount1"
KEY = base64.b64encode(b"a key of this test alone").decode()
URL = "az://models/family/tiny"
EXPIRED = "sv=2021-08-06&sp=r&sr=c&se=2020-01-01T00%3A00%3A00Z&sig=c2VjcmV0"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    patch = pytest.MonkeyPatch()
    patch.setenv("AZURITE_ACCOUNTS", f"{ACCOUNT}:{KEY}")
    assert PROGRAM
    options = ("--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--silent")
    run = subprocess.Popen(
        [PROGRAM, *options, "--blobPort", str(port)], cwd=tmp_path_factory.mktemp("azurite")
    )
    try:
        _make_container(f"http://127.0.0.1:{port}/{ACCOUNT}")
        yield f"http://127.0.0.1:{port}/{ACCOUNT}"
    finally:
        patch.undo()
        run.terminate()
        run.wait(10)


def _make_container(address: str) -> None:
    date = formatdate(usegmt=True)
    lines = ("PUT", *[""] * 11, f"x-ms-date:{date}", "x-ms-version:2021-08-06")
    signed = "\n".join((*lines, f"/{ACCOUNT}/{ACCOUNT}/models", "restype:container"))
    key = hmac.new(base64.b64decode(KEY), signed.encode(), hashlib.sha256).digest()
    headers = {
        "x-ms-date": date,
        "x-ms-version": "2021-08-06",
        "Authorization": f"SharedKey {ACCOUNT}:{base64.b64encode(key).decode()}",
    }
    request = urllib.request.Request(
        f"{address}/models?restype=container", headers=headers, method="PUT"
    )
    end = time.monotonic() + 20
    while True:
        try:
            urllib.request.urlopen(request).close()
            return
        except urllib.error.HTTPError:
            raise
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.1)


@pytest.fixture
def folder(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model in two shards, the same as in the container."""
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", address)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
    cloud._bucket.cache_clear()
    made = save(tmp_path / "model", llama(2), shards=2)
    upload(made)
    return made


def upload(folder: Path) -> None:
    store = AzureStore("models", client_options={"allow_http": True})
    for path in folder.iterdir():
        obstore.put(store, f"family/tiny/{path.name}", path.read_bytes())


def test_it_is_scanned_where_it_lies(folder: Path, tmp_path: Path) -> None:
    there = Settings(model=URL, device="cpu", output_dir=str(tmp_path / "out"))
    local = Settings(model=str(folder), device="cpu", output_dir=str(tmp_path / "local"))
    found = scores(list(run_scan(there)))
    assert found == scores(list(run_scan(local))) and found


def test_an_object_that_was_replaced_is_noticed(folder: Path, tmp_path: Path) -> None:
    found = inspect_model(URL)
    upload(save(tmp_path / "other", {n: 2 * t for n, t in llama(2).items()}, shards=2))
    there = Settings(model=URL, device="cpu", output_dir=str(tmp_path / "out"))
    with pytest.raises(ModelChangedError, match="has changed on its server"):
        list(run_scan(there, found))


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("AZURE_STORAGE_ACCOUNT_KEY", "bm9uZQ==", "is not given to these credentials (HTTP 403)"),
        ("AZURE_STORAGE_SAS_TOKEN", EXPIRED, "is not given to these credentials (HTTP 403)"),
        ("AZURE_SKIP_SIGNATURE", "1", "is not public (HTTP 403)"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_it_refuses(
    variable: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    monkeypatch.setenv(variable, value)
    cloud._bucket.cache_clear()
    with pytest.raises(HubError) as caught:
        inspect_model(URL)
    assert said in caught.value.message
    assert not any(secret in str(caught.value) for secret in ("bm9uZQ", "c2VjcmV0"))
