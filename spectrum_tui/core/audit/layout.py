"""How the list is laid out: trainers that read lines without a YAML parser take it literally."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from spectrum_tui.core.audit.entries import Recipe, RecipeEntry
from spectrum_tui.core.audit.findings import Finding, Severity, of_lines
from spectrum_tui.core.text import LONGEST_PATTERN
from spectrum_tui.core.trainers.recipe_text import KEY

_PLAIN_LINE = "Write each name as `- name` at the beginning of its line, and nothing after it."
_READ_LINES = "trainers that read the file line by line"


@dataclass(frozen=True, slots=True)
class _Rule:
    code: str
    applies: Callable[[RecipeEntry], bool]
    words: str


_RULES = (
    _Rule(
        "flow-list",
        lambda entry: entry.flow,
        f"stands in a list in brackets, which {_READ_LINES} do not see",
    ),
    _Rule(
        "indented",
        lambda entry: entry.indent > 0,
        f"is indented: {_READ_LINES} skip it",
    ),
    _Rule(
        "quoted",
        lambda entry: entry.quoted and not entry.flow,
        f"is quoted: {_READ_LINES} match the quotes too, and so nothing",
    ),
    _Rule(
        "comment",
        lambda entry: entry.comment,
        f"has a comment behind it: {_READ_LINES} take that as a part of the name",
    ),
    _Rule(
        "trailing-space",
        lambda entry: entry.trailing,
        f"has a space behind it: {_READ_LINES} take that as a part of the name",
    ),
    _Rule(
        "extra-space",
        lambda entry: entry.gap != 1 and not entry.flow,
        f"does not have one space after its dash: {_READ_LINES} then match nothing",
    ),
)


def layout_findings(recipe: Recipe) -> list[Finding]:
    """What is wrong with the layout of the list and of the file around it."""
    found: list[Finding] = []
    # Beside other keys it is the configuration of a trainer, which has a YAML parser.
    alone = set(recipe.data) == {KEY}
    severity = Severity.ERROR if alone else Severity.WARNING
    for rule in _RULES:
        lines = [(entry.line, entry.pattern) for entry in recipe.entries if rule.applies(entry)]
        found += of_lines(severity, rule.code, lines, rule.words, _PLAIN_LINE)
    return [*found, *_of_the_whole(recipe)]


def _of_the_whole(recipe: Recipe) -> list[Finding]:
    found: list[Finding] = []
    if not recipe.lines:
        found.append(
            Finding(
                Severity.ERROR,
                "empty",
                recipe.line,
                "The list is empty: axolotl then trains the whole model, others stop or train "
                "nothing.",
                "Select at least one layer.",
            )
        )
    if recipe.path:
        found.append(
            Finding(
                Severity.WARNING,
                "nested",
                recipe.line,
                f"The list stands under {recipe.path}, where only Soup looks for it.",
                "Put unfrozen_parameters at the beginning of a line for other trainers.",
            )
        )
    found += of_lines(
        Severity.ERROR,
        "long",
        [(entry.line, entry.pattern) for entry in recipe.long],
        f"has more than {LONGEST_PATTERN:,} characters, and no parameter so long a name",
        "Write one name a line.",
    )
    found += of_lines(
        Severity.ERROR,
        "second-list",
        recipe.strays,
        "belongs to another list of this file: trainers that read lines take it as a name",
        "Keep the list in a file of its own.",
    )
    return [*found, *_duplicates(recipe)]


def _duplicates(recipe: Recipe) -> list[Finding]:
    seen: set[str] = set()
    again = []
    for entry in recipe.entries:
        if entry.pattern in seen:
            again.append((entry.line, entry.pattern))
        seen.add(entry.pattern)
    words, hint = "stands in the list more than once", "It does no harm; once is enough."
    return of_lines(Severity.NOTE, "duplicate", again, words, hint)
