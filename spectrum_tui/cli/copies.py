"""One command that a cluster's launcher has started several times: which copy of it this is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_LAUNCHERS = (
    ("SLURM_NTASKS", "SLURM_PROCID"),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("WORLD_SIZE", "RANK"),
)
"""The variables in which srun, mpirun and torchrun say how many copies there are, and which one
this is."""


@dataclass(frozen=True, slots=True)
class Copy:
    """Whether this copy is the one that scans, and the line that says so; "" where it is alone."""

    first: bool = True
    said: str = ""


def copy_of(environ: Mapping[str, str]) -> Copy:
    """Return which copy of a command this process is, by the first launcher that counts several.

    Without a number of its own it is the first one: a batch script on Slurm has the number of
    tasks before srun has started any.
    """
    for count, number in _LAUNCHERS:
        copies, mine = _whole(environ.get(count, "")), _whole(environ.get(number, ""))
        if copies > 1:
            return _copy(f"{count} is {copies:,}", mine)
    return Copy()


def _copy(why: str, mine: int) -> Copy:
    if mine:
        return Copy(first=False, said=f"{why}: copy {mine:,} ends here, copy 0 scans")
    return Copy(said=f"{why}: this copy scans, all others end at once; --cluster divides a scan")


def _whole(text: str) -> int:
    """Return a number that a launcher writes, 0 for anything else."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
