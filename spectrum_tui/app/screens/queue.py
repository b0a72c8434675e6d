"""The queue as a list: who waits is taken out here, and what is done is opened."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from spectrum_tui.app.messages import AddRequested, OpenRequested
from spectrum_tui.app.scan_queue import Queued, ScanQueue
from spectrum_tui.app.screens.dialog import ListDialog
from spectrum_tui.app.widgets.queue_view import lines_of

POLL_SECONDS = 0.25
"""Between two looks at the queue, which goes on meanwhile."""


class _Models(OptionList, inherit_bindings=False):
    """Leaves enter to the screen, whose footer tells of it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding
        for binding in OptionList.BINDINGS
        if not isinstance(binding, Binding) or binding.key != "enter"
    ]


class QueueScreen(ListDialog):
    """Follows the queue, which goes on meanwhile."""

    AUTO_FOCUS = "_Models"
    DEFAULT_CSS = """
    QueueScreen > Vertical { height: auto; max-height: 80%; }
    QueueScreen OptionList { height: auto; max-height: 100%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("delete,minus", "drop", "Drop", tooltip="Take a model out that waits"),
        Binding("enter", "open", "Open", tooltip="The scores of a model that is done"),
        Binding("a", "add", "Add model", tooltip="Scan another model after these"),
        Binding("escape,w", "dismiss", "Close", key_display="esc", tooltip="Back to the scan"),
    ]

    def __init__(self, queue: ScanQueue) -> None:
        super().__init__()
        self._queue = queue
        self._shown = -1
        self._models: list[Queued] = []
        self._list = _Models(compact=True, markup=False)

    def compose(self) -> ComposeResult:
        yield from self.framed(self._list, "Queue", "one model after the other")

    def on_mount(self) -> None:
        self._poll()
        first = len(self._models) - len(self._queue.waiting)
        self._list.highlighted = min(first, len(self._models) - 1)  # of those that wait
        self.set_interval(POLL_SECONDS, self._poll)

    def _poll(self) -> None:
        if self._shown == self._queue.version:
            return
        self._shown, before = self._queue.version, self.current
        at = self._list.highlighted or 0
        self._models = list(self._queue.models)
        self._list.clear_options()
        self._list.add_options([Option(line) for line in lines_of(self._models)])
        if self._models:
            known = before is not None and before in self._models
            at = self._models.index(before) if known and before is not None else at
            self._list.highlighted = min(at, len(self._models) - 1)
        self.refresh_bindings()

    @property
    def current(self) -> Queued | None:
        """The model under the cursor."""
        at = self._list.highlighted
        return self._models[at] if at is not None and at < len(self._models) else None

    def on_option_list_option_highlighted(self) -> None:
        self.refresh_bindings()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Open what is clicked; enter is a key of this screen."""
        event.stop()
        self.action_open()

    def action_open(self) -> None:
        if self.current is not None and self.current.path is not None:
            self.post_message(OpenRequested(self.current.path, self.current.settings))

    def action_drop(self) -> None:
        if self.current is not None:
            self._queue.drop(self.current)
            self._poll()

    def action_add(self) -> None:
        self.dismiss()
        self.app.post_message(AddRequested())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        match action:
            case "drop":
                return self.current is not None and self.current.state == "waiting"
            case "open":
                return self.current is not None and self.current.path is not None
        return True
