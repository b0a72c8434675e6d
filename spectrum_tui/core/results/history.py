"""The policies that were chosen before, to go back to and forth."""

from __future__ import annotations

from dataclasses import dataclass, replace

from spectrum_tui.core.results.changes import described
from spectrum_tui.core.results.policy import Policy


@dataclass(frozen=True, slots=True)
class Step:
    """A policy to go to, and what of the present one that takes back or makes again."""

    policy: Policy
    words: str


class History:
    """Changes of a policy. A percentage that moves on and on is one change."""

    def __init__(self) -> None:
        self._before: list[Policy] = []
        self._after: list[Policy] = []
        self._sliding = ""

    def add(self, before: Policy, after: Policy) -> None:
        """Remember that `before` became `after`; what was undone cannot be made again then."""
        sliding = _slid(before, after)
        if not sliding or sliding != self._sliding:
            self._before.append(before)
        self._sliding = sliding
        self._after.clear()

    def undo(self, present: Policy) -> Step | None:
        """Return the policy before the last change; None where there is none."""
        return self._go(self._before, self._after, present, back=True)

    def redo(self, present: Policy) -> Step | None:
        """Return the policy that was undone last; None where there is none."""
        return self._go(self._after, self._before, present, back=False)

    def _go(
        self, source: list[Policy], target: list[Policy], present: Policy, *, back: bool
    ) -> Step | None:
        if not source:
            return None
        self._sliding = ""
        policy = source.pop()
        target.append(present)
        words = described(policy, present) if back else described(present, policy)
        return Step(policy, words)


def _slid(before: Policy, after: Policy) -> str:
    """Return which percentage alone was changed: `*` for that of all, or the pattern of a type; ""
    where anything else was."""
    if replace(before, percent=after.percent) == after:
        return "*"
    changed = {name for name, _ in set(before.type_percents) ^ set(after.type_percents)}
    alone = replace(before, type_percents=after.type_percents) == after
    return changed.pop() if alone and len(changed) == 1 else ""
