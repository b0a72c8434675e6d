"""What a proof begins with: texts read and parted, rows planned, nothing trained yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from spectrum_tui.core.dataset.builtin import GENERAL
from spectrum_tui.core.dataset.describing import describe
from spectrum_tui.core.dataset.examples import Dataset, Example
from spectrum_tui.core.dataset.kept_examples import digest_of, write_examples
from spectrum_tui.core.dataset.reading import read_dataset
from spectrum_tui.core.dataset.split import split, with_tuning, without
from spectrum_tui.core.errors import DataError, InputError
from spectrum_tui.core.files import check_writable, is_folder, output_folder
from spectrum_tui.core.memory.estimate import Estimate
from spectrum_tui.core.memory.model import ModelSizes
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.proof.methods import Method
from spectrum_tui.core.proof.plan import Plan, check_shared, memory_in_all, training_of
from spectrum_tui.core.proof.proof import Texts
from spectrum_tui.core.proof.rows import Conditions, Job, Row
from spectrum_tui.core.proof.store import check_folder
from spectrum_tui.core.recipes.spectrum import model_class
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.proving.model_files import identified

NO_KEPT = "none"
"""In place of a text to keep: none."""
TUNING = "tuning"
"""The text by which rates are found, where they are looked for."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Asked:
    """What is to be proved. `held_out` and `kept` are files, `held_out` none for a part of the
    data, `kept` none for a general text; `conditions` say how to train, their texts still empty."""

    result: Result
    scores: str
    folder: Path
    data: tuple[str, ...]
    held_out: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    methods: tuple[Method, ...]
    rates: Mapping[str, float] = field(default_factory=dict)
    steps: int = 200
    seeds: int = 3
    embeddings: bool = True
    conditions: Conditions
    price: float = 0.0

    @property
    def model(self) -> str:
        """What the model is called."""
        return self.result.provenance.model or self.conditions.model


@dataclass(frozen=True, eq=False, kw_only=True)
class Prepared:
    """A proof before its first row. `notes` say what was read, `warning` where the model is not
    the one that was scored."""

    asked: Asked
    plan: Plan
    conditions: Conditions
    examples: dict[str, tuple[Example, ...]]
    texts: dict[str, Texts]
    notes: tuple[str, ...]
    warning: str = ""

    def job(self, row: Row) -> Job:
        """Return a row with its texts: a trial is judged on the one by which rates are found."""
        if not row.trial:
            return Job(conditions=self.conditions, row=row)
        names = ("train", TUNING)
        conditions = replace(
            self.conditions,
            held_out=str(self._file(TUNING)),
            kept="",
            digests=tuple(self.texts[name].digest for name in names),
        )
        return Job(conditions=conditions, row=row)

    def write_texts(self) -> None:
        """Write what the rows read into the folder; raises OutputError."""
        for name, examples in self.examples.items():
            write_examples(self._file(name), examples)

    def _file(self, name: str) -> Path:
        return self.asked.folder.absolute() / "data" / f"{name}.jsonl"

    def characters(self, name: str) -> int:
        """Return how long a text is."""
        return sum(len(one.characters) for one in self.examples[name])

    def memory(self, *, half: bool) -> dict[str, Estimate]:
        """Return what each method takes in memory, nothing where sizes are not known."""
        result = self.asked.result
        if not result.parameters:
            return {}
        sizes = ModelSizes(result.parameters, result.embeddings)
        return memory_in_all(self.plan, sizes, training_of(self.conditions), half=half)


def conditions_of(result: Result, model: str = "") -> Conditions:
    """Return conditions for the model that scores are of, or for another place of it; raises
    InputError where neither is known: scores of a folder hold its name alone."""
    origin = result.provenance
    chosen = model or origin.model
    folder = output_folder(chosen)
    is_here = bool(chosen) and is_folder(folder)
    if not (is_here or model or origin.revision):
        raise InputError(
            f"The scores are of a folder {chosen}, which is not here."
            if chosen
            else "The scores do not say of which model they are.",
            "Say where the model is: --model.",
            field="model",
        )
    return Conditions(
        model=str(folder.absolute()) if is_here else chosen,
        revision=origin.revision if chosen == origin.model and not is_here else "",
        model_class=model_class(origin),
        train="",
        held_out="",
    )


