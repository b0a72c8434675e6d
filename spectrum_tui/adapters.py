"""For training scripts: LoRA adapters that follow the scores of their layers while they train.

    from spectrum_tui.adapters import SpectrumAdapters

    trainer = Trainer(model=peft_model, ..., callbacks=[SpectrumAdapters(every=200)])

`SpectrumAdapters` switches adapters on and off, gives them other ranks, and lets layers share one
where their gradients are alike. `param_groups` makes groups for an optimizer, with a learning rate
for each layer; `optimizer_cls_and_kwargs` hands them to a Trainer.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from transformers import TrainerCallback

from spectrum_tui.core.adapters.following import GRADIENT, Following, fit_on_load
from spectrum_tui.core.adapters.grouping import LIMIT, Similar
from spectrum_tui.core.adapters.learning_rates import optimizer_cls_and_kwargs, param_groups
from spectrum_tui.core.adapters.processes import agreed, is_first
from spectrum_tui.core.adapters.tiers import Ranks, RankTiers
from spectrum_tui.core.errors import InputError, SpectrumError
from spectrum_tui.core.files import append_text, write_text
from spectrum_tui.core.numbers import finite, is_whole
from spectrum_tui.core.policy_values import parse_percent
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.saved.steps import ADAPTER_LINES, step_file
from spectrum_tui.core.saved.store import flat_text
from spectrum_tui.core.settings import DEFAULT_PERCENT, METRIC, check_metric, parse_metric
from spectrum_tui.core.text import safe

__all__ = ["SpectrumAdapters", "optimizer_cls_and_kwargs", "param_groups"]

_STATE = "spectrum_adapters"
"""The key of the entry in the trainer's history that a resumed run goes on from: which adapters are
off, and which are shared. Their ranks are in the factors."""

log = logging.getLogger(__name__)


class SpectrumAdapters(TrainerCallback):  # type: ignore[misc]  # transformers is not typed here
    """Follows the scores of the layers of a PEFT LoRA model in a transformers `Trainer`, or one of
    TRL.

    Every `every` steps, at the steps in `at`, and with `at_evaluation` after each evaluation, the
    effective weight W + s·B·A of each adapted layer (dequantised where the base is quantised) is
    scored by `metric`, and ranked within its type. The adapters of the best `top_percent`, or of
    those that a `policy` takes, train by `high_rank`; those from there to `medium_percent` by
    `medium_rank`; the others do not train. A rank that is not given stays what it is.

    The first choice is made before the first step: an adapter that is not chosen adds nothing,
    since its B is zero, until its layer is. An adapter that is switched off later keeps what it
    has learned in the forward pass and trains no more. More rank does not change the output, less
    leaves the best approximation of B·A, and the scale stays: see `core.adapters.resizing` for the
    optimizer. The adapter that is saved has the ranks that it has at that time.

    `metric="gradient"` ranks by the mean, over the steps since the last choice, of ‖∂L/∂W‖ / ‖W‖,
    with W the effective weight: the gradient that full training of the layer would have, by a
    sketch from the layer's inputs and the gradients of its outputs, without another pass (see
    `core.adapters.watching`). It does not depend on the ranks. It is the mean of norms, where the
    metric `gradient` of `spectrum-tui probe` is the norm of the mean: steps that disagree count in
    full here. The first choice is by the default metric; fused experts keep that.

    `groups="gradient"` looks once, after `probe_steps`, at the cosines between the gradients of
    layers of one type and shape. Layers whose cosines all reach `limit` get one adapter, the
    nearest of their rank to the mean of what theirs have learned; where none do, nothing is shared.

    Each time the log and `spectrum_adapters.jsonl` in `output_dir` get a line, and `output_dir` a
    score file that spectrum-tui compares. In DDP the first process decides, by its own share of
    the batches where gradients count, and all do the same. Raises SpectrumError here and when the
    training begins; FSDP and DeepSpeed are refused then. Give it to the trainer's `callbacks`, so
    that a run can be resumed.
    """

    def __init__(  # noqa: PLR0913 (what a user writes in one call)
        self,
        every: int = 0,
        *,
        at: Collection[int] = (),
        at_evaluation: bool = False,
        metric: str = METRIC,
        policy: Policy | None = None,
        top_percent: float = DEFAULT_PERCENT,
        high_rank: int | None = None,
        medium_percent: float | None = None,
        medium_rank: int | None = None,
        groups: Literal["", "gradient"] = "",
        probe_steps: int = 50,
        limit: float = LIMIT,
    ) -> None:
        self._chooses = bool(every or at or at_evaluation)
        if not is_whole(every) or every < 0 or not (self._chooses or groups):
            raise InputError("No step to choose at is given.", "Give every=200 or at=[1000].")
        if groups not in ("", GRADIENT):
            raise InputError(f"There are no groups by {groups!r}.", 'Give groups="gradient".')
        if groups and (probe_steps < 1 or not -1 <= limit <= 1):
            raise InputError(
                "Groups need probe_steps of 1 or more and a limit from -1 to 1.", "Try 50 and 0.5."
            )
        self._every, self._at, self._at_evaluation = every, frozenset(at), at_evaluation
        self.metric = parse_metric(metric) or METRIC
        if self.metric != GRADIENT:
            check_metric(self.metric)
        percent = parse_percent(str(top_percent))
        self.tiers = RankTiers(
            policy=policy or Policy(percent=percent, embeddings=False),
            high_rank=high_rank,
            medium_percent=medium_percent,
            medium_rank=medium_rank,
        )
        self._probe_steps, self._limit = probe_steps if groups else 0, limit
        self._following: Following | None = None

    # -- events --------------------------------------------------------------------------------

    def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Let the model take the ranks of a checkpoint that it may be resumed from."""
        fit_on_load(kwargs["model"])

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look at the adapters, go on from a checkpoint or make the first choice."""
        model, optimizer = kwargs["model"], kwargs["optimizer"]
        _check_trainer(args, optimizer, groups=bool(self._probe_steps))
        self._following = following = Following(model, name=_name_of(model), seed=args.seed)
        following.check_optimizer(optimizer)
        before = next((e[_STATE] for e in reversed(state.log_history) if _STATE in e), None)
        if state.global_step and before:
            following.restore(before["off"], before["groups"])
        elif self._chooses:
            first = METRIC if self.metric == GRADIENT else self.metric
            self._choose(args, state, optimizer, first)
        if is_first() and (self.metric == GRADIENT or self._probes(state)):
            following.watch.start()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take the gradients that have come together for this step."""
        if self._following is not None:
            self._following.watch.end_step()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look for groups, and choose, at the steps for it."""
        step = state.global_step
        if step == self._probe_steps and self._probes(state):
            self._group(args, state, kwargs["optimizer"])
        if step in self._at or (self._every and step % self._every == 0):
            self._choose_if_it_can(args, state, kwargs["optimizer"])

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Choose, where that is wanted after evaluations in a training."""
        if self._at_evaluation and state.global_step:
            self._choose_if_it_can(args, state, kwargs["optimizer"])

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave the model without hooks, and the ranks in its configuration: the trainer may have
        loaded the best checkpoint."""
        if self._following is not None:
            self._following.watch.stop()
            self._following.write_config()

    # -- choosing ------------------------------------------------------------------------------

    def _probes(self, state: Any) -> bool:
        """Return whether groups are still to be looked for."""
        return bool(self._probe_steps) and state.global_step <= self._probe_steps

    def _choose_if_it_can(self, args: Any, state: Any, optimizer: Any) -> None:
        """Choose; where that cannot be done now, the log says so and all stays as it is: a
        training of days must not end for it."""
        try:
            self._choose(args, state, optimizer, self.metric)
        except (SpectrumError, RuntimeError, OSError) as exc:
            log.warning("step %d: adapters stay as they are: %s", state.global_step, safe(str(exc)))

    def _choose(self, args: Any, state: Any, optimizer: Any, metric: str) -> None:
        following = self._following
        assert following is not None
        begin = time.perf_counter()

        def decide() -> tuple[Result, Ranks]:
            result = following.measured(metric)
            return result, self.tiers.ranks(result, following.ranks)

        result, wanted = agreed(decide)
        moves = following.apply(wanted, optimizer, state.global_step)
        if not self._probes(state):
            following.watch.forget()
        self._remember(state)
        if state.is_world_process_zero:
            line = {"moves": moves.text, "metric": metric, **_scores(result)}
            self._say(args, state.global_step, line, time.perf_counter() - begin)
            path = step_file(result, Path(args.output_dir), state.global_step)
            write_text(path, flat_text(result))

    def _group(self, args: Any, state: Any, optimizer: Any) -> None:
        following = self._following
        assert following is not None
        begin = time.perf_counter()
        similar: Similar = agreed(lambda: following.similar(self._limit))
        following.tie(similar.groups, optimizer, state.global_step)
        if self.metric != GRADIENT:
            following.watch.stop()
        self._remember(state)
        if state.is_world_process_zero:
            line = {"moves": similar.text, "groups": similar.groups, "limit": self._limit}
            self._say(args, state.global_step, line, time.perf_counter() - begin)

    def _remember(self, state: Any) -> None:
        following = self._following
        assert following is not None
        state.log_history = [entry for entry in state.log_history if _STATE not in entry]
        now = {"off": following.off, "groups": [list(group) for group in following.groups]}
        state.log_history.append({"step": state.global_step, _STATE: now})

    def _say(self, args: Any, step: int, line: dict[str, Any], seconds: float) -> None:
        following = self._following
        assert following is not None
        off = set(following.off)
        ranks = {n: 0 if n in off else rank for n, rank in following.ranks.items()}
        log.info("step %d: %s", step, safe(line["moves"]))
        whole = {"step": step, "seconds": round(seconds, 3), **line, "ranks": ranks}
        whole["trainable"] = following.trainable
        append_text(Path(args.output_dir) / ADAPTER_LINES, json.dumps(whole) + "\n")


def _scores(result: Result) -> dict[str, Any]:
    scores = result.scores
    values = zip(scores.layers, scores.values.tolist(), strict=True)
    return {
        "scores": {layer: finite(value) for layer, value in values},
        "failed": {scores.layers[row]: reason for row, reason in scores.problems.items()},
    }


def _name_of(model: Any) -> str:
    return str(getattr(getattr(model, "config", None), "_name_or_path", "")) or "model"


def _check_trainer(args: Any, optimizer: Any, *, groups: bool) -> None:
    """Raise InputError for a training in which adapters cannot change."""
    if optimizer is None:
        raise InputError(
            "The trainer has no optimizer of its own when the training begins.",
            "Train with DDP, or without this callback.",
        )
    if getattr(args, "deepspeed", None) or type(optimizer).__module__.startswith("deepspeed"):
        raise InputError(
            "DeepSpeed keeps adapters in flat buffers of its optimizer: they cannot change.",
            "Train with DDP, or without this callback.",
        )
    if getattr(args, "fsdp", None):
        raise InputError(
            "FSDP keeps each adapter in parts on all processes: they cannot change.",
            "Train with DDP, or without this callback.",
        )
    if groups and getattr(args, "load_best_model_at_end", False):
        raise InputError(
            "The best checkpoint may be one from before adapters were shared.",
            "Set load_best_model_at_end=False, or leave groups out.",
        )
