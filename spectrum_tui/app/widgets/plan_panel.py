"""What a scan of the checked types would be: how much, how long, and what it leaves out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Button, Static

from spectrum_tui.app.theme import MUTED
from spectrum_tui.app.widgets.cells import bar, printable
from spectrum_tui.app.widgets.layer_facts import Words, first_fitting
from spectrum_tui.core import numbers
from spectrum_tui.core.errors import InputError
from spectrum_tui.core.layer_types import TypeInfo
from spectrum_tui.core.requests import Kept, ModelSummary, Ready
from spectrum_tui.core.scanning.devices import pick_devices
from spectrum_tui.core.settings import Settings

LABEL = 13
"""Width of the labels in the table."""
NORMS = "Norms start unchecked: 1-D weights all score 1.0 and rank by file order."
WAITS = ("waits for the exact names", "· s takes back")
NOTHING_LEFT = ("every score is there,", "nothing is read")
NOTHING_COMES = "Every score is there: the scan downloads and reads nothing."
NO_ESTIMATE = "no estimate for {}"
NOTHING_CHECKED = "Check at least one type."


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedTypes:
    """The checked types in figures. `nbytes` are those that a scan of all of them reads, and `cost`
    what it computes; `scored` are the layers of an earlier scan, `scored_fast` those of them in
    fast precision, `kept` what they save."""

    types: int
    of_types: int
    layers: int
    parameters: int
    share: float
    nbytes: int
    cost: float
    scored: int = 0
    scored_fast: int = 0
    kept: tuple[Kept, ...] = ()

    @classmethod
    def of(cls, summary: ModelSummary, checked: Iterable[TypeInfo]) -> CheckedTypes:
        types = tuple(checked)
        parameters = sum(info.parameters for info in types)
        share = min(1.0, parameters / summary.parameters) if summary.parameters else 0.0
        return cls(
            types=len(types),
            of_types=len(summary.types),
            layers=sum(info.layers for info in types),
            parameters=parameters,
            share=share,
            nbytes=sum(info.nbytes for info in types if not info.one_dimensional),
            cost=sum(info.cost for info in types),
            scored=sum(summary.scored.get(info.name, 0) for info in types),
            scored_fast=sum(summary.scored_fast.get(info.name, 0) for info in types),
            kept=tuple(summary.kept[info.name] for info in types if info.name in summary.kept),
        )

    def left(self, *, fast: bool) -> CheckedTypes:
        """Return the same with what is left to read and to compute, for an exact scan or one that
        takes scores in `fast` precision."""
        nbytes = sum(one.nbytes - (0 if fast else one.fast_nbytes) for one in self.kept)
        cost = sum(one.cost - (0.0 if fast else one.fast_cost) for one in self.kept)
        return replace(self, nbytes=max(0, self.nbytes - nbytes), cost=max(0.0, self.cost - cost))


def estimate(plan: CheckedTypes, ready: Ready | None, device: str) -> tuple[str, str]:
    """Return how long a scan is likely to take, and where: `about 4 min`, `on cpu`.

    `auto` and `cuda` are all GPUs at once.
    """
    if ready is None:
        return "measuring this machine …", ""
    speeds = ready.seconds_per_cost
    try:
        used = [name for name in pick_devices(device, ready.devices) if name in speeds]
    except InputError:
        used = []
    if not used:
        return NO_ESTIMATE.format(device), ""
    seconds = plan.cost / sum(1.0 / speeds[name] for name in used)
    where = used[0] if len(used) == 1 else f"{len(used)} GPUs"
    return numbers.about(seconds), f"on {where}"


class Figures(Widget):
    """The plan: a small table where there is room for its lines, else two lines."""

    ALLOW_SELECT = False
    DEFAULT_CSS = "Figures { height: 2; width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }"

    plan: reactive[CheckedTypes | None] = reactive(None)
    time: reactive[tuple[str, str]] = reactive(("", ""))
    problem: reactive[str] = reactive("")
    remote: reactive[bool] = reactive(False)
    """Whether the values come over a network, whose time is not known before."""
    waits: reactive[bool] = reactive(False)
    """Whether a scan was asked for that cannot begin yet."""

    def render(self) -> Content:
        """Return a fixed number of lines, so that a toggle never lays the screen out again."""
        if self.plan is None:
            return Content("")
        return self._table(self.plan) if self.size.height > 2 else self._two_lines(self.plan)

    def _table(self, plan: CheckedTypes) -> Content:
        about, device = self._when()
        share = Content.styled(
            bar(plan.share, max(4, self.size.width - LABEL)), "$primary on $panel"
        )
        return table(
            ("types", f"{plan.types:,} of {plan.of_types:,}"),
            ("layers", f"{plan.layers:,}"),
            ("parameters", numbers.count(plan.parameters)),
            ("", f"{numbers.percent(plan.share)} of the model"),
            ("", share),
            ("to read", "–" if self.time == NOTHING_LEFT else numbers.size(plan.nbytes)),
            ("computing" if self.remote and device else "time", self._strong(about)),
            ("", self._strong(device)),
        )

    def _two_lines(self, plan: CheckedTypes) -> Content:
        time, where = self._when()
        read, brief = f"{numbers.size(plan.nbytes)} to read", self._strong(time)
        what = f"{time} of computing" if self.remote and where else time
        long, medium = self._strong(f"{what} {where}".strip()), self._strong(what)
        ways: list[list[Words]] = [[read, long], [read, medium], [read, brief], [brief]]
        if self.time == NOTHING_LEFT:
            ways = [[long]]
        second = first_fitting(ways, self.size.width)
        return Content.assemble(self._first_line(plan), "\n", second)

    def _when(self) -> tuple[str, str]:
        """Return how long it takes, what is waited for, or why it cannot be."""
        if self.waits:
            return WAITS
        return (self.problem, "") if self.problem else self.time

    def _first_line(self, plan: CheckedTypes) -> str:
        """Return the longest wording that fits."""
        layers = numbers.counted(plan.layers, "layer")
        layers = f" · {layers} · {numbers.count(plan.parameters)} parameters"
        share = numbers.percent(plan.share)
        types = numbers.part_of(plan.types, plan.of_types, "type")
        wordings = (
            f"{types}{layers} ({share} of the model)",
            f"{types}{layers} ({share})",
            f"{numbers.counted(plan.types, 'type')}{layers} ({share})",
            f"{numbers.counted(plan.types, 'type')}{layers}",
            f"{numbers.counted(plan.types, 'type')}{layers.removesuffix(' parameters')}",
            f"{numbers.counted(plan.types, 'type')}{layers.rpartition(' · ')[0]}",
        )
        return next((text for text in wordings if len(text) <= self.size.width), wordings[-1])

    def _strong(self, text: str) -> Content:
        return Content.styled(text, "bold $text-error" if self.problem else "bold")


def table(*rows: tuple[str, str | Content]) -> Content:
    """Muted labels in a column, then the values."""
    lines = [Content.assemble((f"{label:<{LABEL}}", MUTED), value) for label, value in rows]
    return Content("\n").join(lines)


class PlanPanel(Vertical):
    """Figures, what is worth knowing about them, and the button that starts the scan."""

    DEFAULT_CSS = """
    PlanPanel {
        border: round $panel;
        border-title-color: $primary;
        padding: 0 1;
        height: auto;
        max-height: 50%;
        overflow-y: auto;
        scrollbar-size: 1 1;
        background: $surface;
        & #figures-row { height: auto; layout: horizontal; }
        & #about { display: none; }
        & Static {
            height: auto;
            color: $foreground 60%;
            link-color: $accent;
            link-style: none;
        }
        & .note { color: $text-warning; }
        & Button { width: auto; min-width: 12; margin: 0 0 0 1; }
    }
    """

    def __init__(self, summary: ModelSummary, settings: Settings, plan: CheckedTypes) -> None:
        super().__init__()
        self.summary = summary
        self.settings = settings
        self.ready: Ready | None = None
        self.fresh = False
        self.border_title = "This scan"
        self.plan = plan
        self.figures = self._figures()

    def _figures(self) -> Figures:
        figures = Figures()
        figures.set_reactive(Figures.plan, self._left)
        figures.set_reactive(Figures.time, self._estimate())
        figures.set_reactive(Figures.remote, not self.summary.is_local)
        return figures

    @property
    def _left(self) -> CheckedTypes:
        """What is left of the plan to read and to compute."""
        return self.plan if self.fresh else self.plan.left(fast=self._takes_fast)

    def replace_summary(self, summary: ModelSummary, plan: CheckedTypes) -> None:
        """More is known of the model now; the notes may be others."""
        self.summary, self.plan = summary, plan
        self.figures = self._figures()
        self.refresh(recompose=True)

    def compose(self) -> ComposeResult:
        yield Static(self._about(), id="about")
        with Vertical(id="figures-row"):
            yield self.figures
            yield Button(
                self._start(), variant="primary", compact=True, id="start", action="screen.scan"
            )
        if not self.summary.is_local:
            yield Static(self._where_from(), id="where-from")
        if self.summary.scored:
            yield Static(self._scored(), id="scored")
        if any(info.one_dimensional for info in self.summary.types):
            yield Static(NORMS, id="norms")
        for note in self.summary.notes:
            yield Static(f"! {printable(note)}", classes="note", markup=False)
        if self.summary.skipped:
            yield Static(self._unscored(), id="unscored")

    def _start(self) -> str:
        if self.summary.is_local or self._is_scored:
            return "Start scan (s)"
        without = self.summary.is_streamed(self.settings)
        return "Scan without downloading (s)" if without else "Download and scan (s)"

    @property
    def _is_scored(self) -> bool:
        """Whether the checked types have every score, so that no value is needed."""
        return self.figures.time == NOTHING_LEFT

    def _where_from(self) -> Content:
        """Return how the values of a model come that is only on the hub."""
        if self._is_scored:
            return Content(NOTHING_COMES)
        missing = numbers.size(self.summary.missing_bytes)
        if not self.summary.is_streamed(self.settings):
            text = f"The scan downloads {missing} first, into the hub's cache."
            return _note(text, "stream", "w", "No download")
        where = "the hub" if self.summary.can_be_downloaded else "the web"
        text = f"The scan reads from {where} and keeps no file."
        if self.settings.cluster or not self.summary.can_be_downloaded:
            return Content(text)
        if self.summary.free is not None and not self.summary.fits:
            free = numbers.size(self.summary.free)
            text = f"{missing} do not fit on this disk ({free} free). {text}"
        return _note(text, "download", "w", "Download")

    def _about(self) -> Content:
        summary, settings = self.summary, self.settings
        files = numbers.counted(summary.shards, "file")
        folder = settings.output_dir
        kinds = " + ".join(sorted(summary.dtypes, key=summary.dtypes.__getitem__, reverse=True))
        return table(
            ("model", printable(summary.architecture) or "unknown architecture"),
            ("names", printable(_whose_names(summary))),
            ("stored as", printable(kinds) or "–"),
            ("size", f"{numbers.size(summary.nbytes)} in {files}"),
            ("device", settings.device),
            ("batch size", str(settings.batch_size or "auto")),
            ("saved in", "current folder" if folder in (".", "") else printable(folder)),
        )

    def show(self, plan: CheckedTypes) -> None:
        self.plan = plan
        self.figures.problem = ""
        self._show_estimate()

    def set_ready(self, ready: Ready) -> None:
        self.ready = ready
        self._show_estimate()

    def set_settings(self, settings: Settings) -> None:
        self.settings = settings
        self._show_way()

    def _show_way(self) -> None:
        """Say where the values come from, on the button too, which is as wide as its label."""
        label = Content(self._start())
        for button in self.query("#start").results(Button):
            if button.label != label:
                button.label = label
                button.refresh(layout=True)
        where = self._where_from()
        for line in self.query("#where-from").results(Static):
            if line.content != where:
                line.update(where)

    def set_fresh(self, fresh: bool) -> None:
        self.fresh = fresh
        self._show_estimate()

    def refuse(self) -> None:
        self.figures.problem = NOTHING_CHECKED

    def _show_estimate(self) -> None:
        self.figures.plan, self.figures.time = self._left, self._estimate()
        self._show_way()
        note = self._scored()
        for line in self.query("#scored").results(Static):
            if line.content != note:  # an update lays the screen out again
                line.update(note)

    def _estimate(self) -> tuple[str, str]:
        plan = self.plan
        if plan.layers and plan.scored - self._unusable == plan.layers and not self.fresh:
            return NOTHING_LEFT
        if self.settings.cluster:
            return NO_ESTIMATE.format("a cluster"), ""  # of nodes that are not known yet
        return estimate(self._left, self.ready, self.settings.device)

    @property
    def _unusable(self) -> int:
        """The scored layers that are not exact enough for this scan."""
        return 0 if self._takes_fast else self.plan.scored_fast

    @property
    def _takes_fast(self) -> bool:
        """Whether scores in fast precision do for this scan; on a cluster `auto` is exact, whatever
        GPUs are here."""
        precision, here = self.settings.precision, not self.settings.cluster
        if precision == "auto" and here and self.ready is not None and self.ready.fast:
            with contextlib.suppress(InputError):
                devices = pick_devices(self.settings.device, self.ready.devices)
                precision = "fast" if set(devices) & set(self.ready.fast) else "exact"
        return precision == "fast"

    def _scored(self) -> Content:
        """Return what becomes of the scores that the checked types have by now."""
        plan = self.plan
        if not plan.scored:
            return Content("No layer of the checked types has a score yet.")
        if self.fresh:
            layers = numbers.counted(plan.scored, "layer")
            text = f"Starting afresh: {layers} will be computed again by the next scan."
            return _note(text, "fresh", "f", "Keep them")
        unusable = self._unusable
        scored = numbers.counted(plan.scored - unusable, "layer is", "layers are")
        text = f"{scored} already scored and will not be computed again."
        if unusable:
            text += f" {unusable:,} in fast precision will: this scan is exact."
        return _note(text, "fresh", "f", "Start afresh")

    def _unscored(self) -> Content:
        count = len(self.summary.skipped)
        text = f"{numbers.counted(count, 'tensor has', 'tensors have')} no score."
        return _note(text, "unscored", "u", "List")


def _note(text: str, action: str, key: str, label: str) -> Content:
    """Return a sentence, then a key with what it does, as in the footer; a click does it too."""
    link = f"[@click=screen.{action}][b]{key}[/] {label}[/]"
    return Content.from_markup(f"$text {link}", text=text)


def _whose_names(summary: ModelSummary) -> str:
    """Return where the parameter names come from; the class stands on the line above."""
    short = summary.naming.replace(f" {summary.architecture}", "")
    return short or "as in the files, for now"
