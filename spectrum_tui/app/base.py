"""What works the same on every screen: themes, help, palette, a terminal that is too small."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from textual import events, on, work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.command import CommandPalette, Provider
from textual.driver import Driver
from textual.filter import LineFilter
from textual.message import Message
from textual.notifications import Notify, SeverityLevel
from textual.screen import ModalScreen, Screen
from textual.widget import AwaitMount

from spectrum_tui.app.key_names import NamedKeys, keymap_of
from spectrum_tui.app.key_order import KeyOrder
from spectrum_tui.app.second_press import SecondPress
from spectrum_tui.app.theme import DARK, LIGHT, THEMES, opposite
from spectrum_tui.app.unasked import Unasked
from spectrum_tui.app.widgets.cells import PRINTABLE
from spectrum_tui.app.widgets.key_footer import PICTURE, hidden_key
from spectrum_tui.app.widgets.step_bar import MIN_HEIGHT, MIN_WIDTH, StepBar
from spectrum_tui.core import config
from spectrum_tui.core.errors import InputError, SpectrumError
from spectrum_tui.core.files import output_folder
from spectrum_tui.stdio.last_resort import UNEXPECTED
from spectrum_tui.stdio.streams import is_served

_FUNCTION_KEY = re.compile(r"f\d+")
CONFIRMED_SECONDS = 3.0
"""How long a note is shown that says in a line what was done."""
PALETTE_SECONDS = 0.1
"""Until a palette that is left is off the screen, as Textual waits for it."""
LEAVE = "Leave; asks first if a scan runs or a selection is unsaved"
"""The question says what becomes of the scores: that depends on the cache."""


@runtime_checkable
class HasDefaults(Protocol):
    """A screen that shows what can be kept for other models."""

    def defaults(self) -> Mapping[str, Any]:
        """Return the values to keep, by setting."""


@dataclass
class ExitRequested(Message):
    """End the app now, from whatever thread."""

    code: int


def _commands() -> type[Provider]:
    from spectrum_tui.app.tasks import Commands  # later: the palette is rarely the first thing

    return Commands


class BaseApp(NamedKeys, App[None]):
    """The shell around the screens; knows nothing of models and scans."""

    TITLE = "spectrum"
    # Here, and not in app.tcss: there it would go before what a screen says of its panels.
    DEFAULT_CSS = """
    .panel {
        border: round $panel; padding: 0 1; border-title-color: $primary;
        border-subtitle-color: $foreground 60%;
    }
    .panel:focus-within { border: round $accent; }
    """
    CSS_PATH = Path(__file__).with_name("app.tcss")
    COMMANDS = {_commands}  # noqa: RUF012 (Textual's type)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1,question_mark", "help", "Help", key_display="F1", tooltip="Keys and purpose"),
        Binding("ctrl+q", "quit", "Quit", priority=True, tooltip=LEAVE),
        replace(hidden_key("q", "quit", "Quit", LEAVE), id="app.leave"),
        hidden_key("p,f9", "picture", "Picture", PICTURE),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.key_order = KeyOrder(self, self._in_order)
        self.unasked = Unasked()
        self._second_press = SecondPress()
        self.failure: Exception | None = None
        for theme in THEMES:
            self.register_theme(theme)
        self.set_theme("")

    def set_theme(self, name: str) -> None:
        """Take the colours of that name, "" for ours; raises InputError where there are none."""
        if name and name not in self.available_themes:
            known = ", ".join(self.available_themes)
            raise InputError(f"There is no theme {name!r}.", f"Choose from {known}.", field="theme")
        self.theme = name or DARK.name

    def set_keys(self, keys: Mapping[str, Mapping[str, str]]) -> None:
        """Take the user's keys, {screen: {action: keys}}; raises InputError for what cannot be."""
        keymap = keymap_of(keys, BaseApp)
        self.set_keymap(keymap)
        self.key_order.quit_keys = keymap.get("app.quit", "ctrl+q").split(",")

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = True,
    ) -> None:
        """Show a note; one line that only confirms is over what one works with for less time."""
        if timeout is None and severity == "information" and "\n" not in message:
            timeout = CONFIRMED_SECONDS
        super().notify(message, title=title, severity=severity, timeout=timeout, markup=markup)

    def on_notify(self, event: Notify) -> None:
        """Let a note take the place of the same one that is still shown."""
        new = event.notification
        for said in list(self._notifications):
            if (said.title, said.message) == (new.title, new.message):
                self._unnotify(said, refresh=False)

    async def on_event(self, event: events.Event) -> None:
        """Let keys in one after another; everything else as it comes."""
        if event.is_forwarded or not isinstance(event, events.InputEvent | events.Paste):
            await super().on_event(event)
        elif isinstance(event, events.Key | events.Paste):
            await self.key_order.take(event)
        else:
            await self._in_order(event)

    async def _in_order(self, event: events.Event) -> None:
        stray = self.unasked.is_stray(event, self.focused)
        if not self._second_press.is_stray(event, self.screen_stack, drop=stray):
            await super().on_event(event)

    @property
    def keys_done(self) -> bool:
        """Whether every key that came has taken effect."""
        return self.key_order.idle

    def request_exit(self, code: int) -> None:
        """End the app with this exit code, without questions; safe to call from any thread."""
        self.post_message(ExitRequested(code))

    def write_beside(self, text: str) -> None:
        """Write control sequences between two frames: the driver queues each text as a whole."""
        if self._driver is not None:
            self._driver.write(text)

    def get_driver_class(self) -> type[Driver]:
        """Textual's driver for this terminal; our own under textual-serve."""
        if is_served():
            from spectrum_tui.app.web_driver import ServedDriver

            return ServedDriver
        return super().get_driver_class()

    def _get_screen(self, screen: Screen[Any] | str) -> tuple[Screen[Any], AwaitMount]:
        """Give a new screen the classes of its breakpoints before it is laid out for the first
        time. Textual gives them on the first resize, after a frame that is drawn without."""
        found, mounted = super()._get_screen(screen)
        sides = zip(
            self.size, (found.HORIZONTAL_BREAKPOINTS, found.VERTICAL_BREAKPOINTS), strict=True
        )
        for cells, breakpoints in sides:
            found.add_class(*found._get_breakpoint_classes(cells, breakpoints or []))
        return found, mounted

    def get_key_display(self, binding: Binding) -> str:
        """Return a key as it is written everywhere: function keys in capitals."""
        shown = super().get_key_display(binding)
        return shown.upper() if _FUNCTION_KEY.fullmatch(shown) else shown

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Whatever is shown goes through `Printable`."""
        return [*super().get_line_filters(), PRINTABLE]

    def _handle_exception(self, error: Exception) -> None:
        """End the app after an error that nobody foresaw; `failure` is the first of them.

        Textual's own way prints a page of source with the values in it, and ends with 1.
        """
        if self.is_headless:  # a test's Pilot raises it
            super()._handle_exception(error)
            return
        self.failure = self.failure or error
        self.exit(return_code=UNEXPECTED)

    @on(ExitRequested)
    def _exit_requested(self, message: ExitRequested) -> None:
        self.exit(return_code=message.code)

    def on_resize(self, event: events.Resize) -> None:
        """Show nothing but a request for more room where nothing would be readable."""
        size = event.size
        self.set_class(size.width < MIN_WIDTH or size.height < MIN_HEIGHT, "-too-small")
        for bar in self.screen.query(StepBar):
            bar.refresh()

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Yield what the keys of the screen do, and what has no key."""
        from spectrum_tui.app.tasks import commands_of

        yield from commands_of(self, screen, screen)
        if isinstance(screen, HasDefaults):
            yield SystemCommand(
                "Keep these as my defaults",
                "Write percentage, rule, card, … into config.toml",
                lambda: self.keep(screen.defaults()),
            )
        other = "light" if self.theme != LIGHT.name else "dark"
        yield SystemCommand(f"Use the {other} theme", "Change the colours", self.action_theme)
        yield SystemCommand("Choose a theme", "List every theme", self.action_change_theme)
        yield SystemCommand("Save a picture of the screen", PICTURE, self.action_picture)
        yield SystemCommand(
            "Download a screenshot",
            "SVG, into the folder of downloads, or to your browser",
            lambda: self.set_timer(PALETTE_SECONDS, self.deliver_screenshot),
        )
        yield from commands_of(self, screen, self)

    def action_theme(self) -> None:
        self.choose_theme(opposite(self.theme))

    def action_change_theme(self) -> None:
        """List every theme, Textual's and ours; the one that is chosen is kept."""
        names = sorted(self.available_themes)
        self.search_commands(
            [(name, partial(self.choose_theme, name)) for name in names],
            placeholder="Search for themes…",
        )

    def choose_theme(self, name: str) -> None:
        """Take these colours, from now on at every start."""
        self.set_theme(name)
        self.keep({"theme": name})

    @property
    def output_dir(self) -> str:
        """Where pictures go: the folder for the files that are written."""
        return "."

    def action_picture(self) -> None:
        """Save what is shown, once a palette that asked for it and notes over it are gone."""
        over = isinstance(self.screen, CommandPalette) or len(self._notifications)
        self.clear_notifications()
        if over:
            self.set_timer(PALETTE_SECONDS, self.action_picture)
        else:
            self._save_picture(self.export_screenshot())

    @work(group="picture")
    async def _save_picture(self, svg: str) -> None:
        from spectrum_tui.app.pictures import HOW_TO_PNG, save_picture

        screen = type(self.screen).__module__.rpartition(".")[2]
        folder = output_folder(self.output_dir)
        try:
            paths = await asyncio.to_thread(save_picture, svg, folder, screen)
        except (SpectrumError, OSError, ValueError) as error:
            self.notify(str(error), title="No picture", severity="error", markup=False)
            return
        said = "\n".join(str(path.absolute()) for path in paths)
        if len(paths) == 1:
            said += f"\n{HOW_TO_PNG}"
        self.notify(said, title="Picture saved", markup=False)

    @work(group="keep")
    async def keep(self, values: Mapping[str, Any]) -> None:
        """Write settings into the user's config.toml."""
        try:
            path = await asyncio.to_thread(config.keep, values)
        except SpectrumError as error:
            self.notify(str(error), title="Not kept", severity="warning", markup=False)
        else:
            self.notify(str(path), title="Kept as defaults", markup=False)

    def action_help(self) -> None:
        from spectrum_tui.app.screens.help import HelpScreen, keys_of, purpose_of

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(purpose_of(self.screen), keys_of(self, self.screen)))

    def close_modals(self) -> None:
        """Close what lies over the screen, because another screen comes."""
        while isinstance(self.screen, ModalScreen):
            self.pop_screen()
