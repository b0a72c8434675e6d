"""What a probe is asked, and what it says: lines of JSON between two processes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from spectrum_tui.core import json_text
from spectrum_tui.core.conforming import conforms
from spectrum_tui.core.option import whole_number

MOST_BATCHES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The weight of one layer, and what its matrices are called where it has several."""

    parameter: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeJob:
    """A model, the data to look at it with, and the layers that are measured.

    `data` is a file of `Example`s under a `digest`. `memory` is what may be taken in bytes, 0 for
    what is free. `checkpoint` and `digest` are what sketches are found by.
    """

    model: str
    revision: str = ""
    model_class: str = ""
    allow_gptq: bool = False
    data: str
    digest: str
    batches: int = 16
    batch: int = 2
    sequence: int = 512
    device: str = "auto"
    dtype: str = "auto"
    memory: int = 0
    checkpoint: str = ""
    targets: tuple[Target, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a probe goes about it: `passes` over the data, and how many bytes of `memory` it takes.
    `tokens` are counted in a `unit`, which of other data than text is images or recordings.

    `recompute`: blocks are computed once more for their gradients. `hold`: all weights stay in
    memory.
    """

    passes: int
    recompute: bool
    hold: bool
    memory: int
    device: str
    dtype: str
    tokens: int
    unit: str = "tokens"
    model_class: str

    @property
    def held(self) -> str:
        """What of the model is in memory at a time, in words."""
        return "the model whole" if self.hold else "a block at a time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Doing:
    """A batch is done: `step` of `steps`, over all passes."""

    step: int
    steps: int

    def left(self, seconds: float) -> float:
        """Return the seconds that are left, where those that are done took so many."""
        return seconds / self.step * (self.steps - self.step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What came of a probe: of each target {metric: a value for each of its matrices}, {} where it
    is no part of the model that computed; or the `error` that ended it."""

    values: tuple[dict[str, tuple[float, ...]], ...] = ()
    loss: float = 0.0
    batches: int = 0
    tokens: int = 0
    unit: str = "tokens"
    seconds: float = 0.0
    model_class: str = ""
    device: str = ""
    dtype: str = ""
    notes: tuple[str, ...] = ()
    error: str = ""
    hint: str = ""
    versions: dict[str, str] = field(default_factory=dict)


def parse_batches(text: str, what: str = "--batches") -> int:
    """Return how many batches to measure on, at least the two that a spread takes; raises
    InputError (field "batches"), which calls the number `what`."""
    return whole_number(text, 2, MOST_BATCHES, "batches", what, f"2 to {MOST_BATCHES:,}")


Said = Plan | Doing | Probed
_KINDS: dict[str, type[Plan | Doing | Probed]] = {
    kind.__name__: kind for kind in (Plan, Doing, Probed)
}


def job_text(job: ProbeJob) -> str:
    """Return a job as one line of JSON."""
    return json.dumps(asdict(job))


def job_of(text: str) -> ProbeJob:
    """Return the job that `job_text` wrote; raises ValueError for anything else."""
    try:
        data = json.loads(text)
        data["targets"] = tuple(
            Target(parameter=one["parameter"], labels=tuple(one["labels"]))
            for one in data["targets"]
        )
        job = ProbeJob(**data)
    except json_text.WRONG_SHAPE:
        raise ValueError("not the job of a probe") from None
    if not conforms(job, ProbeJob):
        raise ValueError("not the job of a probe")
    return job


def said_text(said: Said) -> str:
    """Return as one line of JSON what a probe says."""
    return json.dumps({type(said).__name__: asdict(said)})


def said_of(line: str) -> Said:
    """Return what `said_text` wrote; raises ValueError for anything else."""
    try:
        ((kind, fields),) = json.loads(line).items()
        if kind == "Probed":
            fields = _probed(fields)
        said = _KINDS[kind](**fields)
    except json_text.WRONG_SHAPE:
        raise ValueError("not what a probe says") from None
    if not conforms(said, type(said)):
        raise ValueError("not what a probe says")
    return said


def _probed(fields: dict[str, Any]) -> dict[str, Any]:
    values = tuple(
        {name: tuple(map(float, parts)) for name, parts in dict(one).items()}
        for one in fields["values"]
    )
    return {**fields, "values": values, "notes": tuple(fields["notes"])}
