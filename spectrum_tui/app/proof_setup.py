"""What a proof is set up with: the methods that are offered, what is typed, and what it will take.

Nothing here draws; all that reads a file or counts layers is to be called on a thread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from spectrum_tui.app.proof_offers import SELECTION_FILE, Offer, checked
from spectrum_tui.app.proof_run import ProofRun
from spectrum_tui.core.dataset.describing import describe, noun_of
from spectrum_tui.core.dataset.examples import Dataset
from spectrum_tui.core.dataset.reading import read_dataset
from spectrum_tui.core.dataset.split import split
from spectrum_tui.core.errors import InputError, ResultsError, SpectrumError
from spectrum_tui.core.files import is_file, output_folder, slug_of_name, write_text
from spectrum_tui.core.memory.estimate import Estimate, MemoryTable
from spectrum_tui.core.memory.model import ModelSizes
from spectrum_tui.core.memory.presets import parse_batch, parse_gpus, parse_sequence, preset_named
from spectrum_tui.core.numbers import count, counted
from spectrum_tui.core.option import whole_number
from spectrum_tui.core.proof.methods import Method
from spectrum_tui.core.proof.plan import (
    MOST_SEEDS,
    MOST_STEPS,
    Plan,
    memory_in_all,
    parse_dtype,
    parse_price,
    training_of,
)
from spectrum_tui.core.proof.proof import Proof
from spectrum_tui.core.proof.rates import FIRST, parse_rates, rate_text, trial_steps
from spectrum_tui.core.proof.rows import Conditions
from spectrum_tui.core.proof.store import PROOF, check_folder, read_proof
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.recipes.kinds import DEFAULT_KIND
from spectrum_tui.core.recipes.spectrum import named
from spectrum_tui.core.recipes.writing import drafted
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.settings import Settings
from spectrum_tui.proving.preparing import NO_KEPT, Asked, conditions_of, prepare

LETTERS_OF_A_TOKEN = 4
"""About, in English: the tokenizer is not loaded before the first row."""
# -- what is typed ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """The fields as they stand there."""

    data: str = ""
    kept: str = ""
    steps: str = "200"
    seeds: str = "3"
    batch: str = "2"
    sequence: str = "512"
    rates: str = ""
    held_out: str = ""
    dtype: str = "auto"
    gpus: str = "1"
    price: str = ""
    folder: str = ""
    model: str = ""
    checkpointing: bool = False


FIELDS = (
    *("data", "kept", "steps", "seeds", "batch", "sequence", "rates"),
    *("held_out", "dtype", "gpus", "price", "folder", "model"),
)
"""What has a field, as `Typed` calls it; the last two are of no earlier proof."""


def names_of(text: str) -> tuple[str, ...]:
    """Return the files in a field, with commas between them."""
    return tuple(filter(None, (part.strip() for part in text.split(","))))


def folder_of(result: Result) -> str:
    """Return where a proof of these scores goes: beside their file."""
    name = f"proof_{slug_of_name(result.provenance.model or 'model')}"
    return str(Path(result.source).absolute().parent / name) if result.source else name


def model_of(result: Result, settings: Settings) -> str:
    """Return where the model is, as far as the scores or the way to them tell; raises InputError
    where neither does. Scores of a folder hold its name alone."""
    try:
        return conditions_of(result).model
    except InputError:
        name = result.provenance.model
        if name and output_folder(settings.model).name == name:
            return conditions_of(result, settings.model).model
        raise


def numbers_of(typed: Typed) -> dict[str, int]:
    """Return the numbers; raises InputError for one that is none, with its field."""
    return {
        "steps": whole_number(typed.steps, 1, MOST_STEPS, "steps", "Steps", f"1 to {MOST_STEPS:,}"),
        "seeds": whole_number(typed.seeds, 1, MOST_SEEDS, "seeds", "Seeds", f"1 to {MOST_SEEDS}"),
        "batch": parse_batch(typed.batch),
        "sequence": parse_sequence(typed.sequence),
        "processes": parse_gpus(typed.gpus),
    }


def typed_before(proof: Proof) -> Typed:
    """Return what an earlier proof was set up with."""
    given = {name: one.files for name, one in proof.texts.items()}
    train, held_out = given.get("train", ()), given.get("held_out", ())
    rates = [f"{m}={rate_text(rate)}" for m, rate in proof.rates.items() if m not in proof.found]
    had = proof.conditions
    return Typed(
        data=", ".join(train),
        held_out="" if held_out == train else ", ".join(held_out),
        dtype=had.dtype,
        gpus=str(had.processes),
        price=f"{proof.price:g}" if proof.price else "",
        kept=", ".join(given.get("kept", (NO_KEPT,))),
        steps=str(proof.steps),
        seeds=str(proof.seeds),
        batch=str(had.batch),
        sequence=str(had.sequence),
        checkpointing=had.checkpointing,
        rates="" if any(m.startswith("policy:") for m in proof.rates) else ",".join(rates),
    )


# -- what is found, on a thread --------------------------------------------------------------------


def read_texts(text: str, *, media: bool = False) -> str:
    """Return how much the files in a field hold; raises DataError. See `read_dataset`."""
    data = read_dataset(names_of(text), media=media)
    return "; ".join((_amount(data), *_left_out(data)))


def read_data(text: str) -> str:
    """Return the same of the data, and how much of it judges; raises DataError."""
    data = read_dataset(names_of(text))
    parted = split(data)
    held = counted(len(parted.held_out), "is", "are")
    held = f"{held} held out" if len(data.examples) > 1 else "its end is held out"
    return "; ".join((_amount(data), held, *_left_out(data)))


def _amount(data: Dataset) -> str:
    letters = sum(len(example.characters) for example in data.examples)
    said = counted(len(data.examples), noun_of(data))
    if data.form in ("image", "audio"):
        return said
    return f"{said}, about {count(letters / LETTERS_OF_A_TOKEN)} tokens"


def _left_out(data: Dataset) -> list[str]:
    return describe(data)[1:]


def earlier(folder: str) -> Proof | None:
    """Return the proof that is in a folder already, None without one."""
    place = output_folder(folder)
    try:
        return read_proof(place) if is_file(place / PROOF) else None
    except (ResultsError, OSError, ValueError):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What methods take: an estimate by method, and the reason for those that cannot be."""

    estimates: Mapping[Method, Estimate] = field(default_factory=dict)
    refused: Mapping[Method, str] = field(default_factory=dict)


