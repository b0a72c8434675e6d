"""What the user chose, and the table of what can be chosen."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from typing import Any

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.option import Change, Option, setting
from spectrum_tui.core.option_values import (
    AUTO,
    SIGNALS,
    parse_batch_size,
    parse_cluster,
    parse_signals,
)
from spectrum_tui.core.policy_values import (
    PER_TYPE,
    RULES,
    Blocks,
    Budget,
    TypePercents,
    blocks_text,
    parse_blocks,
    parse_budget,
    parse_card,
    parse_layers,
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
"""What layers can be ranked by once they are scanned (see `scoring.metrics`); here, where numpy is
not needed."""
METRIC = METRICS[0]
"""The reference tool's."""
DATA_METRICS = ("gradient", "gradient_snr", "fisher", "activation")
"""What they can be ranked by after a probe with data (see `probing.formulas`)."""
ALL_METRICS = METRICS + DATA_METRICS


def parse_metric(text: str) -> str:
    """Return the name of a metric, "" where none is asked for; raises InputError."""
    name = text.strip().lower().replace("-", "_")
    if text and name not in ALL_METRICS:
        raise InputError(
            f"There is no metric {text!r}.",
            f"Choose from {', '.join(ALL_METRICS)}.",
            field="metric",
        )
    return name


def check_metric(metric: str) -> None:
    """Raise InputError for a metric that no scan gives."""
    if metric in DATA_METRICS:
        raise InputError(
            f"A scan reads weights alone, and {metric} needs data.",
            "Scan by another metric; spectrum-tui probe MODEL --data FILE adds this one.",
            field="metric",
        )


