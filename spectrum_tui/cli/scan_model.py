"""The scan of `spectrum-tui scan`: data on stdout, progress and words on stderr."""

from __future__ import annotations

import signal
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType

from spectrum_tui.cli.choosing import tell_unmatched, way_of
from spectrum_tui.cli.downloading import downloaded
from spectrum_tui.cli.status_line import StatusLine
from spectrum_tui.core.events import (
    Fetched,
    LayerDone,
    LayerFailed,
    LayerStarted,
    NodesChanged,
    ScanEnded,
    ScanNote,
    ScanStarted,
)
from spectrum_tui.core.files import cache_note, check_writable, output_folder, usable_cache
from spectrum_tui.core.hub.patience import Patience
from spectrum_tui.core.model.inspection import Inspection, as_far_as_known, inspect_model
from spectrum_tui.core.numbers import count, counted, duration, part_of, size
from spectrum_tui.core.recipes.choice import Tiers
from spectrum_tui.core.requests import ResultReady
from spectrum_tui.core.results.names import unmatched
from spectrum_tui.core.results.policy import policy_of
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import check_rule
from spectrum_tui.core.scanning.chosen import match_types
from spectrum_tui.core.scanning.run import needs_no_values, run_scan
from spectrum_tui.core.scanning.streaming import named, streams
from spectrum_tui.core.settings import METRIC, Settings, check_metric
from spectrum_tui.core.text import safe
from spectrum_tui.stdio.last_resort import end_now
from spectrum_tui.stdio.streams import draw, put, put_json, say
from spectrum_tui.stdio.terminal_signals import TerminalSignals, short_name
from spectrum_tui.worker.progress import ScanProgress, Snapshot
from spectrum_tui.worker.rates import network_line


def run_scan_command(settings: Settings, put_data: Callable[[object], None] = put_json) -> int:
    """Scan a model and write its files; returns the exit code, raises SpectrumError. Results that
    are asked for as JSON go to `put_data`."""
    signals = TerminalSignals(draw, settings.signals)
    with usable_cache(), signals:
        return _scan(settings, signals, put_data)


def _scan(settings: Settings, signals: TerminalSignals, put_data: Callable[[object], None]) -> int:
    output = output_folder(settings.output_dir)
    inspection = _prepare(settings, output, signals)
    types = chosen_types(settings, inspection)
    scan = _Scan(signals)
    result = scan.run(replace(settings, types=types), inspection)
    if scan.interrupted or scan.stopped:
        return _interrupted(scan.snapshot(), fresh=bool(settings.since))
    if result is None:
        return 1
    from spectrum_tui.cli.scan_files import write_files  # 30 ms, which no score waits for

    written = write_files(result, settings, output)
    signals.over(f"{inspection.summary.name}: {written.said}.")
    if settings.json:
        put_data(written.as_json(settings))
    else:
        put("".join(f"{one}\n" for one in written.paths))
    say(written.said)
    return 1 if scan.progress.snapshot().failed else 0


def chosen_types(settings: Settings, inspection: Inspection) -> tuple[str, ...]:
    """Return the types that a scan computes, and say what is to be known of the model before it;
    raises InputError for settings that it cannot be scanned with."""
    for note in inspection.summary.notes:
        say(f"note: {note}")
    if settings.revision and inspection.summary.origin not in ("cache", "hub"):
        say("note: --revision is ignored: files that are not the hub's are read as they are")
    types = match_types(inspection.summary.types, settings.types)
    _check_policy(settings, inspection, types)
    return types


def _check_policy(settings: Settings, inspection: Inspection, types: Collection[str]) -> None:
    """Raise InputError for a policy that this scan cannot lead to: before it, not after hours."""
    check_metric(settings.metric)
    policy = policy_of(settings)
    check_rule(policy.rule, settings.metric or METRIC)
    way_of(settings, Tiers())
    model = inspection.model
    layers = [layer.name for layer in model.layers if layer.type in types]
    tell_unmatched(unmatched(policy, layers, types, model.embeddings), settings)


def _prepare(settings: Settings, output: Path, signals: TerminalSignals) -> Inspection:
    """Return the model on this machine under its exact names."""
    inspection = inspect_model(settings.model, settings.revision, patience=Patience(say=say))
    check_writable(output)  # before a download and a scan, not after
    streaming = streams(settings, inspection)
    # What cannot be scanned is not downloaded.
    named_as = named if streaming else as_far_as_known
    inspection = named_as(inspection, settings)
    introduce(inspection)
    if streaming or inspection.summary.is_local or settings.cluster:
        return inspection
    if _is_scored(settings, inspection):
        if settings.download:
            say("nothing is downloaded: every score is there")
        return inspection
    short = f"↓ {short_name(inspection.summary.name)}"
    there = downloaded(inspection, lambda share: signals.work(share, short))
    return as_far_as_known(there, settings)


_AT_ONCE = "interrupted at once; the same command goes on from what is kept"
"""What a second Ctrl-C says: it may come while the counts are being changed."""


def _is_scored(settings: Settings, inspection: Inspection) -> bool:
    """Return whether every score is there, of the types that are asked for."""
    if inspection.preview is None:  # other types may follow
        return False
    types = match_types(inspection.summary.types, settings.types)
    return needs_no_values(replace(settings, types=types), inspection)


