"""What the user chose, and the table of what can be chosen."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.policy_values import (
    PER_TYPE,
    RULES,
    Blocks,
    Budget,
    TypePercents,
    blocks_text,
    parse_blocks,
    parse_budget,
    parse_percent,
    parse_rule,
    parse_type_percents,
    type_percent_texts,
)

RECIPES = (".yaml", ".yml")
"""How the names of recipes end."""
DEFAULT_PERCENT = 50
"""The percentage of the reference tool."""

DEMO = "demo"
"""What is typed for the demonstration model (a folder of that name is `./demo`)."""
DEMO_NAME = "spectrum-tui-demo"
"""What the demonstration model is called in files, so that none is taken for a real model's."""

METRICS = ("spectrum", "calibrated", "stable_rank", "effective_rank")
"""What layers can be ranked by (see `scoring.metrics`); here, where numpy is not needed."""
METRIC = METRICS[0]
"""The reference tool's."""


def parse_metric(text: str) -> str:
    """Return the name of a metric, "" where none is asked for; raises InputError."""
    name = text.strip().lower().replace("-", "_")
    if text and name not in METRICS:
        raise InputError(
            f"There is no metric {text!r}.", f"Choose from {', '.join(METRICS)}.", field="metric"
        )
    return name


SIGNALS = ("title", "progress", "bell")
"""What a terminal can be told beside what is drawn in it (see `stdio.terminal_signals`)."""
AUTO = "auto"


def parse_signals(text: str) -> tuple[str, ...]:
    """Return the parts of `SIGNALS` that are named, none for `none`; raises InputError."""
    names = tuple(name.strip().lower() for name in text.split(","))
    if names == ("none",):
        return ()
    if unknown := [name for name in names if name not in (AUTO, *SIGNALS)]:
        raise InputError(
            f"There is no signal {unknown[0]!r}.",
            f"Choose from {', '.join(SIGNALS)}, separated by commas, or {AUTO} or none.",
            field="signals",
        )
    return names


def parse_batch_size(text: str) -> int:
    """Return how many matrices are in work at once, 0 for `auto`; raises InputError."""
    if text.strip().lower() in ("", "auto"):
        return 0
    return whole_number(text, 1, 1024, "batch_size", "The batch size", "1 or more, or auto")


def _now(asked: bool) -> float:
    return time.time() if asked else 0.0


def whole_number(text: str, low: int, high: int, field: str, what: str, allowed: str) -> int:
    """Return a whole number from `low` to `high`; raises InputError with that field, which says
    `what` it is and which are `allowed`."""
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise InputError(
            f"{what} {text.strip()!r} is not usable.",
            f"Give a whole number, {allowed}.",
            field=field,
        )
    return value


Change = Literal["model", "names", "scores", "speed", "output"]
"""What depends on an option first: which files are read, what their parameters are called, scores,
how long these take, or what is written of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What the command line and the setup screen know of a setting.

    `only` is the command that has the option where the app and `scan` do not both. It `takes` one
    value, several, one at each mention, or nothing. `check` makes a value of what is typed, or
    raises InputError, and `write` the other way; `unset` stands for 0 and "". `label`, `note` and
    `placeholder` are its field's on the setup screen.
    """

    flag: str
    default: Any
    help: str
    changes: Change
    only: Literal["", "app", "scan"] = ""
    metavar: str | None = None
    choices: tuple[str, ...] | None = None
    takes: Literal["one", "several", "each", "nothing"] = "one"
    check: Callable[[Any], Any] | None = None
    write: Callable[[Any], Any] = str
    unset: str = ""
    label: str = ""
    note: str = ""
    placeholder: str = ""

    def value(self, typed: Any) -> Any:
        """Return the value that is typed; raises InputError."""
        return (self.check or type(self.default))(typed)

    def text(self, value: Any) -> Any:
        """Return a value as it is typed; several texts where it takes one at each mention."""
        return self.write(value) if value or not self.unset else self.unset