def costs_of(
    choice: Choice, methods: Sequence[Method], conditions: Conditions, *, half: bool
) -> Costs:
    """Return what each method takes in memory, nothing where no sizes are known."""
    selection, embeddings = choice.selection, choice.policy.embeddings
    result = selection.result
    if not result.parameters:
        return Costs()
    sizes, training = ModelSizes(result.parameters, result.embeddings), training_of(conditions)
    own = replace(training, preset=preset_named("bf16" if half else "fp32"))
    estimates: dict[Method, Estimate] = {}
    refused: dict[Method, str] = {}
    for method in methods:
        plan = Plan(selection=selection, methods=(method,), embeddings=embeddings)
        try:
            if method.kind == "policy":  # its file is written at the start
                names = named(selection, choice.policy)
                estimates[method] = MemoryTable(selection, sizes).of_names(names, own)
            else:
                found = memory_in_all(plan, sizes, training, half=half)
                estimates[method] = found[method.text]
        except SpectrumError as exc:
            refused[method] = str(exc)
    return Costs(estimates=estimates, refused=refused)


def measured_step(proof: Proof | None, costs: Costs, batch: int, sequence: int) -> float:
    """Return the seconds of a step that trains everything, by the rows of an earlier proof of as
    many tokens; 0 where none tells."""
    if proof is None or (proof.conditions.batch, proof.conditions.sequence) != (batch, sequence):
        return 0.0
    shares = {method.text: one.step for method, one in costs.estimates.items()}
    steps = [
        one.step_seconds / shares[one.method]
        for one in proof.outcomes
        if one.step_seconds and shares.get(one.method)
    ]
    return sorted(steps)[len(steps) // 2] if steps else 0.0


def conditions_with(given: Mapping[str, int], *, checkpointing: bool) -> Conditions:
    """Return conditions with these numbers, of no model or text, to estimate by."""
    return Conditions(
        model="",
        train="",
        held_out="",
        batch=given["batch"],
        sequence=given["sequence"],
        checkpointing=checkpointing,
    )


def seconds_of(typed: Typed, offers: Sequence[Offer], costs: Costs, step: float) -> float:
    """Return how long all steps take where a step of everything takes `step` seconds, NaN where
    that is not known."""
    methods = tuple(checked(offers, Path()))
    if not step or any(method not in costs.estimates for method in methods):
        return math.nan
    given = numbers_of(typed)
    rates = parse_rates(typed.rates, methods) if typed.rates.strip() else {}
    trial = FIRST * trial_steps(given["steps"])
    return sum(
        (given["steps"] * given["seeds"] + (0 if method.text in rates else trial))
        * step * costs.estimates[method].step
        for method in methods
    )  # fmt: skip


def in_all(typed: Typed, methods: Sequence[Method]) -> str:
    """Return how many rows there are, and how many steps; raises InputError."""
    given = numbers_of(typed)
    parse_dtype(typed.dtype)
    parse_price(typed.price)
    steps, rows = given["steps"], len(methods) * given["seeds"]
    rates = parse_rates(typed.rates, methods) if typed.rates.strip() else {}
    trials = FIRST * sum(method.text not in rates for method in methods)
    total = rows * steps + trials * trial_steps(steps)
    said = f"{counted(rows, 'row')} of {counted(steps, 'step')}"
    if trials:
        said += f" and {counted(trials, 'trial')} of {trial_steps(steps):,} for the rates"
    return f"{said}: {counted(total, 'step')} in all"


# -- the start -------------------------------------------------------------------------------------


def prepared(typed: Typed, offers: Sequence[Offer], choice: Choice, settings: Settings) -> ProofRun:
    """Read the texts, draw the rows, write both into the folder, and return the run that is ready
    to begin; raises SpectrumError."""
    result = choice.selection.result
    folder = output_folder(typed.folder.strip() or folder_of(result))
    methods = tuple(dict.fromkeys(one.method(folder) for one in offers if one.checked))
    if not methods:
        raise InputError("No method is checked.", "Check some with space.", field="methods")
    given = numbers_of(typed)
    model = typed.model.strip() or model_of(result, settings)
    asked = Asked(
        result=result,
        scores=str(Path(result.source).absolute()) if result.source else "",
        folder=folder,
        data=names_of(typed.data),
        held_out=names_of(typed.held_out),
        kept=names_of(typed.kept),
        methods=methods,
        rates=parse_rates(typed.rates, methods) if typed.rates.strip() else {},
        steps=given["steps"],
        seeds=given["seeds"],
        embeddings=choice.policy.embeddings,
        price=parse_price(typed.price),
        conditions=replace(
            conditions_of(result, model),
            batch=given["batch"],
            sequence=given["sequence"],
            processes=given["processes"],
            dtype=parse_dtype(typed.dtype),
            checkpointing=typed.checkpointing,
            device=device_of(settings),
        ),
    )
    if any(method.kind == "policy" for method in methods):
        check_folder(folder, asked.model)
        write_text(folder / SELECTION_FILE, drafted(DEFAULT_KIND, choice)[0].text)
    return ProofRun(prepare(asked))


def device_of(settings: Settings) -> str:
    """Return the device of the scans, which may be several: then any."""
    return settings.device if "," not in settings.device else "auto"
