"""Where files go, what they are called, and how they are written: whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from spectrum_tui.core import disk
from spectrum_tui.core.errors import OutputError, reason_of
from spectrum_tui.core.settings import METRIC
from spectrum_tui.core.text import has_controls, is_seen, safe

APP_NAME = "spectrum-tui"

SCORES_FOLDER = "model_snr_results"
"""The folder in the output folder that holds the flat score files."""

CACHE_VARIABLE = "SPECTRUM_TUI_CACHE"
"""The environment variable that moves the cache."""

_NOTE = "temporary"
"""The file of a temporary cache that says instead of which."""


def cache_dir() -> Path:
    """Return the program's own cache folder; SPECTRUM_TUI_CACHE overrides the platform's choice."""
    override = os.environ.get(CACHE_VARIABLE)
    if override:
        return Path(override)
    from platformdirs import user_cache_path

    return user_cache_path(APP_NAME, appauthor=False)


@contextlib.contextmanager
def usable_cache() -> Iterator[None]:
    """Provide a cache while a scan or the app runs, child processes included: the user's, or a
    temporary one if that cannot be written, as `cache_note` then says."""
    cache = cache_dir()
    try:
        for folder in (cache, cache / "scans", cache / "results"):
            disk.make_folder(folder)
            disk.probe(folder)
    except OSError as exc:
        where = "" if exc.filename in (None, str(cache)) else f"{exc.filename}: "
        with _temporary_cache(f"The cache {cache} cannot be written ({where}{reason_of(exc)})"):
            yield
    else:
        yield


@contextlib.contextmanager
def _temporary_cache(why: str) -> Iterator[None]:
    before = os.environ.get(CACHE_VARIABLE)
    try:
        folder = tempfile.mkdtemp(prefix=f"{APP_NAME}-")
    except OSError:  # nothing can be written anywhere: the first attempt will say so
        yield
        return
    os.environ[CACHE_VARIABLE] = folder
    try:
        write_kept(Path(folder) / _NOTE, _NOTE, safe(why))
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if before is None:
            del os.environ[CACHE_VARIABLE]
        else:
            os.environ[CACHE_VARIABLE] = before


def cache_note() -> str:
    """Say that nothing will be kept, and why; empty where it will."""
    why = safe(read_kept(cache_dir() / _NOTE, _NOTE) or "")
    return (
        f"{why}: finished scores are kept only until the program ends, and a stopped scan starts "
        f"over. Set {CACHE_VARIABLE} to another folder."
        if why
        else ""
    )


def slug(model: str) -> str:
    """Return the model's part of a file name: the reference tool's rule, on an id or a folder's
    name.

    Never a path: whatever was typed, the slug has no separator and is not empty.

    >>> slug("Qwen/Qwen2_5-7B"), slug("/data/my_model/")
    ('Qwen-Qwen2-5-7B', 'my-model')
    """
    name = model
    # Not every text can be asked for as a path: a NUL, an unknown ~user, 300 characters.
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        path = Path(model).expanduser()
        is_below_here = len(path.parts) > 1 and path.is_dir()
        if path.is_absolute() or model.startswith(("~", ".")) or is_below_here:
            name = path.resolve().name
    return slug_of_name(name)


def slug_of_name(name: str) -> str:
    """Return the part of a file name for what a model is called, a path or not; asks no disk."""
    safe = name.replace("/", "-").replace("\\", "-").replace("_", "-").strip()
    # 150: with what is put around it, below the 255 bytes of a file name even in UTF-8.
    safe = "".join(c for c in safe if is_seen(c)).encode()[:150].decode(errors="ignore")
    return safe if safe.strip(".-") else "model"


def output_folder(typed: str) -> Path:
    """Return the folder or file that was meant: `~` is the home folder, nothing the current one."""
    try:
        return Path(typed or ".").expanduser()
    except RuntimeError:
        return Path(typed)  # no such user: a folder of that very name, as in a shell


def is_folder(path: Path) -> bool:
    """Return whether there is such a folder; False for a path that no system call takes."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def is_file(path: Path) -> bool:
    """Return whether there is such a file; False for a path that no system call takes."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def newest_first(paths: Iterable[Path]) -> list[Path]:
    """Those of the paths that are files, by when they were changed; a link that leads nowhere or
    a file that is gone meanwhile is none."""
    found: list[tuple[float, Path]] = []
    for path in paths:
        with contextlib.suppress(OSError):
            if path.is_file():
                found.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(found, key=lambda item: (-item[0], item[1]))]


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
        return self.folder / SCORES_FOLDER / f"{self.stem}.json"

    @property
    def sorted_scores(self) -> Path:
        """`{type: {layer: snr}}`, highest first."""
        return self.folder / f"{self.stem}_sorted.json"

    def ending(self, text: str) -> Path:
        """Return a file of a recipe, by what its name ends with."""
        return self.folder / f"{self.stem}{text}"


# -- files that people ask for ----------------------------------------------------------------


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` in one step; on any failure the old file is still there.

    The file keeps its mode. A link is followed where it leads to a file of the user's own, else
    the link itself is replaced; a pipe or device (`-o /dev/stdout`) is written to, never replaced.
    In the program's cache, folders and files are the user's alone.
    Raises OutputError when the folder cannot be made or the file not written.
    """
    write_pieces(path, (text.encode("utf-8"),))


