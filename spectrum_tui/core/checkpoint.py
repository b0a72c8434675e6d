"""Which tensors a checkpoint holds, and where their bytes are: from safetensors headers alone.

Standard library only, so that a folder of 90,000 tensors is described in under a second and
before torch is imported. Format: a little-endian u64 header length, a JSON header, the data.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from spectrum_tui.core.errors import CheckpointError
from spectrum_tui.core.file_state import FileState, changed

MAX_HEADER = 100_000_000
"""Bytes; the cap of the safetensors library itself."""

BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
"""Bits of one element of each stored type."""

_PLAIN = {"F64", "F32", "F16", "BF16"}
_DECODING = ("quantization_config", "compression_config", "dtype", "torch_dtype")

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
_NOT_THE_MODEL = ("consolidated", "adapter_")
"""Files of these names hold the weights a second time under other names, or only an adapter."""

_PART = re.compile(r"-(\d{5})-of-(\d{5})\.safetensors$")
_BAD_JSON = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What JSON of another shape than expected raises; the last two by 1e999 and by 10,000 "["."""

_WRONG_FORMATS = (
    (
        re.compile(r"adapter_config\.json$"),
        "holds a LoRA/PEFT adapter, not a model.",
        "Scan the base model, or merge the adapter into it first.",
    ),
    (
        re.compile(r"consolidated.*\.safetensors$"),
        "holds only consolidated weights, whose layers have other names.",
        "Use the Transformers version of this model (model.safetensors).",
    ),
    (
        re.compile(r".*\.gguf$"),
        "holds only GGUF weights, which are quantised and named differently.",
        "Scan the original safetensors repository of this model.",
    ),
    (
        re.compile(r"(?!training_args|optimizer|scheduler|scaler|rng_state).*\.(bin|pt|pth)$"),
        "holds only PyTorch .bin weights.",
        "Save it as safetensors first: model.save_pretrained(folder).",
    ),
)
"""What a place without safetensors may hold instead, by the start of a file's name."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One stored tensor; `start` and `end` are absolute byte offsets in `file`, whose `state`
    was this when its header was read (None where the file is on the hub)."""

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
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return self.end - self.start


@dataclass(frozen=True)
class Checkpoint:
    """A model's tensors in natural order of their files, with its config.json.

    `fingerprint` changes whenever a shard's name, size, time of change or header does, and where
    the config decodes other values: scores of an earlier scan are only reused under the same one.
    """

    folder: Path
    config: Mapping[str, Any]
    shards: tuple[str, ...]
    tensors: tuple[Tensor, ...]
    fingerprint: str

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(t.nbytes for t in self.tensors)

    @property
    def states(self) -> dict[str, FileState]:
        """{file: its state when its header was read}, of the files on this machine."""
        return {t.file: t.state for t in self.tensors if t.state is not None}


def read_checkpoint(folder: Path) -> Checkpoint:
    """Describe the model in `folder`; raises CheckpointError with the file that is at fault."""
    config = read_config(folder)
    digest = hashlib.sha256()
    tensors: dict[str, Tensor] = {}
    shards = shard_names(folder)
    for name in shards:
        path = folder / name
        for tensor in read_header(path, digest):
            tensors[tensor.name] = tensor
    if not {tensor.dtype for tensor in tensors.values()} <= _PLAIN:
        digest.update(_decoding(config).encode())
    return Checkpoint(folder, config, tuple(shards), tuple(tensors.values()), digest.hexdigest())


def _decoding(config: Mapping[str, Any]) -> str:
    """What the config says of how quantised tensors are decoded, and into which type."""
    parts = [config, *(part for part in config.values() if isinstance(part, Mapping))]
    found = [{name: part[name] for name in _DECODING if name in part} for part in parts]
    return json.dumps([part for part in found if part], sort_keys=True)


def read_config(folder: Path) -> dict[str, Any]:
    """config.json as a mapping; empty where there is none."""
    path = folder / "config.json"
    text = _text(path)
    return {} if text is None else parse_config(text, str(path))


def _text(path: Path) -> str | None:
    """The text of a file, None where there is no file."""
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise unreadable(path, exc) from None


def parse_config(text: str, where: str = "config.json") -> dict[str, Any]:
    """The text of a config.json as a mapping; empty where it holds anything else."""
    try:
        config = json.loads(text)
    except _BAD_JSON:
        raise CheckpointError(
            f"{where} is not readable JSON.", "Download the file again.", field="model"
        ) from None
    return config if isinstance(config, dict) else {}


def shard_names(folder: Path) -> list[str]:
    """The safetensors files that make up the model, in the order transformers looks for them."""
    try:
        files = sorted(p.name for p in folder.iterdir() if p.is_file() or p.is_symlink())
        is_single = (folder / SINGLE_FILE).is_file()
    except OSError as exc:
        raise unreadable(folder, exc) from None
    if is_single:
        return [SINGLE_FILE]
    index = _text(folder / INDEX_FILE)
    return choose_shards(files, index, str(folder), "Finish the download and try again.")


def choose_shards(files: Iterable[str], index: str | None, where: str, hint: str) -> list[str]:
    """The shards among `files` when there is no single file: by the text of the index, if any.

    Raises CheckpointError when there are none, or, with `hint`, when some are missing.
    """
    present = set(files)
    shards = _all_parts(model_files(present)) if index is None else parse_index(index, INDEX_FILE)
    if not shards:
        raise no_weights(where, present)
    missing = [name for name in shards if name not in present]
    if missing:
        raise CheckpointError(
            f"{len(missing)} of {len(shards)} shards are missing, first {missing[0]}.",
            hint,
            field="model",
        )
    return shards


