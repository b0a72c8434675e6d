"""Choosing the layer types to score, with what that costs beforehand."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.screen import Screen

from spectrum_tui.app.key_names import NamedKeys
from spectrum_tui.app.messages import ExactNamesRequested, RecountRequested, ScanRequested
from spectrum_tui.app.screens.unscored import UnscoredScreen
from spectrum_tui.app.unasked import by_itself
from spectrum_tui.app.widgets.found_panel import parameters_of
from spectrum_tui.app.widgets.key_footer import KeyFooter, hidden_key
from spectrum_tui.app.widgets.layer_tree import LayerTree
from spectrum_tui.app.widgets.plan_panel import CheckedTypes, PlanPanel
from spectrum_tui.app.widgets.step_bar import StepBar, model_label
from spectrum_tui.core.requests import ModelSummary, Ready
from spectrum_tui.core.settings import Settings


class LayersScreen(NamedKeys, Screen[None]):
    """The tree of layer types; the plan beside it where there is room, else below."""

    AUTO_FOCUS = "TreeLines"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (112, "-wide")]  # noqa: RUF012 (Textual's type)
    DEFAULT_CSS = """
    LayersScreen {
        & > #body { layout: vertical; height: 1fr; }
        & LayerTree { height: 1fr; }
        &.-wide > #body { layout: horizontal; }
        &.-wide LayerTree { width: 1fr; height: 100%; }
        &.-wide PlanPanel {
            width: 42; height: 100%; max-height: 100%;
            & #figures-row { layout: vertical; }
            & Figures { height: 8; width: 100%; }
            & Static { margin: 1 0 0 0; }
            & #about {
                display: block; margin: 0 0 1 0; color: $foreground;
                text-wrap: nowrap; text-overflow: ellipsis;
            }
            & Button { width: 100%; margin: 1 0 0 0; }
        }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "scan", "Scan", tooltip="Score every layer of the checked types"),
        Binding("w", "stream", "No download", tooltip="Scan the model without a download"),
        Binding("w", "download", "Download", tooltip="Download the model before its scan"),
        Binding("escape", "back", "Back", key_display="esc", tooltip="Back to the model"),
        hidden_key(
            "f",
            "fresh",
            "Start afresh",
            "The next scan computes earlier scores again, or keeps them",
        ),
        hidden_key("u", "unscored", "Unscored", "List the tensors without a score"),
    ]

    def __init__(self, summary: ModelSummary, settings: Settings) -> None:
        super().__init__()
        self.summary = summary
        self.settings = settings
        self.fresh = False
        self._scan_when_refined = self._names_lost = False
        self.tree_view = LayerTree(summary.types)
        self.panel = PlanPanel(summary, settings, self._plan())

    def compose(self) -> ComposeResult:
        yield StepBar(step=2, detail=self._detail())
        with Container(id="body"):
            yield self.tree_view
            yield self.panel
        yield KeyFooter()

    def _detail(self) -> str:
        return f"{model_label(self.summary)} · {parameters_of(self.summary)}"

    def on_screen_resume(self) -> None:
        """Ask for new counts: a scan may have scored more, where the user comes back from one."""
        self.post_message(RecountRequested())

    def set_ready(self, ready: Ready) -> None:
        self.panel.set_ready(ready)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "fresh":
            return bool(self.summary.scored)
        if action in ("download", "stream"):
            offered = self.summary.can_be_downloaded and not self.settings.cluster
            streamed = self.summary.is_streamed(self.settings)
            return offered and streamed is (action == "download")
        if action == "unscored":
            return bool(self.summary.skipped)
        return True

    def action_scan(self) -> None:
        """Begin the scan, once the exact names are known; a second key takes that back."""
        checked = self.tree_view.checked
        if self._scan_when_refined:
            self._wait_for_names(False)
        elif not checked:
            self.panel.refuse()
        elif not self.summary.naming:
            self._wait_for_names(True)
            if self._names_lost:
                self._names_lost = False
                self.post_message(ExactNamesRequested(self.summary))
        else:
            self.post_message(ScanRequested(checked, self.settings, self.fresh))

    def _wait_for_names(self, waits: bool) -> None:
        self._scan_when_refined = waits
        self.panel.figures.waits = waits

    def action_back(self) -> None:
        """Take back a scan that waits, else go back to the model."""
        if self._scan_when_refined:
            self._wait_for_names(False)
        else:
            self.dismiss()

    def lose_names(self) -> None:
        """Wait no longer; the next wish for a scan asks for the names again."""
        self._names_lost = not self.summary.naming
        self._wait_for_names(False)

    def refine(self, summary: ModelSummary) -> None:
        """Take over the exact names in place; what the user checked stays checked.

        A scan that was asked for meanwhile begins, unless other types stand there now.
        """
        before = self.tree_view.checked
        self.summary = summary
        self.tree_view.replace_types(summary.types)
        self.panel.replace_summary(summary, self._plan())
        self.query_one(StepBar).detail = self._detail()
        self.refresh_bindings()
        if self._scan_when_refined:
            self._wait_for_names(False)
            if self.tree_view.checked == before:
                by_itself(self)
                self.action_scan()
            else:
                self.notify("Some names have changed: look again, then press s.", timeout=10)

    def action_fresh(self) -> None:
        self.fresh = not self.fresh
        self.panel.set_fresh(self.fresh)

    def action_download(self) -> None:
        """Have the model downloaded first."""
        self._choose(stream=False)

    def action_stream(self) -> None:
        """Have the model scanned without a download."""
        self._choose(stream=True)

    def _choose(self, *, stream: bool) -> None:
        self.settings = replace(self.settings, stream=stream, download=not stream)
        self.panel.set_settings(self.settings)
        self.refresh_bindings()

    def action_unscored(self) -> None:
        self.app.push_screen(UnscoredScreen(self.summary.skipped))

    @on(LayerTree.Changed)
    def _plan_changed(self) -> None:
        self.panel.show(self._plan())

    def _plan(self) -> CheckedTypes:
        return CheckedTypes.of(self.summary, self.tree_view.checked_types())
