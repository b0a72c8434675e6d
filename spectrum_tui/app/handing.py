"""What screens wait for, handed to those of the stack that have a use for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from textual.screen import Screen

from spectrum_tui.app.unasked import by_itself

if TYPE_CHECKING:
    from spectrum_tui.app.loading import ResultSized
    from spectrum_tui.core.requests import (
        Failed,
        Inspected,
        ModelNames,
        ModelSummary,
        Notice,
        Ready,
    )

Screens = Sequence[Screen[Any]]


def _hand(screen: Screen[Any], take: Callable[[], object]) -> None:
    """Let a screen take something; one that was just opened as soon as it has its widgets."""
    if screen.is_mounted:
        take()
    else:
        screen.call_later(take)


@runtime_checkable
class ShowsNames(Protocol):
    """A screen of a model that is shown before its exact names are known."""

    def refine(self, summary: ModelSummary) -> None:
        """Take over the exact names, which take the trainer's library seconds to tell."""

    def lose_names(self) -> None:
        """Wait no longer: they could not be had."""


@runtime_checkable
class ShowsMachine(Protocol):
    """A screen that depends on the devices and how fast they are."""

    def set_ready(self, ready: Ready) -> None:
        """Take over what the worker found when it had started."""


def hand_machine(screens: Screens, ready: Ready) -> None:
    """Tell which devices there are, and how fast they are."""
    for screen in screens:
        if isinstance(screen, ShowsMachine):
            _hand(screen, partial(screen.set_ready, ready))


def hand_names(screens: Screens, summary: ModelSummary) -> None:
    """Give the names of a trainer to the screens of a model."""
    for screen in screens:
        if isinstance(screen, ShowsNames):
            _hand(screen, partial(screen.refine, summary))


def hand_no_names(screens: Screens) -> None:
    """Tell the screens of a model that nobody looks for its names any more."""
    for screen in screens:
        if isinstance(screen, ShowsNames):
            screen.lose_names()


def hand_checked(screens: Screens, answer: Inspected | Failed | Notice) -> None:
    """Tell who adds a model what its headers tell, or why there are none."""
    from spectrum_tui.app.screens.add_model import AddModelScreen
    from spectrum_tui.core.requests import Failed, Inspected

    for screen in screens:
        if isinstance(screen, AddModelScreen):
            match answer:
                case Inspected(summary=summary):
                    screen.show_summary(summary)
                case Failed(error=error):
                    screen.refuse(f"{error['message']} {error['hint']}")
                case _:
                    screen.show_notice(answer.text)


def hand_to_audit(screens: Screens, names: ModelNames | Failed) -> None:
    """Give a model's parameters to the audit that asked for them, or say why there are none."""
    from spectrum_tui.app.screens.audit import AuditScreen
    from spectrum_tui.core.requests import Failed

    for screen in screens:
        if isinstance(screen, AuditScreen) and isinstance(names, Failed):
            screen.show_failure(names.error["message"], names.error["hint"])
        elif isinstance(screen, AuditScreen):
            screen.show_names(names)


def hand_sizes(screens: Screens, sized: ResultSized) -> bool:
    """Give sizes to the results that lack them, and end the question for a model; return whether
    it was asked, so that the memory opens."""
    from spectrum_tui.app.screens.model_sizes import ModelSizesScreen
    from spectrum_tui.app.screens.results import ResultsScreen

    asked = False
    for screen in screens:
        if isinstance(screen, ResultsScreen) and screen.state.result.source == str(sized.path):
            _hand(screen, partial(screen.take_sizes, sized.result))
        if isinstance(screen, ModelSizesScreen) and screen.scores == sized.path:
            by_itself(screen)
            screen.dismiss(True)
            asked = True
    return asked


def hand_no_sizes(screens: Screens, scores: str = "") -> None:
    """Tell the results that wait for sizes, of one file or of any, that there are none."""
    from spectrum_tui.app.screens.results import ResultsScreen

    for screen in screens:
        if not isinstance(screen, ResultsScreen) or not screen.state.sizing:
            continue
        if scores in ("", screen.state.result.source):
            _hand(screen, partial(screen.wait_for_sizes, ""))


@runtime_checkable
class HoldsWork(Protocol):
    """A screen with what a person made by hand."""

    @property
    def is_unsaved(self) -> bool:
        """Whether leaving would lose it."""


def has_unsaved(screens: Screens) -> bool:
    """Return whether leaving would lose what was made by hand, whatever lies over it."""
    return any(isinstance(screen, HoldsWork) and screen.is_unsaved for screen in screens)
