"""How the list is laid out and how each line is written: which trainers read it otherwise than it
is meant, for some take a file line by line without a YAML parser."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from spectrum_tui.core.audit.entries import (
    CLASS_AS_ROWS,
    Recipe,
    RecipeEntry,
    has_rows,
    is_module,
    plain_name,
)
from spectrum_tui.core.audit.findings import Finding, Severity, of_lines, short
from spectrum_tui.core.text import LONGEST_PATTERN
from spectrum_tui.core.trainers.matching import MOST_REGEXES
from spectrum_tui.core.trainers.patterns import at_start, axolotl_rows, compiled
from spectrum_tui.core.trainers.recipe_text import KEY
from spectrum_tui.core.trainers.safety import HazardError

USUAL_LENGTH = 70
"""Characters of a long parameter name, where no model is given."""

_ESCAPED_DOT = re.compile(r"\\\.")
_WILD = re.compile(r"\.(?:[*?](?=.)|\{)")
"""Not `.*` at the very end: axolotl's `\\.*` there matches no dot as well."""
_WRAPPED = re.compile(
    r"\^?(base_model\\?\.model|_orig_mod|module|_fsdp_wrapped_module)\\?\.|_fsdp_wrapped_module"
    r"|_checkpoint_wrapped_module"
)
_FULL_NAME = "Write the full name of the parameter, without ^, $ and \\."
_PLAIN_LINE = "Write each name as `- name` at the beginning of its line, and nothing after it."
_READ_LINES = "trainers that read the file line by line"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    code: str
    severity: Severity
    applies: Callable[[str], bool]
    words: str
    hint: str = _FULL_NAME


def _turned_rows(pattern: str) -> bool:
    try:
        axolotl_rows(pattern)
    except ValueError:
        return True
    return False


def _anchored(pattern: str) -> bool:
    if not plain_name(pattern):
        return False  # a regular expression, of which the same is said
    return pattern.startswith("^") or axolotl_rows_safe(pattern).endswith("$")


def axolotl_rows_safe(pattern: str) -> str:
    """Return the pattern without rows, itself where those are wrong."""
    try:
        return axolotl_rows(pattern)[0]
    except ValueError:
        return pattern


def _is_regex(pattern: str) -> bool:
    return not plain_name(pattern) and not CLASS_AS_ROWS.search(pattern)


def _without_weight(pattern: str) -> bool:
    name = plain_name(pattern)
    return bool(name) and is_module(name)


_RULES = (
    _Rule(
        code="escaped-dot",
        severity=Severity.ERROR,
        applies=lambda pattern: bool(_ESCAPED_DOT.search(pattern)),
        words="escapes its dots: axolotl escapes them again and matches nothing",
    ),
    _Rule(
        code="anchored",
        severity=Severity.WARNING,
        applies=_anchored,
        words="has ^ or $: trainers that look for plain text (DistillKit, the Spectrum README) "
        "match nothing",
    ),
    _Rule(
        code="wildcard",
        severity=Severity.ERROR,
        applies=lambda pattern: bool(_WILD.search(pattern)),
        words="uses a dot for any character: axolotl takes it as a plain dot and matches nothing",
    ),
    _Rule(
        code="class-as-rows",
        severity=Severity.ERROR,
        applies=lambda pattern: bool(CLASS_AS_ROWS.search(pattern)),
        words="ends with a choice of digits, which axolotl takes for a row number",
        hint="Write one line for each layer.",
    ),
    _Rule(
        code="turned-rows",
        severity=Severity.ERROR,
        applies=_turned_rows,
        words="has a range of rows that ends before it starts: axolotl stops",
        hint="Write [first:end], without the end itself.",
    ),
    _Rule(
        code="rows",
        severity=Severity.NOTE,
        applies=has_rows,
        words="limits the rows that train, which only axolotl understands",
        hint="Other trainers match nothing with it.",
    ),
    _Rule(
        code="regex",
        severity=Severity.WARNING,
        applies=_is_regex,
        words="is a regular expression: trainers that look for plain text match nothing",
        hint="Write one line for each parameter.",
    ),
    _Rule(
        code="wrapped",
        severity=Severity.ERROR,
        applies=lambda pattern: bool(_WRAPPED.match(pattern)) or "_wrapped_module" in pattern,
        words="is a name inside a wrapper (PEFT, torch.compile, FSDP): trainers freeze before "
        "wrapping",
        hint="Write the name that the model itself has.",
    ),
    _Rule(
        code="module",
        severity=Severity.WARNING,
        applies=_without_weight,
        words="does not end in .weight: it also matches every longer name that begins with it",
        hint="End it in .weight, and add a line for .bias, to match this one alone.",
    ),
)