def _all_parts(names: Iterable[str]) -> list[str]:
    """`names` and the parts that "-00002-of-00005" says there must be besides, sorted."""
    parts = set(names)
    for name in list(parts):
        match = _PART.search(name)
        if match:
            stem, count = name[: match.start()], int(match[2])
            parts |= {f"{stem}-{i:05d}-of-{match[2]}.safetensors" for i in range(1, count + 1)}
    return sorted(parts)


def model_files(files: Iterable[str]) -> list[str]:
    """Those of the top-level `files` that hold weights of the model itself."""
    return [
        name
        for name in files
        if name.endswith(".safetensors") and "/" not in name and not name.startswith(_NOT_THE_MODEL)
    ]


def no_weights(where: str, files: Iterable[str]) -> CheckpointError:
    """The error for a place without safetensors weights, by what lies there instead."""
    names = [name.rsplit("/")[-1] for name in files]
    for pattern, message, hint in _WRONG_FORMATS:
        if any(pattern.match(name) for name in names):
            return CheckpointError(f"{where} {message}", hint, field="model")
    return CheckpointError(
        f"{where} holds no weights (*.safetensors).",
        "Give the folder that has config.json and model.safetensors in it.",
        field="model",
    )


def parse_index(text: str, where: str) -> list[str]:
    """The shard names of a model.safetensors.index.json, each once, sorted."""
    try:
        names = set(json.loads(text)["weight_map"].values())
        shards = sorted(name for name in names if isinstance(name, str))
    except _BAD_JSON:
        names, shards = set(), []
    if not shards or len(shards) < len(names):
        raise CheckpointError(
            f"{where} is not a valid shard index.", "Download the file again.", field="model"
        )
    for name in shards:
        if Path(name).name != name or "\\" in name or name in ("", "..") or not name.isprintable():
            raise CheckpointError(
                f"{where} points outside the model folder ({name!r}).",
                "Do not trust this download.",
                field="model",
            )
    return shards


def read_header(path: Path, digest: hashlib._Hash | None = None) -> list[Tensor]:
    """The tensors of one shard; adds what identifies the shard to `digest`."""
    try:
        with path.open("rb") as file:
            state = FileState.of(os.fstat(file.fileno()))
            head = file.read(8)
            length = header_length(head, path.name, state.size)
            blob = file.read(length)
            if FileState.of(os.fstat(file.fileno())) != state:
                raise changed(str(path))
    except OSError as exc:
        raise unreadable(path, exc) from None
    if digest is not None:
        digest.update(f"{path.name}\0{state.size}\0{state.mtime_ns}\0".encode())
        digest.update(blob)
    return [replace(t, state=state) for t in parse_header(blob, str(path), state.size)]


def header_length(head: bytes, name: str, size: int | None) -> int:
    """The header's length in bytes, from the first 8 bytes of a shard of `size` bytes."""
    if head.startswith(b"version "):
        raise CheckpointError(
            f"{name} is a Git LFS pointer, not the weights.",
            "Run `git lfs pull` in the model folder.",
            field="model",
        )
    length = int(struct.unpack("<Q", head)[0]) if len(head) == 8 else 0
    if length < 2 or length > MAX_HEADER or (size is not None and length + 8 > size):
        raise CheckpointError(
            f"{name} is not a safetensors file (its header does not fit).",
            "Download it again; the transfer may have been cut short.",
            field="model",
        )
    return length


def parse_header(blob: bytes, file: str, size: int | None) -> list[Tensor]:
    """The tensors that a shard's JSON header names; `size` of the file in bytes, if known."""
    name = Path(file).name
    try:
        entries = json.loads(blob)
        entries.pop("__metadata__", None)
        items = sorted(entries.items(), key=lambda item: item[1]["data_offsets"][0])
        base = 8 + len(blob)
        tensors = [_tensor(key, entry, file, base) for key, entry in items]
        _check_apart(tensors)
    except (*_BAD_JSON, IndexError):
        raise CheckpointError(
            f"{name} has a damaged header.", "Download the file again.", field="model"
        ) from None
    needed = max((t.end for t in tensors), default=0)
    if size is not None and needed > size:
        raise CheckpointError(
            f"{name} is truncated: it needs {needed:,} bytes and has {size:,}.",
            "Download it again; the transfer was cut short.",
            field="model",
        )
    return tensors


def _check_apart(tensors: Sequence[Tensor]) -> None:
    """Raise ValueError when two tensors share bytes; `tensors` in the order of their starts."""
    end = 0
    for tensor in tensors:
        if tensor.start < end:
            raise ValueError(tensor.name)
        end = tensor.end


def _tensor(key: str, entry: Mapping[str, Any], file: str, base: int) -> Tensor:
    start, end = map(_natural, entry["data_offsets"])
    shape = tuple(map(_natural, entry["shape"]))
    dtype = entry["dtype"]
    tensor = Tensor(key, shape, dtype, file, base + start, base + end)
    bits = BITS.get(dtype)
    if end < start or not isinstance(dtype, str):
        raise ValueError(key)
    if bits is not None and tensor.numel * bits != tensor.nbytes * 8:
        raise ValueError(key)
    return tensor


def _natural(value: object) -> int:
    """`value` if it is a whole number of at least 0: JSON also has 1.5, true and 1e999."""
    if type(value) is not int or value < 0:
        raise ValueError(value)
    return value


def unreadable(path: Path, exc: OSError) -> CheckpointError:
    """The error for a file that the system will not let us read."""
    if exc.errno == errno.ENOENT and path.is_symlink():
        return CheckpointError(
            f"{path.name} is a link to a file that is gone.",
            "Download the model again.",
            field="model",
        )
    reason = exc.strerror or type(exc).__name__
    return CheckpointError(
        f"{path} cannot be read ({reason}).", "Check the path and its permissions.", field="model"
    )
