"""A proof as one picture (SVG): loss against what trains, memory and time, with the spread.

All panels have the loss in common, so that a method lies at one height in each of them and is named
once, at the right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from spectrum_tui.core.numbers import count, counted, size
from spectrum_tui.core.proof.methods import ADAPTERS, parse_method
from spectrum_tui.core.proof.proof import Proof
from spectrum_tui.core.proof.summary import Summary, summaries, why_not
from spectrum_tui.core.proof.verdict import digits_of, loss_text
from spectrum_tui.core.text import safe, shortened

_TOP, _LEFT, _PANEL, _GAP = 96.0, 64.0, 214.0, 22.0
_NARROWEST, _LOWEST, _BELOW = 760.0, 280.0, 84.0
"""Width of the picture and height of a panel at the least, and what is below the panels."""
_LINE = 18.0
"""Between one label and the next."""
_NEAR, _APART = 3.0, 9.0
"""Markers as near as this are drawn beside each other, so far apart."""
_LONGEST, _CHARACTER = 24, 7.0
"""Characters of a label's name, and the width of one at the most, about."""
_RANDOM, _FULL = "#8a8f98", "#d55e00"
_COLORS = (
    "#0b7bc1", "#009e73", "#b565a7", "#c98a00", "#3aa6d8", "#7a68c4", "#a6761d", "#e7298a",
    "#5f9e1f", "#c44e52", "#2a9d9d", "#8d6e63",
)  # fmt: skip
"""Read on white as on black; random and full have their own."""
_SHAPES = {
    "full": "M-5-5h10v10h-10z",
    "bottom": "M0 6.5L6-4.5H-6z",
    "metric": "M0-6.5L6 4.5H-6z",
    "policy": "M0-7L2-2L7-2L3 1.5L4.5 6.5L0 3.5L-4.5 6.5L-3 1.5L-7-2L-2-2z",
    **dict.fromkeys(ADAPTERS, "M0-6.5L6.5 0L0 6.5L-6.5 0z"),
}
_CIRCLE = "M-5.5 0a5.5 5.5 0 1 0 11 0a5.5 5.5 0 1 0-11 0z"
_STYLE = """
text{font:12px system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;fill:#24292f}
.title{font-size:17px;font-weight:600}.soft{fill:#57606a}.back,.open{fill:#ffffff}
.axis{stroke:#8c959f}.grid{stroke:#d8dee4}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.soft{fill:#9198a1}.back,.open{fill:#0d1117}
.axis{stroke:#6e7681}.grid{stroke:#2a313b}}
"""


