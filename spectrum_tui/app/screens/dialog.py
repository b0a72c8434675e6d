"""The frame of every dialog, over the screen that asked for it, dimmed."""

from __future__ import annotations

from typing import ClassVar

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from textual.app import ComposeResult
from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen, Screen, ScreenResultType
from textual.widget import Widget

from spectrum_tui.app.key_names import NamedKeys
from spectrum_tui.app.widgets.key_footer import PICTURE, KeyFooter


class Backdrop:
    """A picture of what lies below, taken once for each size."""

    def __init__(self, below: RenderableType) -> None:
        self._below = below
        self._size: tuple[int, int | None] = (0, None)
        self._segments: list[Segment] = []

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        size = (options.max_width, options.height)
        if self._size != size:
            self._segments = list(console.render(self._below, options))
            self._size = size
        return self._segments


class Dialog(NamedKeys, ModalScreen[ScreenResultType]):
    """A modal screen that does not draw what is below it again and again.

    Opening one lays it out five times, and each time every cell of the screen below would be
    dimmed anew: 150 ms at 120x40 while a scan has the cores, and none of it to be seen.
    """

    DEFAULT_CSS = """
    Dialog {
        align: center middle;
        & > Vertical {
            border: round $primary;
            border-title-color: $primary;
            border-subtitle-color: $foreground 70%;
            background: $surface;
            padding: 1 2;
        }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        # The app's own keys end at a dialog.
        Binding("p,f9", "app.picture", "Picture", show=False, tooltip=PICTURE, id="app.picture"),
        Binding("f1,question_mark", "app.help", "Help", tooltip="Keys and purpose", id="app.help"),
    ]
    _backdrop: Backdrop | None = None

    def render(self) -> RenderableType:
        if self._backdrop is None:
            self._backdrop = Backdrop(super().render())
        return self._backdrop

    def dismiss(self, result: ScreenResultType | None = None) -> AwaitComplete:
        """Close, once: of two presses of a button that are handled one after the other, the second
        would close the screen below."""
        return super().dismiss(result) if self.app.screen is self else AwaitComplete()

    def on_mount(self) -> None:
        """Follow what is below: a resize lays it out after this screen is drawn. Notes on what is
        done are taken from over it; warnings and errors stay."""
        for said in list(self.app._notifications):
            if said.severity == "information":
                self.app._unnotify(said)
        for screen in self.app.screen_stack[:-1]:
            screen.screen_layout_refresh_signal.subscribe(self, self._draw_below)

    def on_screen_resume(self) -> None:
        """Draw what is below anew: it may be another screen now, or have other colours."""
        self._backdrop = None

    def _draw_below(self, _: Screen[object]) -> None:
        self._backdrop = None
        self.refresh()


class ListDialog(Dialog[None]):
    """A long list in a frame with a title, and the keys that work on it."""

    DEFAULT_CSS = """
    ListDialog > Vertical { width: 90%; max-width: 110; height: 80%; padding: 0 1; }
    """

    def framed(self, content: Widget, title: str, subtitle: str = "") -> ComposeResult:
        frame = Vertical(content)
        frame.border_title = Content(title)  # a string would be read as markup
        frame.border_subtitle = Content(subtitle)
        yield frame
        yield KeyFooter()
