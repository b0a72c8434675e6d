"""A training run as a film: the selection at each step, against that of the first one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import Static

from spectrum_tui.app.key_names import NamedKeys
from spectrum_tui.app.messages import OpenRequested
from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.app.widgets.difference_lines import DifferenceLines
from spectrum_tui.app.widgets.key_footer import KeyFooter, hidden_key
from spectrum_tui.app.widgets.percent_slider import PercentSlider
from spectrum_tui.app.widgets.step_bar import StepBar
from spectrum_tui.app.widgets.totals_line import TotalsLine
from spectrum_tui.core.comparison.compare import rho_text
from spectrum_tui.core.comparison.film import Frame
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.settings import DEFAULTS, Settings

FRAME_SECONDS = 0.6
NOTES_SHOWN = 3
WORDS = ("stays selected", "left", "entered")


class FilmScreen(NamedKeys, Screen[None]):
    """The step and the slider above, the map of what entered and left below."""

    AUTO_FOCUS = "DifferenceLines"
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall")]  # noqa: RUF012 (as in Textual)
    DEFAULT_CSS = """
    FilmScreen {
        & > #header { height: auto; padding: 0 1; & > #track { height: 1; color: $primary; } }
        &.-tall > #header { padding: 1; }
        & .panel { height: 1fr; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right", "step(1)", "Step", key_display="←→", tooltip="The next scores of the run"),
        hidden_key("left", "step(-1)", "Step back", "The scores before these"),
        Binding("space", "play", "Play", tooltip="Play the run, or stop"),
        Binding("enter", "open", "Open", tooltip="The scores of this step, to save a recipe"),
        Binding("tab", "app.focus_next", "Slider", tooltip="To the percentage, or to the map"),
        Binding("escape", "dismiss", "Back", key_display="esc", tooltip="Back to the first screen"),
    ]

    def __init__(
        self,
        frames: Sequence[Frame],
        policy: Policy,
        *,
        refused: str = "",
        settings: Settings = DEFAULTS,
        step: int | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        """`refused` says why the policy is not the one that was asked for. The scores of a step
        open with `settings`; the film begins at `step` where there is one. `notes` are of files
        that are not in it, or not wholly."""
        super().__init__()
        self._frames, self._policy, self._refused = frames, policy, refused
        self._notes = notes
        self._settings = settings
        self.at = next((i for i, frame in enumerate(frames) if frame.step == step), 0)
        self.slider = PercentSlider(policy.percent, self.apply)
        self.totals = TotalsLine(id="totals")
        self._line = TotalsLine(id="step")
        self._track = Static(markup=False, id="track")
        self.map = DifferenceLines(frames[0].differences, WORDS)
        self._playing: Timer | None = None

    def compose(self) -> ComposeResult:
        yield StepBar(0, "training run")
        with Vertical(id="header"):
            yield self._line
            yield self._track
            yield self.slider
            yield self.totals
        with Vertical(self.map, classes="panel", id="panel") as panel:
            # Where the details are gone, the name of the file stands for that of the model.
            model = self._frames[0].comparison.a.provenance.model
            model = printable(model.removesuffix(f"-step-{self._frames[0].step}"))
            panel.border_title = Content(model)  # a string would be read as markup
        yield KeyFooter()

    def on_mount(self) -> None:
        self.apply(self.slider.value)
        if self._refused:
            title = "Only the percentage is taken"
            self.notify(self._refused, title=title, severity="warning", markup=False)

        if self._notes:
            more = [f"… and {len(self._notes) - NOTES_SHOWN:,} more"]
            said = [*self._notes[:NOTES_SHOWN], *(more if len(self._notes) > NOTES_SHOWN else ())]
            title = f"{counted(len(self._notes), 'file')} not wholly shown"
            self.notify("\n".join(said), title=title, severity="warning", markup=False)

    def on_resize(self) -> None:
        self.call_after_refresh(self._show_place)

    # -- what is shown ------------------------------------------------------------------------

    def apply(self, percent: float) -> None:
        self._policy = replace(self._policy, percent=percent)
        self._show()

    def _show(self) -> None:
        frame = self._frames[self.at]
        comparison, policy = frame.comparison, self._policy
        whole = comparison.whole(policy)
        kept = f"{counted(whole.shared, 'layer')} of {whole.a:,} as at step {self._first}"
        entered, left = whole.b - whole.shared, whole.a - whole.shared
        self.totals.show(
            f"{kept}, {entered:,} entered, {left:,} left", f"Spearman {rho_text(comparison.rho)}"
        )
        self.map.show(comparison.masks(policy), frame.differences)
        self._show_place()

    @property
    def _first(self) -> str:
        return f"{self._frames[0].step:,}"

    def _show_place(self) -> None:
        frames = self._frames
        playing = "  ▶ playing" if self._playing is not None else ""
        moves = frames[self.at].moves
        place = f"Step {frames[self.at].step:,}{f': {moves}' if moves else ''}{playing}"
        self._line.show(place, f"{self.at + 1:,} of {len(frames):,}, to step {frames[-1].step:,}")
        width = max(2, self._track.size.width)
        cell = round(self.at / (len(frames) - 1) * (width - 1))
        self._track.update("━" * cell + "●" + "─" * (width - 1 - cell))
        self.query_one("#panel").border_subtitle = self.map.legend

    # -- keys ---------------------------------------------------------------------------------

    def action_step(self, by: int) -> None:
        """Go to another frame; who turns pages by hand does not want them turned."""
        self._stop()
        self._go(self.at + by)

    def action_play(self) -> None:
        """Play to the end, from the beginning where that is reached; or stop."""
        if self._playing is not None:
            self._stop()
            return
        if self.at == len(self._frames) - 1:
            self._go(0)
        self._playing = self.set_interval(FRAME_SECONDS, self._next)
        self._show_place()

    def action_open(self) -> None:
        """Open the scores on show, at the percentage on show."""
        self._stop()
        settings = replace(self._settings, top_percent=self._policy.percent)
        scores = Path(self._frames[self.at].comparison.b.source)
        self.post_message(OpenRequested(scores, settings))

    def _next(self) -> None:
        self._go(self.at + 1)
        if self.at == len(self._frames) - 1:
            self._stop()

    def _stop(self) -> None:
        if self._playing is not None:
            self._playing.stop()
            self._playing = None
            self._show_place()

    def _go(self, at: int) -> None:
        at = max(0, min(at, len(self._frames) - 1))
        if at != self.at:
            self.at = at
            self._show()
