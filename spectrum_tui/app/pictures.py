"""A picture of the screen as files: SVG, and PNG where cairosvg is installed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from spectrum_tui.core.files import write_pieces, write_text

HOW_TO_PNG = "For a PNG as well: pip install 'spectrum-tui[png]'"
_FONT = "font-family: Fira Code, monospace"
"""cairo takes the first of these, and a proportional font where it is not installed."""
_SCALE = 2.0


def save_picture(svg: str, folder: Path, screen: str) -> list[Path]:
    """Write the picture of a screen of that name under a name that is free; returns the files, the
    SVG first. Raises OutputError."""
    stem = next(name for name in _names(screen) if not (folder / f"{name}.svg").exists())
    paths = [folder / f"{stem}.svg"]
    write_text(paths[0], svg)
    if png := _png_maker():
        paths.append(folder / f"{stem}.png")
        write_pieces(paths[1], (png(svg),))
    return paths


def _names(screen: str) -> Iterator[str]:
    """Yield names with the time, and a number where one second has several."""
    stem = f"spectrum-tui-{screen}-{time.strftime('%Y%m%d-%H%M%S')}"
    yield stem
    yield from (f"{stem}-{number}" for number in range(2, 10_000))


def _png_maker() -> Callable[[str], bytes] | None:
    try:
        from cairosvg import svg2png
    except (ImportError, OSError):  # OSError: the library cairo itself is not there
        return None

    def make(svg: str) -> bytes:
        plain = svg.replace(_FONT, "font-family: monospace").encode()
        return bytes(svg2png(bytestring=plain, scale=_SCALE))

    return make
