"""What a scan does: layers, devices, how many at once, how exact.

All is settled before it begins, but which library computes on the CPU: that follows from what the
journal leaves to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spectrum_tui.core.checkpoint.file_state import FileState
from spectrum_tui.core.checkpoint.headers import Checkpoint
from spectrum_tui.core.journal.journal import journal_path
from spectrum_tui.core.naming.layers import Layer
from spectrum_tui.core.numbers import size
from spectrum_tui.core.scanning.cluster_nodes import ClusterPlan, check_device
from spectrum_tui.core.scanning.devices import (
    CPU,
    SHARE,
    choose_devices,
    choose_precision,
    default_batch_size,
    free_memory,
)
from spectrum_tui.core.scanning.layers import gpu_need, how_many_fit, memory_need
from spectrum_tui.core.scoring.svd import EXACT, FAST


@dataclass(frozen=True, kw_only=True)
class ScanPlan:
    """The layers to score in the order of the results, and how: see `make_plan`.

    `batch_size` is for each of the `devices`; `files` are those that the layers lie in, as they
    were when they were inspected, `on_demand` where a mount fetches what is read of them. Scores
    older than `since` are computed again, and stay in the journal until then. `cpu` is what `svd`
    calls the library that computes on a CPU. On a `cluster` its nodes have the devices.
    """

    layers: tuple[Layer, ...]
    journal: Path
    devices: tuple[str, ...]
    batch_size: int
    notes: tuple[str, ...] = ()
    since: float = 0.0
    precision: str = EXACT
    files: Mapping[str, FileState] = field(default_factory=dict)
    on_demand: bool = False
    cluster: ClusterPlan | None = None
    cpu: str = CPU

    @property
    def cost(self) -> float:
        """Work of all layers, in the units of `svd.cost`."""
        return sum(layer.cost_in(self.precision) for layer in self.layers)


def make_plan(
    checkpoint: Checkpoint,
    layers: Sequence[Layer],
    *,
    device: str = "auto",
    batch_size: int = 0,
    since: float = 0.0,
    precision: str = "auto",
    cluster: ClusterPlan | None = None,
) -> ScanPlan:
    """Settle devices, batch size and precision for scoring `layers`.

    On a cluster of many kinds of nodes all is exact, unless fast is asked for. Raises InputError
    for a device that does not exist.
    """
    devices, notes = _devices(device, cluster)
    fast = any(choose_precision(precision, device) == FAST for device in devices)
    if fast:
        notes = (*notes, "Fast precision: float32, and float64 wherever a rank depends on it.")
    if not batch_size and cluster is None:
        batch_size, reasons = auto_batch_size(layers, devices)
        notes += reasons
    return ScanPlan(
        layers=tuple(layers),
        journal=journal_path(checkpoint.fingerprint),
        devices=devices,
        batch_size=batch_size,
        notes=notes,
        since=since,
        precision=FAST if fast else EXACT,
        files=checkpoint.states,
        on_demand=checkpoint.on_demand,
        cluster=cluster,
    )


def _devices(device: str, cluster: ClusterPlan | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(devices, notes for the user); a cluster counts as a CPU, whose float64 is fast."""
    if cluster is None:
        return choose_devices(device)
    check_device(cluster.device)
    return (CPU,), ()


def auto_batch_size(layers: Sequence[Layer], devices: Sequence[str]) -> tuple[int, tuple[str, ...]]:
    """(how many matrices at once on each device, a note where memory decided)."""
    sides = (min(layer.rows, layer.columns) for layer in layers if not layer.one_dimensional)
    most = default_batch_size(devices[0], max(sides, default=0))
    free = min(free_memory(device) for device in devices)
    need = memory_need if devices[0] == CPU else gpu_need
    fitting = how_many_fit(layers, SHARE * free, most, need)
    if fitting == most:
        return most, ()
    return fitting, (f"{fitting} at a time instead of {most}: {size(free)} of memory is free.",)
