"""The base of every view that draws its rows as lines, whatever the number of rows.

Only visible lines are ever built, so 60,000 rows open as fast as 60. A change repaints the rows
that changed and nothing else: each repainted line costs 0.1 to 0.25 ms inside Textual, so a whole
view costs 10 ms and a row 0.3 ms.

A subclass sets `HEADER_LINES` and `HAS_CURSOR`, implements `render_row` (and `render_header`),
names its styles in `COMPONENT_CLASSES` and asks for them with `line_style`. It says how many rows
there are with `resize_lines`, and what changed with `refresh_row` or `refresh_rows`.
This is the one file that uses Textual's semi-private API, in `resize_lines`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.scrollbar import ScrollBar
from textual.strip import Strip
from textual.widget import Widget

from spectrum_tui.app.widgets.key_footer import hidden_key

REPAINT_ALL = 20
"""From this many changed rows on, one repaint of the view is cheaper than one for each row."""


class TextScroll(VerticalScroll):
    """Text that is longer than its room; it scrolls at once, as `LineView` does."""

    def scroll_to(self, x: float | None = None, y: float | None = None, **options: Any) -> None:
        """Scroll at once: an animation is many repaints over a slow line, and a key that comes
        before a deferred scroll has begun would start from where that one started."""
        super().scroll_to(x, y, **{**options, "animate": False, "immediate": True})


class LineView(ScrollView, inherit_bindings=False):
    """Rows under an optional fixed header, with an optional cursor row.

    Give it a fixed or `fr` height: its height never follows the number of rows.
    """

    ALLOW_SELECT = False
    HEADER_LINES: ClassVar[int] = 0
    """Lines at the top that do not scroll; drawn by `render_header`."""
    HAS_CURSOR: ClassVar[bool] = True
    """Whether the movement keys move a cursor row; they scroll where they do not."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"line-view--cursor", "line-view--header"}
    DEFAULT_CSS = """
    LineView {
        background: $surface;
        color: $foreground;
        overflow-x: hidden;
        overflow-y: scroll;
        scrollbar-size: 1 1;
        & > .line-view--cursor { background: $foreground 10%; }
        & > .line-view--header { color: $text-muted; text-style: bold; }
        &:focus > .line-view--cursor {
            background: $block-cursor-background;
            color: $block-cursor-foreground;
            text-style: $block-cursor-text-style;
        }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        hidden_key("up,k", "move(-1)", "Up", "One row up"),
        hidden_key("down,j", "move(1)", "Down", "One row down"),
        hidden_key("pageup,ctrl+u", "page(-1)", "Page up", "One page up"),
        hidden_key("pagedown,ctrl+d", "page(1)", "Page down", "One page down"),
        hidden_key("home,g", "first", "First", "To the first row"),
        hidden_key("end,G", "last", "Last", "To the last row"),
    ]

    cursor: reactive[int] = reactive(0, repaint=False, init=False)
    """The row under the cursor; clamped to the rows there are."""

    class CursorMoved(Message):
        """The cursor is on another row now."""

        def __init__(self, view: LineView) -> None:
            super().__init__()
            self.view = view

        def can_replace(self, message: Message) -> bool:
            """Only the newest position matters."""
            return isinstance(message, LineView.CursorMoved) and message.view is self.view

    def __init__(self, lines: int = 0, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._line_styles: dict[tuple[str, ...], Style] = {}
        self._line_count = 0
        self.row_lines = 1
        """Lines of each row."""
        self._view_size: tuple[tuple[Size, bool, bool] | None, Size] = (None, Size(0, 0))
        self.resize_lines(0, lines)

    # -- what a subclass draws ----------------------------------------------------------------

    def render_row(self, row: int, width: int) -> Strip:
        """Return the strip of row `row` (counted from 0), at best `width` cells wide."""
        raise NotImplementedError

    def render_row_line(self, row: int, line: int, width: int) -> Strip:
        """Return the strip of line `line` of a row. Override where rows have several."""
        return self.render_row(row, width)

    def render_header(self, line: int, width: int) -> Strip:
        """Return the strip of header line `line`; called for `HEADER_LINES` lines."""
        return Strip.blank(width, self.line_style("line-view--header"))

    def render_line(self, y: int) -> Strip:
        """Textual's line API: header, rows, and blank lines below the last row."""
        width = self.view_size.width
        if y < self.HEADER_LINES:
            strip = self.render_header(y, width)
        else:
            row, line = divmod(y - self.HEADER_LINES + self.scroll_offset.y, self.row_lines)
            if row >= self.line_count:
                return Strip.blank(width, self.line_style())
            strip = self.render_row_line(row, line, width)
        left = self.scroll_offset.x
        return strip.crop_extend(left, left + width, self.line_style())

    def line_style(self, *components: str) -> Style:
        """Return the widget's style with these component classes laid over it in order, cached.

        Backgrounds with an alpha blend into what is below them, and a colour is mixed with the
        background it ends up on: `line_style("odd", "dim")` is the dim text of an odd row.
        """
        style = self._line_styles.get(components)
        if style is None:
            style = self._line_styles[components] = self._blend(components)
        return style

    def _blend(self, components: tuple[str, ...]) -> Style:
        _, background = self.background_colors
        node: Any = self.styles
        colour = node.color
        auto = node.auto_color
        text_style = self.text_style
        for name in components:
            node = self.get_component_styles(name)
            if node.has_rule("background"):
                background += node.background
            if node.has_rule("color") or node.has_rule("auto_color"):
                colour, auto = node.color, node.auto_color
            text_style += node.text_style
        if auto:
            colour = background.get_contrast_text(colour.a)
        flat = background + colour
        return text_style + Style.from_color(flat.rich_color, background.rich_color)

    def notify_style_update(self) -> None:
        """Forget the cached styles: the theme, the focus or a class changed."""
        super().notify_style_update()
        self._line_styles.clear()
        self._view_size = (None, Size(0, 0))

    # -- how many rows, and which changed -----------------------------------------------------

    @property
    def line_count(self) -> int:
        """The number of rows, header not counted."""
        return self._line_count

    def resize_lines(self, width: int, height: int) -> None:
        """Say that there are `height` rows of `width` cells, without a layout of the screen.

        `virtual_size` is a layout reactive: to assign it lays out the whole screen, which turns
        a 6 ms step into three frames and 83 ms. Safe because overflow-y is `scroll`, so that no
        scrollbar comes or goes. The rows themselves are not repainted: say which changed.
        """
        self._line_count = height
        size = Size(width, height * self.row_lines + self.HEADER_LINES)
        self.set_reactive(Widget.virtual_size, size)
        if self.is_mounted:
            self._scroll_update(size)
            self.cursor = self.validate_cursor(self.cursor)

    @property
    def view_size(self) -> Size:
        """The cells that are drawn on: `size` without the scrollbars, which lie inside it."""
        known = (self.outer_size, self.show_vertical_scrollbar, self.show_horizontal_scrollbar)
        if known != self._view_size[0]:  # asked for by every line, and 60 us to work out
            # From the outer size, not from `size`: that still is 0 for a moment after a hidden
            # view is shown again, and would be kept.
            across = self.styles.gutter.width + self.scrollbar_size_vertical
            down = self.styles.gutter.height + self.scrollbar_size_horizontal
            width, height = self.outer_size
            self._view_size = (known, Size(max(0, width - across), max(0, height - down)))
        return self._view_size[1]

    @property
    def page_lines(self) -> int:
        return max(0, self.view_size.height - self.HEADER_LINES)

    @property
    def visible_rows(self) -> range:
        rows = self._page
        return range(rows.start, min(self.line_count, rows.stop))

    @property
    def _page(self) -> range:
        """The rows that there is room for, also below the last one."""
        top = self.scroll_offset.y
        return range(top // self.row_lines, -(-(top + self.page_lines) // self.row_lines))

    def row_at(self, y: int) -> int | None:
        """Return the row on line `y` of the content, None on the header and below the last row."""
        row = (y - self.HEADER_LINES + self.scroll_offset.y) // self.row_lines
        return row if y >= self.HEADER_LINES and row < self.line_count else None

    def refresh_row(self, row: int) -> None:
        self.refresh_rows((row,))

    def refresh_rows(self, rows: Iterable[int]) -> None:
        """Repaint those of the rows that are in view."""
        width, in_view = self.view_size.width, self._page
        regions = [self.cells_region(row, 0, width) for row in rows if row in in_view]
        if len(regions) >= REPAINT_ALL:
            self.refresh()
        elif regions:
            self.refresh(*regions)

    def cells_region(self, row: int, x: int, width: int) -> Region:
        """Return where these cells of a row are drawn."""
        y = row * self.row_lines - self.scroll_offset.y + self.HEADER_LINES
        return Region(x, y, width, self.row_lines)

    # -- cursor and scrolling -----------------------------------------------------------------

    def validate_cursor(self, row: int) -> int:
        return max(0, min(row, self.line_count - 1))

    def watch_cursor(self, old: int, new: int) -> None:
        self.refresh_rows({old, new})
        self.show_row(new)
        self.post_message(self.CursorMoved(self))

    def show_row(self, row: int) -> None:
        """Scroll as little as brings `row` into view."""
        top, page = self.scroll_offset.y, self.page_lines
        if page == 0:
            return
        first, end = row * self.row_lines, (row + 1) * self.row_lines
        if first < top:
            self.scroll_to(y=first)
        elif end > top + page:
            self.scroll_to(y=end - page)

    def scroll_to(self, x: float | None = None, y: float | None = None, **options: Any) -> None:
        """Scroll at once, as `TextScroll` does."""
        super().scroll_to(x, y, **{**options, "animate": False, "immediate": True})

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Repaint the rows, and the scrollbar only if that looks different.

        Its lines cost as much as those of the view, and a page of 60,000 rows moves its thumb by
        a tenth of the smallest step that it can draw.
        """
        if self.show_vertical_scrollbar:
            bar = self.vertical_scrollbar
            bar.set_reactive(ScrollBar.position, new_value)
            eighths = 8 * self.view_size.height / max(1, self.virtual_size.height)
            if int(old_value * eighths) != int(new_value * eighths):
                bar.refresh()
        if round(old_value) != round(new_value):
            self.refresh(self.size.region)

    def action_move(self, rows: int) -> None:
        self._go(self._position() + rows)

    def action_page(self, pages: int) -> None:
        """Move by pages, with one row in common."""
        self._go(self._position() + pages * max(1, self.page_lines // self.row_lines - 1))

    def action_first(self) -> None:
        self._go(0)

    def action_last(self) -> None:
        self._go(self.line_count - 1)

    def _position(self) -> int:
        return self.cursor if self.HAS_CURSOR else self.scroll_offset.y

    def _go(self, row: int) -> None:
        if self.HAS_CURSOR:
            self.cursor = row
        else:
            self.scroll_to(y=max(0, min(row, self.line_count)))

    def on_resize(self) -> None:
        if self.HAS_CURSOR:
            self.show_row(self.cursor)

    def on_focus(self) -> None:
        if self.HAS_CURSOR:
            self.refresh_row(self.cursor)

    def on_blur(self) -> None:
        if self.HAS_CURSOR:
            self.refresh_row(self.cursor)

    def on_click(self, event: events.Click) -> None:
        """Send a click to `click_header` or `click_row`."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        if offset.y < self.HEADER_LINES:
            self.click_header(offset.x)
            return
        row = self.row_at(offset.y)
        if row is not None:
            self.click_row(row, offset.x + self.scroll_offset.x)

    def click_row(self, row: int, x: int) -> None:
        """Move the cursor to the row that was clicked, in column `x`. Override to do more."""
        if self.HAS_CURSOR:
            self.cursor = row

    def click_header(self, x: int) -> None:
        """Ignore a click on column `x` of the header. Override to do more."""

    def with_cursor(self, row: int) -> tuple[str, ...]:
        """Return the component class of the cursor for `line_style`, empty on every other row."""
        return ("line-view--cursor",) if self.HAS_CURSOR and row == self.cursor else ()