def _setting(**about: Any) -> Any:
    option = Option(**about)
    return field(default=option.default, metadata={"option": option})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`batch_size` 0 and device "auto" leave the choice to the machine, an empty `model_class` to
    what trainers do. `precision` "auto" is exact wherever the device has fast float64. An empty
    `metric` is the one that a file of scores was saved with, and the reference's for a scan.
    `types` are shell patterns on the command line, the exact types of layers for a scan, every
    type of matrices without one (of the language model where there are several towers). Scores of
    these that are older than `since`, in seconds since 1970, are computed again."""

    model: str = _setting(
        flag="model",
        default="",
        metavar="MODEL",
        help="folder or Hugging Face id of the model",
        changes="model",
        label="Model",
        note="A folder of safetensors or a Hugging Face id; enter reads it",
        placeholder="folder, or org/name on Hugging Face",
    )
    top_percent: float = _setting(
        flag="--top-percent",
        default=DEFAULT_PERCENT,
        metavar="P",
        help=f"percentage of each layer type to train, up to 100 ({DEFAULT_PERCENT})",
        changes="output",
        check=parse_percent,
        label="Top percent",
        note="Initial value; a slider later",
    )
    metric: str = _setting(
        flag="--metric",
        default="",
        metavar="NAME",
        help=(
            f"metric to rank the layers by: {', '.join(METRICS)} (a saved file's own, or {METRIC})"
        ),
        changes="output",
        check=parse_metric,
    )
    rule: str = _setting(
        flag="--rule",
        default=PER_TYPE,
        metavar="RULE",
        help=f"what the percentage is of: {', '.join(RULES)} ({PER_TYPE})",
        changes="output",
        check=parse_rule,
    )
    type_percents: TypePercents = _setting(
        flag="--type-percent",
        takes="each",
        default=(),
        metavar="TYPE=P",
        help="a percentage of its own for a type or a shell pattern of types, 0 to 100; repeatable",
        changes="output",
        check=parse_type_percents,
        write=type_percent_texts,
    )
    blocks: Blocks = _setting(
        flag="--blocks",
        default=(),
        metavar="RANGES",
        help="only blocks of these numbers may train: 8-, 0-3,28-31 (all)",
        changes="output",
        check=parse_blocks,
        write=blocks_text,
    )
    pins: tuple[str, ...] = _setting(
        flag="--pin",
        takes="each",
        default=(),
        metavar="LAYER",
        help="a layer, or a shell pattern of layers, that trains in any case; repeatable",
        changes="output",
        check=tuple,
        write=tuple,
    )
    bans: tuple[str, ...] = _setting(
        flag="--ban",
        takes="each",
        default=(),
        metavar="LAYER",
        help="one that never trains, pinned or not; repeatable",
        changes="output",
        check=tuple,
        write=tuple,
    )
    budget: Budget | None = _setting(
        flag="--budget",
        default=None,
        metavar="N",
        help="in place of a percentage: as much as 24GiB of each GPU hold, or 1.5B parameters",
        changes="output",
        check=parse_budget,
        write=lambda budget: budget.text,
    )
    way: str = _setting(
        flag="--way",
        default="",
        metavar="WAY",
        help="how a budget of memory is trained: 'qlora gpus=2 batch=4 sequence=4096' (bf16)",
        changes="output",
    )
    policy: str = _setting(
        flag="--policy",
        default="",
        metavar="FILE",
        help="choose as this recipe did, which spectrum-tui wrote; other options go before it",
        changes="output",
    )
    batch_size: int = _setting(
        flag="--batch-size",
        default=0,
        metavar="N",
        help="matrices to score at once (auto)",
        changes="speed",
        check=parse_batch_size,
        unset="auto",
        label="Batch size",
        note="Matrices at once; scores stay the same",
    )
    device: str = _setting(
        flag="--device",
        default="auto",
        help="auto, cpu, cuda (every GPU), cuda:0, mps (auto)",
        changes="scores",
        label="Device",
        note="Where the matrices are scored",
    )
    precision: str = _setting(
        flag="--precision",
        default="auto",
        choices=("auto", "exact", "fast"),
        help="exact: float64; fast: float32 where no rank depends on it (auto: by the device)",
        changes="scores",
    )
    revision: str = _setting(
        flag="--revision",
        default="",
        metavar="R",
        help="branch, tag or commit on the hub",
        changes="model",
        label="Revision",
        note="Branch, tag or commit of a hub model",
        placeholder="main",
    )
    output_dir: str = _setting(
        flag="--output-dir",
        default=".",
        metavar="DIR",
        help="folder for the files written (.)",
        changes="output",
        label="Output folder",
        note="For the scores and the YAML",
        placeholder=".",
    )
    model_class: str = _setting(
        flag="--model-class",
        default="",
        metavar="CLASS",
        help=(
            "transformers class whose parameter names are written (default: the one that "
            "trainers choose)"
        ),
        changes="names",
    )
    allow_gptq: bool = _setting(
        flag="--allow-gptq",
        takes="nothing",
        default=False,
        help="scan GPTQ weights, which are a rounded copy",
        changes="names",
    )
    allow_missing: bool = _setting(
        flag="--allow-missing",
        takes="nothing",
        default=False,
        help="write a recipe even if over a tenth of the chosen parameters have no score",
        changes="output",
    )
    sizes_from: str = _setting(
        flag="--sizes-from",
        default="",
        metavar="MODEL",
        help="take sizes and names of imported scores from this folder or cached model "
        "(default: the cached model that the file is named after)",
        changes="output",
        only="app",
    )
    types: tuple[str, ...] = _setting(
        flag="--types",
        takes="several",
        default=(),
        metavar="PATTERN",
        help="layer types to score, as shell patterns: 'mlp.*' (default: every type of matrices)",
        changes="scores",
        only="scan",
    )
    since: float = _setting(
        flag="--fresh",
        takes="nothing",
        default=0.0,
        help="score these types again; each old score is kept until the new one is there, and "
        "other types keep theirs",
        changes="speed",
        only="scan",
        check=_now,
    )
    json: bool = _setting(
        flag="--json",
        takes="nothing",
        default=False,
        help="print the results as JSON on stdout",
        changes="output",
        only="scan",
    )
    signals: tuple[str, ...] = _setting(
        flag="--signals",
        default=(AUTO,),
        metavar="LIST",
        help=f"what a terminal shows of a scan or a download outside of its window: "
        f"{', '.join(SIGNALS)}, none (auto: all that it is known to understand)",
        changes="output",
        check=parse_signals,
        write=",".join,
        unset="none",
    )
    no_embeddings: bool = _setting(
        flag="--no-embeddings",
        takes="nothing",
        default=False,
        help="keep embeddings and output head frozen (spectrum.py always trains them)",
        changes="output",
    )

    def that_change(self, *what: Change) -> tuple[Any, ...]:
        """Return the values of the options that change one of these."""
        return tuple(getattr(self, n) for n, option in OPTIONS.items() if option.changes in what)


OPTIONS: dict[str, Option] = {f.name: f.metadata["option"] for f in fields(Settings)}
"""By the name of the setting, in the order of --help."""
DEFAULTS = Settings()

POLICY_OPTIONS = (
    *("top_percent", "metric", "rule", "type_percents", "blocks", "pins", "bans"),
    *("budget", "way", "no_embeddings"),
)
"""What decides which layers are selected of given scores: what `--policy` reads from a recipe."""
