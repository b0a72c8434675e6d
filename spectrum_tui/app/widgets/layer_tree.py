"""The layer types of a model as a tree of boxes to check, with what each of them costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from rich.cells import cell_len
from rich.segment import Segment
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.strip import Strip
from textual.widgets import Input

from spectrum_tui.app.widgets.cells import bar, keep_end
from spectrum_tui.app.widgets.check_model import Check, CheckModel
from spectrum_tui.app.widgets.key_footer import hidden_key
from spectrum_tui.app.widgets.line_view import LineView
from spectrum_tui.core import numbers
from spectrum_tui.core.layer_types import TypeInfo
from spectrum_tui.core.results.results import IntArray

BOXES = ("[ ]", "[-]", "[x]")
_INDENT = 2
_BOX_AT = 2  # after the fold arrow
_LABEL_AT = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """Widths in cells."""

    label: int
    layers: int
    parameters: int
    share: int
    bar: int

    @classmethod
    def of(cls, width: int) -> _Columns:
        """Return the columns of a line of `width` cells: the bar and then figures yield to the
        label."""
        blocks = 0 if width < 64 else 9 if width < 96 else min(41, width // 3)
        layers, parameters, share = (7, 11, 9) if width >= 48 else (0, 10, 0)
        label = width - layers - parameters - share - blocks - 1
        return cls(
            label=max(8, label), layers=layers, parameters=parameters, share=share, bar=blocks
        )


class TreeLines(LineView):
    """The lines of the tree: a header, then one line per node on show."""

    HEADER_LINES = 1
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "layer-tree--branch",
        "layer-tree--off",
        "layer-tree--dim",
        "layer-tree--box-off",
        "layer-tree--box-part",
        "layer-tree--box-on",
        "layer-tree--bar",
    }
    DEFAULT_CSS = """
    TreeLines {
        height: 1fr;
        & > .layer-tree--branch { text-style: bold; }
        & > .layer-tree--off { color: $text-muted; }
        & > .layer-tree--dim { color: $text-muted; text-style: not bold; }
        & > .layer-tree--box-off { color: $text-muted; }
        & > .layer-tree--box-part { color: $text-warning; }
        & > .layer-tree--box-on { color: $text-success; }
        & > .layer-tree--bar { color: $primary; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "check", "Check", tooltip="Check or uncheck the line under the cursor"),
        Binding("a", "check_all(True)", "All", tooltip="Check every type shown"),
        Binding("n", "check_all(False)", "None", tooltip="Uncheck every type shown"),
        hidden_key("i", "invert", "Invert", "Invert the check of every type shown"),
        hidden_key("right,l", "unfold", "Unfold", "Show what is inside"),
        hidden_key("left,h", "fold", "Fold", "Hide what is inside, or go up"),
        hidden_key("enter", "turn", "Fold or unfold", "Hide or show the contents"),
    ]

    class Toggled(Message):
        """Boxes were checked or unchecked."""

    def __init__(self, model: CheckModel) -> None:
        super().__init__(len(model.visible))
        self.model = model

    # -- drawing ---------------------------------------------------------------------------

    def render_header(self, line: int, width: int) -> Strip:
        columns = _Columns.of(width)
        share = " share of the work" if columns.bar else f"{'work':>{columns.share}}"
        text = f"{'  layer type':<{columns.label}}"
        text += f"{'layers':>{columns.layers}}" if columns.layers else ""
        text += f"{'parameters':>{columns.parameters}}"
        text += share if columns.share else ""
        return Strip([Segment(text, self.line_style("line-view--header"))])

    def render_row(self, row: int, width: int) -> Strip:
        """Arrow, box, label, figures and bar of one node."""
        node, columns = int(self.model.visible[row]), _Columns.of(width)
        cursor = self.with_cursor(row)
        state = self.model.state(node)
        label = self._label(node, columns.label, state, cursor)
        return Strip([*label, *self._figures(node, columns, state, cursor)])

    def _label(
        self, node: int, width: int, state: Check, cursor: tuple[str, ...]
    ) -> Iterable[Segment]:
        model = self.model
        leaf = bool(model.leaf[node])
        indent = " " * (_INDENT * int(model.depth[node]))
        arrow = "  " if leaf else "▾ " if model.unfolded[node] else "▸ "
        kind = "layer-tree--off" if state is Check.OFF else "layer-tree--branch"
        yield Segment(indent + arrow, self.line_style("layer-tree--dim", *cursor))
        yield Segment(f"{BOXES[state]} ", self.line_style(_BOX_STYLES[state], *cursor))
        room = width - len(indent) - _LABEL_AT
        width_of_name = cell_len(model.labels[node])
        note = self._experts(node, room - width_of_name) if leaf else self._note(node)
        name = keep_end(model.labels[node], min(room - len(note), width_of_name))
        style = self.line_style(*(() if leaf and state else (kind,)), *cursor)
        yield Segment(name, style)
        yield Segment(
            note.ljust(room - cell_len(name)), self.line_style("layer-tree--dim", *cursor)
        )

    def _experts(self, node: int, room: int) -> str:
        """`48 × 128 experts` of a type whose parameters each hold many; less of it where the
        name needs the room."""
        info = self.model.type_at(node)
        if not info or not info.experts:
            return ""
        ways = (f"  {info.layers} × {info.experts} experts", f"  {info.experts} experts")
        return next((way for way in ways if len(way) <= room), f"  ×{info.experts}")

    def _note(self, node: int) -> str:
        """Return how much of a branch is checked: `×160` of a family, `3 of 4` where it is a
        part."""
        checked, whole = self.model.counts(node)
        family = not self.model.is_group[node]
        if 0 < checked < whole:
            return (
                f" ×{checked} of {whole}"
                if family
                else f"  {numbers.part_of(checked, whole, 'type')}"
            )
        if family:
            return f" ×{whole}"
        return f"  {numbers.counted(whole, 'type')}"

    def _figures(
        self, node: int, columns: _Columns, state: Check, cursor: tuple[str, ...]
    ) -> Iterable[Segment]:
        model = self.model
        share = model.share(node)
        text = f"{model.layers(node):>{columns.layers},}" if columns.layers else ""
        text += f"{_aligned_count(model.parameters(node)):>{columns.parameters}}"
        text += f"{numbers.short_percent(share):>{columns.share}}" if columns.share else ""
        kind = ("layer-tree--off",) if state is Check.OFF else ()
        yield Segment(text, self.line_style(*kind, *cursor))
        if columns.bar:
            kind = ("layer-tree--bar",) if state else ("layer-tree--off",)
            blocks = f" {bar(share, columns.bar - 1)}"
            yield Segment(blocks, self.line_style(*kind, *cursor))
        yield Segment(" ", self.line_style(*cursor))

    def show(self, model: CheckModel) -> None:
        """Show another tree from its first line."""
        self.model = model
        self.resize_lines(0, len(model.visible))
        self.cursor = 0
        self.refresh()

    # -- checking --------------------------------------------------------------------------

    def action_check(self) -> None:
        """Check the node under the cursor, or uncheck it where all of it is checked."""
        if (node := self._node()) is not None:
            before = self._counts_in_view()
            self.model.toggle(node)
            self._repaint(before)

    def action_check_all(self, checked: bool) -> None:
        """Check or uncheck everything on show (all of it where no filter is set)."""
        before = self._counts_in_view()
        self.model.check_all(checked)
        self._repaint(before)

    def action_invert(self) -> None:
        before = self._counts_in_view()
        self.model.invert()
        self._repaint(before)

    def _counts_in_view(self) -> IntArray:
        rows = self.visible_rows
        return self.model.checked_counts(self.model.visible[rows.start : rows.stop])

    def _repaint(self, before: IntArray) -> None:
        """Repaint the lines in view whose count of checked types changed."""
        changed = np.flatnonzero(self._counts_in_view() != before)
        self.refresh_rows((changed + self.visible_rows.start).tolist())
        self.post_message(self.Toggled())

    # -- folding and moving ----------------------------------------------------------------

    def action_unfold(self) -> None:
        self._set_unfolded(True)

    def action_fold(self) -> None:
        """Hide what is inside; on a type or a folded branch, go to the parent."""
        node = self._node()
        if node is not None and self.model.unfolded[node]:
            self._set_unfolded(False)
        elif node is not None and self.model.parent[node] >= 0:
            self.cursor = self.model.row_of(int(self.model.parent[node]))

    def action_turn(self) -> None:
        if (node := self._node()) is not None:
            self._set_unfolded(not self.model.unfolded[node])

    def filter(self, text: str) -> None:
        """Show only what matches `text`; the cursor stays on its node where that is on show."""
        node = self._node()
        self.model.filter(text)
        self._resize(node)

    def click_row(self, row: int, x: int) -> None:
        """Fold by the arrow, check by the box, move the cursor by the rest."""
        super().click_row(row, x)
        x -= _INDENT * int(self.model.depth[self.model.visible[row]])
        if 0 <= x < _BOX_AT:
            self.action_turn()
        elif _BOX_AT <= x < _LABEL_AT - 1:
            self.action_check()

    def _node(self) -> int | None:
        visible = self.model.visible
        return int(visible[self.cursor]) if self.cursor < len(visible) else None

    def _set_unfolded(self, unfolded: bool) -> None:
        node = self._node()
        if node is None or self.model.leaf[node] or self.model.unfolded[node] == unfolded:
            return
        self.model.fold(node, unfolded=unfolded)
        self._resize(node)

    def _resize(self, node: int | None) -> None:
        self.resize_lines(0, len(self.model.visible))
        if node is not None:
            self.cursor = self.model.row_of(node)
        self.show_row(self.cursor)
        self.refresh()


