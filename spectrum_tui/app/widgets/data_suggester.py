"""What completes a field for texts: built-in ones, folders, and files that can be read."""

from __future__ import annotations

from functools import partial

from textual.suggester import Suggester

from spectrum_tui.app.beside import beside
from spectrum_tui.core.dataset.listing import data_in, going_on


class DataSuggester(Suggester):
    """Completes the last of the names, which have commas between them."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        """Return the whole text with the name that goes on from its last one."""
        last = value.rpartition(",")[2].lstrip()
        folder = last[: last.rfind("/") + 1]
        found = await beside(partial(data_in, folder))
        name = going_on(last, found)
        return None if name is None else value[: len(value) - len(last)] + name
