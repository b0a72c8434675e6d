"""What opens over the results and what it brings back: dialogs, saved files, the clipboard."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from textual import work

from spectrum_tui.app.base import BaseApp
from spectrum_tui.app.screens.rankings import Ranking
from spectrum_tui.app.screens.save import SaveScreen
from spectrum_tui.app.screens.sized_later import SizedLater
from spectrum_tui.app.widgets.memory_line import NO_SIZES, MemoryLine
from spectrum_tui.app.widgets.percent_slider import PercentSlider
from spectrum_tui.core import numbers
from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.recipes.choice import Choice, Tiers
from spectrum_tui.core.recipes.kinds import DEFAULT_KIND
from spectrum_tui.core.recipes.spectrum import SpectrumYaml
from spectrum_tui.core.recipes.writing import drafted
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.settings import Settings

if TYPE_CHECKING:
    from spectrum_tui.app.screens.memory import Fitting
    from spectrum_tui.app.screens.tiers import TierChoice

CLIPBOARD_LIMIT = 75_000
"""Bytes that terminals take by OSC 52 for certain; some cut what is longer."""


class ResultDialogs(SizedLater):
    """A screen of results, as far as dialogs see it: a ranking, a percentage, the head or not."""

    settings: Settings
    ranking: Ranking
    slider: PercentSlider
    memory: MemoryLine
    head: bool
    tiers = Tiers()
    saved: Path | None = None

    @property
    def result(self) -> Result:
        """The result in the metric that is shown."""
        return self.ranking.result

    @property
    def selection(self) -> Selection:
        """What percentages select by it."""
        return self.ranking.selection

    @property
    def recipe(self) -> SpectrumYaml:
        """The YAML by it."""
        return self.ranking.recipe

    @property
    def percent(self) -> int:
        """The percentage that is shown."""
        return self.slider.value

    @property
    def choice(self) -> Choice:
        """What is shown, as every kind of recipe takes it."""
        allowed = self.settings.allow_missing
        return Choice(self.selection, self.percent, self.head, self.tiers, allow_missing=allowed)

    @property
    def current_row(self) -> int | None:
        """The row of the scores under the cursor."""
        raise NotImplementedError

    def apply(self, percent: int) -> None:
        """Show what `percent` selects."""
        raise NotImplementedError

    def action_head(self) -> None:
        """Train embeddings and output head, or freeze them."""
        raise NotImplementedError

    def show_notes(self) -> None:
        """Show what the user should know of the result."""
        raise NotImplementedError

    # -- of one layer -------------------------------------------------------------------------

    def action_experts(self) -> None:
        """List the scores that the current layer's is the mean of."""
        from spectrum_tui.app.screens.experts import ExpertsScreen

        row = self.current_row
        if row is not None and row in self.result.scores.parts:
            scores = self.result.scores
            title = self.ranking.metric.title
            self.app.push_screen(ExpertsScreen(scores.layers[row], scores.parts[row], title))

    def action_spectrum(self) -> None:
        """Show the singular values of the current layer."""
        from spectrum_tui.app.screens.spectrum import SpectrumScreen

        if (row := self.current_row) is not None:
            self.app.push_screen(SpectrumScreen(self.result, row))

    # -- of the selection ---------------------------------------------------------------------

    def action_compare(self) -> None:
        """Ask for another file of scores, and show how it differs."""
        from spectrum_tui.app.screens.compare_file import CompareFileScreen

        folder = self.settings.output_dir
        self.app.push_screen(CompareFileScreen(self.result, self.percent, folder))

    def count_memory(self) -> None:
        """Read the sizes, and say what the selection takes: after the first frame."""
        self.memory.prepare()
        self.apply(self.percent)

    def action_memory(self) -> None:
        """Show what every preset takes, and ask for what fits."""
        if not self.memory.possible:
            self.notify(NO_SIZES, title="Memory", severity="warning", markup=False)
            return
        from spectrum_tui.app.screens.memory import MemoryScreen

        dialog = MemoryScreen(self.memory, self.selection, self.percent, head=self.head)
        self.app.push_screen(dialog, self._after_memory)

    def _after_memory(self, fitting: Fitting | None) -> None:
        if fitting is not None:
            self.slider.value = fitting.percent
            if fitting.head != self.head:
                self.action_head()
        self.apply(self.percent)

    def action_tiers(self) -> None:
        """Choose what adapters train, then save that."""
        from spectrum_tui.app.screens.tiers import TiersScreen

        self.app.push_screen(TiersScreen(self.choice), self._after_tiers)

    def _after_tiers(self, chosen: TierChoice | None) -> None:
        if chosen is None:
            return
        self.tiers, self.slider.value = chosen.tiers, chosen.percent
        if isinstance(self.app, BaseApp):
            self.app.recipe_kind = chosen.kind
        self.action_save()

    # -- taking it away -----------------------------------------------------------------------

    def text(self) -> str:
        """The YAML of what is shown; raises SelectionError where it must not be written."""
        return drafted(DEFAULT_KIND, self.choice)[0].text

    @work(exclusive=True, group="copy")
    async def action_copy(self) -> None:
        """Put the YAML on the clipboard of the terminal, wherever that runs."""
        try:
            # In a thread: what every trainer makes of 60,000 names takes a second to prove.
            text = await asyncio.to_thread(self.text)
        except SelectionError as error:
            self.notify(str(error), title=error.title, severity="error", markup=False)
            return
        self.app.copy_to_clipboard(text)
        self._say_copied(text.count("\n"), len(text.encode()))

    def _say_copied(self, lines: int, nbytes: int) -> None:
        said = f"{numbers.counted(lines, 'line')}, {numbers.size(nbytes)}."
        title = "Copied the YAML"
        if nbytes <= CLIPBOARD_LIMIT:
            self.notify(said, title=title, markup=False)
            return
        said += " Some terminals cut a copy this long: press w to save a file instead."
        self.notify(said, title=title, severity="warning", markup=False)

    def action_save(self) -> None:
        """Ask where to write the files."""
        self.app.push_screen(SaveScreen(self.choice, self.settings.output_dir), self._after_save)

    def _after_save(self, path: Path | None) -> None:
        if path is not None:
            self.saved = path
            self.show_notes()
            self.notify(f"{path.name}\nin {path.parent.absolute()}", title="Saved", markup=False)