def _aligned_count(count: int) -> str:
    """Return a count whose digits stand under the digits of counts with a unit."""
    text = numbers.count(count)
    return text if text[-1].isalpha() else f"{text}  "


_BOX_STYLES = ("layer-tree--box-off", "layer-tree--box-part", "layer-tree--box-on")


class LayerTree(Vertical):
    """The tree with its filter. `checked` are the names to scan; `Changed` says they changed."""

    DEFAULT_CSS = """
    LayerTree {
        border: round $panel;
        border-title-color: $primary;
        border-subtitle-color: $text-muted;
        padding: 0 0 0 1;
        background: $surface;
        &:focus-within { border: round $accent; }
        & > Input { margin: 0 1 0 0; display: none; }
        &.-filter > Input { display: block; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", key_display="/", tooltip="Filter types by name"),
        Binding("escape", "show_all", "Show all", key_display="esc", tooltip="Clear the filter"),
    ]

    class Changed(Message):
        """Other types are checked now."""

        def __init__(self, tree: LayerTree) -> None:
            super().__init__()
            self.tree = tree

        @property
        def control(self) -> LayerTree:
            return self.tree

        def can_replace(self, message: Message) -> bool:
            """Only the newest state matters."""
            return isinstance(message, LayerTree.Changed) and message.tree is self.tree

    def __init__(self, types: Sequence[TypeInfo]) -> None:
        super().__init__()
        self.model = CheckModel(types)
        self.lines = TreeLines(self.model)
        self.border_title = "Layer types"

    def compose(self) -> ComposeResult:
        yield Input(placeholder="part of a name, such as down_proj", compact=True)
        yield self.lines

    @property
    def checked(self) -> tuple[str, ...]:
        return self.model.checked

    def replace_types(self, types: Sequence[TypeInfo]) -> None:
        """Show other types; those that were there before keep their boxes."""
        if tuple(types) == self.model.types:
            return
        before, self.model = self.model, CheckModel(types)
        self.model.adopt(before)
        self.model.filter(self.query_one(Input).value)
        self.lines.show(self.model)
        self.post_message(self.Changed(self))

    def checked_types(self) -> tuple[TypeInfo, ...]:
        return tuple(self.model.checked_types())

    def action_filter(self) -> None:
        self.add_class("-filter")
        self.refresh_bindings()
        self.query_one(Input).focus()

    def action_show_all(self) -> None:
        with self.prevent(Input.Changed):
            self.query_one(Input).value = ""
        self._narrow("")
        self.lines.focus()
        self.remove_class("-filter")
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Escape leaves the filter where there is one, and the screen where there is none."""
        if action == "filter":
            return not self.query_one(Input).has_focus  # there it is a character
        return self.has_class("-filter") if action == "show_all" else True

    @on(Input.Changed)
    def _filter_typed(self, event: Input.Changed) -> None:
        event.stop()
        self._narrow(event.value)

    @on(Input.Submitted)
    def _filter_done(self, event: Input.Submitted) -> None:
        event.stop()
        self.lines.focus()
        if not event.value.strip():
            self.action_show_all()

    @on(TreeLines.Toggled)
    def _toggled(self, event: TreeLines.Toggled) -> None:
        event.stop()
        self.post_message(self.Changed(self))

    def _narrow(self, text: str) -> None:
        self.lines.filter(text)
        found = int(self.model.scope.sum())
        whole = len(self.model.types)
        if not self.model.is_filtered:
            self.border_subtitle = ""
        elif found:
            self.border_subtitle = numbers.part_of(found, whole, "type", "matches", "match")
        else:
            self.border_subtitle = "no type matches"
