"""What lines come to in a given model: dead, renamed, matching more than they say."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from spectrum_tui.core.audit.entries import plain_name
from spectrum_tui.core.audit.findings import Finding, Severity, of_lines, short
from spectrum_tui.core.audit.meaning import Meaning, Model
from spectrum_tui.core.audit.order import picks_of
from spectrum_tui.core.audit.renamed import EMBEDDING_NAMES
from spectrum_tui.core.numbers import count, counted
from spectrum_tui.core.trainers.llama_factory import smallest_setting
from spectrum_tui.core.trainers.matching import hits
from spectrum_tui.core.trainers.names import Names
from spectrum_tui.core.trainers.patterns import at_start
from spectrum_tui.core.trainers.reports import TrainerReport

TAKE_FILE = "Take the corrected file"
_AGAIN = "or scan this model and select again."


def without_file(finding: Finding) -> Finding:
    """Return the finding with a hint that is true where there is no corrected file."""
    if TAKE_FILE not in finding.hint:
        return finding
    return replace(finding, hint="Scan this model and select again.")


def class_findings(meanings: Sequence[Meaning], model: Model) -> list[Finding]:
    """Return the transformers class whose names match more lines than this one's."""
    patterns = [one.entry.pattern for one in meanings]
    here = sum(bool(one.matched) for one in meanings)
    if not any(one.dead for one in meanings):
        return []
    counts = [_matching(patterns, names) for _, _, names in model.known.classes]
    most = max(counts, default=0)
    if most <= here:
        return []
    best, auto_class, _ = model.known.classes[counts.index(most)]
    lines = counted(len(patterns), "line")
    return [
        Finding(
            severity=Severity.WARNING,
            code="class",
            line=0,
            message=f"{most:,} of {lines} match unchanged if the model is loaded as {best}, "
            f"{here:,} as {model.known.naming}.",
            hint=f"If the trainer loads that class, audit with --model-class {auto_class}.",
        )
    ]


def _matching(patterns: Sequence[str], names: Sequence[str]) -> int:
    found = hits(patterns, at_start, Names(names))
    return sum(found.count(pattern) > 0 for pattern in patterns)


def model_findings(meanings: Sequence[Meaning], model: Model) -> list[Finding]:
    """Return what is wrong with lines in this model."""
    return [
        *_renamed(meanings),
        *_tied(meanings),
        *_dead(meanings, model),
        *_overmatching(meanings),
        *_untried(meanings),
    ]


def _lines(meanings: Sequence[Meaning]) -> list[tuple[int, str]]:
    return [(one.entry.line, one.entry.pattern) for one in meanings]


def _renamed(meanings: Sequence[Meaning]) -> list[Finding]:
    old = [one for one in meanings if one.renamed and one.dead]
    now = short(old[0].names[0]) if old else ""
    return of_lines(
        Severity.ERROR,
        "renamed",
        _lines(old),
        f"matches nothing: this model calls it {now}",
        f"{TAKE_FILE}, {_AGAIN}",
    )


def _tied(meanings: Sequence[Meaning]) -> list[Finding]:
    tied = [one for one in meanings if one.tied and one.dead]
    now = short(tied[0].names[0]) if tied else ""
    return of_lines(
        Severity.WARNING,
        "tied",
        _lines(tied),
        f"matches nothing: it is tied to {now} and has that name",
        f"{now} trains both.",
    )


def _dead(meanings: Sequence[Meaning], model: Model) -> list[Finding]:
    dead = [one for one in meanings if one.dead and not one.names]
    heads = [one for one in dead if plain_name(one.entry.pattern) in EMBEDDING_NAMES]
    others = [one for one in dead if one not in heads]
    escaped = [one for one in meanings if one.dead and one.names and not (one.renamed or one.tied)]
    return [
        *of_lines(
            Severity.WARNING,
            "head",
            _lines(heads),
            "matches nothing: this model has no parameter of that name",
            "spectrum.py writes these lines for every model, but they fit only some.",
        ),
        *of_lines(
            Severity.ERROR,
            "dead",
            _lines(others),
            f"matches nothing in {model.known.model}",
            f"Its names look like {model.known.names[len(model.known.names) // 2]}.",
        ),
        *of_lines(
            Severity.ERROR,
            "dead",
            _lines(escaped),
            "matches nothing as it is written",
            f"{TAKE_FILE}.",
        ),
    ]


def _overmatching(meanings: Sequence[Meaning]) -> list[Finding]:
    meant = {name for one in meanings for name in one.names}
    lines = [one for one in meanings if one.names and one.too_much(meant)]
    if not lines:
        return []
    other = short(lines[0].too_much(meant)[0])
    return of_lines(
        Severity.ERROR,
        "over-match",
        _lines(lines),
        f"also matches {other}",
        "End it in .weight to match this one alone.",
    )


def _untried(meanings: Sequence[Meaning]) -> list[Finding]:
    untried = [one for one in meanings if one.untried]
    why = short(untried[0].untried, 80) if untried else ""
    words = f"was not tried: {why}"
    return of_lines(Severity.ERROR, "untried", _lines(untried), words, "Write the full names.")


def layers_of_types(model: Model) -> dict[str, int]:
    """Return how many layers each type of the model has, as `order` calls the types."""
    return {kind: len(numbers) for kind, numbers in picks_of(model.known.names).items()}


def outcome_findings(reports: Sequence[TrainerReport], meant: int, whole: int) -> list[Finding]:
    """Trainers that would train nothing or everything, or end with an error."""
    found: list[Finding] = []
    if not meant:
        found.append(_whole("nothing", "The list names nothing in this model."))
    elif meant >= whole:
        found.append(_whole("everything", "The list names the whole model."))
    wrong = [one for one in reports if not one.exact or not meant]
    nothing = [one.trainer.name for one in wrong if meant and not (one.problem or one.trains)]
    everything = [one.trainer.name for one in wrong if len(one.trains) == whole]
    stops = [f"{one.trainer.name} {one.problem}" for one in wrong if one.problem]
    if nothing:
        found.append(_whole("nothing", f"Nothing would train with {', '.join(nothing)}."))
    if everything and meant < whole:
        found.append(
            _whole("everything", f"The whole model would train with {', '.join(everything)}.")
        )
    if stops:
        found.append(_whole("stops", f"{short(stops[0], 160)}."))
    return found


def _whole(code: str, message: str) -> Finding:
    return Finding(
        severity=Severity.ERROR, code=code, line=0, message=message, hint=f"{TAKE_FILE}, {_AGAIN}"
    )


def freeze_findings(meant: Collection[str], model: Model) -> list[Finding]:
    """Return what LLaMA-Factory would train of these parameters, and besides: it reads no list."""
    setting = smallest_setting(meant, model.known.names)
    if setting is None:
        return []
    others = setting.trains - set(meant)
    sizes = model.sizes
    numel, whole = (sum(sizes[one] for one in some) for some in (meant, setting.trains))
    more = f"{counted(len(others), 'other')} too, {count(whole)} elements instead of {count(numel)}"
    keys = ", ".join(f"{key}: {value}" for key, value in setting.keys.items())
    return [
        Finding(
            severity=Severity.NOTE,
            code="llama-factory",
            line=0,
            message="LLaMA-Factory reads no list of names and freezes whole blocks: its smallest "
            f"setting for what is meant here trains {more if others else 'nothing else'}.",
            hint=f"It is {keys}.",
        )
    ]
