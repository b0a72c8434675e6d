"""The models of a scan screen: what is scanned, what waits, and what has had its turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spectrum_tui.app.widgets.step_bar import model_label
from spectrum_tui.core.files import slug_of_name
from spectrum_tui.core.layer_types import scanned_by_default
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.requests import ModelSummary
from spectrum_tui.core.settings import Settings

State = Literal["waiting", "running", "done", "stopped", "failed"]
MOST_NAMED = 3
"""Models that a sentence names."""


@dataclass(slots=True, kw_only=True, eq=False)
class Queued:
    """A model with what it is scanned by; `said` is how many layers were scored, or why none were,
    and `path` its score file. One that `lacks_types` has none of those that were chosen."""

    summary: ModelSummary
    settings: Settings
    types: tuple[str, ...] = ()
    fresh: bool = False
    lacks_types: bool = False
    state: State = "waiting"
    said: str = ""
    path: Path | None = None

    @property
    def name(self) -> str:
        """What to call it on a screen."""
        return model_label(self.summary)


class ScanQueue:
    """Models in the order of their turns; `paused` where those that wait do not follow by
    themselves. `version` is another number after every change."""

    def __init__(self) -> None:
        self.models: list[Queued] = []
        self.paused = False
        self.version = 0

    @property
    def current(self) -> Queued | None:
        """The model that is scanned, or was last."""
        return next((one for one in reversed(self.models) if one.state != "waiting"), None)

    @property
    def is_running(self) -> bool:
        """Whether a model is scanned now."""
        return self.current is not None and self.current.state == "running"

    @property
    def waiting(self) -> list[Queued]:
        """The models whose turn is still to come."""
        return self._in("waiting")

    @property
    def goes_on(self) -> bool:
        """Whether another model follows when the one that is scanned is over."""
        return bool(self.waiting) and not self.paused

    @property
    def failed(self) -> bool:
        """Whether a model could not be scanned."""
        return bool(self._in("failed"))

    @property
    def is_several(self) -> bool:
        """Whether there is more than the model that the scan screen was opened for."""
        return len(self.models) > 1

    @property
    def words(self) -> str:
        """`2 scored, 1 failed, 3 waiting`, without what there is none of."""
        names: dict[State, str] = {
            "done": "scored",
            "failed": "failed",
            "stopped": "stopped",
            "waiting": "waiting",
        }
        counts = {name: len(self._in(state)) for state, name in names.items()}
        return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)

    def begin(self, model: Queued) -> None:
        """Start anew with a model that is scanned now."""
        self.models, self.paused = [model], False
        self._become(model, "running")

    def add(self, model: Queued) -> None:
        """Put a model at the end of those that wait."""
        self.models.append(model)
        self.version += 1

    def types_for(self, summary: ModelSummary) -> tuple[str, ...]:
        """Return those of the types chosen for the first model that this one has; () for its
        default ones, where the first has its own, or none is shared."""
        if not self.models or _is_default(self.models[0]):
            return ()
        chosen = set(self.models[0].types)
        return tuple(one.name for one in summary.types if one.name in chosen)

    def lacks_types(self, summary: ModelSummary) -> bool:
        """Return whether a model has none of the types that were chosen for the first."""
        chosen = bool(self.models) and not _is_default(self.models[0])
        return chosen and not self.types_for(summary)

    @property
    def types_words(self) -> str:
        """How the types of a model that is added are chosen."""
        first = self.models[0] if self.models else None
        if first is None or _is_default(first):
            return "Every type of its matrices is scanned, as by default."
        if len(first.types) == 1:
            chosen, lacks = f"The type chosen for {first.name} is scanned", "without it"
        else:
            those = f"Those of the {counted(len(first.types), 'type')} chosen for {first.name}"
            chosen, lacks = f"{those} that it has are scanned", "that has none of them"
        return f"{chosen}; of a model {lacks}, every type of its matrices."

    def drop(self, model: Queued) -> bool:
        """Take a model out, if its turn has not come yet."""
        if model.state != "waiting" or model not in self.models:
            return False
        self.models.remove(model)
        self.version += 1
        return True

    def drop_waiting(self) -> None:
        """Take out all that wait."""
        for model in self.waiting:
            self.drop(model)

    def end(self, state: State, said: str = "", path: Path | None = None) -> Queued | None:
        """Note how the model that is scanned came out of it; None where none is."""
        model = self.current
        if model is None or not self.is_running:
            return None
        model.said, model.path = said, path
        self._become(model, state)
        return model

    def take_next(self) -> Queued | None:
        """Return the model whose turn it is, from now on as the one that is scanned."""
        if not self.goes_on or self.is_running:
            return None
        model = self.waiting[0]
        self._become(model, "running")
        return model

    def resume(self) -> None:
        """Note that the model that was scanned last is scanned again; the others follow it."""
        self.paused = False
        if (model := self.current) is not None:
            model.said = ""
            self._become(model, "running")

    def refusal(self, summary: ModelSummary) -> str:
        """Return why a model cannot be added: its files would have the names of another's."""
        for one in self.models:
            if one.state in ("failed", "stopped") or _part(one.summary) != _part(summary):
                continue
            if one.summary.model != summary.model:
                return f"The files of {one.summary.model} would have the same names."
            if one.state == "done":
                return f"{one.name} is scored already: ctrl+l on the screen Scan opens it."
            return f"{one.name} is in the queue already."
        return ""

    def _in(self, state: State) -> list[Queued]:
        return [model for model in self.models if model.state == state]

    def _become(self, model: Queued, state: State) -> None:
        model.state = state
        self.version += 1


def _is_default(model: Queued) -> bool:
    """Return whether the types of a model are those scanned unless the user says otherwise."""
    return set(model.types) == scanned_by_default(model.summary.types)


def _part(summary: ModelSummary) -> str:
    return slug_of_name(summary.name or summary.model)


def named(models: list[Queued]) -> str:
    """Return `a, b, c and 2 more`."""
    names = [model.name for model in models]
    shown = ", ".join(names[:MOST_NAMED])
    more = len(names) - MOST_NAMED
    return f"{shown} and {more:,} more" if more > 0 else shown


def unscanned(queue: ScanQueue) -> Iterator[str]:
    """Yield what is lost where a queue is left, if anything is."""
    if waiting := queue.waiting:
        wait = counted(len(waiting), "model waits", "models wait")
        yield f"{wait} and will not be scanned: {named(waiting)}."
