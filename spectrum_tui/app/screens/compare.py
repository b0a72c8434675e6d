"""Two results side by side: agreement per type at a percentage, the layers that moved or where the
selections differ."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

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
from spectrum_tui.app.widgets.difference_lines import DifferenceLines, RankLines
from spectrum_tui.app.widgets.key_footer import KeyFooter, hidden_key
from spectrum_tui.app.widgets.line_view import LineView
from spectrum_tui.app.widgets.percent_slider import PERCENT_KEYS, PercentSlider
from spectrum_tui.app.widgets.step_bar import StepBar
from spectrum_tui.app.widgets.totals_line import TotalsLine
from spectrum_tui.core.comparison.compare import Comparison, file_names, notes, rho_text, share_text
from spectrum_tui.core.comparison.differences import Differences, shared_policy
from spectrum_tui.core.numbers import counted, part_of
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.scoring.metrics import described

if TYPE_CHECKING:
    from spectrum_tui.app.screens.save import Saved


class CompareScreen(NamedKeys, Screen[None]):
    """Slider and totals above; the types, then the moves or the map of the differences."""

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
        & .panel { height: 1fr; }
        &.-wide .panel { width: 1fr; height: 100%; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *PERCENT_KEYS,
        Binding("m", "map", "Map", tooltip="Where selections or ranks differ, or what moved"),
        Binding(
            "w,ctrl+s",
            "save('both')",
            "Save both",
            tooltip="Save the layers that both select",
            id="compare.save",
        ),
        Binding("A", "save('A')", "Save A", tooltip="Save the layers that A selects"),
        Binding("B", "save('B')", "Save B", tooltip="Save the layers that B selects"),
        hidden_key("tab", "app.focus_next", "Next list", "To the types, then the moves"),
        Binding("escape,o", "dismiss", "Back", key_display="esc", tooltip="Back to the results"),
    ]

    def __init__(self, comparison: Comparison, policy: Policy, output_dir: str = ".") -> None:
        """`output_dir` is where saving begins."""
        super().__init__()
        self.comparison = comparison
        self._output_dir = output_dir
        self._policy = policy
        self.slider = PercentSlider(policy.percent, self.apply)
        self.totals = TotalsLine(id="totals")
        self.types = TypeLines(comparison)
        self.moves = MoveLines(comparison)
        differences = Differences(comparison)
        self.map, self.ranks = DifferenceLines(differences), RankLines(differences)
        self._views: dict[str, LineView] = {
            "Largest moves": self.moves,
            "Differences of the selections": self.map,
            "Differences of rank": self.ranks,
        }
        self._second = Vertical(*self._views.values(), classes="panel")

    def compose(self) -> ComposeResult:
        yield StepBar(step=4, detail="comparison")
        with Vertical(id="header"):
            yield Static(self._sources(), markup=False, id="sources")
            yield self.slider
            yield self.totals
        with Container(id="body"):
            with Vertical(self.types, classes="panel") as panel:
                panel.border_title = f"Types, by {self._metric()}"
            yield self._second
        yield KeyFooter()

    def on_mount(self) -> None:
        self.apply(self.slider.value)
        self._show_second("Largest moves")

    def on_resize(self) -> None:
        self.call_after_refresh(self._say_legend)

    def action_map(self) -> None:
        """Turn from the moves to the map of the selections, to that of the ranks, and back."""
        names = list(self._views)
        shown = next(name for name, view in self._views.items() if view.display)
        had_keys = self._views[shown].has_focus
        name = names[(names.index(shown) + 1) % len(names)]
        self._show_second(name)
        if had_keys:
            self._views[name].focus()

    def _show_second(self, name: str) -> None:
        for title, view in self._views.items():
            view.display = title == name
        self._second.border_title = name
        self.call_after_refresh(self._say_legend)

    def _say_legend(self) -> None:
        """Say below the second list how much it shows, or what its marks mean at this width."""
        maps = (view for view in (self.map, self.ranks) if view.display)
        self._second.border_subtitle = next((view.legend for view in maps), self._moved())

    def action_save(self, what: str) -> None:
        """Save what A, B or both select."""
        from spectrum_tui.app.screens.save import SaveScreen

        policy = self._policy
        if what == "both":
            policy = shared_policy(self.comparison, policy)
        selection = self.comparison.selections[what == "B"]
        words = f"what {_who(what)}: {self._policy.words}"
        choice = Choice(selection=selection, policy=policy)
        dialog = SaveScreen(choice, self._output_dir, words=words)
        self.app.push_screen(dialog, partial(self._after_save, what))

    def _after_save(self, what: str, saved: Saved | None) -> None:
        if saved is not None:
            where = f"{saved.path.name}\nin {saved.path.parent.absolute()}"
            self.notify(where, title=f"Saved what {_who(what)}", markup=False)

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
        masks = self.comparison.masks(policy)
        self.moves.show(masks)
        self.map.show(masks)

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


def _who(what: str) -> str:
    return "A and B both select" if what == "both" else f"{what} selects"


def _source(label: str, result: Result, file: str) -> Content:
    """Return `A  org/model  224 layers, snr_results_org-model.json`."""
    origin = result.provenance
    note = ", ".join(filter(None, (counted(len(result.scores), "layer"), file)))
    parts = ((f"{label}  ", "bold $primary"), (printable(origin.model), "bold"))
    return Content.assemble(*parts, (f"  {printable(note)}", MUTED))