def _now(asked: bool) -> float:
    return time.time() if asked else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`batch_size` 0 and device "auto" leave the choice to the machine, an empty `model_class` to
    what trainers do. `precision` "auto" is exact wherever the device has fast float64. An empty
    `metric` is the one that a file of scores was saved with, and the reference's for a scan.
    `types` are shell patterns on the command line, the exact types of layers for a scan, every
    type of matrices without one (of the language model where there are several towers). Scores of
    these that are older than `since`, in seconds since 1970, are computed again."""

    model: str = setting(
        flag="model",
        default="",
        metavar="MODEL",
        help="folder, Hugging Face id or address (https, s3, gs, az) of the model",
        changes="model",
        label="Model",
        note="Folder, Hugging Face id, https:// or s3://; enter reads it",
        placeholder="folder, org/name on Hugging Face, or https://…",
    )
    top_percent: float = setting(
        flag="--top-percent",
        default=DEFAULT_PERCENT,
        metavar="P",
        help=f"percentage of each layer type to train, up to 100 ({DEFAULT_PERCENT})",
        kept=True,
        changes="output",
        check=parse_percent,
        label="Top percent",
        note="Initial value; a slider later",
    )
    metric: str = setting(
        flag="--metric",
        default="",
        metavar="NAME",
        help=(
            f"metric to rank the layers by: {', '.join(METRICS)}, after a probe also "
            f"{', '.join(DATA_METRICS)} (a saved file's own, or {METRIC})"
        ),
        kept=True,
        changes="output",
        check=parse_metric,
    )
    rule: str = setting(
        flag="--rule",
        default=PER_TYPE,
        metavar="RULE",
        help=f"which layers compete for the percentage: {', '.join(RULES)} ({PER_TYPE})",
        kept=True,
        changes="output",
        check=parse_rule,
    )
    type_percents: TypePercents = setting(
        flag="--type-percent",
        takes="each",
        default=(),
        metavar="TYPE=P",
        help="percentage for one type, or all that match a shell pattern, 0 to 100; repeatable",
        changes="output",
        check=parse_type_percents,
        write=type_percent_texts,
    )
    blocks: Blocks = setting(
        flag="--blocks",
        default=(),
        metavar="RANGES",
        help="train only in these blocks: 8-, 0-3,28-31 (all)",
        changes="output",
        check=parse_blocks,
        write=blocks_text,
    )
    pins: tuple[str, ...] = setting(
        flag="--pin",
        takes="each",
        default=(),
        metavar="LAYER",
        help="always train this layer, or layers that match a shell pattern; repeatable",
        changes="output",
        check=parse_layers,
        write=tuple,
    )
    bans: tuple[str, ...] = setting(
        flag="--ban",
        takes="each",
        default=(),
        metavar="LAYER",
        help="never train this layer, or layers that match, pinned or not; repeatable",
        changes="output",
        check=parse_layers,
        write=tuple,
    )
    budget: Budget | None = setting(
        flag="--budget",
        default=None,
        metavar="N",
        help="instead of a percentage: the most that fits into 24GiB per GPU, or 1.5B parameters",
        changes="output",
        check=parse_budget,
        write=lambda budget: budget.text,
    )
    way: str = setting(
        flag="--way",
        default="",
        metavar="WAY",
        help="how to train, for a budget of memory: 'qlora gpus=2 batch=4 sequence=4096' (bf16)",
        kept=True,
        changes="output",
    )
    policy: str = setting(
        flag="--policy",
        default="",
        metavar="FILE",
        help="select as this recipe does, which spectrum-tui wrote; other options override it",
        changes="output",
    )
    batch_size: int = setting(
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
    device: str = setting(
        flag="--device",
        default="auto",
        help="auto, cpu, cuda (every GPU), cuda:0, mps (auto)",
        changes="scores",
        label="Device",
        note="Where the matrices are scored",
    )
    cluster: str = setting(
        flag="--cluster",
        default="",
        metavar="WHERE",
        help="score on a Ray cluster: auto (the one that runs here), local, HOST:PORT, "
        "ray://HOST:10001, none (none)",
        kept=True,
        changes="speed",
        check=parse_cluster,
        unset="none",
    )
    precision: str = setting(
        flag="--precision",
        default="auto",
        choices=("auto", "exact", "fast"),
        help="exact: float64; fast: float32 where no rank depends on it (auto: by the device)",
        changes="scores",
    )
    revision: str = setting(
        flag="--revision",
        default="",
        metavar="R",
        help="branch, tag or commit on the hub",
        changes="model",
        label="Revision",
        note="Branch, tag or commit of a hub model",
        placeholder="main",
    )
    stream: bool = setting(
        flag="--stream",
        takes="nothing",
        default=False,
        help="scan a model on the hub without downloading it (what happens by itself where the "
        "disk has no room)",
        changes="speed",
    )
    download: bool = setting(
        flag="--download",
        takes="nothing",
        default=False,
        help="download a model on the hub before it is scanned, unless every score is there",
        changes="speed",
    )
    output_dir: str = setting(
        flag="--output-dir",
        default=".",
        metavar="DIR",
        help="folder for the files written (.)",
        kept=True,
        changes="output",
        label="Output folder",
        note="For the scores and the YAML",
        placeholder=".",
    )
    model_class: str = setting(
        flag="--model-class",
        default="",
        metavar="CLASS",
        help=(
            "transformers class whose parameter names are written (default: the one that "
            "trainers choose)"
        ),
        changes="names",
    )
    allow_gptq: bool = setting(
        flag="--allow-gptq",
        takes="nothing",
        default=False,
        help="scan GPTQ weights, which are a rounded copy",
        changes="names",
    )
    allow_missing: bool = setting(
        flag="--allow-missing",
        takes="nothing",
        default=False,
        help="write a recipe even if over a tenth of the chosen parameters have no score",
        changes="output",
    )
    card: str = setting(
        flag="--card",
        default="",
        metavar="GiB",
        help="memory of each GPU that you train on, which the memory dialog asks for",
        kept=True,
        changes="output",
        check=parse_card,
        only="app",
    )
    theme: str = setting(
        flag="--theme",
        default="",
        metavar="NAME",
        help="colours of the app (spectrum-dark)",
        kept=True,
        changes="output",
        only="app",
    )
    sizes_from: str = setting(
        flag="--sizes-from",
        default="",
        metavar="MODEL",
        help="take sizes and names of imported scores from this folder, config.json alone "
        "included, or hub id (default: the cached model that the file is named after)",
        changes="output",
        only="app",
    )
    types: tuple[str, ...] = setting(
        flag="--types",
        takes="several",
        default=(),
        metavar="PATTERN",
        help="layer types to score, as shell patterns: 'mlp.*' (default: every type of matrices)",
        changes="scores",
        only="scan",
    )
    since: float = setting(
        flag="--fresh",
        takes="nothing",
        default=0.0,
        help="score these types again; each old score is kept until the new one is there, and "
        "other types keep theirs",
        changes="speed",
        only="scan",
        check=_now,
    )
    dry_run: bool = setting(
        flag="--dry-run",
        takes="nothing",
        default=False,
        help="say what would be scanned, read and downloaded, and about how long it takes; the "
        "headers alone are read",
        changes="output",
        only="scan",
    )
    json: bool = setting(
        flag="--json",
        takes="nothing",
        default=False,
        help="print the results as JSON on stdout",
        changes="output",
        only="scan",
    )
    signals: tuple[str, ...] = setting(
        flag="--signals",
        default=(AUTO,),
        metavar="LIST",
        help=f"what a terminal shows of a scan or a download outside of its window: "
        f"{', '.join(SIGNALS)}, none (auto: all that it is known to understand)",
        kept=True,
        changes="output",
        check=parse_signals,
        write=",".join,
        unset="none",
    )
    no_embeddings: bool = setting(
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
