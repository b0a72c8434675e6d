"""Which devices were meant, of those that exist: the same rule before a scan and on the screen."""

from __future__ import annotations

from collections.abc import Sequence

from spectrum_tui.core.errors import InputError


def pick_devices(wanted: str, available: Sequence[str]) -> tuple[str, ...]:
    """The devices that `wanted` names, by torch's own names; raises InputError for another.

    `auto` and `cuda` are all GPUs at once, `cuda:1` is that one.

    >>> pick_devices("auto", ["cpu", "cuda:0", "cuda:1"]), pick_devices("CUDA:1", ["cuda:1"])
    (('cuda:0', 'cuda:1'), ('cuda:1',))
    """
    wanted = wanted.strip().lower() or "auto"
    gpus = tuple(device for device in available if device.startswith("cuda"))
    if wanted == "auto":
        return gpus or ("cpu",)
    if wanted == "cuda" and gpus:
        return gpus
    if wanted not in available:
        raise InputError(
            f"There is no device {wanted!r} here.",
            f"Give auto or one of: {', '.join(available)}.",
            field="device",
        )
    return (wanted,)


def share_of(devices: Sequence[str], index: int, count: int) -> tuple[str, ...]:
    """The devices of process `index` of `count` on a machine: every one is used, and shared
    only where there are more processes than devices.

    >>> share_of(["cuda:0", "cuda:1", "cuda:2"], 0, 2), share_of(["cuda:0"], 3, 4)
    (('cuda:0', 'cuda:2'), ('cuda:0',))
    """
    return tuple(devices[index::count]) or (devices[index % len(devices)],)
