"""What a user should know of a model before it is scanned, one sentence each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from spectrum_tui.core.checkpoint.headers import ADAPTER_FILE, Checkpoint
from spectrum_tui.core.checkpoint.shards import INDEX_FILE, SINGLE_FILE
from spectrum_tui.core.naming.layers import ModelLayers
from spectrum_tui.core.naming.parameters import ParameterPlan
from spectrum_tui.core.numbers import counted, part_of
from spectrum_tui.core.requests import Origin


def beside_weights(checkpoint: Checkpoint, origin: Origin) -> Iterator[str]:
    """Yield what lies or lacks beside the weights, so that `from_pretrained` reads them
    otherwise."""
    if checkpoint.has_adapter and origin == "folder":
        yield (
            f"{ADAPTER_FILE} is beside the weights: with PEFT installed, from_pretrained applies "
            "that adapter, and q_proj.weight becomes q_proj.base_layer.weight in the trainer. If "
            f"it is already merged, move {ADAPTER_FILE} out of the folder"
        )
    elif checkpoint.has_adapter:
        yield (
            f"the repository has an {ADAPTER_FILE}: with PEFT installed, from_pretrained loads "
            "that adapter on its base model, not these weights. Download them and train from the "
            "folder without it"
        )
    if not checkpoint.indexed:
        yield (
            f"from_pretrained finds neither {SINGLE_FILE} nor {INDEX_FILE} here: "
            f"{checkpoint.shards[0]} is taken as the model because of its name"
        )


def mismatches(plan: ParameterPlan) -> Iterator[str]:
    """Yield a sentence where parameters are stored in other shapes than config.json says."""
    if plan.mismatched:
        name, stored, expected = plan.mismatched[0]
        wrong = counted(len(plan.mismatched), "parameter does", "parameters do")
        yield (
            f"{wrong} not have the shape that config.json says, "
            f"first {name}: {list(stored)} stored, {list(expected)} expected"
        )


def missing(plan: ParameterPlan) -> Iterator[str]:
    """Yield a sentence where parameters are not stored at all."""
    if plan.missing:
        lacking = part_of(len(plan.missing), len(plan.parameters), "parameter")
        are = "is" if len(plan.missing) == 1 else "are"
        yield (
            f"{lacking} of {plan.model_class} {are} not stored and would start from random values, "
            f"first {plan.missing[0]}"
        )


def unscored_share(model: ModelLayers) -> tuple[str, ...]:
    """Return what of the model cannot be scored, where that is more than norms' worth of it."""
    scored = sum(layer.numel for layer in model.layers)
    left_out = 1.0 - scored / model.total_parameters if model.total_parameters else 0.0
    if left_out < 0.01:
        return ()
    reasons = Counter(reason for _, reason in model.skipped if not reason.startswith("a buffer"))
    reason, count = reasons.most_common(1)[0] if reasons else ("biases", 0)
    return (f"{left_out:.0%} of the parameters have no score ({count}: {reason})",)
