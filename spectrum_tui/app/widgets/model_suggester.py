"""What completes the model field: known models, and the folders of this machine as in a shell."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial

from textual.suggester import Suggester

from spectrum_tui.app.beside import beside
from spectrum_tui.core.model.folders import Folder, completing, folders_in, split
from spectrum_tui.core.settings import DEMO

FRESH_SECONDS = 2.0
"""For how long a listing is taken for true while the next letters are typed."""

Listing = asyncio.Future[tuple[Folder, ...]]


class ModelSuggester(Suggester):
    """Tells `show` which folders go on from what is typed; a disk that does not answer holds up
    neither keys nor the end of the program."""

    def __init__(self, show: Callable[[str, tuple[Folder, ...]], None]) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self.known: Sequence[str] = (DEMO,)
        self._show = show
        self._listed: tuple[str, float, Listing] | None = None

    async def get_suggestion(self, value: str) -> str | None:
        """Return the known model, else the folder, that goes on from this text."""
        lower = value.lower()
        known = next((name for name in self.known if name.lower().startswith(lower)), None)
        if known is not None:
            self._show(value, ())
            return known
        found = completing(value, await self.inside(split(value)[0]))
        self._show(value, found)
        return next((p for p in map(path_to_go_on, found) if p.startswith(value)), None)

    async def inside(self, folder: str) -> tuple[Folder, ...]:
        """Return the folders in a folder, looked at on a thread; one listing serves the letters
        that follow."""
        now = time.monotonic()
        if self._listed is None or self._listed[0] != folder or self._is_old(now):
            self._listed = (folder, now, beside(partial(folders_in, folder)))
        return await asyncio.shield(self._listed[2])

    def _is_old(self, now: float) -> bool:
        assert self._listed is not None
        _, began, listing = self._listed
        return listing.done() and now - began > FRESH_SECONDS


def path_to_go_on(folder: Folder) -> str:
    """Return the path of a model, or of a folder with a separator to go on from."""
    return folder.path if folder.holds_model else f"{folder.path}/"
