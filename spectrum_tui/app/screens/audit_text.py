"""An audit in words: its findings, and what each trainer would make of the file."""

from __future__ import annotations

from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.content import Content
from textual.widget import Widget

from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.core import numbers
from spectrum_tui.core.audit.audit import Audit
from spectrum_tui.core.audit.findings import Finding, Severity, short
from spectrum_tui.core.trainers.reports import TrainerReport
from spectrum_tui.core.trainers.trainers import TRAINERS

MOST_LEFT_OUT = 100
"""Lines without a meaning that are listed; `spectrum-tui audit` lists every one."""
ROOMY = 60
"""Cells from which on a trainer has a line of its own beside the findings."""


def summary_text(audit: Audit) -> Content:
    """`57 lines · 2 errors · 1 warning`."""
    parts = [numbers.counted(audit.lines, "entry", "entries")]
    for severity in Severity:
        n = sum(finding.severity is severity for finding in audit.findings)
        if n:
            parts.append(numbers.counted(n, severity))
    if not audit.defects:
        parts.append("no defect")
    return Content(" · ".join(parts))


def not_corrected(audit: Audit) -> str:
    """Why there is no corrected file, and the lines that it has no place for."""
    correction = audit.correction
    refused = f"No corrected file: {correction.refused}." if correction.refused else ""
    lines = [f"line {entry.line}: {short(entry.pattern, 200)}" for entry in correction.dropped]
    more = len(lines) - MOST_LEFT_OUT
    if more > 0:
        lines[MOST_LEFT_OUT:] = [f"and {numbers.counted(more, 'more line')}"]
    return "\n".join(printable(line) for line in (refused, *lines) if line)


def meant_text(audit: Audit) -> Content:
    if not audit.whole:
        return Content("Give the model to count what each line and each trainer matches.")
    elements = f"{numbers.count(audit.numel)} of {numbers.count(audit.whole)} elements"
    parameters = numbers.counted(audit.meant, "parameter")
    return Content(f"Meant to train: {parameters}, {elements} ({numbers.percent(audit.share)})")


class _AuditTable(Widget):
    """A table of an audit, which the next audit of the file replaces."""

    def __init__(self, audit: Audit) -> None:
        super().__init__()
        self.audit = audit

    def show(self, audit: Audit) -> None:
        self.audit = audit
        self.refresh(layout=True)


class FindingTable(_AuditTable):
    """Every finding with its severity in words, its line, and what to do; folded at the width."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "findings--error",
        "findings--warning",
        "findings--note",
        "findings--dim",
        "findings--good",
    }
    DEFAULT_CSS = """
    FindingTable {
        height: auto;
        & > .findings--error { color: $error; text-style: bold; }
        & > .findings--warning { color: $warning; text-style: bold; }
        & > .findings--note { color: $foreground 60%; text-style: bold; }
        & > .findings--dim { color: $foreground 60%; }
        & > .findings--good { color: $success; }
    }
    """

    def render(self) -> Table | Text:
        if not self.audit.findings:
            where = "in this model" if self.audit.whole else "from its text alone"
            style = self.get_component_rich_style("findings--good")
            return Text(f"✓ No defect was found {where}.", style)
        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        table.add_column(width=9)
        table.add_column(ratio=1)
        for finding in self.audit.findings:
            table.add_row(*self._row(finding))
        if text := not_corrected(self.audit):
            dim = self.get_component_rich_style("findings--dim")
            sign = "· no file" if self.audit.correction.refused else "· left out"
            table.add_row(Text(sign, dim), Text(text, dim))
        return table

    def _row(self, finding: Finding) -> tuple[Text, Text]:
        severity = finding.severity
        style = self.get_component_rich_style(f"findings--{severity}")
        dim = self.get_component_rich_style("findings--dim")
        text = Text(f"line {finding.line}: " if finding.line else "", dim)
        text.append(printable(finding.message), self.rich_style)
        if finding.hint:
            text.append(f"\n{printable(finding.hint)}", dim)
        return Text(f"{severity.sign} {severity}", style), text


class TrainerTable(_AuditTable):
    """What each trainer would train; how it matches while the model is not known."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"trainers--good", "trainers--bad", "trainers--dim"}
    DEFAULT_CSS = """
    TrainerTable {
        height: auto;
        & > .trainers--good { color: $success; text-style: bold; }
        & > .trainers--bad { color: $error; text-style: bold; }
        & > .trainers--dim { color: $foreground 60%; }
    }
    """

    def render(self) -> Table:
        """Return the table; two trainers a line where it lies below the findings."""
        if not self.audit.reports:
            return self._matching()
        return self._pairs() if self.size.width >= ROOMY else self._counts()

    def _matching(self) -> Table:
        dim = self.get_component_rich_style("trainers--dim")
        table = _grid(15)
        for trainer in TRAINERS:
            table.add_row(trainer.name, Text(trainer.matching, dim))
        return table

    def _counts(self) -> Table:
        dim = self.get_component_rich_style("trainers--dim")
        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        table.add_column(width=1)
        table.add_column(width=15)
        table.add_column(ratio=1)
        table.add_row("", "", Text("of those meant, and others", dim))
        for one in self.audit.reports:
            table.add_row(self._sign(one), one.trainer.name, matched_text(one))
        return table

    def _pairs(self) -> Table:
        table = Table.grid(padding=(0, 1, 0, 0), expand=True)
        for _ in range(2):
            table.add_column(width=1)
            table.add_column(width=15)
            table.add_column(ratio=1, no_wrap=True)
        reports = self.audit.reports
        half = (len(reports) + 1) // 2
        for left, right in zip(reports[:half], reports[half:], strict=True):
            table.add_row(
                *(self._sign(left), left.trainer.name, matched_text(left)),
                *(self._sign(right), right.trainer.name, matched_text(right)),
            )
        return table

    def _sign(self, one: TrainerReport) -> Text:
        name = "trainers--good" if one.exact else "trainers--bad"
        return Text("✓" if one.exact else "✗", self.get_component_rich_style(name))


def _grid(width: int) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(width=width)
    table.add_column(ratio=1)
    return table


def matched_text(one: TrainerReport) -> Text:
    """`3 of 5, 2 others`: of what is meant, and of what is not; or why the trainer would stop."""
    if one.problem:
        return Text(printable(one.problem), overflow="ellipsis")
    others = len(one.unintended)
    text = f"{one.matched:,} of {one.wanted:,}"
    return Text(f"{text}, {numbers.counted(others, 'other')}" if others else text)
