"""A model in one process or in many: one of them reads the weights, the others get them from it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import distributed

from spectrum_tui.core.errors import SpectrumError

Layout = dict[str, tuple[tuple[int, ...], torch.dtype, bool]]
"""{parameter: its shape, its type, whether the checkpoint filled it}."""
_FILLED = "_is_hf_initialized"
"""What transformers marks a parameter with that it has loaded."""


def load_once(load: Callable[[], Any], *, sharded: bool, device: torch.device) -> Any:
    """Return what `load` returns in the first process; the others build the same model on the meta
    device, and read nothing.

    torch.distributed must have been started. With `sharded` (FSDP) the others get memory that they
    never touch, so that it takes none, and whoever shards the model sends each process its part.
    Otherwise (DDP) each gets its copy on `device`, tensor by tensor. Raises SpectrumError in every
    process where the first cannot load.
    """
    if not distributed.is_available() or not distributed.is_initialized():
        return load()
    if distributed.get_world_size() == 1:
        return load()
    first = distributed.get_rank() == 0
    place = torch.device("cpu") if sharded else device
    model = _sent(load, device) if first else _received(device, place)
    if not sharded:
        model.to(device)
        for parameter in model.parameters():
            distributed.broadcast(parameter.data, 0)
    return model


def is_sharded(arguments: Any) -> bool:
    """Return whether a Trainer with this configuration uses FSDP, by itself or by accelerate."""
    by_launcher = os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("true", "1")
    several = distributed.is_available() and distributed.is_initialized()
    return several and (bool(arguments.fsdp) or by_launcher)


def prepare_sharding(arguments: Any) -> None:
    """Let FSDP take the weights from the first process, whatever the configuration says, and let
    it work without accelerators, where accelerate would use DDP in its place."""
    from accelerate.utils import DistributedType

    if not is_sharded(arguments):
        return
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "true"
    if arguments.fsdp:
        arguments.fsdp_plugin_args["cpu_ram_efficient_loading"] = True
    state = arguments.distributed_state
    if state.distributed_type == DistributedType.MULTI_CPU:
        if arguments.fsdp and arguments.fsdp_plugin_args["fsdp_version"] == 1:
            raise SpectrumError("FSDP1 needs a GPU.", "Leave version out of fsdp_config: FSDP2.")
        # Of the types that accelerate shards, this one asks nothing more of the device.
        state.distributed_type = DistributedType.MULTI_GPU
        _stay_where_it_is(arguments)


def _stay_where_it_is(arguments: Any) -> None:
    """Offload nothing to the CPU on the CPU: torch would pin the memory of a device that is not
    there."""
    os.environ.pop("FSDP_OFFLOAD_PARAMS", None)
    if arguments.fsdp:
        arguments.fsdp_plugin_args.pop("cpu_offload", None)


# -- the first process -------------------------------------------------------------------------


def _sent(load: Callable[[], Any], device: torch.device) -> Any:
    """Load, and tell the others what the model is, with its buffers: FSDP sends no others."""
    try:
        model = load()
    except BaseException as error:
        _broadcast((None, f"The first process could not load: {error}"), device)
        raise
    buffers = {name: buffer.cpu() for name, buffer in model.named_buffers()}
    _broadcast((type(model), model.config, _layout(model), buffers), device)
    return model


def _layout(model: torch.nn.Module) -> Layout:
    return {
        name: (tuple(p.shape), p.dtype, getattr(p, _FILLED, False))
        for name, p in model.named_parameters()
    }


# -- the others --------------------------------------------------------------------------------


def _received(device: torch.device, place: torch.device) -> Any:
    """Return the model of the first process, with its buffers, in memory without values at `place`.

    Not on the meta device: there all tensors have the address 0, and accelerate's FSDP2 tells the
    optimizer by addresses which parameter is which.
    """
    cls, *rest = _broadcast(None, device)
    if cls is None:
        raise SpectrumError(str(rest[0]))
    config, layout, buffers = rest
    with torch.device("meta"):
        model = cls(config)
    model.tie_weights()
    _conform(model, layout)
    model.to_empty(device=place)
    model.tie_weights()
    for name, parameter in model.named_parameters():
        setattr(parameter, _FILLED, layout[name][2])
    for name, buffer in buffers.items():
        _set_buffer(model, name, buffer.to(place))
    return model.eval()


def _conform(model: torch.nn.Module, layout: Layout) -> None:
    """Give each parameter the type that it has in the first process; raises SpectrumError where
    the model is another."""
    here = {name: tuple(p.shape) for name, p in model.named_parameters()}
    if here != {name: shape for name, (shape, *_) in layout.items()}:
        name = next(iter(here.keys() ^ layout.keys()), "a shape")
        raise SpectrumError(
            f"The first process loads another model than its configuration makes: {name} differs.",
            "Run in one process, or install the same transformers everywhere.",
        )
    for name, parameter in model.named_parameters():
        if parameter.dtype != layout[name][1]:
            parameter.data = parameter.data.to(layout[name][1])


def _set_buffer(model: torch.nn.Module, name: str, value: torch.Tensor) -> None:
    module, _, last = name.rpartition(".")
    model.get_submodule(module)._buffers[last] = value


def _broadcast(said: Any, device: torch.device) -> Any:
    """Return what the first process says, through the memory of a device that the backend knows."""
    box = [said]
    distributed.broadcast_object_list(box, 0, device=device)
    return box[0]
