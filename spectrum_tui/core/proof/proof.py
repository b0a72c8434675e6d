"""A proof as a whole: on what it was made, what came of its rows, and what may be said of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from spectrum_tui.core import json_text
from spectrum_tui.core.conforming import conforms
from spectrum_tui.core.errors import InputError
from spectrum_tui.core.proof.methods import parse_method
from spectrum_tui.core.proof.rows import Conditions, Outcome, outcome_data, outcome_of
from spectrum_tui.core.proof.statistics import LEVEL
from spectrum_tui.core.text import printable_json

VERSION = 1
"""Of the form of proof.json."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """What the model is trained on, or judged by: `digest` is that of the examples."""

    files: tuple[str, ...]
    documents: int
    form: str
    digest: str
    tokens: int = 0
    skipped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two methods on the same seeds: `difference` is the mean loss of `one` less that of `other`
    on a text ("held_out" or "kept"), `spread` the standard deviation of the differences.

    `p` is two-sided, of the paired t test, times the number of methods of which `one` was taken
    for its loss; `adjusted` is p by Holm's correction over all comparisons of the proof. `least` is
    about the smallest difference that would have been found.
    """

    one: str
    other: str
    text: str
    seeds: int
    difference: float
    spread: float
    p: float
    adjusted: float = 1.0
    least: float = 0.0

    @property
    def found(self) -> bool:
        """Whether the difference is more than chance."""
        return self.adjusted < LEVEL


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What may be said, in sentences, and the comparisons that they rest on. `best` is the method
    of the lowest mean loss on the held-out text, "" without any."""

    lines: tuple[str, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    best: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """All of a proof. `rates` are those that the methods were trained with, `found` the ones of
    them that a sweep decided; the trials of the sweep are among the `outcomes`. `warning` says
    where the model is not the one that was scored."""

    model: str
    scores: str
    conditions: Conditions
    texts: dict[str, Texts]
    methods: tuple[str, ...]
    seeds: int
    steps: int
    rates: dict[str, float]
    total_parameters: int = 0
    embeddings: bool = True
    found: tuple[str, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    verdict: Verdict = field(default_factory=Verdict)
    program: str = ""
    written: str = ""
    price: float = 0.0
    warning: str = ""


def proof_text(proof: Proof) -> str:
    """Return proof.json: a line for each outcome, so that it can be read and compared."""
    data: dict[str, Any] = {"version": VERSION, **asdict(proof)}
    data["outcomes"] = [outcome_data(outcome) for outcome in proof.outcomes]
    parts = (f'  "{name}": {_value(value)}' for name, value in data.items())
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _value(value: Any) -> str:
    if not isinstance(value, list) or not value:
        return printable_json(value, one_line=True)
    lines = (f"    {printable_json(one, one_line=True)}" for one in value)
    return "[\n" + ",\n".join(lines) + "\n  ]"


def proof_of(data: Any) -> Proof:
    """Return the proof of what `proof_text` wrote, parsed; raises ValueError for anything else."""
    try:
        fields = dict(data)
        if fields.pop("version") != VERSION:
            raise ValueError("another version")
        conditions = dict(fields["conditions"])
        conditions["digests"] = tuple(conditions["digests"])
        fields["conditions"] = Conditions(**conditions)
        fields["texts"] = {name: _texts(one) for name, one in fields["texts"].items()}
        fields["outcomes"] = tuple(map(outcome_of, fields["outcomes"]))
        fields["verdict"] = _verdict(fields["verdict"])
        fields["methods"], fields["found"] = tuple(fields["methods"]), tuple(fields["found"])
        proof = Proof(**fields)
    except json_text.WRONG_SHAPE:
        raise ValueError("not a proof") from None
    if not (conforms(proof, Proof) and _is_possible(proof)):
        raise ValueError("not a proof")
    return proof


def _is_possible(proof: Proof) -> bool:
    """Return whether the methods are some and the numbers such as there can be."""
    counts = (proof.seeds, proof.steps, proof.total_parameters, proof.conditions.batch)
    try:
        methods = [parse_method(method).text for method in proof.methods]
    except InputError:
        return False
    return (
        methods == list(proof.methods)
        and all(0 <= n < 2**63 for n in counts)
        and all(0 < rate <= 1 for rate in proof.rates.values())
        and 0 <= proof.price < 1e12
    )


def _texts(data: Mapping[str, Any]) -> Texts:
    return Texts(**{**data, "files": tuple(data["files"])})


def _verdict(data: Mapping[str, Any]) -> Verdict:
    comparisons = tuple(Comparison(**one) for one in data["comparisons"])
    return Verdict(**{**data, "lines": tuple(data["lines"]), "comparisons": comparisons})
