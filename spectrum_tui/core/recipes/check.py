"""Whether trainers would unfreeze exactly what a recipe names, before it is written."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from spectrum_tui.core.errors import SelectionError

_PLAIN = re.compile(r"[A-Za-z_][\w.\-/]*", re.ASCII)
"""Names that YAML reads as a plain string and that, as a regular expression, match themselves."""
_ANY = str.maketrans("_-/", "...")
"""A trainer's `.` stands for any character; these are the others that names are made of."""


def check_names(written: Sequence[str], parameters: Iterable[str]) -> None:
    """Raise SelectionError unless `written` is what will train of the model's `parameters`.

    Every name must stand in the file as it is, must be a parameter (where they are known), and
    must not also match one that is not written: some trainers match the beginning of a name,
    others look for it anywhere.
    """
    for name in written:
        if not _PLAIN.fullmatch(name):
            raise SelectionError(
                f"The parameter name {name!r} cannot stand in this file.",
                "Trainers read the names as patterns, and would match others or none.",
            )
    known = set(parameters)
    if not known:
        return
    for name in written:
        if name not in known:
            raise SelectionError(
                f"{name} is not a parameter of the model that a trainer would load.",
                "Scan the model again with this version of transformers.",
            )
    for name, other in overmatched(written, known):
        raise SelectionError(
            f"{name} would also unfreeze {other}, which is not selected.",
            "Trainers match names by their beginning or anywhere inside; select both or neither.",
        )


def overmatched(written: Sequence[str], known: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(written name, other parameter that it matches too), found in sorted lists.

    Trying every pattern on every name would take minutes for 30,000 experts.
    """
    rest = [name.translate(_ANY) for name in set(known) - set(written)]
    original = dict(zip(rest, set(known) - set(written), strict=True))
    forward = sorted(rest)
    backward = sorted(name[::-1] for name in rest)
    for name in written:
        pattern = name.translate(_ANY)
        if (found := _with_prefix(forward, pattern)) is not None:
            yield name, original[found]
        elif (found := _with_prefix(backward, pattern[::-1])) is not None:
            yield name, original[found[::-1]]


def _with_prefix(ordered: Sequence[str], prefix: str) -> str | None:
    at = bisect_left(ordered, prefix)
    return ordered[at] if at < len(ordered) and ordered[at].startswith(prefix) else None
