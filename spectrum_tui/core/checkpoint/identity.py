"""Whether two models have the same weights: what their scores are kept under, wherever the files
lie.

A model of the hub is known by the ids that the hub gives the contents of its shards, a SHA-256 or
git's hash: as the names of the cache's blobs, in the metadata that a download into a folder leaves,
or from the hub itself. A commit of the README, a mirror, a second download and a model that was
never downloaded have the same ones. An id counts as long as nobody wrote to the file since.

Any other file is known by its header, which also says its size, and by samples of its bytes. Sizes
and times alone tell neither way: `touch` and `cp` change times of the same bytes, while rsync and
archives give two versions one size and time. Only while size, both times, inode and device of every
shard are as they were, the samples of before are taken, where reading them took long, and only on
disks whose times of change are true (`mounts.have_true_times`): in a squashfs, and in images for
containers, files of two models may have all of these in common. They lie at both
ends of every tensor and of every expert in a fused one, and 4 MiB apart within it, in models above
275 GB up to 16; a file of up to 4 MiB is read whole. A few long
samples of a shard would not do: of two fine-tunes of one base, three quarters of the layers may be
the same, byte for byte.

Of a mount that fetches what is read over a network (`mounts.lie_on_demand`), hf-mount's for one,
the files are known by header, size, time of the contents and `samples.GLIMPSES` samples, as a
folder on the web is: the others take an hour there, and fetch the whole model. Its inodes and times
of change are new each time that it is mounted. Where the hub's ids are known, nothing is sampled.

What cannot be told, therefore: a change of a file that leaves header and size as they are, and lies
between all samples. A training changes its tensors nearly everywhere; values that are put by hand
into single rows may be missed. And a cache of the hub whose files were changed, and that was copied
then, before it was looked at here: what is looked at later must have the samples of the first time.

Where names, or how values are decoded, depend on the config, its fields belong to the model too.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectrum_tui.core.checkpoint.file_state import FileState, is_hex_id
from spectrum_tui.core.checkpoint.mounts import have_true_times
from spectrum_tui.core.checkpoint.samples import Contents, glimpsed_ids, sampled_ids
from spectrum_tui.core.disk import read_regular
from spectrum_tui.core.errors import OutputError
from spectrum_tui.core.files import cache_dir, read_kept, write_kept

SLOW = 0.2
"""Seconds from which on samples are kept for the next time: 90,000 take 1 s and more."""

_SETTLED = 2.0
"""Seconds since the last change after which another one has another time, on any file system."""

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_TAKEN, _SAMPLED, _FILES = "taken as 1", "samples 2", "files 3"
_HOPS = 4
_NOTED = 4096

_DECODING = ("quantization_config", "compression_config", "dtype", "torch_dtype")
_NAMING = ("architectures", "model_type", "transformers_weights", *_DECODING[:2])
_BEGINS = ("tie_", "is_", "num_", "n_")
_ENDS = ("_size", "_dim", "_dims", "_heads", "_layers", "_rank")
"""Fields of a config that classes, names, shapes and experts follow from, and what the names of
further ones begin and end with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The names under which scores of a model's contents may be kept: by what the hub calls them,
    by samples of them, and by what the system says of the files; "" where that is not known.

    `files` stands for the files themselves where their samples are to be kept.
    """

    published: str = ""
    sampled: str = ""
    by_system: str = ""
    files: str = ""


NOT_KNOWN = Identity()


# -- fingerprints ------------------------------------------------------------------------------


def fingerprint_of(ids: Iterable[str], headers: Iterable[str], deciding: str) -> str:
    """Return the fingerprint of shards by an id of the contents and the header's hash of each, and
    by what the config decides."""
    digest = hashlib.sha256()
    for one, header in zip(ids, headers, strict=True):
        digest.update(f"{one} {header}\n".encode())
    digest.update(deciding.encode())
    return digest.hexdigest()


def deciding(config: Mapping[str, Any], *, decodes: bool) -> str:
    """Return what a config says that changes names, or, where the stored values are to be decoded,
    their scores."""
    parts = (config, *(part for part in config.values() if isinstance(part, Mapping)))
    found = [
        {
            name: value
            for name, value in part.items()
            if _decides(name) and (_is_flat(value) or name in _DECODING)
        }
        for part in parts
    ]
    said = json.dumps([part for part in found if part], sort_keys=True)
    return said + (decoding(config) if decodes else "")


def decoding(config: Mapping[str, Any]) -> str:
    """Return what the config says of how quantised tensors are decoded, and into which type."""
    parts = [config, *(part for part in config.values() if isinstance(part, Mapping))]
    found = [{name: part[name] for name in _DECODING if name in part} for part in parts]
    return json.dumps([part for part in found if part], sort_keys=True)


def _decides(name: str) -> bool:
    """Return whether classes, names, shapes or experts follow from a field of this name."""
    named = name in _NAMING or name.startswith(_BEGINS) or name.endswith(_ENDS)
    return named or "expert" in name


def _is_flat(value: object) -> bool:
    values = value if isinstance(value, list) else [value]
    return all(one is None or isinstance(one, str | int | float) for one in values)


# -- what the hub calls a file -----------------------------------------------------------------


def published_ids(folder: Path, states: Mapping[str, FileState]) -> list[str]:
    """Return the hub's id of each of a folder's shards; [] where that of any is not known."""
    ids = [
        _blob(folder / name, state) or _downloaded(folder, name, state)
        for name, state in states.items()
    ]
    return ids if all(ids) else []


def _blob(path: Path, state: FileState) -> str:
    """Return the name of the blob of the hub's cache that a file is, if it was not changed after
    the link to it was made; "" for any other. Who saves a model into a snapshot writes to blobs."""
    with suppress(OSError):
        linked = _last_change(FileState.of(path.lstat()))
        blob = next((place for place in _links(path) if place.parent.name == "blobs"), None)
        if blob and is_hex_id(blob.name) and _last_change(state) - 1 <= linked:
            return blob.name
    return ""


def _links(path: Path) -> Iterator[Path]:
    """Yield where a link leads, step by step: a blob may be a link itself, into the store that all
    models of a cache share. Raises OSError."""
    for _ in range(_HOPS):
        if not path.is_symlink():
            return
        target = path.parent / path.readlink()
        path = target.parent.resolve() / target.name
        yield path


def _last_change(state: FileState) -> float:
    """Seconds since 1970, also where the time of the contents was set back."""
    return max(state.mtime_ns, state.ctime_ns) / 1e9


def _downloaded(folder: Path, name: str, state: FileState) -> str:
    """Return the id in the metadata that the hub's client left of a file: three lines with commit,
    id and time. They no longer hold where the file was changed a second or more after that time, as
    for the client, which goes by the time of the contents alone."""
    path = folder / ".cache" / "huggingface" / "download" / f"{name}.metadata"
    with suppress(OSError, ValueError):
        _, one, noted, *_ = read_regular(path, _NOTED).decode().split("\n")
        since = float(noted)
        if is_hex_id(one) and math.isfinite(since) and _last_change(state) - 1 <= since:
            return one
    return ""


# -- samples -----------------------------------------------------------------------------------


def sampled_as(shards: Sequence[Contents], said: str, *, on_demand: bool) -> tuple[str, str]:
    """Return the fingerprint by samples, where the config decides what is `said`; and what stands
    for the files, where `remember` is to keep it. Few samples are read `on_demand`. Raises as
    `sampled_ids`."""
    files = _files(shards, said)
    known = _read(files, _FILES)
    if known:
        return known, ""
    start, began = time.monotonic(), time.time()
    ids = glimpsed_ids if on_demand else sampled_ids
    found = fingerprint_of(ids(shards), (shard.header for shard in shards), said)
    changes = (max(shard.state.mtime_ns, shard.state.ctime_ns) for shard in shards)
    settled = max(changes, default=0) / 1e9 < began - _SETTLED
    return found, files if settled and time.monotonic() - start > SLOW else ""


def _files(shards: Sequence[Contents], said: str) -> str:
    """Return what is the same as long as nobody writes to the files or puts others in their place;
    "" where nothing tells that."""
    if not have_true_times((shard.state.device, shard.state.ctime_ns) for shard in shards):
        return ""
    digest = hashlib.sha256(said.encode())
    for shard in shards:
        state = shard.state
        times = f"{state.mtime_ns} {state.ctime_ns}"
        place = f"{state.device} {state.inode} {state.size}"
        digest.update(f"{shard.header} {place} {times}\n".encode())
    return digest.hexdigest()


# -- what is known of them from before ---------------------------------------------------------


def kept_under(identity: Identity) -> str:
    """Return the fingerprint that scores of these contents are kept under.

    That is what the hub calls them, unless they have other samples than when they were first looked
    at: then somebody wrote into the files. Without the hub's ids it is what was last seen to have
    these samples.
    """
    if identity.published:
        seen = _read(identity.published, _SAMPLED)
        if not identity.sampled or seen in ("", identity.sampled):
            return identity.published
    return canonical(identity.sampled)


def canonical(fingerprint: str) -> str:
    """Return the fingerprint that is used in place of one that means the same contents."""
    for _ in range(_HOPS):
        known = _read(fingerprint, _TAKEN)
        if known in ("", fingerprint):
            break
        fingerprint = known
    return fingerprint


def same_contents(one: str, other: str) -> bool:
    """Return whether two fingerprints mean the same contents, as far as is known here."""
    return one == other or canonical(one) == canonical(other)


def agree(one: Identity, other: Identity) -> bool:
    """Return whether what two machines know of a model is of the same contents: the hub's ids where
    both have them, and the samples where both could read any."""
    known = [
        (mine, theirs)
        for mine, theirs in ((one.published, other.published), (one.sampled, other.sampled))
        if mine and theirs
    ]
    return bool(known) and all(mine == theirs for mine, theirs in known)


def remember(identity: Identity) -> None:
    """Note, once, which samples the files have that took long to read; and those of a hub model, so
    that copies of it and changes to it are told. A cache that cannot be written is none."""
    published, sampled = identity.published, identity.sampled
    if identity.files:
        _write(identity.files, _FILES, sampled)
    if not published or not sampled or kept_under(identity) != published:
        return
    if not _read(published, _SAMPLED):
        _write(published, _SAMPLED, sampled)
    known = _read(sampled, _TAKEN)
    if not known:
        take_as(sampled, published)
    elif known not in (published, sampled):
        # Two models of the hub that differ between the samples: a copy may be either.
        take_as(sampled, sampled)


def take_as(fingerprint: str, other: str) -> None:
    """Have scores under a fingerprint kept under the other one from now on."""
    _write(fingerprint, _TAKEN, other)


def _place(fingerprint: str) -> Path:
    return cache_dir() / "identities" / f"{fingerprint[:40]}.txt"


def _read(fingerprint: str, form: str) -> str:
    known = read_kept(_place(fingerprint), form) if _FINGERPRINT.fullmatch(fingerprint) else None
    return known if known and _FINGERPRINT.fullmatch(known) else ""


def _write(fingerprint: str, form: str, text: str) -> None:
    with suppress(OutputError):
        write_kept(_place(fingerprint), form, text)
