"""Two results side by side: agreement per type at a percentage, and the layers that moved."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from spectrum_tui.app.key_names import NamedKeys
from spectrum_tui.app.theme import MUTED
from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.app.widgets.compare_lines import MoveLines, TypeLines
from spectrum_tui.app.widgets.key_footer import KeyFooter
from spectrum_tui.app.widgets.percent_slider import PERCENT_KEYS, PercentSlider
from spectrum_tui.app.widgets.step_bar import StepBar
from spectrum_tui.app.widgets.totals_line import TotalsLine
from spectrum_tui.core.comparison.compare import Comparison, file_names, notes, rho_text, share_text
from spectrum_tui.core.numbers import counted, part_of
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.scoring.metrics import described


class CompareScreen(NamedKeys, Screen[None]):
    """Slider and totals above; the types, then the moves."""

    AUTO_FOCUS = "PercentSlider"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (150, "-wide")]  # noqa: RUF012 (as in Textual)
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall")]  # noqa: RUF012 (as in Textual)
    DEFAULT_CSS = """
    CompareScreen {
        layout: vertical;
        & > #header {
            height: auto;
            padding: 0 1;
            & > Static { height: auto; text-wrap: nowrap; text-overflow: ellipsis; }
        }
        &.-tall > #header { padding: 1; }
        & > #body { height: 1fr; layout: vertical; }
        &.-wide > #body { layout: horizontal; }
        & .panel {
            height: 1fr; border: round $panel; padding: 0 1; border-title-color: $primary;
            border-subtitle-color: $foreground 60%;
        }
        & .panel:focus-within { border: round $accent; }
        &.-wide .panel { width: 1fr; height: 100%; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *PERCENT_KEYS,
        Binding("tab", "app.focus_next", "Next list", tooltip="To the types, then the moves"),
        Binding("escape,o", "dismiss", "Back", key_display="esc", tooltip="Back to the results"),
    ]

    def __init__(self, comparison: Comparison, policy: Policy) -> None:
        super().__init__()
        self.comparison = comparison
        self._policy = policy
        self.slider = PercentSlider(policy.percent, self.apply)
        self.totals = TotalsLine(id="totals")
        self.types = TypeLines(comparison)
        self.moves = MoveLines(comparison)

    def compose(self) -> ComposeResult:
        yield StepBar(step=4, detail="comparison")
        with Vertical(id="header"):
            yield Static(self._sources(), markup=False, id="sources")
            yield self.slider
            yield self.totals
        with Container(id="body"):
            with Vertical(self.types, classes="panel") as panel:
                panel.border_title = f"Types, by {self._metric()}"
            with Vertical(self.moves, classes="panel") as panel:
                panel.border_title = "Largest moves"
                panel.border_subtitle = self._moved()
        yield KeyFooter()

    def on_mount(self) -> None:
        self.apply(self.slider.value)

    def apply(self, percent: float) -> None:
        policy = self._policy = replace(self._policy, percent=percent)
        whole = self.comparison.whole(policy)
        left = (
            f"{counted(whole.shared, 'layer')} selected by both, of {whole.a:,} by A and "
            f"{whole.b:,} by B: "
            f"{share_text(whole.jaccard)}"
        )
        self.totals.show(left, f"Spearman {rho_text(self.comparison.rho)}")
        self.types.show(self.comparison.at(policy))
        self.moves.show(self.comparison.masks(policy))

    def action_percent(self, by: int) -> None:
        self.slider.action_percent(by)

    def _sources(self) -> Content:
        name_a, name_b = file_names(self.comparison)
        lines = [
            _source("A", self.comparison.a, name_a),
            _source("B", self.comparison.b, name_b),
            *(Content.styled(f"! {note}", "$warning") for note in notes(self.comparison)),
        ]
        return Content("\n").join(lines)

    def _metric(self) -> str:
        return described(self.comparison.a.scores.metric).words

    def _moved(self) -> str:
        moved, common = len(self.comparison.moves), len(self.comparison.pairs)
        return f"{part_of(moved, common, 'layer')} changed in rank"


def _source(label: str, result: Result, file: str) -> Content:
    """Return `A  org/model  224 layers, snr_results_org-model.json`."""
    origin = result.provenance
    note = ", ".join(filter(None, (counted(len(result.scores), "layer"), file)))
    parts = ((f"{label}  ", "bold $primary"), (printable(origin.model), "bold"))
    return Content.assemble(*parts, (f"  {printable(note)}", MUTED))
