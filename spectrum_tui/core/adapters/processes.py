"""Several processes that train the same adapters: one decides, all do the same."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from spectrum_tui.core.errors import SpectrumError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


def is_first() -> bool:
    """Return whether this is the process that decides."""
    return not _together() or _dist().get_rank() == 0


def agreed(decide: Callable[[], T]) -> T:
    """Return what `decide` returns in the first process, in all of them; raises SpectrumError in
    all of them where it raises anything."""
    if not _together():
        return decide()
    box: list[Any] = [None, ""]
    if is_first():
        try:
            box = [decide(), ""]
        except Exception as exc:  # the others wait for an answer
            own = isinstance(exc, SpectrumError)
            box = [None, str(exc) if own else f"{type(exc).__name__}: {exc}"]
    _dist().broadcast_object_list(box, src=0)
    if box[1]:
        raise SpectrumError(box[1])
    value: T = box[0]
    return value


def follow_changes(model: torch.nn.Module, parameters: Iterable[torch.nn.Parameter]) -> None:
    """Make what changed the same bit for bit in all processes, and let DistributedDataParallel
    see what trains now, in which sizes: it looks once, when it is made."""
    if not _together():
        return
    for parameter in parameters:
        _dist().broadcast(parameter.data, src=0)
    for wrapper in _wrappers(model):
        # It holds the nodes that add up gradients, which know the sizes of before.
        wrapper.reducer = wrapper.logger = None
        trained, sparse = wrapper._build_params_for_reducer()
        names = wrapper._build_debug_param_to_name_mapping(trained)
        wrapper._ddp_init_helper(trained, sparse, names, False)


def _wrappers(model: torch.nn.Module) -> list[Any]:
    """Return the DistributedDataParallel around a model. The trainer gives its callbacks the model
    inside, from which no way leads out: it is looked for among all objects."""
    from torch.nn.parallel import DistributedDataParallel

    parts = {id(module) for module in model.modules()}
    found = [one for one in gc.get_objects() if type(one) is DistributedDataParallel]
    return [one for one in found if id(one.module) in parts or one is model]


def _together() -> bool:
    dist = _dist()
    return bool(dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)


def _dist() -> Any:
    import torch.distributed

    return torch.distributed
