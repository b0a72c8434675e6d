"""One scan from request to files: the path that the command line and the app share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from spectrum_tui.core.checkpoint.identity import same_contents
from spectrum_tui.core.errors import OutputError, ResultsError, ScanError
from spectrum_tui.core.events import (
    ScanEnded,
    ScanEvent,
    ScanNote,
)
from spectrum_tui.core.files import (
    OutputFiles,
    cache_dir,
    cache_note,
    check_writable,
    output_folder,
)
from spectrum_tui.core.hub.reader import Reader
from spectrum_tui.core.hub.whole_files import remove_leftovers
from spectrum_tui.core.model.inspection import Inspection, inspect_model, with_exact_names
from spectrum_tui.core.requests import ResultReady
from spectrum_tui.core.results.results import (
    Result,
    read_notes,
)
from spectrum_tui.core.saved import library, store
from spectrum_tui.core.scanning.chosen import choose_layers
from spectrum_tui.core.scanning.cluster_nodes import ClusterPlan
from spectrum_tui.core.scanning.cluster_task import Reference
from spectrum_tui.core.scanning.outcome import Outcome, build_result
from spectrum_tui.core.scanning.plan import ScanPlan, make_plan
from spectrum_tui.core.scanning.scan import reads_nothing, scan
from spectrum_tui.core.scanning.streaming import (
    named,
    streamed,
    streams,
    watched,
    whole_files_folder,
)
from spectrum_tui.core.settings import METRICS, Settings, check_metric


def run_scan(
    settings: Settings,
    inspection: Inspection | None = None,
    *,
    cancelled: Callable[[], bool] = lambda: False,
    keep: Callable[[Result], object] = lambda result: None,
) -> Iterator[ScanEvent | ResultReady]:
    """Scan a model and write its score files; ends with ResultReady. One that is on the hub alone
    is streamed where `streams` says so.

    `keep` is called with the result, for whoever goes on with it in this process.

    A stopped scan's scores are kept in the program's cache, not in the output folder, where
    another tool would take them for the whole model. Raises SpectrumError.
    """
    output = output_folder(settings.output_dir)
    check_metric(settings.metric)
    inspection = _prepared(settings, inspection)
    plan = plan_of(settings, inspection)
    remove_leftovers(whole_files_folder())
    with _reader(plan, inspection, cancelled) as reader:
        outcome = yield from _scanned(inspection, plan, reader, cancelled)
        if outcome.done:
            result = build_result(inspection, plan, outcome).with_metric(settings.metric)
            keep(result)
            yield from _saved(result, output, finished=outcome.finished)


def plan_of(settings: Settings, inspection: Inspection) -> ScanPlan:
    """Return the plan of a scan of these settings; raises InputError as `make_plan` does."""
    return make_plan(
        inspection.checkpoint,
        choose_layers(inspection, settings.types),
        device=settings.device,
        batch_size=settings.batch_size,
        since=settings.since,
        precision=settings.precision,
        cluster=_cluster(settings, inspection),
    )


def needs_no_values(settings: Settings, inspection: Inspection) -> bool:
    """Return whether every score that is asked for is there, of a model under its exact names: its
    files are of no use then. Raises InputError as `make_plan` does."""
    # `preview` is missing while the names are those of the files: other ones may follow.
    is_exact = inspection.preview is not None
    return is_exact and not settings.cluster and reads_nothing(plan_of(settings, inspection))


def _reader(
    plan: ScanPlan, inspection: Inspection, cancelled: Callable[[], bool]
) -> AbstractContextManager[Reader | None]:
    """Return what reads the values of a model that is not on this machine, but by the nodes of a
    cluster, which read for themselves."""
    if inspection.summary.is_local or plan.cluster is not None or reads_nothing(plan):
        return nullcontext()
    return streamed(inspection, cancelled)


def _scanned(
    inspection: Inspection,
    plan: ScanPlan,
    reader: Reader | None,
    cancelled: Callable[[], bool],
) -> Generator[ScanEvent, None, Outcome]:
    """Yield the events of a scan, and return what they come to; raises ScanError as
    `Outcome.check` does."""
    outcome = Outcome(notes=plan.notes)
    watch = watched(inspection, cancelled)
    for event in scan(plan, reader, watch=watch, cancelled=cancelled):
        outcome.add(event)
        if isinstance(event, ScanEnded) and watch is not None:
            outcome.leave_out(watch.lost, plan)
            yield replace(event, done=len(outcome.done))
        else:
            yield event
    outcome.check()
    if reader is not None and reader.traffic.nbytes and reader.gives_ranges():
        # For who reads the scores, not for the screen.
        outcome.notes += read_notes(reader.where, unmarked=reader.unmarked)
    outcome.notes = tuple(dict.fromkeys((*outcome.notes, *outcome.earlier)))
    return outcome


def _saved(result: Result, output: Path, *, finished: bool) -> Iterator[ScanEvent | ResultReady]:
    """Write the score files, those of a stopped scan elsewhere, and say where they are."""
    notes: list[str] = []
    try:
        files = store.save_scores(
            result, output if finished else _stopped_folder(), tell=notes.append
        )
    except OutputError as exc:
        kept = "" if cache_note() else " The scores are kept: the next scan starts from them."
        raise OutputError(exc.message, f"{exc.hint}{kept}", field=exc.field) from None
    library.record(result, files.scores)
    if finished:
        _supersede_stopped(result, files)
    yield from map(ScanNote, notes)
    yield ResultReady(str(files.scores), finished)


def _cluster(settings: Settings, inspection: Inspection) -> ClusterPlan | None:
    """Return the cluster that was asked for, and how its nodes find the model."""
    if not settings.cluster:
        return None
    summary = inspection.summary
    reference = Reference(
        folder=str(Path(summary.folder).resolve()) if summary.folder else "",
        model="" if summary.origin == "folder" else summary.model,
        revision=summary.revision,
        identity=inspection.checkpoint.identity,
        model_class=settings.model_class,
        allow_gptq=settings.allow_gptq,
    )
    return ClusterPlan(
        address=settings.cluster,
        reference=reference,
        device=settings.device.strip().lower() or "auto",
        batch_size=settings.batch_size,
    )


def _stopped_folder() -> Path:
    return cache_dir() / "stopped"


def _supersede_stopped(result: Result, files: OutputFiles) -> None:
    """Leave no entry of a stopped scan in the library whose every layer is in these scores of the
    same weights."""
    layers = set(result.scores.layers)
    for metric in METRICS:
        stopped = library.entry_at(OutputFiles(_stopped_folder(), files.slug, metric).scores)
        if stopped is None:
            continue
        with contextlib.suppress(ResultsError):
            earlier = store.load_result(Path(stopped.path))
            same = same_contents(earlier.checkpoint, result.checkpoint)
            if same and layers.issuperset(earlier.scores.layers):
                library.supersede(stopped, files.scores)


def _prepared(settings: Settings, inspection: Inspection | None) -> Inspection:
    """Return the model under its exact names. Who has inspected it has checked the output
    folder too, before its names took their time."""
    if inspection is None:
        inspection = inspect_model(settings.model, settings.revision)
        check_writable(output_folder(settings.output_dir))
    streaming = streams(settings, inspection)
    here = inspection.summary.is_local or bool(settings.cluster)  # or where the nodes have it
    if not (streaming or here or needs_no_values(settings, inspection)):
        raise ScanError(f"{settings.model} is not downloaded yet.", "Download it first.")
    if inspection.summary.naming:
        return inspection
    return named(inspection, settings) if streaming else with_exact_names(inspection, settings)
