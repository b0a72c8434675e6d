"""Values of options that are typed as words: which signals, how many at once, which cluster."""

from __future__ import annotations

import re

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.option import whole_number

SIGNALS = ("title", "progress", "bell")
"""What a terminal can be told beside what is drawn in it (see `stdio.terminal_signals`)."""
AUTO = "auto"


def parse_signals(text: str) -> tuple[str, ...]:
    """Return the parts of `SIGNALS` that are named, none for `none`; raises InputError."""
    names = tuple(name.strip().lower() for name in text.split(","))
    if names == ("none",):
        return ()
    if unknown := [name for name in names if name not in (AUTO, *SIGNALS)]:
        raise InputError(
            f"There is no signal {unknown[0]!r}.",
            f"Choose from {', '.join(SIGNALS)}, separated by commas, or {AUTO} or none.",
            field="signals",
        )
    return names


def parse_batch_size(text: str) -> int:
    """Return how many matrices are in work at once, 0 for `auto`; raises InputError."""
    if text.strip().lower() in ("", "auto"):
        return 0
    return whole_number(text, 1, 1024, "batch_size", "The batch size", "1 to 1,024, or auto")


_ADDRESS = re.compile(r"(ray://)?[\w.:\[\]-]+:\d{1,5}", re.ASCII)


def parse_cluster(text: str) -> str:
    """Return where a cluster is, "" for `none`; raises InputError."""
    address = text.strip()
    if address.lower() in ("", "none"):
        return ""
    if address.lower() in (AUTO, "local"):
        return address.lower()
    if not _ADDRESS.fullmatch(address):
        raise InputError(
            f"{address!r} is no address of a cluster.",
            "Give auto, local, HOST:PORT or ray://HOST:PORT.",
            field="cluster",
        )
    return address
