"""A model is the same at every kind of place that it can be read from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from spectrum_tui.core.errors import CheckpointError, HubError
from spectrum_tui.core.hub import cloud
from spectrum_tui.core.model import places
from spectrum_tui.core.model.inspection import inspect_model
from spectrum_tui.core.model.places import PLACES, Place, called, place_of
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.settings import DEMO, DEMO_NAME, Settings
from tests.checkpoints import llama, save
from tests.cloud.fake_store import URLS, FakeStore, fake_store
from tests.fake_hub import FakeHub
from tests.streamed import scores

REPO = "org/tiny"


@dataclass
class World:
    """One model, put wherever a place of some kind reads it."""

    folder: Path
    hub: FakeHub
    store: FakeStore
    monkeypatch: pytest.MonkeyPatch

    def web(self) -> str:
        server = self.hub._server
        assert server is not None
        return f"http://localhost:{server.server_port}/web/{REPO}"

    def bucket(self) -> str:
        pytest.importorskip("obstore")
        for name, value in self.store.environment("s3").items():
            self.monkeypatch.setenv(name, value)
        self.store.put(self.folder)
        cloud._bucket.cache_clear()
        return URLS["s3"]


TYPED: dict[str, tuple[Place, Callable[[World], str], str]] = {
    "demo": (places.MADE, lambda world: DEMO, DEMO_NAME),
    "folder": (places.FOLDER, lambda world: str(world.folder), "tiny"),
    "bucket": (places.BUCKET, World.bucket, "tiny"),
    "web": (places.WEB, World.web, "tiny"),
    "hub": (places.HUB, lambda world: REPO, REPO),
}


@pytest.fixture
def world(
    online: FakeHub, repos: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    folder = save(tmp_path / "tiny", llama(1), shards=2)
    monkeypatch.setitem(repos, REPO, folder)
    with fake_store() as store:
        yield World(folder, online, store, monkeypatch)


def test_no_kind_is_left_out() -> None:
    assert [place for place, *_ in TYPED.values()] == list(PLACES)


@pytest.mark.parametrize("kind", TYPED)
def test_what_is_typed_is_known_for_its_kind(kind: str, world: World) -> None:
    place, typed, name = TYPED[kind]
    model = typed(world)
    assert place_of(model) is place
    assert called(model) == called(f" {model} ") == name


@pytest.mark.parametrize("kind", [kind for kind in TYPED if kind != "demo"])
def test_it_is_scanned_as_from_a_folder(kind: str, world: World, tmp_path: Path) -> None:
    place, typed, name = TYPED[kind]
    model = typed(world)
    found, local = inspect_model(model), inspect_model(str(world.folder))
    assert (found.place, found.summary.name) == (place, name)
    assert found.summary.types == local.summary.types
    assert found.summary.is_local is (kind == "folder")

    def scanned(model: str, out: str) -> object:
        options = Settings(model=model, stream=True, device="cpu", output_dir=str(tmp_path / out))
        return scores(list(run_scan(options)))

    assert scanned(model, "out") == scanned(str(world.folder), "local")


@pytest.mark.parametrize("typed", ["/nowhere/at/all", "./nowhere", "~/no/such/folder"])
def test_a_path_that_leads_nowhere_is_no_id(typed: str) -> None:
    with pytest.raises(CheckpointError, match="There is no folder"):
        place_of(typed)
    assert called(typed) == typed


def test_an_address_that_may_not_be_shown_has_no_name() -> None:
    for typed in ("https://user:secret@host/model", "s3://bucket/model?X-Amz-Signature=1"):
        with pytest.raises(HubError, match="without user, password"):
            called(typed)
