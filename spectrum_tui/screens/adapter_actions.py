"""What the results screen does about adapters, and what it hands to saving."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrum_tui.base_app import BaseApp
from spectrum_tui.core.recipes.choice import Choice, Tiers
from spectrum_tui.screens.memory_actions import MemoryActions

if TYPE_CHECKING:
    from spectrum_tui.screens.tiers import TierChoice


class AdapterActions(MemoryActions):
    """Remembers the tiers, and opens their dialog."""

    tiers = Tiers()

    @property
    def choice(self) -> Choice:
        """What is shown, as every kind of recipe takes it."""
        return Choice(self.selection, self.slider.value, self.head, self.tiers)

    def action_save(self) -> None:
        """Ask where to write the files."""
        raise NotImplementedError

    def action_tiers(self) -> None:
        """Choose what adapters train, then save that."""
        from spectrum_tui.screens.tiers import TiersScreen

        self.app.push_screen(TiersScreen(self.choice), self._after_tiers)

    def _after_tiers(self, chosen: TierChoice | None) -> None:
        if chosen is None:
            return
        self.tiers, self.slider.value = chosen.tiers, chosen.percent
        if isinstance(self.app, BaseApp):
            self.app.recipe_kind = chosen.kind
        self.action_save()
