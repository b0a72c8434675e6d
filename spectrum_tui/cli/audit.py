"""`spectrum-tui audit`: what is wrong with a recipe that somebody already has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spectrum_tui.cli.options import Parser, add_options, settings_of
from spectrum_tui.core.audit.audit import Audit, audit
from spectrum_tui.core.audit.entries import open_recipe
from spectrum_tui.core.audit.findings import Finding, Severity, short
from spectrum_tui.core.files import write_text
from spectrum_tui.core.numbers import count, counted, percent
from spectrum_tui.core.text import safe
from spectrum_tui.core.trainers.reports import TrainerReport
from spectrum_tui.stdio.streams import PROGRAM, put_json, put_lines, say


def run(arguments: list[str]) -> int:
    """Audit a file; 0 without a defect, 1 with defects. Raises SpectrumError for unusable input."""
    options = make_parser().parse_args(arguments)
    path = Path(options.file)
    text = open_recipe(path)
    names = None
    if options.model:
        from spectrum_tui.core.audit.model_names import model_names
        from spectrum_tui.core.hub.patience import Patience

        names = model_names(settings_of(options), patience=Patience(say=say))
    found = audit(text, names)
    if options.json:
        put_json(_as_json(found))
    else:
        put_lines(_lines(options.file, found))
    if options.output and found.fixed:
        write_text(Path(options.output), found.fixed)
    _say(found, options.output)
    return 1 if found.defects else 0


def make_parser() -> Parser:
    """Return the options of this command."""
    parser = Parser(
        prog=f"{PROGRAM} audit",
        description="Check an unfrozen_parameters YAML for defects, and correct it. "
        "Exit codes: 0 no defect, 1 defects were found, 2 unusable input.",
    )
    add = parser.add_argument
    add("file", metavar="FILE.yaml", help="the recipe, or a trainer's configuration that holds it")
    add(
        "--model",
        default="",
        metavar="MODEL",
        help="folder or id of the model that the recipe is for",
    )
    add_options(parser, "revision")
    add("--model-class", default="", metavar="CLASS", help="transformers class of the model")
    add("--json", action="store_true", help="print the findings as JSON")
    add("-o", "--output", metavar="FIXED.yaml", help="write the corrected file here")
    return parser


def _say(found: Audit, output: str | None) -> None:
    """Say on stderr what became of the corrected file."""
    correction = found.correction
    without = counted(len(correction.dropped), "line")
    if output and found.fixed:
        say(f"wrote {output}" + (f", without {without}" if correction.dropped else ""))
    elif found.fixed and found.defects:
        say("-o FIXED.yaml writes a corrected file")
    elif correction.refused and (output or found.defects):
        hint = "; --model MODEL finds them" if correction.needs_model else ""
        say(f"no corrected file: {correction.refused}{hint}")


def _lines(file: str, found: Audit) -> Iterator[str]:
    yield f"{safe(file)}: {counted(found.lines, 'entry', 'entries')}, {_counted(found)}"
    for finding in found.findings:
        yield from _finding(finding)
    yield from left_out(found)
    if not found.reports:
        return
    share = f"{count(found.numel)} of {count(found.whole)} elements, {percent(found.share)}"
    yield f"model {safe(found.model)} ({safe(found.naming)})"
    yield f"meant to train: {counted(found.meant, 'parameter')} ({share})"
    width = max(len(one.trainer.name) for one in found.reports)
    for one in found.reports:
        yield f"  {'✓' if one.exact else '✗'} {one.trainer.name:<{width}}  {safe(_outcome(one))}"


def left_out(found: Audit) -> Iterator[str]:
    """Every line that names nothing, which a corrected file would not have."""
    dropped = found.correction.dropped
    if dropped:
        yield f"left out of a corrected file: {counted(len(dropped), 'line')}"
    for entry in dropped:
        yield f"    line {entry.line}: {safe(short(entry.pattern, 200))}"


def _outcome(one: TrainerReport) -> str:
    """Return what one trainer makes of the file, in a line."""
    counts = f"matched {one.matched:,} of {one.wanted:,}, {len(one.unintended):,} unintended"
    if one.problem:
        return one.problem if not one.trains else f"{counts}; {one.problem}"
    return f"{counts}, first {one.unintended[0]}" if one.unintended else counts


def _finding(finding: Finding) -> Iterator[str]:
    where = f"line {finding.line}: " if finding.line else ""
    yield f"{finding.severity.sign} {finding.severity} {where}{safe(finding.message)}"
    if finding.hint:
        yield f"    {safe(finding.hint)}"


def _counted(found: Audit) -> str:
    by = dict.fromkeys(Severity, 0)
    for finding in found.findings:
        by[finding.severity] += 1
    parts = [counted(n, severity) for severity, n in by.items() if n]
    return ", ".join(parts) or "no defect"


def _as_json(found: Audit) -> dict[str, Any]:
    return {
        "lines": found.lines,
        "defects": found.defects,
        "findings": [
            {
                "severity": finding.severity.value,
                "code": finding.code,
                "line": finding.line,
                "lines": finding.count,
                "message": finding.message,
                "hint": finding.hint,
            }
            for finding in found.findings
        ],
        "model": found.model,
        "parameters": {"meant": found.meant, "elements": found.numel, "of": found.whole},
        "trainers": [
            {
                "name": one.trainer.name,
                "wanted": one.wanted,
                "matched": one.matched,
                "unintended": list(one.unintended),
                "problem": one.problem,
                "exact": one.exact,
            }
            for one in found.reports
        ],
        "patterns": [
            {
                "line": one.entry.line,
                "pattern": one.entry.pattern,
                "means": list(one.names),
                "matches": list(one.matched),
            }
            for one in found.meanings
        ],
        "corrected": found.fixed,
        "refused": found.correction.refused,
        "left_out": [
            {"line": entry.line, "pattern": entry.pattern} for entry in found.correction.dropped
        ],
    }
