"""The kinds of places that models are read from: a new one is a row of `PLACES`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from spectrum_tui.core.checkpoint.headers import Checkpoint, read_checkpoint
from spectrum_tui.core.checkpoint.shards import unreadable
from spectrum_tui.core.errors import CheckpointError, HubError
from spectrum_tui.core.hub.cache import HubFiles, find_local
from spectrum_tui.core.hub.cloud import CloudReader, is_in_a_bucket, read_cloud
from spectrum_tui.core.hub.location import RemoteFile
from spectrum_tui.core.hub.names import validate
from spectrum_tui.core.hub.patience import Patience
from spectrum_tui.core.hub.ranges import RangeReader
from spectrum_tui.core.hub.reader import Reader
from spectrum_tui.core.hub.remote import RemoteCheckpoint, read_remote
from spectrum_tui.core.hub.transfer import free_space
from spectrum_tui.core.hub.web import WebModel, check_address, is_web_folder, read_web, web_name
from spectrum_tui.core.model import demo
from spectrum_tui.core.model.named import OWNED, display_name, local_folder, trimmed
from spectrum_tui.core.requests import Origin
from spectrum_tui.core.settings import DEMO, DEMO_NAME


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A model as a look at its headers finds it.

    `local` are the bytes that are on this machine, -1 for all of them, and `free` those that the
    disk has left for a download, None where nothing is downloaded or they are not known. `files`
    are what a download fetches, `web` what is read where it is, by the names in `Tensor.file`.
    """

    origin: Origin
    checkpoint: Checkpoint
    revision: str = ""
    local: int = -1
    free: int | None = None
    files: HubFiles | None = None
    web: Mapping[str, RemoteFile] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A kind of place.

    `holds` tells whether a model is there, by what was typed without the spaces around it; `look`
    describes that one at a revision, asking with a patience; `name` is what its files are called
    after. All three raise CheckpointError or HubError for what was typed wrongly. `source` is where
    values are read from without a download, in words. `reader` reads
    the values of a model that is not on this machine. `looked_at_again` says that not every change
    of its files is seen while they are read: scores are kept once another look finds the same.
    """

    holds: Callable[[str], bool]
    look: Callable[[str, str, Patience | None], Seen]
    name: Callable[[str], str]
    source: str = "this machine"
    reader: type[Reader] = RangeReader
    looked_at_again: bool = False


def place_of(typed: str) -> Place:
    """Return where a model is; raises CheckpointError for a path that leads nowhere."""
    return next(place for place in PLACES if place.holds(typed))


def called(model: str) -> str:
    """Return what the files of a model are named after; raises HubError for an address that may
    not be shown, and leaves what is wrong with a path to a look at it."""
    model = trimmed(model)
    with contextlib.suppress(CheckpointError):
        return place_of(model).name(model)
    return model


def _made(typed: str, revision: str, patience: Patience | None) -> Seen:
    return Seen(origin="demo", checkpoint=read_checkpoint(demo.make_demo_model()))


def _folder(typed: str) -> Path:
    folder = local_folder(typed)
    assert folder is not None, "asked of what is no folder"
    return folder


def _in_folder(typed: str, revision: str, patience: Patience | None) -> Seen:
    folder = _folder(typed)
    try:
        return Seen(origin="folder", checkpoint=read_checkpoint(folder))
    except OSError as exc:
        raise unreadable(folder, exc) from None


def _address_name(typed: str) -> str:
    check_address(typed)
    return web_name(typed)


def _on_the_web(typed: str, revision: str, patience: Patience | None) -> Seen:
    return _unlisted(read_web(typed, patience))


def _in_bucket(typed: str, revision: str, patience: Patience | None) -> Seen:
    return _unlisted(read_cloud(typed, patience))


def _unlisted(found: WebModel) -> Seen:
    return Seen(origin="web", checkpoint=found.checkpoint, local=0, web=found.files)


def _on_the_hub(typed: str, revision: str, patience: Patience | None) -> Seen:
    """Look into the hub's cache before the network is asked."""
    validate(typed)
    found = find_local(typed, revision)
    if found is not None:
        return Seen(origin="cache", checkpoint=read_checkpoint(found[0]), revision=found[1])
    remote = _read_remote(typed, revision, patience)
    return Seen(
        origin="hub",
        checkpoint=remote.checkpoint,
        revision=remote.files.commit,
        local=remote.files.cached_bytes(),
        free=free_space(),
        files=remote.files,
    )


def _read_remote(model: str, revision: str, patience: Patience | None) -> RemoteCheckpoint:
    """Return the model on the hub. A bare name may be an old id, but is more likely no id at all:
    that is said before what the hub or the network answered."""
    try:
        return read_remote(model, revision, patience)
    except HubError as exc:
        if "/" in model:
            raise
        raise HubError(
            f"There is no folder {model}, and a model id has an owner: {OWNED}.",
            f"As an id without one it could not be read: {exc.message}",
            field=exc.field,
        ) from None


MADE = Place(holds=DEMO.__eq__, look=_made, name=lambda typed: DEMO_NAME)
FOLDER = Place(
    holds=lambda typed: local_folder(typed) is not None,
    look=_in_folder,
    name=lambda typed: display_name(_folder(typed)),
)
BUCKET = Place(
    holds=is_in_a_bucket,
    look=_in_bucket,
    name=_address_name,
    source="the bucket",
    reader=CloudReader,
)
# Most servers mark a file by the second: one that was written twice in a second has one mark.
WEB = Place(
    holds=is_web_folder,
    look=_on_the_web,
    name=_address_name,
    source="the web",
    looked_at_again=True,
)
HUB = Place(holds=lambda typed: True, look=_on_the_hub, name=str, source="the hub")

PLACES = (MADE, FOLDER, BUCKET, WEB, HUB)
"""In the order in which they are asked: what is nowhere else is an id on the hub."""
