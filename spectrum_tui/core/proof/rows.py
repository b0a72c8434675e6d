"""The rows of a proof: what one trains, and what came of it. Each is a file of its own."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from spectrum_tui.core import json_text
from spectrum_tui.core.conforming import conforms


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What all rows of a proof have in common: the model, the texts, and how long it trains.

    `files` is a digest of what a model in a folder is, whose `revision` is not known. `train`,
    `held_out` and `kept` are files of `Example`s, one in a line, as `dataset.split` wrote them;
    `digests` are theirs, in that order. A batch is `batch` sequences of `sequence` tokens.
    The rate rises over the first `warmup` of the `steps`, a share, and falls to 0 in a line.
    Several `processes`, one for each GPU, share each batch.
    """

    model: str
    revision: str = ""
    files: str = ""
    model_class: str = ""
    train: str
    held_out: str
    kept: str = ""
    digests: tuple[str, ...] = ()
    batch: int = 2
    sequence: int = 512
    warmup: float = 0.1
    weight_decay: float = 0.0
    dtype: str = "auto"
    device: str = "auto"
    checkpointing: bool = False
    processes: int = 1
    judged: int = 64
    """Most sequences of each text that losses are measured on."""

    @property
    def same(self) -> dict[str, Any]:
        """What decides a result, wherever the files lie."""
        fields = asdict(self)
        for name in ("train", "held_out", "kept"):
            del fields[name]
        return fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One training: a method with one seed and one rate.

    `names` are the parameters that train, empty for all of them; a row of adapters has the `files`
    of its recipe instead, (name, text), the Python file last. A `trial` is a short one that looks
    for the rate. The seed decides the order of the data and the layers of a random draw.
    """

    method: str
    seed: int
    rate: float
    steps: int
    names: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    trial: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the process of a row gets to do."""

    conditions: Conditions
    row: Row

    @property
    def key(self) -> str:
        """A name for the result: the same for the same training on the same texts, wherever the
        files lie."""
        same = {"conditions": self.conditions.same, "row": asdict(self.row)}
        text = json.dumps(same, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:20]


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """Mean loss in nats per learned token, of the held-out text and of the text to keep (None
    without one)."""

    held_out: float
    kept: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytes:
    """What a row held in memory: tensors after a step, and the peaks of device and process beyond
    what was there before the model was loaded (0 where the system does not tell)."""

    weights: int
    gradients: int
    optimizer: int
    peak_device: int = 0
    peak_process: int = 0


OUT_OF_MEMORY = "out of memory"
KILLED = "killed (SIGKILL; out of memory?)"
DIVERGED = "the loss is no number any more"
"""Errors of an outcome that mean more than that the row could not run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a row: losses, sizes and times, or the `error` that ended it.

    `curve` is (step, training loss) of every step. `tokens` are those that it trained on, `density`
    how many there are to a character of text. `step_seconds` is the median, `seconds` those of the
    row without the losses before, which many rows share. `dtype` is that of the
    weights; `device` and `versions` say on what it ran. A trial is judged on the text by which
    rates are found, not on the held-out one.
    """

    method: str
    seed: int
    rate: float
    steps: int
    trial: bool = False
    before: Losses | None = None
    after: Losses | None = None
    curve: tuple[tuple[int, float], ...] = ()
    trained: int = 0
    memory: Bytes | None = None
    tokens: int = 0
    density: float = 0.0
    step_seconds: float = 0.0
    seconds: float = 0.0
    dtype: str = ""
    device: str = ""
    finished: str = ""
    error: str = ""
    hint: str = ""
    versions: dict[str, str] = field(default_factory=dict)


def outcome_data(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as strict JSON holds it: a loss that is no number as "nan" or "inf"."""
    data: dict[str, Any] = _plain(asdict(outcome))
    return data


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def outcome_of(data: Any) -> Outcome:
    """Return the outcome that `outcome_data` gave; raises ValueError for anything else."""
    try:
        fields = dict(data)
        for name in ("before", "after"):
            fields[name] = None if fields[name] is None else Losses(**_losses(fields[name]))
        fields["memory"] = None if fields["memory"] is None else Bytes(**fields["memory"])
        fields["curve"] = tuple((step, _loss(loss)) for step, loss in fields["curve"])
        outcome = Outcome(**fields)
    except json_text.WRONG_SHAPE:
        raise ValueError("not the outcome of a row") from None
    if not (conforms(outcome, Outcome) and _is_possible(outcome)):
        raise ValueError("not the outcome of a row")
    return outcome


def _is_possible(outcome: Outcome) -> bool:
    """Return whether sizes and times are such as there can be: they are computed with."""
    held = asdict(outcome.memory) if outcome.memory else {}
    counts = (outcome.seed, outcome.steps, outcome.trained, outcome.tokens, *held.values())
    times = (outcome.rate, outcome.step_seconds, outcome.seconds)
    return all(0 <= n < 2**63 for n in counts) and all(0 <= x < 1e12 for x in times)


def _losses(data: Any) -> dict[str, Any]:
    return {name: _loss(value) for name, value in dict(data).items()}


def _loss(value: Any) -> Any:
    return float(value) if value in ("nan", "inf", "-inf") else value


def job_text(job: Job) -> str:
    """Return a job as one line of JSON."""
    return json.dumps(asdict(job))


def job_of(text: str) -> Job:
    """Return the job that `job_text` wrote; raises ValueError for anything else."""
    try:
        data = json.loads(text)
        conditions, row = data["conditions"], data["row"]
        conditions["digests"] = tuple(conditions["digests"])
        row["names"] = tuple(row["names"])
        row["files"] = tuple((name, content) for name, content in row["files"])
        job = Job(conditions=Conditions(**conditions), row=Row(**row))
    except json_text.WRONG_SHAPE:
        raise ValueError("not the job of a row") from None
    if not conforms(job, Job):
        raise ValueError("not the job of a row")
    return job


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What the process of a row says while it runs: `doing` it, at `step` of `steps`, with the
    training loss of that step (NaN before the first)."""

    doing: str
    step: int = 0
    steps: int = 0
    loss: float = float("nan")


def message_text(message: Progress | Outcome) -> str:
    """Return as one line of JSON what the process of a row says."""
    return json.dumps({type(message).__name__: asdict(message)})


def message_of(line: str) -> Progress | Outcome:
    """Return what `message_text` wrote; raises ValueError for anything else."""
    try:
        ((kind, fields),) = json.loads(line).items()
        said = outcome_of(fields) if kind == "Outcome" else Progress(**fields)
    except json_text.WRONG_SHAPE:
        raise ValueError("not what a row says") from None
    if not conforms(said, type(said)):
        raise ValueError("not what a row says")
    return said
