"""Whether it is too late to change which parameters of a model train, and why.

DDP, FSDP 1, DeepSpeed and an optimizer look once at which parameters train; what changes later
they ignore without a word, or fail on in the middle of a step.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from typing import Any

from spectrum_tui.core.errors import RecipeError
from spectrum_tui.core.training.live_names import LiveParameter, wrappers_of

_HINT = "Call freeze_except right after loading the model."


def check_not_flattened(parameters: Sequence[LiveParameter]) -> None:
    """Raise RecipeError where FSDP 1 has put many parameters into one, which trains or does not."""
    if any(getattr(p.parameter, "_is_flat_param", False) for p in parameters):
        raise RecipeError(
            "FSDP has flattened the parameters of this model.",
            f"{_HINT} FSDP 1 needs use_orig_params=True to train some of them.",
        )


def check_not_too_late(model: Any, parameters: Sequence[LiveParameter], chosen: set[int]) -> None:
    """Raise RecipeError where training exactly the parameters with the ids `chosen` cannot work
    any more."""
    changed = [p for p in parameters if p.parameter.requires_grad != (id(p.parameter) in chosen)]
    fixed = wrappers_of(model) & {"DistributedDataParallel", "DeepSpeedEngine"}
    if changed and fixed:
        raise RecipeError(
            f"{fixed.pop()} has already fixed which parameters of this model train.", _HINT
        )
    own = {id(p.parameter) for p in parameters}
    if _left_out(own, chosen):
        gc.collect()  # a trainer that was deleted may only wait for this
        if missing := _left_out(own, chosen):
            raise RecipeError(
                f"The model's optimizer does not have {missing} of the parameters that the recipe "
                "names, and would never train them.",
                "Call freeze_except before the optimizer is made; delete one that is not needed.",
            )


def _left_out(own: set[int], chosen: set[int]) -> int:
    """Return how many of the chosen parameters the model's optimizers lack; 0 where it has none."""
    optimized = _optimized() & own
    return len(chosen - optimized) if optimized else 0


def _optimized() -> set[int]:
    """Return the ids of all parameters that some optimizer holds.

    There is no way from a parameter to its optimizer: they are looked for among all objects,
    0.1 s for two million of them.
    """
    optimizer = sys.modules["torch"].optim.Optimizer
    objects = gc.get_objects()
    kinds = {kind for kind in set(map(type, objects)) if issubclass(kind, optimizer)}
    held: set[int] = set()
    for thing in objects if kinds else ():
        if type(thing) in kinds:
            groups = getattr(thing, "param_groups", ())  # one that is half made has none
            held |= {id(p) for group in groups for p in group["params"]}
    return held