def form_findings(recipe: Recipe) -> list[Finding]:
    """Return what is wrong with how lines are written, whatever the model."""
    found: list[Finding] = []
    for rule in _RULES:
        lines = [(e.line, e.pattern) for e in recipe.entries if rule.applies(e.pattern)]
        found += of_lines(rule.severity, rule.code, lines, rule.words, rule.hint)
    return [*found, *_untriable(recipe)]


def _untriable(recipe: Recipe) -> list[Finding]:
    """Regular expressions that are none, or that would keep a trainer busy forever."""
    invalid: list[tuple[int, str]] = []
    endless: list[tuple[int, str]] = []
    why = ""
    many: list[tuple[int, str]] = []
    regular = [entry for entry in recipe.entries if _is_regex(entry.pattern)]
    many += [(entry.line, entry.pattern) for entry in regular[MOST_REGEXES:]]
    for entry in regular[:MOST_REGEXES]:
        try:
            compiled(at_start(axolotl_rows_safe(entry.pattern)), USUAL_LENGTH)
        except HazardError as exc:
            (invalid if exc.invalid else endless).append((entry.line, entry.pattern))
            why = why or short(str(exc), 80)
    plain = "Write the full names instead."
    return [
        *of_lines(
            Severity.ERROR,
            "invalid-regex",
            invalid,
            f"cannot be used, {why}: trainers stop with an error",
            plain,
        ),
        *of_lines(
            Severity.ERROR,
            "endless-regex",
            endless,
            f"may keep a trainer busy forever: {why}",
            plain,
        ),
        *of_lines(
            Severity.WARNING,
            "many-regexes",
            many,
            f"was not checked: there are more than {MOST_REGEXES:,} regular expressions",
            plain,
        ),
    ]


# -- the layout --------------------------------------------------------------------------------


_LAYOUT: tuple[tuple[str, Callable[[RecipeEntry], bool], str], ...] = (
    (
        "flow-list",
        lambda entry: entry.flow,
        f"is in a list in brackets, which {_READ_LINES} do not see",
    ),
    ("indented", lambda entry: entry.indent > 0, f"is indented: {_READ_LINES} skip it"),
    (
        "quoted",
        lambda entry: entry.quoted and not entry.flow,
        f"is quoted: {_READ_LINES} match the quotes too, and so nothing",
    ),
    (
        "comment",
        lambda entry: entry.comment,
        f"is followed by a comment: {_READ_LINES} take it as part of the name",
    ),
    (
        "trailing-space",
        lambda entry: entry.trailing,
        f"is followed by a space: {_READ_LINES} take it as part of the name",
    ),
    (
        "extra-space",
        lambda entry: entry.gap != 1 and not entry.flow,
        f"does not have exactly one space after its dash: {_READ_LINES} then match nothing",
    ),
)


def layout_findings(recipe: Recipe) -> list[Finding]:
    """Return what is wrong with the layout of the list and of the file around it."""
    found: list[Finding] = []
    # Beside other keys it is the configuration of a trainer, which has a YAML parser.
    alone = set(recipe.data) == {KEY}
    severity = Severity.ERROR if alone else Severity.WARNING
    for code, applies, words in _LAYOUT:
        lines = [(entry.line, entry.pattern) for entry in recipe.entries if applies(entry)]
        found += of_lines(severity, code, lines, words, _PLAIN_LINE)
    return [*found, *_of_the_whole(recipe)]


def _of_the_whole(recipe: Recipe) -> list[Finding]:
    found: list[Finding] = []
    if not recipe.lines:
        found.append(
            Finding(
                severity=Severity.ERROR,
                code="empty",
                line=recipe.line,
                message="The list is empty: axolotl then trains the whole model, others stop or "
                "train nothing.",
                hint="Select at least one layer.",
            )
        )
    if recipe.path:
        found.append(
            Finding(
                severity=Severity.WARNING,
                code="nested",
                line=recipe.line,
                message=f"The list is under {recipe.path}, where only Soup looks for it.",
                hint=f"Put {KEY} at the beginning of a line for other trainers.",
            )
        )
    found += of_lines(
        Severity.ERROR,
        "long",
        [(entry.line, entry.pattern) for entry in recipe.long],
        f"has more than {LONGEST_PATTERN:,} characters, more than any parameter name",
        "Write one name per line.",
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
    words, hint = "is in the list more than once", "It does no harm; once is enough."
    return of_lines(Severity.NOTE, "duplicate", again, words, hint)
