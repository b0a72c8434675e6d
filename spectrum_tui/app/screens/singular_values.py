"""The singular values of one layer: where its noise ends, and what every metric says of it."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from spectrum_tui.app.key_order import KEYS_WAIT
from spectrum_tui.app.screens.dialog import Dialog
from spectrum_tui.app.theme import MUTED
from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.app.widgets.histogram import RULE_WORDS, histogram, noise_by, rule_of
from spectrum_tui.app.widgets.key_footer import KeyFooter
from spectrum_tui.core import numbers
from spectrum_tui.core.journal.spectra import KeptSpectrum
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.saved.kept_spectra import spectra_of
from spectrum_tui.core.scoring.metrics import Noise, described

NOT_KEPT = "The singular values of this layer are not kept here: scan the model to see them."
_LABEL = 14


class SingularValuesScreen(Dialog[None]):
    """A histogram of the singular values, read off the event loop; of experts one by one."""

    DEFAULT_CSS = """
    SingularValuesScreen {
        & > Vertical { width: 100%; max-width: 84; height: auto; max-height: 100%; padding: 0 1; }
        & Static { height: auto; text-wrap: nowrap; text-overflow: ellipsis; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("t", "rule", "Threshold", tooltip="Show the threshold of the other rule"),
        Binding("n", "step(1)", "Next", tooltip="The next expert of this layer"),
        Binding("N", "step(-1)", "Previous", tooltip="The previous expert"),
        Binding(
            "escape,d,enter", "dismiss", "Close", key_display="esc", tooltip="Close the details"
        ),
    ]

    def __init__(self, result: Result, row: int) -> None:
        super().__init__()
        self._result, self._row = result, row
        self._spectra: list[tuple[str, KeptSpectrum]] = []
        self._at, self._is_read = 0, False
        self.rule = rule_of(result.scores.metric)
        self.body = Static("Reading …", markup=False)
        self.frame = Vertical(self.body)

    def compose(self) -> ComposeResult:
        self._name_it(self._result.scores.layers[self._row])
        yield self.frame
        yield KeyFooter()

    def _name_it(self, name: str) -> None:
        self.frame.border_title = Content(printable(name))  # a string would be read as markup

    def on_mount(self) -> None:
        self._read()

    @work(group=KEYS_WAIT)
    async def _read(self) -> None:
        self._spectra = await asyncio.to_thread(spectra_of, self._result, self._row)
        self._is_read = True
        self.refresh_bindings()
        self._show()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "rule":
            return bool(self._spectra)
        return len(self._spectra) > 1 if action == "step" else True

    def action_rule(self) -> None:
        names = list(RULE_WORDS)
        self.rule = names[(names.index(self.rule) + 1) % len(names)]
        self._show()

    def action_step(self, by: int) -> None:
        self._at = (self._at + by) % len(self._spectra)
        self._show()

    def _show(self) -> None:
        if not self._spectra:
            if self._is_read:
                self.body.update(NOT_KEPT)
            return
        name, kept = self._spectra[self._at]
        self._name_it(name)
        self.frame.border_subtitle = numbers.shape(kept.rows, kept.columns)
        noise = noise_by(self.rule, kept)
        width = max(20, self.frame.size.width - 1)
        parts = [histogram(kept, noise, width), noise_facts(kept, noise, self.rule)]
        self.body.update(Content("\n\n").join([*parts, self._metrics(width)]))

    def _metrics(self, width: int) -> Content:
        """Every metric of the matrix; a layer of experts has their means."""
        scores = self._result.scores
        lines = []
        for name in self._result.metrics:
            metric = described(name)
            column = scores.metrics[name]
            parts = column.parts.get(self._row)
            value = parts[self._at][1] if parts else float(column.values[self._row])
            line = _value_line(metric.title, value, metric.meaning)
            short = line.cell_length <= width
            lines.append(line if short else _value_line(metric.title, value))
        return Content("\n").join(lines)


def _value_line(name: str, value: float, note: str = "") -> Content:
    """One line: what, how much, and what that means."""
    return Content.assemble(
        (f"{name:<{_LABEL}}", MUTED), (f"{numbers.score(value):>9}", "bold"), (f"  {note}", MUTED)
    )


def noise_facts(kept: KeptSpectrum, noise: Noise, rule: str) -> Content:
    """Noise level, threshold and what lies above it, in the units of the weights."""
    above = f"{numbers.part_of(noise.signal, len(kept.values), 'value')} above"
    lines = (
        _value_line("largest value", float(kept.values[0])),
        _value_line("noise level σ", noise.sigma, RULE_WORDS[rule]),
        _value_line("noise ends at", noise.threshold, above),
    )
    return Content("\n").join(lines)
