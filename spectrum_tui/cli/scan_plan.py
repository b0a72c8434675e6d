"""`spectrum-tui scan --dry-run`: what a scan would compute, read and fetch, and about how long."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from spectrum_tui.cli.output import aligned
from spectrum_tui.cli.scan_model import chosen_types, introduce
from spectrum_tui.core.errors import InputError
from spectrum_tui.core.hub.patience import Patience
from spectrum_tui.core.hub.transfer import free_space
from spectrum_tui.core.model.inspection import Inspection, as_far_as_known, inspect_model
from spectrum_tui.core.naming.layers import Layer
from spectrum_tui.core.numbers import about, count, counted, size
from spectrum_tui.core.requests import ModelSummary
from spectrum_tui.core.scanning.plan import ScanPlan
from spectrum_tui.core.scanning.run import plan_of
from spectrum_tui.core.scanning.scan import reads_nothing
from spectrum_tui.core.scanning.speed import rate_of, usual_shape
from spectrum_tui.core.scanning.streaming import named, streams
from spectrum_tui.core.scoring.svd import FAST
from spectrum_tui.core.settings import Settings
from spectrum_tui.core.text import safe
from spectrum_tui.stdio.streams import put_json, put_lines, say

_TITLES = ("type", "layers", "matrices", "parameters", "to read")


@dataclass(frozen=True, kw_only=True)
class TypePlan:
    """What a scan does with a layer type: `scored` are the layers whose scores an earlier scan has
    left, and `bytes` those that the matrices of the others are stored in."""

    type: str
    layers: int
    matrices: int
    parameters: int
    bytes: int
    scored: int


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """A scan that was not begun: its layers by type, the seconds that it takes about, whether its
    values come without a download, and from where then."""

    summary: ModelSummary
    plan: ScanPlan
    types: tuple[TypePlan, ...]
    seconds: float | None
    streamed: bool
    source: str

    @property
    def reads_nothing(self) -> bool:
        """Whether earlier scans have left every score."""
        return reads_nothing(self.plan)

    @property
    def download_bytes(self) -> int:
        """Bytes that are fetched to this machine first."""
        fetched = not (self.summary.is_local or self.streamed or self.reads_nothing)
        return self.summary.nbytes - self.summary.local_bytes if fetched else 0


def run_dry(settings: Settings, put_data: Callable[[object], None] = put_json) -> int:
    """Say what a scan of a model would do, from its headers, and begin none; returns the exit code,
    raises SpectrumError."""
    if settings.cluster:
        raise InputError(
            "--dry-run and --cluster are given.", "A dry run is of this machine: leave one out."
        )
    inspection = inspect_model(settings.model, settings.revision, patience=Patience(say=say))
    known = named if streams(settings, inspection) else as_far_as_known
    inspection = known(inspection, settings)
    introduce(inspection)
    found = planned(settings, inspection, chosen_types(settings, inspection))
    if settings.json:
        put_data(_as_json(found))
    else:
        put_lines(_lines(found))
    return 0


def planned(settings: Settings, inspection: Inspection, types: tuple[str, ...]) -> DryRun:
    """Return what a scan of these types would do."""
    plan = plan_of(replace(settings, types=types), inspection)
    left = [layer for layer in plan.layers if not _is_scored(layer, plan, inspection)]
    return DryRun(
        summary=inspection.summary,
        plan=plan,
        types=tuple(_by_type(plan.layers, left)),
        seconds=_seconds(left, plan),
        streamed=streams(settings, inspection),
        source=inspection.place.source,
    )


def _is_scored(layer: Layer, plan: ScanPlan, inspection: Inspection) -> bool:
    """Return whether an earlier scan has left the scores of a layer, exact enough for this one."""
    errors = [inspection.scored.get(name) for name in layer.matrix_names]
    exact = plan.precision != FAST
    return not plan.since and all(e is not None and not (exact and e) for e in errors)


def _by_type(layers: Sequence[Layer], left: Sequence[Layer]) -> Iterator[TypePlan]:
    names = dict.fromkeys(layer.type for layer in layers)
    waiting = {layer.name for layer in left}
    for name in names:
        members = [layer for layer in layers if layer.type == name]
        yield TypePlan(
            type=name,
            layers=len(members),
            matrices=sum(layer.matrix_count for layer in members),
            parameters=sum(layer.numel for layer in members),
            bytes=sum(layer.nbytes for layer in members if layer.name in waiting),
            scored=sum(layer.name not in waiting for layer in members),
        )


def _seconds(left: Sequence[Layer], plan: ScanPlan) -> float | None:
    """Return about how long it takes to compute these layers, by what this machine does in a
    moment: without the time that their bytes take to come. None where it cannot be measured."""
    cost = sum(layer.cost_in(plan.precision) for layer in left)
    try:
        return cost * rate_of(plan.devices, usual_shape(left), plan.precision)
    except (RuntimeError, OSError, MemoryError):  # of a GPU that is full: a scan says it
        return None


def _lines(found: DryRun) -> Iterator[str]:
    rows = [_row(kind) for kind in found.types]
    yield from aligned([_TITLES, *rows, _row(_in_all(found.types))])
    yield ""
    yield _where_from(found)
    devices = ", ".join(found.plan.devices)
    how = f"{found.plan.batch_size} at a time, {found.plan.precision}"
    time = "no estimate" if found.seconds is None else about(found.seconds)
    yield f"computed on {devices}, {how}: {time}"
    for note in found.plan.notes:
        yield f"note: {note}"


def _row(kind: TypePlan) -> tuple[str, ...]:
    scored = f" ({kind.scored:,} scored already)" if kind.scored else ""
    figures = (f"{kind.layers:,}", f"{kind.matrices:,}", count(kind.parameters), size(kind.bytes))
    return (f"{safe(kind.type)}{scored}", *figures)


def _in_all(types: Sequence[TypePlan]) -> TypePlan:
    return TypePlan(
        type=counted(len(types), "type"),
        layers=sum(kind.layers for kind in types),
        matrices=sum(kind.matrices for kind in types),
        parameters=sum(kind.parameters for kind in types),
        bytes=sum(kind.bytes for kind in types),
        scored=sum(kind.scored for kind in types),
    )


def _where_from(found: DryRun) -> str:
    """Return a line on where the values come from, and what has to be fetched."""
    if found.reads_nothing:
        return "nothing is read: every score is there"
    if found.summary.mounted:
        return "read through a mount, which fetches what is read"
    if found.summary.is_local:
        return "read from this machine"
    if found.streamed:
        return f"read from {found.source} as it is needed, without a download"
    free = free_space()
    room = "" if free is None else f" ({size(free)} free)"
    return f"downloads {size(found.download_bytes)} into the hub's cache first{room}"


def _as_json(found: DryRun) -> dict[str, Any]:
    summary, plan = found.summary, found.plan
    return {
        "model": summary.name,
        "revision": summary.revision,
        "architecture": summary.architecture,
        "naming": summary.naming,
        "parameters": summary.parameters,
        "bytes": summary.nbytes,
        "local": summary.is_local,
        "streamed": found.streamed,
        "download_bytes": found.download_bytes,
        "devices": plan.devices,
        "batch_size": plan.batch_size,
        "precision": plan.precision,
        "seconds": found.seconds,
        "types": [asdict(kind) for kind in found.types],
        "notes": [*summary.notes, *plan.notes],
    }