def prepare(asked: Asked) -> Prepared:
    """Read the texts and draw the rows; raises SpectrumError, before the folder is made, where
    something of it cannot be had."""
    check_shared(asked.conditions)
    check_folder(asked.folder, asked.model)
    conditions, warning = identified(asked.conditions, asked.result)
    asked = replace(asked, conditions=conditions)
    plan = Plan(
        selection=Selection(asked.result),
        methods=asked.methods,
        seeds=asked.seeds,
        steps=asked.steps,
        embeddings=asked.embeddings,
        rates=asked.rates,
    )
    plan.expected()  # what these scores do not allow is said before the data are read
    parts, notes = _parts(asked, sweeps=bool(plan.swept))
    check_writable(asked.folder)
    return replace(_prepared(asked, plan, parts, notes), warning=warning)


_Parts = dict[str, tuple[Dataset, tuple[Example, ...]]]


def _parts(asked: Asked, *, sweeps: bool) -> tuple[_Parts, list[str]]:
    """Return each text with where it comes from, and what is said of them."""
    data = read_dataset(asked.data)
    notes = describe(data)
    if asked.held_out:
        judge = read_dataset(asked.held_out)
        notes += describe(judge)
        parted = without(data, judge)
    else:
        judge, parted = data, split(data)
    parted = with_tuning(parted) if sweeps else parted
    notes += [parted.note] if parted.note else []
    parts = {"train": (data, parted.train), "held_out": (judge, parted.held_out)}
    if sweeps:
        parts[TUNING] = (data, parted.tuning)
    if (kept := _kept(asked)) is not None:
        notes += [f"to be kept: {line}" for line in describe(kept)]
        notes += _trained_too(kept, parted.train)
        parts["kept"] = (kept, kept.examples)
    return parts, notes


def _trained_too(kept: Dataset, train: Sequence[Example]) -> Iterator[str]:
    """Yield a note where a row trains on what it must not forget: its loss would fall for that."""
    trained = {example.characters for example in train}
    both = sum(example.characters in trained for example in kept.examples)
    if both:
        every, verb = counted(len(kept.examples), "example"), "is" if both == 1 else "are"
        yield f"{both:,} of {every} to be kept {verb} trained on: not forgetting them says little."


def _kept(asked: Asked) -> Dataset | None:
    """Return the text that must not be forgotten: a general one where none is named, unless it is
    trained on or does not come with this Python."""
    if asked.kept == (NO_KEPT,):
        return None
    if asked.kept:
        return read_dataset(asked.kept)
    if GENERAL in (*asked.data, *asked.held_out):
        return None
    try:
        return read_dataset((GENERAL,))
    except DataError:
        return None


def _prepared(asked: Asked, plan: Plan, parts: _Parts, notes: Sequence[str]) -> Prepared:
    folder = (asked.folder / "data").absolute()
    digests = {name: digest_of(texts) for name, (_, texts) in parts.items()}
    conditions = replace(
        asked.conditions,
        train=str(folder / "train.jsonl"),
        held_out=str(folder / "held_out.jsonl"),
        kept=str(folder / "kept.jsonl") if "kept" in parts else "",
        digests=tuple(digest for name, digest in digests.items() if name != TUNING),
    )
    return Prepared(
        asked=asked,
        plan=plan,
        conditions=conditions,
        examples={name: texts for name, (_, texts) in parts.items()},
        texts={name: _described(*part, digests[name]) for name, part in parts.items()},
        notes=tuple(notes),
    )


def _described(data: Dataset, examples: Sequence[Example], digest: str) -> Texts:
    return Texts(
        files=data.files,
        documents=len(examples),
        form=data.form,
        digest=digest,
        skipped=data.skipped,
    )
