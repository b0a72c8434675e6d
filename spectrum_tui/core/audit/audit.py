"""The whole of it: from a recipe's text, and a model if there is one, to findings and a file."""

from __future__ import annotations

from dataclasses import dataclass

from spectrum_tui.core.audit.beside import beside_findings
from spectrum_tui.core.audit.correct import Correction, corrected, corrected_text
from spectrum_tui.core.audit.entries import Recipe, parse, plain_name
from spectrum_tui.core.audit.findings import Finding, Severity, in_order
from spectrum_tui.core.audit.forms import form_findings, layout_findings
from spectrum_tui.core.audit.in_model import (
    class_findings,
    freeze_findings,
    layers_of_types,
    model_findings,
    outcome_findings,
    without_file,
)
from spectrum_tui.core.audit.meaning import Meaning, Model
from spectrum_tui.core.audit.order import order_findings
from spectrum_tui.core.audit.renamed import embedding_findings, renamed_findings
from spectrum_tui.core.requests import ModelNames
from spectrum_tui.core.trainers.reports import TrainerReport
from spectrum_tui.core.trainers.trainers import TRAINERS


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What was found. Without a model, `reports` and `meanings` are empty and the counts 0.

    `lines` are the items of the list; `meant` the parameters that they name, `numel` their
    elements and `whole` those of the model. `correction` is the corrected file, or why there is
    none, and the lines that it leaves out.
    """

    findings: tuple[Finding, ...]
    lines: int
    correction: Correction
    model: str = ""
    naming: str = ""
    reports: tuple[TrainerReport, ...] = ()
    meanings: tuple[Meaning, ...] = ()
    meant: int = 0
    numel: int = 0
    whole: int = 0

    @property
    def fixed(self) -> str:
        """The corrected file, "" where there is none."""
        return self.correction.text

    @property
    def defects(self) -> int:
        """How many findings are more than a note."""
        return sum(finding.is_defect for finding in self.findings)

    @property
    def share(self) -> float:
        """The part of the model's parameters that is meant to train."""
        return self.numel / self.whole if self.whole else 0.0


def audit(text: str, names: ModelNames | None = None) -> Audit:
    """Return what is wrong with a recipe; raises InputError (field "recipe") if it is not a
    recipe."""
    recipe = parse(text)
    found = [*layout_findings(recipe), *form_findings(recipe), *beside_findings(recipe)]
    if names is None:
        return _by_text(recipe, found)
    return _in_model(recipe, found, names)


def _by_text(recipe: Recipe, found: list[Finding]) -> Audit:
    plain = [plain_name(entry.pattern) for entry in recipe.entries]
    found += [*renamed_findings(recipe), *embedding_findings(recipe)]
    found += order_findings(plain, {}, recipe.line)
    return Audit(findings=in_order(found), lines=recipe.lines, correction=corrected_text(recipe))


def _in_model(recipe: Recipe, found: list[Finding], names: ModelNames) -> Audit:
    model = Model(names)
    meanings = model.meanings(recipe.entries)
    meant = {name for one in meanings for name in one.names}
    reports = tuple(model.reporter.of(one, recipe.document, meant) for one in TRAINERS)
    listed = [name for one in meanings for name in one.names]
    found = _without_model_only(found, meanings)
    found += model_findings(meanings, model)
    found += order_findings(listed, layers_of_types(model), recipe.line)
    correction = corrected(recipe, meanings, names.model)
    found += outcome_findings(reports, len(meant), len(names.names))
    found += class_findings(meanings, model)
    found += freeze_findings(meant, model)
    found += [
        Finding(severity=Severity.NOTE, code="model", line=0, message=note) for note in names.notes
    ]
    sizes = model.sizes
    return Audit(
        findings=in_order(found if correction.text else map(without_file, found)),
        lines=recipe.lines,
        correction=correction,
        model=names.model,
        naming=names.naming,
        reports=reports,
        meanings=tuple(meanings),
        meant=len(meant),
        numel=sum(sizes[name] for name in meant),
        whole=sum(sizes.values()),
    )


def _without_model_only(found: list[Finding], meanings: list[Meaning]) -> list[Finding]:
    """Return the findings less those by which text alone could only guess: a name without .weight
    that is a parameter, or that matches nothing else."""
    meant = {name for one in meanings for name in one.names}
    harmless = not any(one.too_much(meant) for one in meanings)
    return [one for one in found if not (one.code == "module" and harmless)]
