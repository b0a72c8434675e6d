"""What the user chose: given on the command line, changed on the setup screen."""

from __future__ import annotations

from dataclasses import dataclass

from spectrum_tui.core.errors import InputError

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`batch_size` 0 and device "auto" leave the choice to the machine, an empty `model_class` to
    what trainers do; `allow_gptq` scans weights that are only a rounded copy. `precision` "auto"
    is exact wherever the device has fast float64. An empty `metric` is the one that a file of
    scores was saved with, and the reference's for a scan. `sizes_from` is the model that imported
    scores have their sizes from, by default the cached one that they are named after.
    `allow_missing` writes recipes of scans in which many layers failed. `types` are the exact
    types of layers to scan, every type of matrices without one (of the language model where there
    are several towers). Scores of these that are older than `since`, in seconds since 1970, are
    computed again."""

    model: str = ""
    revision: str = ""
    batch_size: int = 0
    device: str = "auto"
    top_percent: int = DEFAULT_PERCENT
    output_dir: str = "."
    model_class: str = ""
    allow_gptq: bool = False
    precision: str = "auto"
    metric: str = ""
    sizes_from: str = ""
    allow_missing: bool = False
    types: tuple[str, ...] = ()
    since: float = 0.0


DEFAULTS = Settings()


def parse_metric(text: str) -> str:
    """The name of a metric, "" where none is asked for; raises InputError."""
    name = text.strip().lower().replace("-", "_")
    if text and name not in METRICS:
        raise InputError(
            f"There is no metric {text!r}.", f"Choose from {', '.join(METRICS)}.", field="metric"
        )
    return name


def parse_percent(text: str) -> int:
    """A whole percentage from 1 to 100; raises InputError."""
    return whole_number(
        text.strip().removesuffix("%"), 1, 100, "top_percent", "The percentage", "1 to 100"
    )


def parse_batch_size(text: str) -> int:
    """How many matrices are in work at once, 0 for `auto`; raises InputError."""
    if text.strip().lower() in ("", "auto"):
        return 0
    return whole_number(text, 1, 1024, "batch_size", "The batch size", "1 or more, or auto")


def whole_number(text: str, low: int, high: int, field: str, what: str, allowed: str) -> int:
    """A whole number from `low` to `high`; raises InputError with that field, which says `what` it
    is and which are `allowed`."""
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
