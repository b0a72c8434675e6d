"""A finding: one thing about a recipe that is worth knowing, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from spectrum_tui.core.numbers import counted


class Severity(StrEnum):
    """How bad a finding is: most trainers train something else than intended; some do; or it is
    only worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"

    @property
    def sign(self) -> str:
        """How a list marks it."""
        return _SIGNS[self]


_SIGNS = {Severity.ERROR: "✗", Severity.WARNING: "!", Severity.NOTE: "·"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is wrong, where (a line counted from 1, 0 for the whole file), and what to do.

    `code` names the kind of finding. `count` is how many lines it is true of; `line` is the
    first of them.
    """

    severity: Severity
    code: str
    line: int
    message: str
    hint: str = ""
    count: int = 1

    @property
    def is_defect(self) -> bool:
        """Whether it is more than a note."""
        return self.severity is not Severity.NOTE


def of_lines(
    severity: Severity, code: str, lines: Sequence[tuple[int, str]], words: str, hint: str = ""
) -> list[Finding]:
    """One finding for all (line, what stands there) of the same kind, none without any.

    `words` says what is wrong with one of them.
    """
    if not lines:
        return []
    line, text = lines[0]
    others = len(lines) - 1
    more = f" (and {counted(others, 'more line')})" if others else ""
    return [
        Finding(
            severity=severity,
            code=code,
            line=line,
            message=f"{short(text)} {words}{more}.",
            hint=hint,
            count=len(lines),
        )
    ]


def short(text: str, width: int = 64) -> str:
    """Return the text, its middle left out where it is long."""
    half = (width - 1) // 2
    return text if len(text) <= width else f"{text[:half]}…{text[-half:]}"


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the worst first, then by line."""
    rank = {severity: at for at, severity in enumerate(Severity)}
    return tuple(sorted(findings, key=lambda one: (rank[one.severity], one.line)))
