"""Where files go, what they are called, and how they are written: whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from spectrum_tui.core.errors import OutputError
from spectrum_tui.core.requests import METRIC

APP_NAME = "spectrum-tui"

MOST_BYTES = 1_000_000_000
"""Of a file that is read whole: scores of a million layers have 100 MB."""


def cache_dir() -> Path:
    """The program's own cache folder; SPECTRUM_TUI_CACHE overrides the platform's choice."""
    override = os.environ.get("SPECTRUM_TUI_CACHE")
    if override:
        return Path(override)
    from platformdirs import user_cache_path

    return user_cache_path(APP_NAME, appauthor=False)


def slug(model: str) -> str:
    """The model's part of a file name: the reference tool's rule, on an id or a folder's name.

    Never a path: whatever was typed, the slug has no separator and is not empty.

    >>> slug("Qwen/Qwen2_5-7B"), slug("/data/my_model/")
    ('Qwen-Qwen2-5-7B', 'my-model')
    """
    name = model
    # Not every text can be asked for as a path: a NUL, an unknown ~user, 300 characters.
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        path = Path(model).expanduser()
        if path.is_absolute() or model.startswith(("~", ".")) or path.is_dir():
            name = path.resolve().name
    safe = name.replace("/", "-").replace("\\", "-").replace("_", "-").strip()
    # 150: with what is put around it, below the 255 bytes of a file name even in UTF-8.
    safe = "".join(c for c in safe if c.isprintable()).encode()[:150].decode(errors="ignore")
    return safe if safe.strip(".-") else "model"


def output_folder(typed: str) -> Path:
    """The folder or file that was meant: `~` is the home folder, nothing the current one."""
    try:
        return Path(typed or ".").expanduser()
    except RuntimeError:
        return Path(typed)  # no such user: a folder of that very name, as in a shell


@dataclass(frozen=True, slots=True)
class OutputFiles:
    """The three files of a scan, named as the reference tool names them.

    Those of another metric than the reference's have its name after the slug, which holds no
    `_`: neither metrics nor models write over each other.
    """

    folder: Path
    slug: str
    metric: str = METRIC

    @property
    def stem(self) -> str:
        """What the names of all three begin with."""
        return f"snr_results_{self.slug}" + ("" if self.metric == METRIC else f"_{self.metric}")

    @property
    def scores(self) -> Path:
        """`{layer: {"snr", "type"}}`."""
        return self.folder / "model_snr_results" / f"{self.stem}.json"

    @property
    def sorted_scores(self) -> Path:
        """`{type: {layer: snr}}`, highest first."""
        return self.folder / f"{self.stem}_sorted.json"

    def recipe(self, percent: int) -> Path:
        """The `unfrozen_parameters` YAML of one percentage."""
        return self.ending(f"_unfrozenparameters_{percent}percent.yaml")

    def ending(self, text: str) -> Path:
        """A file of a recipe, by what its name ends with."""
        return self.folder / f"{self.stem}{text}"


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read its bytes; OSError also for what is no regular file.

    Opening a pipe that nobody writes to would wait without end, and a device has none.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(handle, "rb")
    os.close(handle)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    kind = "a pipe" if stat.S_ISFIFO(mode) else "a device"
    raise OSError(errno.EINVAL, f"it is {kind}, not a file", str(path))


def read_bytes(path: Path, limit: int = MOST_BYTES) -> bytes:
    """The bytes of a regular file; OSError also for another kind of file and above `limit`."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes, more than {limit:,}", str(path))
        return file.read()


def read_text(path: Path, limit: int = MOST_BYTES) -> str:
    """The text of a regular file in UTF-8, with a byte-order mark or without.

    OSError as of `read_bytes`, UnicodeDecodeError for bytes that are no text.
    """
    return read_bytes(path, limit).decode("utf-8-sig")


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` in one step; on any failure the old file is still there.

    A link is followed; a pipe or device (`-o /dev/stdout`) is written to, never replaced.
    Raises OutputError when the folder cannot be made or the file not written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not (path.is_file() or path.is_dir()):
            path.write_bytes(text.encode("utf-8"))
        else:
            _replace(Path(os.path.realpath(path)), text.encode("utf-8"))
    except OSError as exc:
        raise cannot_write(path, exc) from None


def _replace(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)  # mkstemp's own 0600 would hide the file from a group
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def append(file: IO[bytes], data: bytes) -> None:
    """Write all of the data to an unbuffered file; an almost full disk takes a part of it before
    it refuses with OSError."""
    while data:
        data = data[file.write(data) :]


def cannot_write(path: Path, exc: OSError) -> OutputError:
    """The error for a file that the system will not let us write."""
    reason = exc.strerror or type(exc).__name__
    full = exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    way_out = "Free some space" if full else "Choose another output folder"
    return OutputError(
        f"Cannot write {path}: {reason}.",
        f"{way_out}; finished scores are kept.",
        field="output_dir",
    )


def check_writable(folder: Path) -> None:
    """Raise OutputError now rather than after the scan, when `folder` takes no files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as exc:
        raise cannot_write(folder, exc) from None