class _Scan:
    """A scan with its progress on stderr; the first Ctrl-C stops it gently, the second hard."""

    def __init__(self, signals: TerminalSignals) -> None:
        self.progress = ScanProgress()
        self.interrupted = False
        self.stopped = False
        self._kept = 0
        self._told = False
        self._begun = False
        self._waited = False
        self._signals = signals
        self._model = ""
        self._streams = False
        self._line = StatusLine(first_after=0.1)

    def run(self, settings: Settings, inspection: Inspection) -> Result | None:
        before = signal.signal(signal.SIGINT, self._on_interrupt)
        results: list[Result] = []
        self.progress.begin()
        self._model = short_name(inspection.summary.name)
        self._streams = not (inspection.summary.is_local or settings.cluster)
        try:
            events = run_scan(
                settings,
                inspection,
                cancelled=lambda: self.interrupted,
                keep=results.append,
            )
            for event in events:
                if not isinstance(event, ResultReady):
                    self.progress.feed(event)
                    self._report(event)
        finally:
            self._line.clear()
            signal.signal(signal.SIGINT, before)
        return results[0] if results else None

    def snapshot(self) -> Snapshot:
        """Return the state at the end; `done` are the layers whose scores are kept."""
        return replace(self.progress.snapshot(), done=self._kept)

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted:
            with suppress(RuntimeError):  # of a stream that was just being written to
                say(_AT_ONCE)
            end_now()  # everything finished is on disk
        self.interrupted = True
        say("stopping after the matrices in progress (Ctrl-C again to stop at once)")

    def _report(self, event: object) -> None:
        match event:
            case ScanStarted():
                self._line.clear()
                layers = counted(event.layers, "layer")
                say(f"{layers} on {event.device}, {event.batch_size} at a time")
                self._say_each(event.notes)
            case LayerStarted():
                self._tell_way()
                self._begun = True
                self._tell_resumed()
            case LayerFailed():
                self._line.clear()
                say(f"failed: {safe(event.layer)}: {safe(event.reason)}")
            case LayerDone() if not event.resumed:
                self._begun = True
                state = self.progress.snapshot()
                if self._line.is_due():
                    self._line.show(_progress(state))
                self._signals.work(state.share, self._model, failed=state.failed > 0)
            case Fetched():
                self._tell_waited(event.waited)
                if self._line.is_due():
                    self._line.show(_progress(self.progress.snapshot()))
            case ScanNote():
                self._line.clear()
                say(event.text)
            case NodesChanged():
                self._line.clear()
                say(f"{event.text} Now on {event.device}, {event.batch_size} at a time.".strip())
            case ScanEnded():
                self._line.clear()
                self._tell_resumed()
                if not self._begun and event.reason == "finished":
                    say("every layer was scored already; --fresh scores them again")
                self._say_each(event.notes)
                self.stopped = event.reason == "stopped"
                self._kept = event.done

    def _tell_way(self) -> None:
        """Say before the first matrix how a model is read that is not on this machine."""
        if self._streams and not self._begun:
            self._line.clear()
            say("it is scanned without a download: its values are read in ranges as they are")
            say("needed, so that the hashes of whole files cannot be checked")

    def _tell_waited(self, reason: str) -> None:
        """Say why the network is waited for, once each time."""
        if reason and not self._waited:
            self._line.clear()
            say(f"{reason} Waiting for the network; finished scores are kept.")
        self._waited = bool(reason)

    def _tell_resumed(self) -> None:
        """Once, when all that an earlier scan left is known: how much of it is used."""
        resumed = self.progress.snapshot().resumed
        if resumed and not self._told:
            self._line.clear()
            say(f"{resumed:,} came from an earlier scan")
        self._told = True

    def _say_each(self, notes: Sequence[str]) -> None:
        for note in notes:
            say(note)


def _progress(state: Snapshot) -> str:
    left = f", about {duration(state.eta)} left" if state.eta is not None else ""
    done = f"{state.share:4.0%}  {state.done + state.failed}/{counted(state.layers, 'layer')}{left}"
    streamed = state.fetched.total or state.fetched.done
    return f"{done}, {network_line(state.fetched)}" if streamed else done


def introduce(inspection: Inspection) -> None:
    """Say what the model is, by the counts that a trainer will see."""
    summary = inspection.summary
    matrices = sum(not info.one_dimensional for info in summary.types)
    say(
        f"{safe(summary.name)}: {summary.architecture}, {count(summary.parameters)} parameters, "
        f"{counted(matrices, 'type')} of matrices, {size(summary.nbytes)}"
    )


def _interrupted(state: Snapshot, *, fresh: bool = False) -> int:
    if not state.layers:
        say("interrupted before the scan began")
    elif cache_note():
        done = part_of(state.done, state.layers, "layer")
        say(f"interrupted: {done} scored, but nothing is kept; the same command starts over")
    else:
        done = part_of(state.done, state.layers, "layer", "is", "are")
        same = "the same command without --fresh" if fresh else "the same command"
        say(f"interrupted: {done} kept; {same} goes on from there")
    return 130
