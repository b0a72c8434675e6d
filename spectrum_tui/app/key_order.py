"""Keys in their order: one takes its whole effect before the next one is looked at.

Textual hands a key to what has the focus when it arrives, while the key before it is still on its
way to the binding that opens a dialog, moves the focus or marks a line. Of `w`, down, enter in one
burst (a macro, a fast typist, a line over SSH that delivers late) the last two reached the screen
below the dialog, or saved the line above the one that was marked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from textual.app import App
from textual.command import CommandPalette
from textual.events import Event
from textual.screen import Screen
from textual.widget import Widget
from textual.worker import Worker

KEYS_WAIT = "keys-wait"
"""The group of workers whose end the keys wait for: what a key asked for is not there before."""
KEY_WAIT = 1.0
"""Seconds that a key waits at the most, so that no screen that is always at work swallows keys."""
SCREEN_WAIT = 5.0
"""Seconds that a key waits at the most for a screen that is on its way."""
_POLL_SECONDS = 0.002
_QUICK_POLLS = 50
"""Looks at the queues that are made at once, before each waits for `_POLL_SECONDS`."""


class KeyOrder:
    """Lets one event through to `handle` at a time, and holds those that come meanwhile.

    Those that come before `listening` are dropped, as the screen that they are for is not there
    yet; but the app can be left.
    """

    def __init__(self, app: App[Any], handle: Callable[[Event], Awaitable[None]]) -> None:
        self._app, self._handle = app, handle
        self._held: deque[Event] = deque()
        self._settling: asyncio.Task[None] | None = None
        self._until: Callable[[], bool] | None = None
        self.listening = True
        self.quit_keys = ["ctrl+q"]

    @property
    def idle(self) -> bool:
        """Whether no key is held and none is taking effect."""
        return self._settling is None

    def listen(self, until: Callable[[], bool] | None = None) -> None:
        """Take keys from now on, and let them through once the screen that was asked for is up;
        `until` says that it is, where others come before it."""
        self.listening, self._until = True, until
        if self._settling is None:
            self._settling = asyncio.create_task(self._settle())

    async def take(self, event: Event) -> None:
        """Handle a key, or hold it until those before it have taken effect."""
        if not self.listening and getattr(event, "key", "") not in self.quit_keys:
            return
        if self._settling is not None:
            self._held.append(event)
        else:
            await self._let_through(event)

    async def _let_through(self, event: Event) -> None:
        self._settling = asyncio.create_task(self._settle())
        await self._handle(event)

    async def _settle(self) -> None:
        await self._effect()
        if self._held:
            self._app.call_later(self._next)
        else:
            self._settling = None

    async def _next(self) -> None:
        await self._let_through(self._held.popleft())

    async def _effect(self) -> None:
        """Wait until nothing is under way twice in a row: handlers may wait for each other."""
        loop = asyncio.get_running_loop()
        end = loop.time() + (SCREEN_WAIT if self._until else KEY_WAIT)
        quiet = polls = 0
        while quiet < 2 and loop.time() < end:
            polls += 1
            await asyncio.sleep(0 if polls < _QUICK_POLLS else _POLL_SECONDS)
            quiet = 0 if self._under_way() else quiet + 1
        self._until = None

    def _under_way(self) -> bool:
        """Return whether a message waits anywhere, a widget is still to come, or keys wait for
        work."""
        screen = self._app.screen
        if self._until is not None and not self._until():
            return True
        if any(_is_waited_for(worker, screen) for worker in self._app.workers):
            return True
        widgets = screen.walk_children(Widget, with_self=True)
        return bool(self._app.message_queue_size) or any(
            not widget.is_mounted or widget.message_queue_size for widget in widgets
        )


def _is_waited_for(worker: Worker[Any], screen: Screen[Any]) -> bool:
    """Return whether work of this screen has to end first; the palette's is its search."""
    waits = worker.group == KEYS_WAIT or isinstance(screen, CommandPalette)
    return waits and worker.node is screen and not worker.is_finished
