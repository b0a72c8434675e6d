"""Which tensors a checkpoint holds, where their bytes are, and which model it is.

The tensors are known from the headers of safetensors files; of a folder that nobody published,
samples of the values tell the model from others. Neither torch nor the safetensors library is
imported, so that a folder of 90,000 tensors is described in under a second.
Format: a little-endian u64 header length, a JSON header, the data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

from spectrum_tui.core import json_text
from spectrum_tui.core.checkpoint.file_state import FileState, check_unchanged
from spectrum_tui.core.checkpoint.heads import read_head
from spectrum_tui.core.checkpoint.identity import (
    NOT_KNOWN,
    Identity,
    deciding,
    decoding,
    fingerprint_of,
    kept_under,
    published_ids,
    same_contents,
    sampled_as,
)
from spectrum_tui.core.checkpoint.mounts import have_true_times, lie_on_demand, patiently
from spectrum_tui.core.checkpoint.samples import AT_ONCE, SMALL, Contents
from spectrum_tui.core.checkpoint.shards import (
    INDEX_FILE,
    SINGLE_FILE,
    parse_json,
    read_json,
    shard_names,
    unreadable,
)
from spectrum_tui.core.errors import CheckpointError, SpectrumError
from spectrum_tui.core.gc_pause import without_collections
from spectrum_tui.core.together import aside, each

BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
"""Bits of one element of each stored type."""

_PLAIN = {"F64", "F32", "F16", "BF16"}

ADAPTER_FILE = "adapter_config.json"
_LARGEST = 2**64 - 1
"""Of a size or an offset in a header, as the format has it."""
_FIELDS = ("dtype", "shape", "data_offsets")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One stored tensor; `start` and `end` are absolute byte offsets in `file`, whose `state`
    was this when its header was read (None for a file that is not on this machine)."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    file: str
    start: int
    end: int
    state: FileState | None = field(default=None, compare=False, repr=False)

    @property
    def numel(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return self.end - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a shard's header says, and its SHA-256; `state` is the file's on this machine."""

    tensors: list[Tensor]
    digest: str
    state: FileState | None = None


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model's tensors in natural order of their files, with its config.json.

    `fingerprint` stands for the contents, by what is known of them (`checkpoint.identity`): scores
    of an earlier scan are only reused under the same one, or under one that `identity` has too.
    `has_config` is False where there is no config.json, `indexed` where files are taken for
    shards by their names alone, `has_adapter` is set where an adapter's configuration lies beside
    the weights, `on_demand` where a mount fetches what is read of the files (`mounts`).
    """

    folder: Path
    config: Mapping[str, Any]
    shards: tuple[str, ...]
    tensors: tuple[Tensor, ...] = ()
    fingerprint: str = ""
    identity: Identity = NOT_KNOWN
    has_config: bool = True
    indexed: bool = True
    has_adapter: bool = False
    on_demand: bool = False

    @classmethod
    def unread(
        cls,
        folder: Path,
        config: Mapping[str, Any] | None,
        shards: Iterable[str],
        files: Collection[str],
    ) -> Checkpoint:
        """Return a checkpoint whose shards are not opened yet, without tensors and fingerprint.

        `config` is None where there is no config.json; `files` are the names beside the shards.
        """
        return cls(
            folder=folder,
            config=config or {},
            shards=tuple(shards),
            has_config=config is not None,
            indexed=SINGLE_FILE in files or INDEX_FILE in files,
            has_adapter=ADAPTER_FILE in files,
        )

    def with_headers(self, headers: Iterable[Header], where: str) -> Checkpoint:
        """Return the checkpoint with the tensors of its shards, whose headers come in their order.

        Of two tensors with one name the later counts, as for transformers; raise CheckpointError
        for them without an index that would name the files that belong together, in the place
        called `where`.
        """
        tensors: dict[str, Tensor] = {}
        for shard, header in zip(self.shards, headers, strict=True):
            for tensor in header.tensors:
                twin = tensors.get(tensor.name)
                if twin is not None and not self.indexed:
                    raise _ambiguous(twin, shard, where)
                tensors[tensor.name] = tensor
        return replace(self, tensors=tuple(tensors.values()))

    def known_as(self, identity: Identity) -> Checkpoint:
        """Return the checkpoint with its identity, and the fingerprint that follows from it."""
        return replace(self, identity=identity, fingerprint=kept_under(identity))

    def fingerprint_of(self, ids: Iterable[str], headers: Iterable[Header]) -> str:
        """Return its fingerprint by an id of the contents of each shard, and by their headers."""
        return fingerprint_of(ids, (header.digest for header in headers), self.said)

    @property
    def said(self) -> str:
        """What the config says that belongs to the contents."""
        return deciding(self.config, decodes=self.is_decoded)

    def is_known_as(self, fingerprint: str) -> bool:
        """Return whether a fingerprint that was noted somewhere means these contents."""
        return fingerprint == self.identity.by_system or same_contents(
            fingerprint, self.fingerprint
        )

    @property
    def is_decoded(self) -> bool:
        """Whether stored values may mean others, by what the config says."""
        return not {tensor.dtype for tensor in self.tensors} <= _PLAIN

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(t.nbytes for t in self.tensors)

    @property
    def states(self) -> dict[str, FileState]:
        """{file: its state when its header was read}, of the files on this machine."""
        return {t.file: t.state for t in self.tensors if t.state is not None}


@without_collections()
def read_checkpoint(folder: Path) -> Checkpoint:
    """Describe the model in `folder`; raise CheckpointError with the file that is at fault."""
    return aside(partial(patiently, partial(_read_checkpoint, folder)))


def _read_checkpoint(folder: Path) -> Checkpoint:
    checkpoint = _unread(folder)
    paths = [folder / name for name in checkpoint.shards]
    on_demand = checkpoint.on_demand
    work = partial(_read, on_demand=on_demand)
    read = each(work, paths, AT_ONCE) if on_demand else map(work, paths)
    by_system, headers = hashlib.sha256(), []
    for path, (header, blob) in zip(paths, read, strict=True):
        assert header.state is not None
        by_system.update(f"{path.name}\0{header.state.identity(path)}\0".encode())
        by_system.update(blob)
        headers.append(header)
    checkpoint = checkpoint.with_headers(headers, str(folder))
    if checkpoint.is_decoded:
        by_system.update(decoding(checkpoint.config).encode())
    return checkpoint.known_as(_identity(checkpoint, headers, by_system.hexdigest()))


def _identity(checkpoint: Checkpoint, headers: Sequence[Header], by_system: str) -> Identity:
    """Return how a model in a folder is known, from the headers of its shards."""
    folder, states = checkpoint.folder, {}
    contents = []
    for name, header in zip(checkpoint.shards, headers, strict=True):
        assert header.state is not None
        states[name] = header.state
        contents.append(_contents(folder / name, header, header.state))
    ids = published_ids(folder, states)
    sampled = files = ""
    if not (ids and checkpoint.on_demand):
        sampled, files = sampled_as(contents, checkpoint.said, on_demand=checkpoint.on_demand)
    return Identity(
        published=checkpoint.fingerprint_of(ids, headers) if ids else "",
        sampled=sampled,
        by_system=by_system,
        files=files,
    )


def _contents(path: Path, header: Header, state: FileState) -> Contents:
    start = header.tensors[0].start if header.tensors else state.size
    ends = tuple(tensor.end for tensor in header.tensors)
    experts = tuple(_expert(tensor) for tensor in header.tensors)
    return Contents(
        path=path, header=header.digest, state=state, start=start, ends=ends, experts=experts
    )


def _expert(tensor: Tensor) -> int:
    """Return the bytes of one matrix of a tensor that may hold a row of them; 0 for others."""
    one = tensor.nbytes // tensor.shape[0] if len(tensor.shape) > 2 and tensor.shape[0] else 0
    return one if one > SMALL else 0


def is_unchanged(checkpoint: Checkpoint) -> bool:
    """Return whether `read_checkpoint` would find the same again, without a look into the shards
    where their times tell that."""
    states = checkpoint.states
    try:
        check_unchanged(states)
        if not have_true_times((state.device, state.ctime_ns) for state in states.values()):
            return read_checkpoint(checkpoint.folder).identity == checkpoint.identity
        return _unread(checkpoint.folder) == replace(
            checkpoint, tensors=(), fingerprint="", identity=NOT_KNOWN
        )
    except (SpectrumError, OSError):  # to read it again tells what is wrong with it
        return False


def _unread(folder: Path) -> Checkpoint:
    config, shards = read_config(folder), shard_names(folder)
    known = (SINGLE_FILE, INDEX_FILE, ADAPTER_FILE)
    try:
        beside = [name for name in known if (folder / name).is_file()]
    except OSError as exc:
        raise unreadable(folder, exc) from None
    unread = Checkpoint.unread(folder, config, shards, beside)
    return replace(unread, on_demand=lie_on_demand(folder / name for name in shards))


def _ambiguous(twin: Tensor, shard: str, where: str) -> CheckpointError:
    return CheckpointError(
        f"{Path(twin.file).name} and {Path(shard).name} in {where} both hold {twin.name}, and no "
        f"{INDEX_FILE} says which of them is the model's.",
        "Leave the files of one model in the folder.",
        field="model",
    )


def read_config(folder: Path) -> dict[str, Any] | None:
    """config.json as a mapping; None where there is none."""
    path = folder / "config.json"
    data = read_json(path)
    return None if data is None else parse_config(data, str(path))


def parse_config(data: str | bytes, where: str = "config.json") -> dict[str, Any]:
    """Return the content of a config.json as a mapping; empty where it holds anything else."""
    config = parse_json(data, where)
    return config if isinstance(config, dict) else {}


def read_header(path: Path) -> Header:
    """Return the header of one shard; raises as `read_head` does."""
    header, _ = _read(path)
    return header


def _read(path: Path, *, on_demand: bool = False) -> tuple[Header, bytes]:
    """Return the header of one shard, also as it is stored."""
    state, blob = read_head(path, on_demand=on_demand)
    tensors = parse_header(blob, str(path), state.size, state)
    return Header(tensors=tensors, digest=hashlib.sha256(blob).hexdigest(), state=state), blob


def parse_header(
    blob: bytes, file: str, size: int | None, state: FileState | None = None
) -> list[Tensor]:
    """Return the tensors that a shard's JSON header names; `size` of the file in bytes, if known.

    As strict as the official reader: the data is covered from its first byte to its last, each
    byte by one tensor.
    """
    name = Path(file).name
    try:
        entries = _entries(blob)
        base = 8 + len(blob)
        tensors = [_tensor(key, entry, file, base, state) for key, entry in entries.items()]
        tensors.sort(key=lambda tensor: (tensor.start, tensor.end))
        end = _covered(tensors, base)
    except json_text.WRONG_SHAPE:
        raise CheckpointError(
            f"{name} has a damaged header.", "Download the file again.", field="model"
        ) from None
    if size is not None and size != end:
        lacks = f"it needs {end:,} bytes and has {size:,}"
        fault = f"is truncated: {lacks}" if size < end else f"is too long: {lacks}"
        raise CheckpointError(
            f"{name} {fault}.",
            "Download it again; the transfer was cut short."
            if size < end
            else "Download it again; it is not the file that was written.",
            field="model",
        )
    return tensors


def _entries(blob: bytes) -> dict[str, Any]:
    """{tensor: its entry} of a header; raises ValueError or TypeError for what is none."""
    entries = json_text.load_strict(blob, once=("__metadata__", *_FIELDS))
    metadata = entries.pop("__metadata__", None)
    if metadata is not None and not all(isinstance(value, str) for value in metadata.values()):
        raise TypeError(metadata)
    return dict(entries)


def _covered(tensors: Sequence[Tensor], base: int) -> int:
    """Return where the last of `tensors` ends, given in order; ValueError for a gap or an
    overlap."""
    end = base
    for tensor in tensors:
        if tensor.start != end:
            raise ValueError(tensor.name)
        end = tensor.end
    return end


def _tensor(
    key: str, entry: Mapping[str, Any], file: str, base: int, state: FileState | None
) -> Tensor:
    start, end = _naturals(entry["data_offsets"])
    shape = _naturals(entry["shape"])
    dtype = entry["dtype"]
    count = 1
    for size in shape:
        count *= size
        if count > _LARGEST:
            raise OverflowError(key)
    if count * BITS[dtype] != (end - start) * 8:
        raise ValueError(key)
    return Tensor(
        name=key,
        shape=shape,
        dtype=dtype,
        file=file,
        start=base + start,
        end=base + end,
        state=state,
    )


def _naturals(values: object) -> tuple[int, ...]:
    """Return a list of whole numbers of the format: JSON also has 1.5, true, "" and 1e999."""
    if not isinstance(values, list):
        raise TypeError(values)
    for value in values:
        if type(value) is not int or not 0 <= value <= _LARGEST:
            raise ValueError(value)
    return tuple(values)
