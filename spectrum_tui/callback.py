"""For training scripts: score the layers again while they train, and log how the ranking moves.

    from spectrum_tui.callback import RescoreCallback

    trainer = Trainer(..., callbacks=[RescoreCallback(every=500)])

A recipe is made once, before training; this tells whether the same layers would be picked now.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback

from spectrum_tui.core.comparison.compare import Comparison, compare, rho_text
from spectrum_tui.core.errors import InputError, SpectrumError
from spectrum_tui.core.files import append_text, write_text
from spectrum_tui.core.numbers import finite, is_whole
from spectrum_tui.core.policy_values import parse_percent
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.saved.steps import step_file
from spectrum_tui.core.saved.store import flat_text, load_result
from spectrum_tui.core.settings import DEFAULT_PERCENT, METRIC, check_metric, parse_metric
from spectrum_tui.core.text import safe
from spectrum_tui.core.training.rescoring import Rescorer, live_layers

__all__ = ["LINES", "RescoreCallback"]

LINES = "spectrum_rescores.jsonl"
"""The file in the trainer's `output_dir` that gets a line for each re-scoring."""

log = logging.getLogger(__name__)


class RescoreCallback(TrainerCallback):  # type: ignore[misc]  # transformers is not typed here
    """Scores the layers of the model at some steps of a transformers `Trainer`.

    It scores every `every` steps, and at the steps in `at`. `result` is a file of scores to measure
    against; without one the weights at the beginning of the training are scored first. `types` are
    shell patterns of layer types (`"mlp.*"`), `metric` what layers are ranked by (the file's own,
    or the reference's), `top_percent` the selection to follow. Raises SpectrumError here, and never
    while training: what goes wrong then is a line in the log.

    Each time, `output_dir` gets a line in LINES (per type Spearman's rho against the start and
    against the last time, the layers that entered and left the selection, every score) and a score
    file `snr_results_<model>-step-<n>.json` that spectrum-tui opens and compares. Layers that do
    not train are scored once. In distributed training only the first process scores; if no process
    has whole matrices (FSDP, ZeRO 3), the log says so.
    """

    def __init__(
        self,
        every: int = 0,
        *,
        at: Collection[int] = (),
        result: str | Path | None = None,
        types: Sequence[str] = (),
        metric: str = "",
        top_percent: float = DEFAULT_PERCENT,
    ) -> None:
        if not is_whole(every) or every < 0 or not (every or at):
            raise InputError("No step to score at is given.", "Give every=500 or at=[1000].")
        self._every, self._at = every, frozenset(at)
        self._types = (types,) if isinstance(types, str) else tuple(types)
        self._percent = parse_percent(str(top_percent))
        known = load_result(Path(result).expanduser()) if result is not None else None
        own = known.scores.metric if known is not None else METRIC
        self._metric = parse_metric(metric) or own
        check_metric(self._metric)
        self._given = known.with_metric(self._metric) if known is not None else None
        self._start: Result | None = None
        self._last: Result | None = None
        self._rescorer: Rescorer | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Find the layers, and score them if there is no file to measure against."""
        if state.is_world_process_zero:
            self._guarded(self._begin, kwargs["model"], args, state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Score at the steps that were asked for."""
        if state.is_world_process_zero and self._is_due(state.global_step):
            self._guarded(self._rescore, args, state.global_step)

    def _is_due(self, step: int) -> bool:
        return step in self._at or bool(self._every and step % self._every == 0)

    def _guarded(self, run: Any, *arguments: Any) -> None:
        """Log whatever goes wrong: a training of days must not end because a ranking could not be
        looked at."""
        try:
            run(*arguments)
        except Exception as exc:
            reason = exc if isinstance(exc, SpectrumError) else f"{type(exc).__name__}: {exc}"
            log.warning("layers were not scored: %s", safe(str(reason)))

    def _begin(self, model: Any, args: Any, step: int) -> None:
        self._rescorer, self._last, self._start = None, None, self._given
        layers = live_layers(model, self._types)
        if self._start is not None:
            known = set(self._start.scores.layers)
            layers = [layer for layer in layers if layer.name in known]
        if not any(layer.trains for layer in layers):
            what = "trains" if layers else "is in the model"
            log.warning("none of the layers to score %s: nothing is scored", what)
            return
        self._rescorer = Rescorer(layers, self._metric, _name_of(model))
        if self._start is None:
            self._start = self._rescore(args, step)

    def _rescore(self, args: Any, step: int) -> Result | None:
        if self._rescorer is None:
            return None
        begin = time.perf_counter()
        now = self._rescorer.result()
        start, last = self._start or now, self._last or self._start or now
        line = _line(compare(start, now), compare(last, now), self._percent)
        line = {"step": step, "seconds": round(time.perf_counter() - begin, 3), **line}
        self._last = now
        _say(line, self._percent)
        _write(Path(args.output_dir), now, line, step)
        return now


def _name_of(model: Any) -> str:
    return str(getattr(getattr(model, "config", None), "_name_or_path", "")) or "model"


def _line(start: Comparison, last: Comparison, percent: float) -> dict[str, Any]:
    """Return what a line of the file says besides step and seconds; strict JSON."""
    scores = start.b.scores
    values = zip(scores.layers, scores.values.tolist(), strict=True)
    return {
        "metric": scores.metric,
        "top_percent": percent,
        "since_start": _change(start, percent),
        "since_last": _change(last, percent),
        "scores": {layer: finite(value) for layer, value in values},
        "failed": {scores.layers[row]: reason for row, reason in scores.problems.items()},
    }


def _change(comparison: Comparison, percent: float) -> dict[str, Any]:
    mask_a, mask_b = comparison.masks(Policy(percent=percent))
    before, after = mask_a[comparison.pairs.a], mask_b[comparison.pairs.b]
    layers = comparison.b.scores.layers
    rows = comparison.pairs.b
    rhos = {kind.name: kind.rho for kind in comparison.types if kind.common}
    return {
        "spearman": finite(comparison.rho),
        "types": {name: finite(rho) for name, rho in rhos.items()},
        "entered": [layers[row] for row in rows[np.flatnonzero(after & ~before)]],
        "left": [layers[row] for row in rows[np.flatnonzero(before & ~after)]],
    }


def _say(line: dict[str, Any], percent: float) -> None:
    start, last = line["since_start"], line["since_last"]
    rhos = [rho_text(math.nan if c["spearman"] is None else c["spearman"]) for c in (start, last)]
    log.info(
        "step %d: Spearman %s against the start, %s against the last time; "
        "since the start %d layers entered the top %g %% and %d left it",
        line["step"],
        *rhos,
        len(start["entered"]),
        percent,
        len(start["left"]),
    )
    for layer, reason in line["failed"].items():
        log.warning("%s has no score: %s", safe(layer), safe(reason))


def _write(folder: Path, now: Result, line: dict[str, Any], step: int) -> None:
    write_text(step_file(now, folder, step), flat_text(now))
    append_text(folder / LINES, json.dumps(line) + "\n")
