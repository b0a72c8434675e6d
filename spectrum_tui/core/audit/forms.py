"""How each line is written: which trainers match it otherwise than it is meant."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from spectrum_tui.core.audit.entries import CLASS_AS_ROWS, Recipe, has_rows, is_module, plain_name
from spectrum_tui.core.audit.findings import Finding, Severity, of_lines, short
from spectrum_tui.core.trainers.matching import MOST_REGEXES
from spectrum_tui.core.trainers.patterns import at_start, axolotl_rows, compiled
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


@dataclass(frozen=True, slots=True)
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
    """The pattern without rows, itself where those are wrong."""
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
        "escaped-dot",
        Severity.ERROR,
        lambda pattern: bool(_ESCAPED_DOT.search(pattern)),
        "escapes its dots: axolotl, which does that itself, then matches nothing",
    ),
    _Rule(
        "anchored",
        Severity.WARNING,
        _anchored,
        "has ^ or $: trainers that look for plain text (DistillKit, the Spectrum README) match "
        "nothing",
    ),
    _Rule(
        "wildcard",
        Severity.ERROR,
        lambda pattern: bool(_WILD.search(pattern)),
        "uses a dot for any character: axolotl takes it for a dot, and matches nothing",
    ),
    _Rule(
        "class-as-rows",
        Severity.ERROR,
        lambda pattern: bool(CLASS_AS_ROWS.search(pattern)),
        "ends with a choice of digits, which axolotl takes for a row number",
        "Write one line for each layer.",
    ),
    _Rule(
        "turned-rows",
        Severity.ERROR,
        _turned_rows,
        "asks for rows that end before they start: axolotl stops",
        "Write [first:end], the end not among them.",
    ),
    _Rule(
        "rows",
        Severity.NOTE,
        has_rows,
        "limits the rows that train, which only axolotl understands",
        "Other trainers match nothing by it.",
    ),
    _Rule(
        "regex",
        Severity.WARNING,
        _is_regex,
        "is a regular expression: trainers that look for plain text match nothing",
        "Write one line for each parameter.",
    ),
    _Rule(
        "wrapped",
        Severity.ERROR,
        lambda pattern: bool(_WRAPPED.match(pattern)) or "_wrapped_module" in pattern,
        "is a name inside a wrapper (PEFT, torch.compile, FSDP): trainers freeze before wrapping",
        "Write the name that the model itself has.",
    ),
    _Rule(
        "module",
        Severity.WARNING,
        _without_weight,
        "has no .weight at its end: it also matches every name that goes on like it",
        "With .weight, and a line for .bias, it matches itself alone.",
    ),
)


def form_findings(recipe: Recipe) -> list[Finding]:
    """What is wrong with how lines are written, whatever the model."""
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
            f"was not judged: there are more than {MOST_REGEXES:,} regular expressions",
            plain,
        ),
    ]