@dataclass(frozen=True, slots=True)
class _Axis:
    """A linear scale from values to the picture."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int) -> list[float]:
        """Return at most so many values with one digit, two or five tenths apart."""
        least = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(least))
        step = next(power * k for k in (1, 2, 5, 10) if power * k >= least)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [k * step for k in range(first, last + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Panel:
    """What the loss is drawn against: NaN where it is not known."""

    title: str
    value: Callable[[Summary], float]
    text: Callable[[float], str]
    spread: Callable[[Summary], float] = lambda one: 0.0
    apart: float = _APART


@dataclass(frozen=True, slots=True)
class _Method:
    """A method as it is drawn."""

    summary: Summary
    color: str
    shape: str
    is_open: bool

    @property
    def mean(self) -> float:
        return self.summary.loss.mean

    @property
    def spread(self) -> float:
        spread = self.summary.loss.spread
        return 0.0 if math.isnan(spread) else spread


def _plain(text: str) -> str:
    """Return a number with a unit without the zeros that end it: `1.5 GB`, `50 M`."""
    number, space, unit = text.partition(" ")
    return (number.rstrip("0").rstrip(".") if "." in number else number) + space + unit


_PANELS = (
    _Panel(
        title="trained parameters",
        value=lambda one: one.trained or math.nan,
        text=lambda n: _plain(count(n)),
    ),
    _Panel(
        title="peak memory", value=lambda one: one.peak or math.nan, text=lambda n: _plain(size(n))
    ),
    _Panel(
        title="time of a step",
        value=lambda one: one.step_seconds or math.nan,
        text=lambda s: f"{s * 1000:.0f} ms" if s < 1 else f"{s:g} s",
    ),
    _Panel(
        title="loss on the kept text, change",
        value=lambda one: one.kept_loss.mean - one.kept_before,
        text=lambda value: f"{value:+.3g}".replace("-", "−"),
        spread=lambda one: one.kept_loss.spread if one.kept_loss.count > 1 else 0.0,
        apart=0.0,
    ),
)


def plot(proof: Proof) -> str:
    """Return proof.svg; it adapts to a light or dark page."""
    found = summaries(proof.outcomes, proof.methods)
    drawn = list(_drawn([one for one in found if one.held_out]))
    panels = [one for one in _PANELS if any(math.isfinite(one.value(m.summary)) for m in drawn)]
    right = _LEFT + max(1, len(panels)) * (_PANEL + _GAP) - _GAP
    losses = right + 62 + _CHARACTER * max((len(_name(one.summary)) for one in drawn), default=0)
    axis = _loss_axis(drawn)
    width, height = max(_NARROWEST, losses + 110), axis.start + _BELOW
    body = [*_heading(proof, drawn), *_failed(found, height - 16)]
    if drawn:
        body += _grid(axis, right)
        for number, panel in enumerate(panels):
            body += _panel(panel, drawn, axis, _LEFT + number * (_PANEL + _GAP))
        body += _labels(drawn, axis, right, losses)
    label = escape(_title(proof), {'"': "&quot;"})
    size = f'width="{width:g}" height="{height:g}"'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" {size}'
    lines = [
        f'{opening} role="img" aria-label="{label}"><style>{_STYLE}</style>',
        f'<rect class="back" {size} rx="8"/>',
        *body,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _drawn(found: Sequence[Summary]) -> Iterator[_Method]:
    colors = 0
    for one in found:
        kind = parse_method(one.method).kind
        color = {"random": _RANDOM, "full": _FULL}.get(kind, _COLORS[colors % len(_COLORS)])
        colors += kind not in ("random", "full")
        yield _Method(one, color, _SHAPES.get(kind, _CIRCLE), kind == "random")


# -- around the panels ----------------------------------------------------------------------------


def _title(proof: Proof) -> str:
    model = shortened(safe(proof.model), 40)
    return f"{model}: loss on held-out text after {counted(proof.steps, 'step')}"


def _heading(proof: Proof, drawn: Sequence[_Method]) -> Iterator[str]:
    yield _text(_LEFT, 34, _title(proof), "title")
    if not drawn:
        yield _text(_LEFT, 58, "No row came to an end.", "soft")
        return
    before = drawn[0].summary.before
    seeds = max(one.summary.loss.count for one in drawn)
    over = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    start = f" · {before:.3f} before training" if math.isfinite(before) else ""
    yield _text(_LEFT, 58, f"{over}{start} · lower is better · equals side by side", "soft")


def _failed(found: Sequence[Summary], y: float) -> Iterator[str]:
    without = [one for one in found if one.failed and not one.held_out]
    if without:
        none = [f"{_name(one)} ({safe(why_not(one.failed[0]))})" for one in without]
        text = shortened(f"Without a result: {', '.join(none)}", 100)
        yield _text(_LEFT, y, text, "soft")


def _loss_axis(drawn: Sequence[_Method]) -> _Axis:
    low = min((one.mean - one.spread for one in drawn), default=0.0)
    high = max((one.mean + one.spread for one in drawn), default=0.0)
    room = 0.08 * (high - low) or 0.01 * abs(high) or 1.0
    bottom = _TOP + max(_LOWEST, _LINE * len(drawn))
    return _Axis(low - room, high + room, bottom, _TOP)


def _grid(axis: _Axis, right: float) -> Iterator[str]:
    ticks = axis.ticks(6)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    for value in ticks:
        y = axis.at(value)
        yield f'<path class="grid" d="M{_LEFT:g} {y:.1f}H{right:.1f}"/>'
        yield _text(_LEFT - 8, y + 4, f"{value:.{digits}f}", "soft", "end")


def _labels(drawn: Sequence[_Method], axis: _Axis, right: float, losses: float) -> Iterator[str]:
    digits = digits_of(*(one.spread for one in drawn))
    ordered = sorted(drawn, key=lambda one: -one.mean)
    wanted = [axis.at(one.mean) for one in ordered]
    places = spaced(wanted, _LINE, axis.end, axis.start)
    for one, start, y in zip(ordered, wanted, places, strict=True):
        line = f"M{right:.1f} {start:.1f}L{right + 22:.1f} {y:.1f}h6"
        yield f'<path d="{line}" fill="none" stroke="{one.color}"/>'
        yield _marker(one, right + 36, y)
        loss = loss_text(one.summary.loss, digits)
        yield _text(right + 50, y + 4, _name(one.summary))
        yield _text(losses, y + 4, loss, "soft")


def spaced(wanted: Sequence[float], apart: float, low: float, high: float) -> list[float]:
    """Return places at least `apart` within `low` to `high`, in the order of the rising ones that
    are wanted, and as near to them as can be (least squares: neighbours move together)."""
    groups: list[tuple[float, int]] = []
    for number, place in enumerate(wanted):
        mean, many = place - number * apart, 1
        while groups and groups[-1][0] >= mean:
            other, more = groups.pop()
            mean, many = (mean * many + other * more) / (many + more), many + more
        groups.append((mean, many))
    last = high - (len(wanted) - 1) * apart
    levels = [max(low, min(last, mean)) for mean, many in groups for _ in range(many)]
    return [level + number * apart for number, level in enumerate(levels)]


def _name(one: Summary) -> str:
    name = safe(one.method)
    return name if len(name) <= _LONGEST else f"{name[:9]}…{name[10 - _LONGEST :]}"


# -- panels ---------------------------------------------------------------------------------------


def _panel(panel: _Panel, drawn: Sequence[_Method], losses: _Axis, left: float) -> Iterator[str]:
    known = [one for one in drawn if math.isfinite(panel.value(one.summary))]
    axis, bottom = _axis_of(panel, known, left), losses.start
    yield f'<path class="axis" d="M{left:g} {bottom:g}h{_PANEL:g}"/>'
    for value in axis.ticks(4):
        x = axis.at(value)
        yield f'<path class="axis" d="M{x:.1f} {bottom:g}v4"/>'
        text = panel.text(value) if value else "0"
        yield _text(x, bottom + 19, text, "soft", "middle")
    yield _text(left + _PANEL / 2, bottom + 41, panel.title, anchor="middle")
    for one in drawn:
        y = losses.at(one.mean)
        yield (
            f'<path d="M{left:g} {y:.1f}h{_PANEL:g}" stroke="{one.color}" stroke-opacity=".35" '
            'stroke-dasharray="2 3"/>'
        )
    places = [axis.at(panel.value(one.summary)) for one in known]
    for one, x in zip(known, beside(places, panel.apart), strict=True):
        y, wide = losses.at(one.mean), panel.spread(one.summary)
        if one.spread:
            yield _bar(one, x, losses)
        if wide:
            half = axis.at(wide) - axis.at(0)
            line = f"M{x - half:.1f} {y:.1f}H{x + half:.1f}"
            yield f'<path d="{line}" stroke="{one.color}" stroke-width="1.5"/>'
        yield _marker(one, x, y)


def _axis_of(panel: _Panel, known: Sequence[_Method], left: float) -> _Axis:
    """Return the axis from 0 to the farthest value, or to both sides."""
    ends = [
        panel.value(one.summary) + side * panel.spread(one.summary)
        for one in known
        for side in (-1, 1)
    ]
    low, high = min(0.0, *ends), max(0.0, *ends)
    return _Axis(low, high if high > low else low + 1, left + 14, left + _PANEL - 18)


def beside(places: Sequence[float], apart: float) -> list[float]:
    """Return the places, those nearer than `_NEAR` `apart` from each other about their middle."""
    found = list(places)
    runs: list[list[int]] = []
    for i in sorted(range(len(places)), key=lambda i: places[i]):
        if runs and places[i] - places[runs[-1][-1]] < _NEAR:
            runs[-1].append(i)
        else:
            runs.append([i])
    for run in runs if apart else []:
        middle = sum(places[i] for i in run) / len(run)
        for number, i in enumerate(sorted(run)):
            found[i] = middle + (number - (len(run) - 1) / 2) * apart
    return found


def _bar(one: _Method, x: float, losses: _Axis) -> str:
    low, high = losses.at(one.mean - one.spread), losses.at(one.mean + one.spread)
    line = f"M{x:.1f} {low:.1f}V{high:.1f}M{x - 3:.1f} {low:.1f}h6M{x - 3:.1f} {high:.1f}h6"
    return f'<path d="{line}" stroke="{one.color}" stroke-width="1.5"/>'


def _marker(one: _Method, x: float, y: float) -> str:
    fill = 'class="open"' if one.is_open else f'fill="{one.color}"'
    place = f'transform="translate({x:.1f} {y:.1f})"'
    return f'<path {place} d="{one.shape}" {fill} stroke="{one.color}" stroke-width="1.5"/>'


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "") -> str:
    about = (f' class="{kind}"' if kind else "") + (f' text-anchor="{anchor}"' if anchor else "")
    return f'<text x="{x:.1f}" y="{y:.1f}"{about}>{escape(text)}</text>'
