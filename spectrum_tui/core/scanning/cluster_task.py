"""What a node of a cluster does: it finds the model for itself, and scores the matrices it is told.

Nothing of a model is sent: a node reads its files by their path where it has them, otherwise those
of the hub at the same commit, from its own cache or straight from there. A process of a node
describes the model once.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from spectrum_tui import __version__
from spectrum_tui.core import errors
from spectrum_tui.core.checkpoint.identity import NOT_KNOWN, Identity, agree
from spectrum_tui.core.errors import ModelChangedError, ScanError, SpectrumError
from spectrum_tui.core.events import Fetched, LayerFailed
from spectrum_tui.core.hub.outage import GivenUpError
from spectrum_tui.core.hub.reader import Reader
from spectrum_tui.core.hub.whole_files import WholeFiles, remove_leftovers
from spectrum_tui.core.journal.journal import Entry
from spectrum_tui.core.journal.spectra import KeptSpectrum
from spectrum_tui.core.model.inspection import Inspection, as_far_as_known, inspect_model
from spectrum_tui.core.naming.layers import Layer
from spectrum_tui.core.scanning.layers import LayerWork
from spectrum_tui.core.scanning.read_order import costliest_first
from spectrum_tui.core.scanning.streaming import (
    kept_whole,
    reading_ahead,
    streamed,
    whole_files_folder,
)
from spectrum_tui.core.scanning.workers import Workers
from spectrum_tui.core.settings import Settings

_WAITS_FOR = 5.0
"""Seconds for which an order waits for the network before its node says so: it ends in part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """How a node finds the model, and knows it for the same: its `folder` on the driver's machine
    ("" where it is not there), its id on the hub and commit, or its address ("" for a plain
    folder), and the options that its names depend on."""

    folder: str = ""
    model: str = ""
    revision: str = ""
    identity: Identity = NOT_KNOWN
    model_class: str = ""
    allow_gptq: bool = False
    version: str = __version__


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOrder:
    """Matrices for one process of a node, by their names, `at_once` of them in work: on `threads`
    cores, those without a matrix helping with the others', or on its GPU."""

    names: tuple[str, ...]
    device: str
    precision: str
    threads: int = 1
    at_once: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What has come of an order: scores, or why a matrix has none, and its `seconds`.

    A node that can take no order at all says why in `refused`, one whose files are being written to
    in `changed` (`errors.to_dict`). `on_cpu` did not fit into the node's GPU; `streamed` where the
    values came over the network, of which it `fetched` so many bytes. One of which nothing could be
    read for a while is answered in part, and says in `waits` why, as a sentence."""

    scores: tuple[tuple[Entry, KeptSpectrum | None], ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    on_cpu: frozenset[str] = frozenset()
    streamed: bool = False
    fetched: int = 0
    waits: str = ""
    refused: Mapping[str, str] | None = None
    changed: Mapping[str, str] | None = None


def carry_out(reference: Reference, order: WorkOrder) -> Answer:
    """Score the matrices of an order on this node."""
    try:
        return _scored(_model_of(reference), order)
    except ModelChangedError as exc:
        return Answer(changed=errors.to_dict(exc))
    except SpectrumError as exc:
        return Answer(refused=errors.to_dict(exc))


class _Collected:
    """Takes what would go into a journal."""

    def __init__(self) -> None:
        self.scores: list[tuple[Entry, KeptSpectrum | None]] = []

    def append(self, entry: Entry, spectrum: KeptSpectrum | None = None) -> None:
        self.scores.append((entry, spectrum))


@dataclass(frozen=True, slots=True)
class _Model:
    """A model as this node has it: every matrix as a layer of its own, by its name, and what reads
    it where it is on the hub alone; its `whole` files where that gives no ranges."""

    reference: Reference
    layers: Mapping[str, Layer]
    reader: Reader | None
    whole: WholeFiles | None


def _scored(model: _Model, order: WorkOrder) -> Answer:
    layers = model.layers
    if unknown := [name for name in order.names if name not in layers]:
        raise ScanError(
            f"There is no {unknown[0]} under the names that this node gives the layers.",
            "Install the same versions of spectrum-tui and transformers on every node.",
        )
    kept, begin = _Collected(), time.perf_counter()
    before = _fetched(model)
    in_work = min(order.at_once, len(order.names))
    works = [LayerWork(layers[name], {}, order.precision) for name in order.names]
    with reading_ahead(model.reader, costliest_first(works), model.whole) as reading:
        # Waiting counts: the driver does not know how many bytes are left for the network.
        workers = Workers(
            replace(reading, waited=lambda: 0.0),
            kept,
            devices=(order.device,),
            precision=order.precision,
            workers=in_work,
            helpers=max(0, order.threads - in_work),
        )
        failed, waits = _worked(workers, model.reader)
    return Answer(
        scores=tuple(kept.scores),
        failed=failed,
        seconds=time.perf_counter() - begin,
        on_cpu=workers.on_cpu,
        streamed=model.reader is not None,
        fetched=_fetched(model) - before,
        waits=waits,
    )


def _worked(workers: Workers, reader: Reader | None) -> tuple[dict[str, str], str]:
    """Score everything; returns why matrices have no score, and why the network was waited for so
    long that the rest was left."""
    failed: dict[str, str] = {}
    waits, since = "", 0.0
    try:
        for event in workers.run(lambda: False):
            if isinstance(event, LayerFailed):
                failed[event.layer] = event.reason
            elif isinstance(event, Fetched) and reader is not None and not waits:
                since = (since or time.monotonic()) if event.waited else 0.0
                if since and time.monotonic() - since >= _WAITS_FOR:
                    waits = event.waited
                    reader.outage.fail(GivenUpError(waits))
    except GivenUpError:
        if not waits:
            raise
    finally:
        workers.close()
    return failed, waits


def _fetched(model: _Model) -> int:
    return model.reader.traffic.nbytes if model.reader else 0


_known: list[_Model] = []
"""The model of the last order: a process of a node serves one scan after the other."""
_streamed = ExitStack()
atexit.register(_streamed.close)
_lock = threading.Lock()


def _model_of(reference: Reference) -> _Model:
    """Return the model, described at the first call; raises SpectrumError where it is not here."""
    with _lock:
        if not _known or _known[0].reference != reference:
            _known.clear()
            _streamed.close()
            _known.append(_described(reference))
        return _known[0]


def alone(layers: tuple[Layer, ...]) -> dict[str, Layer]:
    """Return every matrix as a layer of its own, by its name."""
    found: dict[str, Layer] = {}
    for layer in layers:
        for name, matrix in zip(layer.matrix_names, layer.matrices, strict=False):
            found[name] = replace(
                layer,
                name=name,
                shape=(matrix.rows, matrix.columns),
                nbytes=layer.nbytes // layer.matrix_count,
                matrix_count=1,
                matrices=(replace(matrix, label=""),),
            )
    return found


def _described(reference: Reference) -> _Model:
    """Return the model as this node has it; raises ScanError where it has another one, or none."""
    found = _found(reference)
    reader = None if found.summary.is_local else _streamed.enter_context(streamed(found))
    names = Settings(model_class=reference.model_class, allow_gptq=reference.allow_gptq)
    layers = alone(as_far_as_known(found, names).model.layers)
    remove_leftovers(whole_files_folder())
    whole = _streamed.enter_context(kept_whole(reader)) if reader else None
    return _Model(reference, layers, reader, whole)


def _found(reference: Reference) -> Inspection:
    if reference.version != __version__:
        raise ScanError(
            f"spectrum-tui {__version__} is installed there, here {reference.version}.",
            "Install the same version on every node.",
        )
    found = inspect_model(_place(reference), reference.revision)
    if not agree(found.checkpoint.identity, reference.identity):
        raise ScanError(
            f"{found.summary.folder or found.summary.model} holds other weights there.",
            "Copy the same files to every node.",
        )
    return found


def _place(reference: Reference) -> str:
    if reference.folder and Path(reference.folder).is_dir():
        return reference.folder
    if reference.model:
        return reference.model
    raise ScanError(
        f"There is no folder {reference.folder} there.",
        "Put the model into a folder that every node sees, or name it by its id on the hub.",
    )
