"""What a scan reports while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from spectrum_tui.core.settings import METRIC

KEPT = "Finished scores are kept: the same command goes on from there."
"""What ends a note, or an error, of a scan that a network or a server ended. A screen that offers
to go on says so itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanStarted:
    """The plan: how many layers, how much work (units of `svd.cost`), how it runs. `names` are the
    layers, those of a type together, in the order of `types`. `seconds_per_cost` is what a unit
    takes one of those in work, as measured before; 0 where it was not. `elsewhere`: on the nodes of
    a cluster, of whose memory nothing is known here. `earlier` is what the provenance says of how
    what is scored already was read."""

    layers: int
    cost: float
    types: dict[str, int]
    device: str
    batch_size: int
    notes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    seconds_per_cost: float = 0.0
    elsewhere: bool = False
    earlier: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LayerStarted:
    """A matrix is being scored; `cost` as in `ScanStarted`."""

    layer: str
    type: str
    shape: tuple[int, ...]
    cost: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixDone:
    """One of several matrices of a layer is done (an expert).

    `layer` is the matrix's own name. What is reported here, `LayerDone` does not count again.
    """

    layer: str
    type: str
    cost: float
    bytes: int
    seconds: float
    resumed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerDone:
    """A layer's score is on disk. `resumed`: nothing was computed for it, as it was there from an
    earlier scan or is 1-D.

    `metrics` has the layer's value in every metric. A layer of several matrices has their mean:
    `parts` are the labels of the matrices, `part_metrics` their values in the same order.
    """

    layer: str
    type: str
    shape: tuple[int, ...]
    metrics: dict[str, float]
    cost: float
    bytes: int
    seconds: float
    resumed: bool = False
    parts: tuple[str, ...] = ()
    part_metrics: dict[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def snr(self) -> float:
        """Its value in the reference tool's metric."""
        return self.metrics[METRIC]


@dataclass(frozen=True, slots=True)
class LayerRescored:
    """A layer that was too close to another was scored again in float64: this takes the place
    of its LayerDone before, and counts no further work."""

    done: LayerDone


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFailed:
    """A layer that has no score, and why."""

    layer: str
    type: str
    shape: tuple[int, ...]
    reason: str
    cost: float


@dataclass(frozen=True, slots=True)
class ScanNote:
    """A sentence for the user while the scan runs; it does not affect the results."""

    text: str


@dataclass(frozen=True, slots=True)
class NodesChanged:
    """Other nodes of a cluster compute now; `text` says which came or went, "" where a note has
    said it, the rest as in `ScanStarted`."""

    device: str
    batch_size: int
    text: str = ""


NETWORK_WAITS = "waiting for the network"
"""What stands for the speed while nothing comes."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """How much of what a scan reads over the network has come: bytes of bytes (`total` 0 where
    nobody knows, as for the nodes of a cluster), and bytes a second; why the network is `waited`
    for, as a sentence, "" where it is not."""

    done: int
    total: int
    speed: float
    waited: str = ""


@dataclass(frozen=True, slots=True)
class ScanEnded:
    """The last event, always sent: all done, or stopped by the user with the rest kept.

    `notes` say what went otherwise than planned (a device that ran out of memory).
    """

    reason: Literal["finished", "stopped"]
    done: int
    failed: int
    notes: tuple[str, ...] = ()


ScanEvent = (
    ScanStarted
    | LayerStarted
    | MatrixDone
    | LayerDone
    | LayerRescored
    | LayerFailed
    | ScanNote
    | NodesChanged
    | Fetched
    | ScanEnded
)
