"""What opens over the results and what it brings back: dialogs, saved files, the clipboard."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textual.screen import Screen

from spectrum_tui.app.messages import KindUsed, ProveRequested
from spectrum_tui.app.screens.confirm import ConfirmScreen
from spectrum_tui.app.screens.result_state import ResultState
from spectrum_tui.app.screens.result_views import ResultHeader, ResultViews
from spectrum_tui.app.screens.save import Saved, SaveScreen
from spectrum_tui.core import numbers
from spectrum_tui.core.errors import InputError, SelectionError
from spectrum_tui.core.policy_values import blocks_text, parse_blocks, percentage

if TYPE_CHECKING:
    from spectrum_tui.app.screens.tiers import TierChoice
    from spectrum_tui.core.recipes.choice import Choice

CLIPBOARD_LIMIT = 75_000
"""Bytes that terminals take by OSC 52 for certain; some cut what is longer."""


class ResultDialogs:
    """Opens dialogs over a screen of results. What one brings back goes into the state."""

    def __init__(
        self,
        screen: Screen[None],
        state: ResultState,
        views: ResultViews,
        header: ResultHeader,
    ) -> None:
        self._screen, self._state, self._header = screen, state, header
        self._views = views
        self.opens_memory = False
        """Whether the screen that takes this one's place begins with the memory."""

    # -- of one layer -------------------------------------------------------------------------

    def experts(self) -> None:
        """List the scores that the current layer's is the mean of, where it has some."""
        from spectrum_tui.app.screens.experts import ExpertsScreen

        row = self._views.current_row
        scores, title = self._state.result.scores, self._state.ranking.metric.title
        if row is not None and row in scores.parts:
            dialog = ExpertsScreen(scores.layers[row], scores.parts[row], title)
            self._screen.app.push_screen(dialog)

    def singular_values(self) -> None:
        from spectrum_tui.app.screens.singular_values import SingularValuesScreen

        row = self._views.current_row
        if row is not None:
            self._screen.app.push_screen(SingularValuesScreen(self._state.result, row))

    # -- of the choice ------------------------------------------------------------------------

    def compare(self) -> None:
        from spectrum_tui.app.screens.compare_file import CompareFileScreen

        state = self._state
        dialog = CompareFileScreen(state.result, state.choice.policy, state.settings.output_dir)
        self._screen.app.push_screen(dialog)

    def memory(self) -> None:
        """Show what every preset takes, and ask for what fits."""
        if not self._state.memory.possible:
            if self._state.sizing:
                self.opens_memory = not self.opens_memory
                self._state.changed()
            else:
                self._ask_sizes()
            return
        from spectrum_tui.app.screens.memory import MemoryScreen

        dialog = MemoryScreen(self._state.memory, self._state.choice)
        self._screen.app.push_screen(dialog, self._after_memory)

    def _after_memory(self, fitting: Choice | None) -> None:
        if fitting is None:
            self._state.train_as_set()
        else:
            self._state.choice = fitting

    def _ask_sizes(self) -> None:
        """Ask which model the scores are of; the memory opens when its sizes are there."""
        from spectrum_tui.app.screens.model_sizes import ModelSizesScreen, likely_id

        result = self._state.result
        dialog = ModelSizesScreen(Path(result.source), likely_id(result.provenance.model))
        self._screen.app.push_screen(dialog, self._after_sizes)

    def _after_sizes(self, found: bool | None) -> None:
        self.opens_memory = bool(found)

    def type_percent(self) -> None:
        """Ask for the percentage of the type under the cursor; none makes it as all others."""
        from spectrum_tui.app.screens.value import ValueScreen

        types, state = self._views.current_types, self._state
        if not types:
            return

        def take(text: str | None) -> None:
            if text is not None:
                percent = type_percent(text) if text.strip() else None
                state.give_types(dict.fromkeys(types, percent))

        policy, selection = state.choice.policy, state.choice.selection
        own = f"{float(selection.percents(policy)[types[0]]):g}"
        layers = numbers.counted(int(selection.counts[types[0]]), "layer")
        common = f"{policy.percent:g} %, " if policy.is_per_type else ""
        about = f"0 to 100 of its {layers}; empty: {common}as all others."
        title = f"Percent of {state.types_name(types)}"
        self._screen.app.push_screen(ValueScreen(title, own, about, check_type_percent), take)

    def blocks(self) -> None:
        """Ask for the blocks that train; none lets all train."""
        from spectrum_tui.app.screens.value import ValueScreen

        state = self._state
        last = state.choice.selection.last_block

        def take(text: str | None) -> None:
            if text is not None:
                state.choose(blocks=parse_blocks(text))

        about = f"Blocks are 0 to {last}: 8- is from 8 on, 0-3,28-31 are two ranges; empty: all."
        typed = blocks_text(state.choice.policy.blocks)
        check = partial(check_blocks, last=last)
        self._screen.app.push_screen(ValueScreen("Blocks that train", typed, about, check), take)

    def tiers(self) -> None:
        """Choose what adapters train, then save that."""
        from spectrum_tui.app.screens.tiers import TiersScreen

        self._screen.app.push_screen(TiersScreen(self._state.choice), self._after_tiers)

    def _after_tiers(self, chosen: TierChoice | None) -> None:
        if chosen is None:
            return
        self._state.choice = chosen.choice
        self._use(chosen.kind)
        self.save()

    def prove(self) -> None:
        """Ask how this selection is to be compared with others, by training."""
        self._screen.post_message(ProveRequested(self._state))

    # -- taking it away -----------------------------------------------------------------------

    def copy(self) -> None:
        """Put the YAML on the clipboard of the terminal, wherever that runs."""
        self._screen.run_worker(self._copy(), group="copy", exclusive=True)

    async def _copy(self) -> None:
        try:
            # In a thread: what every trainer makes of 60,000 names takes a second to prove.
            text = await asyncio.to_thread(self._state.text)
        except SelectionError as error:
            said = str(error)
            self._screen.notify(said, title=error.title, severity="error", markup=False)
            return
        self._screen.app.copy_to_clipboard(text)
        self._say_copied(text.count("\n"), len(text.encode()))

    def _say_copied(self, lines: int, nbytes: int) -> None:
        said = f"{numbers.counted(lines, 'line')}, {numbers.size(nbytes)}."
        title = "Copied the YAML"
        if nbytes <= CLIPBOARD_LIMIT:
            self._screen.notify(said, title=title, markup=False)
            return
        said += " Some terminals cut a copy this long: press w to save a file instead."
        self._screen.notify(said, title=title, severity="warning", markup=False)

    def save(self) -> None:
        state = self._state
        dialog = SaveScreen(state.choice, state.settings.output_dir, state.kind)
        self._screen.app.push_screen(dialog, self._after_save)

    def _after_save(self, saved: Saved | None) -> None:
        if saved is None:
            return
        self._use(saved.kind)
        self._state.saved_policy = self._state.choice.policy
        self._state.saved = saved.path
        self._header.say_saved(saved.path)

    def leave(self) -> None:
        """Leave the results, after a question: what was shaped by hand is not saved."""
        question = ConfirmScreen(
            "Leave without saving?",
            "The pins, bans, percentages or blocks that you chose are in no file yet. The scores "
            "are kept.",
            "Leave",
            "Stay",
        )
        self._screen.app.push_screen(question, self._after_question)

    def _after_question(self, leave: bool | None) -> None:
        if leave:
            self._screen.dismiss()

    def _use(self, kind: str) -> None:
        self._state.kind = kind
        self._screen.post_message(KindUsed(kind))


def type_percent(text: str) -> float:
    """Return a percentage of one type; raises InputError."""
    return percentage(text, low=0, field="type_percents", what="The percentage")


def check_type_percent(text: str) -> None:
    """Raise InputError for a text that is no percentage of one type; "" is none of its own."""
    if text.strip():
        type_percent(text)


def check_blocks(text: str, last: int) -> None:
    """Raise InputError for a text that names no blocks from 0 to `last`; "" is all of them."""
    if any(first > last for first, _ in parse_blocks(text)):
        raise InputError(f"The last block is {last}.", "Write 8- or 0-3,28-31.", field="blocks")
