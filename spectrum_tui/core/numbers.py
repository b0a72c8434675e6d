"""Numbers as people read them: counts, bytes, durations, scores."""

from __future__ import annotations

import math
from numbers import Integral, Real

_COUNT_UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))
_BYTE_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def count(value: float) -> str:
    """Return a number of parameters: `8.03 B`, `494 M`, `17`."""
    for size, unit in _COUNT_UNITS:
        if value >= size * 0.9995:
            return f"{three_digits(value / size)} {unit}"
    return f"{value:.0f}"


def counted(n: int, one: str, many: str = "") -> str:
    """Return a number of things: `1 line`, `2,000 lines`; `many` where an s at the end is not all.

    >>> counted(1, "matrix is", "matrices are"), counted(2, "matrix is", "matrices are")
    ('1 matrix is', '2 matrices are')
    """
    return f"{n:,} {one if n == 1 else many or f'{one}s'}"


def scored_text(scored: int, failed: int) -> str:
    """Return what came of a scan: `24 layers scored`, `23 layers scored, 1 failed`."""
    return f"{counted(scored, 'layer')} scored" + (f", {failed:,} failed" if failed else "")


def part_of(n: int, whole: int, noun: str, one: str = "", many: str = "") -> str:
    """Return some of a number of things, and what they do: `1 of 3 layers has`, `2 of 3 layers
    have`."""
    does = one if n == 1 else many
    return f"{n:,} of {counted(whole, noun)}" + (f" {does}" if does else "")


def size(value: float) -> str:
    """Return a number of bytes in decimal units, as the hub shows them: `16.1 GB`."""
    for unit_size, unit in _BYTE_UNITS:
        if value >= unit_size * 0.9995:
            return f"{three_digits(value / unit_size)} {unit}"
    return f"{value:.0f} B"


def three_digits(value: float) -> str:
    """Three significant digits, without an exponent below 1000."""
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f}"


def duration(seconds: float) -> str:
    """`8 s`, `3 min 20 s`, `2 h 05 min`; a dash when it is not known."""
    if not math.isfinite(seconds) or seconds < 0:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def about(seconds: float) -> str:
    """Return an estimated duration, no more exact than it can be: `about 4 min`, `less than 1
    s`."""
    if not math.isfinite(seconds) or seconds < 0:
        return "–"
    if seconds < 1:
        return "less than 1 s"
    if seconds < 57:
        return f"about {seconds:.0f} s" if seconds < 10 else f"about {round(seconds / 5) * 5} s"
    if seconds < 3570:
        return f"about {round(seconds / 60)} min"
    return f"about {duration(round(seconds / 300) * 300)}"


def shape(*sizes: int) -> str:
    """Return a shape: `4096 × 14336`, without separators as configs have it; that of a scalar is
    1."""
    return " × ".join(map(str, sizes)) or "1"


def score(value: float) -> str:
    """Return an SNR in at most 8 characters: `0.4312`, `12.31`, `4.5e25`, `∞`, `–`."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    if value >= 99999.995 or 0 < value < 1e-4:
        return f"{value:.1e}".replace("e+", "e")
    return f"{value:.4f}" if value < 10 else f"{value:.2f}"


def percent(share: float) -> str:
    """Return a share of 1 as a percentage: `12.5 %`, `0.03 %`; `100.0 %` is all and nothing
    less."""
    value = share * 100 if share >= 1 else min(share * 100, 99.9)
    return f"{value:.1f} %" if value >= 0.1 or value == 0 else f"{value:.2g} %"


def short_percent(share: float) -> str:
    """Return a share in at most 7 characters, for columns: `12.5 %`, `<0.1 %`, a dash for
    nothing."""
    return "–" if not share else percent(share) if share >= 0.001 else "<0.1 %"


def is_whole(value: object) -> bool:
    """Return whether a value is an integer, of whatever library; True and False are none.

    >>> is_whole(3), is_whole(3.0), is_whole(True)
    (True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_real(value: object) -> bool:
    """Return whether a value is a finite number, of whatever library; True and False are none.

    >>> is_real(0.5), is_real(float("inf")), is_real("1"), is_real(10**400)
    (True, False, False, False)
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def finite(value: float) -> float | None:
    """Return a number as strict JSON has it: None for Infinity and NaN."""
    return float(value) if math.isfinite(value) else None