def write_pieces(path: Path, pieces: Iterable[bytes]) -> None:
    """`write_text` for bytes that come one after the other."""
    kept = path.is_relative_to(cache_dir())
    try:
        disk.make_folder(path.parent, 0o700 if kept else 0o777)
        if kept:
            disk.replace(path, pieces, 0o600)
        elif disk.is_device(path):
            disk.write_through(path, pieces)
        else:
            target = disk.followed(path)
            disk.replace(target, pieces, disk.mode_of(target))
    except OSError as exc:
        raise (cannot_keep if kept else cannot_write)(path, exc) from None


def refuse_replacing(paths: Iterable[Path], source: Path, what: str) -> None:
    """Raise OutputError where a file to be written is the one that it is made from, by whatever
    name, link or hard link."""
    for path in paths:
        with contextlib.suppress(OSError, ValueError):
            if path.is_file() and path.samefile(source):
                raise OutputError(
                    f"{path} would replace {what}.", "Give another file.", field="output_dir"
                )


def append_text(path: Path, text: str) -> None:
    """Add `text` to the end of a file that the user asked for; raises OutputError."""
    try:
        disk.append(path, text.encode("utf-8"))
    except OSError as exc:
        raise cannot_write(path, exc) from None


def check_writable(folder: Path) -> None:
    """Raise OutputError now rather than after the scan if `folder` is not writable.

    Nor is one taken whose name cannot be printed: the paths of the files are data on stdout, one
    a line.
    """
    if has_controls(str(folder)):
        raise OutputError(
            f"Cannot write {folder}: its name holds invisible characters.",
            "Choose another output folder.",
            field="output_dir",
        )
    try:
        disk.make_folder(folder, 0o777)
        disk.probe(folder)
    except OSError as exc:
        raise cannot_write(folder, exc) from None


# -- files of the cache: the user's alone, sealed, none of them needed ---------------------------


def write_kept(path: Path, form: str, text: str) -> None:
    """Keep `text` in the cache; raises OutputError. `form` names what it is and its version: it is
    read back under the same one alone."""
    data = text.encode("utf-8")
    write_pieces(path, (_seal(form, data), data))


def read_kept(path: Path, form: str) -> str | None:
    """Return what `write_kept` wrote under this form; None for everything else: a missing or
    damaged file, one of another version, a folder or pipe in its place. Never raises."""
    try:
        data = disk.read_from(path)
        head, newline, body = data.partition(b"\n")
        return body.decode("utf-8") if head + newline == _seal(form, body) else None
    except (OSError, ValueError, MemoryError):
        return None


def checksum(data: bytes) -> str:
    """Eight hexadecimal digits (CRC-32), by which damage is noticed."""
    return f"{zlib.crc32(data):08x}"


def _seal(form: str, data: bytes) -> bytes:
    return f"spectrum-tui {form} {checksum(data)}\n".encode()


# -- what is said where it fails -----------------------------------------------------------------


def cannot_write(path: Path, exc: OSError) -> OutputError:
    """Return the error for a file that the system will not let us write."""
    return OutputError(
        f"Cannot write {path}: {reason_of(exc)}.",
        f"{_way_out(exc, 'choose another output folder')}.",
        field="output_dir",
    )


def cannot_keep(path: Path, exc: OSError) -> OutputError:
    """Return the error for a file of the cache that the system will not let us write."""
    moved = f"set {CACHE_VARIABLE} to a writable folder"
    return OutputError(f"Cannot write {path}: {reason_of(exc)}.", f"{_way_out(exc, moved)}.")


def _way_out(exc: OSError, other: str) -> str:
    if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"Free some space, or {other}"
    return other[0].upper() + other[1:]
