"""The rows of a proof: methods by seeds, the trials before them, and what they will take."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.memory.estimate import Estimate, MemoryTable
from spectrum_tui.core.memory.model import ModelSizes
from spectrum_tui.core.memory.presets import Training, preset_named
from spectrum_tui.core.option import number
from spectrum_tui.core.proof.draw import drawn, recipe_choice
from spectrum_tui.core.proof.methods import Method
from spectrum_tui.core.proof.rates import (
    best_rate,
    first_rates,
    next_rate,
    trial_steps,
    usual_rate,
)
from spectrum_tui.core.proof.rows import Conditions, Outcome, Row
from spectrum_tui.core.recipes.adapters import adapter_layers
from spectrum_tui.core.recipes.peft_kinds import DYNAMIC, GROUPS, LORA, TIERS
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.text import safe

MOST_STEPS, MOST_SEEDS = 1_000_000, 100
ASK_ABOVE = 3600.0
"""Seconds of an estimate above which whoever asked is asked again."""
DTYPES = ("auto", "float32", "bfloat16")
"""Types of the weights."""
_COUNTED = {"tiers": TIERS, "groups": GROUPS, "dynamic": DYNAMIC}
"""The kinds of recipe that no preset of memory is of: plain LoRA otherwise."""


def parse_price(text: str) -> float:
    """Return a price of an hour, 0 for none; raises InputError (field "price")."""
    price = number(text or "0")
    if not 0 <= price < 1e6:
        raise InputError(
            f"The price {safe(text)!r} is no amount per hour.",
            "Give a number, as 2.5.",
            field="price",
        )
    return price


def parse_device(text: str) -> str:
    """Return the name of a device, there or not: that is known once torch is; raises InputError."""
    device = text.strip().lower() or "auto"
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]{1,4})?", device):
        raise InputError(
            f"{safe(text.strip())!r} is no device.",
            "Give auto, cpu, cuda, cuda:1 or mps.",
            field="device",
        )
    return device


def check_shared(conditions: Conditions) -> None:
    """Raise InputError where several processes cannot have equal parts of each batch."""
    if conditions.batch % conditions.processes:
        raise InputError(
            f"A batch of {conditions.batch} cannot be shared by {conditions.processes} processes.",
            f"Give a multiple: --batch {conditions.processes}.",
            field="batch",
        )


def parse_dtype(text: str) -> str:
    """Return the type of the weights that is typed; raises InputError (field "dtype")."""
    typed = text.strip().lower()
    if typed not in DTYPES:
        raise InputError(
            f"There are no weights in {safe(text)!r}.",
            f"Give {' or '.join(DTYPES)}.",
            field="dtype",
        )
    return typed


@dataclass(frozen=True, eq=False, kw_only=True)
class Plan:
    """What is to be compared: every method with seeds 0 to `seeds`, for `steps` each. `rates` are
    those that are given; the other methods look for theirs."""

    selection: Selection
    methods: tuple[Method, ...]
    seeds: int = 3
    steps: int = 200
    embeddings: bool = True
    rates: Mapping[str, float] = field(default_factory=dict)
    _drawn: dict[tuple[Method, int], Row] = field(default_factory=dict, init=False, repr=False)

    @property
    def swept(self) -> tuple[Method, ...]:
        """The methods whose rate is looked for."""
        return tuple(method for method in self.methods if method.text not in self.rates)

    def row(self, method: Method, seed: int, rate: float, steps: int = 0) -> Row:
        """Return a row of so many steps, 0 for all; raises SpectrumError for what the scores
        forbid. What is drawn is kept: the recipe of 60,000 layers takes 2 s to write."""
        key = (method, seed if method.is_random else 0)
        if key not in self._drawn:
            self._drawn[key] = drawn(
                method, self.selection, seed=seed, rate=rate, steps=0, embeddings=self.embeddings
            )
        return replace(self._drawn[key], seed=seed, rate=rate, steps=steps or self.steps)

    def trial(self, method: Method, rate: float) -> Row:
        """Return the short row that tries a rate, with the first seed."""
        return replace(self.row(method, 0, rate, trial_steps(self.steps)), trial=True)

    def next_trial(self, method: Method, tried: Iterable[Outcome]) -> Row | None:
        """Return the next trial of a method, given what came of those before; None where its rate
        is found, or where one could not run (see `rates.next_rate`)."""
        rate = next_rate(method, tried)
        return None if rate is None else self.trial(method, rate)

    def turns(self) -> Iterator[tuple[Method, int]]:
        """Yield (method, seed) of every row, one seed after the other, so that every method has a
        row before any has two. The trials of a method go before its first row."""
        return ((method, seed) for seed in range(self.seeds) for method in self.methods)

    def rows(self, rates: Mapping[str, float]) -> tuple[Row, ...]:
        """Return the rows of all methods that have a rate, in their order. Raises SpectrumError for
        what the scores forbid."""
        return tuple(
            self.row(method, seed, rates[method.text])
            for method, seed in self.turns()
            if method.text in rates
        )

    def expected(self, found: Mapping[str, float] | None = None) -> tuple[Row, ...]:
        """Return all rows and trials as far as they are known, given the rates that were `found` up
        to now: with the usual rates elsewhere, and without the trials that a sweep may go on to."""
        known = {method.text: usual_rate(method) for method in self.methods}
        known |= {**self.rates, **(found or {})}
        trials = (self.trial(method, rate) for method in self.swept for rate in first_rates(method))
        return (*trials, *self.rows(known))


def found_rates(trials: Iterable[Outcome]) -> dict[str, float]:
    """Return the rate that the trials of each method decide on; a method without one is missing."""
    by_method: dict[str, list[Outcome]] = {}
    for outcome in trials:
        if outcome.trial:
            by_method.setdefault(outcome.method, []).append(outcome)
    found = {method: best_rate(tried) for method, tried in by_method.items()}
    return {method: rate for method, rate in found.items() if rate is not None}


# -- what it will take ----------------------------------------------------------------------------


def steps_in_all(rows: Iterable[Row]) -> int:
    """Return the number of training steps of rows."""
    return sum(row.steps for row in rows)


def seconds_in_all(
    rows: Iterable[Row],
    step_seconds: float,
    *,
    row_seconds: float = 0.0,
    costs: Mapping[str, float] | None = None,
) -> float:
    """Return how long rows will take: `row_seconds` each to load and to judge, and for their steps
    `step_seconds`, which training everything takes; of other methods the share in `costs`
    (`Estimate.step`), by method."""
    share = costs or {}
    return sum(row_seconds + row.steps * step_seconds * share.get(row.method, 1.0) for row in rows)


def training_of(conditions: Conditions) -> Training:
    """Return what the estimates of memory depend on besides the choice, on one device."""
    return Training(
        batch=conditions.batch,
        sequence=conditions.sequence,
        checkpointing=conditions.checkpointing,
    )


def memory_in_all(
    plan: Plan, sizes: ModelSizes, training: Training, *, half: bool
) -> dict[str, Estimate]:
    """Return what each method takes in memory, by method; of a random draw that of seed 0. `half`
    says whether the weights are bf16, else they are fp32."""
    table = MemoryTable(plan.selection, sizes)
    found = {}
    for method in plan.methods:
        if method.adapts:
            found[method.text] = _adapted(method, plan, table, training, half=half)
        else:
            names = plan.row(method, 0, usual_rate(method)).names or sizes.index
            preset = preset_named("bf16" if half else "fp32")
            found[method.text] = table.of_names(names, replace(training, preset=preset))
    return found


def _adapted(
    method: Method, plan: Plan, table: MemoryTable, training: Training, *, half: bool
) -> Estimate:
    name = method.kind if method.kind in ("qlora", "hybrid") else "lora"
    preset = preset_named(name)
    if not (half or preset.four_bit):
        preset = replace(preset, weights=4.0)
    choice = recipe_choice(method, plan.selection, embeddings=plan.embeddings)
    estimate = table.estimate(choice.policy, replace(training, preset=preset))
    if method.kind not in _COUNTED:
        return estimate
    kind = _COUNTED[method.kind]
    count = kind.count(choice)
    more = count.adapters - LORA.count(choice).adapters
    waiting = kind.made(adapter_layers(choice.selection), choice) - count.parameters
    return replace(
        estimate,
        trained=estimate.trained + more,
        weights=estimate.weights + 4.0 * (more + waiting),
        gradients=estimate.gradients + preset.gradients * more,
        optimizer=estimate.optimizer + preset.optimizer * more,
    )
