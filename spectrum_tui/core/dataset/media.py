"""Images in a folder for each class, and recordings with what is said in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from spectrum_tui.core import disk, files
from spectrum_tui.core.dataset.columns import Layout, Row, text_in
from spectrum_tui.core.dataset.examples import Example
from spectrum_tui.core.dataset.formats import Line

IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
SOUNDS = (".flac", ".mp3", ".ogg", ".wav")


def images_in(folder: Path) -> Iterator[Line]:
    """Yield the images of a folder that has a subfolder for each class, in order; nothing where it
    has none. Raises OSError."""
    for label in _shown(folder):
        if files.is_folder(folder / label):
            for name in _shown(folder / label):
                if _ends(name, IMAGES):
                    yield Line(f"{label}/{name}", {"image": f"{label}/{name}", "class": label})


def _shown(folder: Path) -> list[str]:
    return sorted(name for name in disk.names_in(folder) if not name.startswith("."))


def _ends(name: object, endings: tuple[str, ...]) -> bool:
    return isinstance(name, str) and PurePath(name).suffix.lower() in endings


def _image(row: Row) -> Example:
    return Example(file=text_in(row, "image"), label=text_in(row, "class"))


@dataclass(frozen=True, slots=True)
class _Recordings(Layout):
    """Tables of source code have the same columns: the paths tell."""

    def is_of(self, row: Row) -> bool:
        """Return whether it is a recording."""
        return all(name in row for name in self.needed) and _ends(row["path"], SOUNDS)


def _recording(column: str) -> Layout:
    def example(row: Row) -> Example:
        return Example(file=text_in(row, "path"), text=text_in(row, column))

    return _Recordings("audio", ("path", column), example)


IMAGE = Layout("image", ("image", "class"), _image)
"""The lines of `images_in`."""
RECORDINGS = (_recording("text"), _recording("sentence"))
"""Tables of paths, from the folder of the table, with what is said; Common Voice calls that a
sentence."""
