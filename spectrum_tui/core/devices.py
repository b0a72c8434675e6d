"""Which device was meant, of those that exist: the same rule before a scan and on the screen."""

from __future__ import annotations

from collections.abc import Sequence

from spectrum_tui.core.errors import InputError


def pick_device(wanted: str, available: Sequence[str]) -> str:
    """The device that `wanted` names, by torch's own name; raises InputError for another.

    >>> pick_device("auto", ["cpu", "cuda:0"]), pick_device("CUDA", ["cpu", "cuda:0"])
    ('cuda:0', 'cuda:0')
    """
    wanted = wanted.strip().lower() or "auto"
    if wanted == "auto":
        return next((d for d in available if d.startswith("cuda")), "cpu")
    wanted = "cuda:0" if wanted == "cuda" else wanted
    if wanted not in available:
        raise InputError(
            f"There is no device {wanted!r} here.",
            f"Give auto or one of: {', '.join(available)}.",
            field="device",
        )
    return wanted
