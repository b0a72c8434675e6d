"""The heat map's colours: the one place with literal ones.

Viridis rises evenly in luminance, so it survives a greyscale terminal and colour blindness.
"""

from __future__ import annotations

from rich.color import Color
from rich.style import Style

from spectrum_tui.app.widgets.heat_matrix import LEVELS

Rgb = tuple[int, int, int]

VIRIDIS: tuple[Rgb, ...] = (
    (68, 1, 84),
    (71, 44, 122),
    (59, 81, 139),
    (44, 113, 142),
    (33, 144, 141),
    (39, 173, 129),
    (92, 200, 99),
    (170, 220, 50),
    (253, 231, 37),
)
DENSITY = "░▒▓█"
"""Low to high without colours; never blank, so that every value is seen."""


def luminance(colour: Rgb) -> float:
    """Relative luminance (WCAG) of an sRGB colour, 0 to 1."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (channel / 255 for channel in colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: Rgb, second: Rgb) -> float:
    """Contrast ratio (WCAG) of two colours, 1 to 21."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def density_of(level: int) -> str:
    return DENSITY[level * len(DENSITY) // LEVELS]


def _step(level: int) -> Rgb:
    at = level * (len(VIRIDIS) - 1) / (LEVELS - 1)
    below = min(int(at), len(VIRIDIS) - 2)
    part = at - below
    low, high = VIRIDIS[below], VIRIDIS[below + 1]
    red, green, blue = (round(a + (b - a) * part) for a, b in zip(low, high, strict=True))
    return red, green, blue


def _ink(ground: Rgb) -> Rgb:
    return max(((0, 0, 0), (255, 255, 255)), key=lambda ink: contrast(ink, ground))


RAMP: tuple[Rgb, ...] = tuple(_step(level) for level in range(LEVELS))
INKS: tuple[Rgb, ...] = tuple(_ink(ground) for ground in RAMP)

_STYLES: dict[int, Style] = {}


def ramp_style(level: int) -> Style:
    """Return the ink that is readable on this step of the ramp, on its colour."""
    style = _STYLES.get(level)
    if style is None:
        ink, ground = Color.from_rgb(*INKS[level]), Color.from_rgb(*RAMP[level])
        style = _STYLES[level] = Style(color=ink, bgcolor=ground, bold=True)
    return style
