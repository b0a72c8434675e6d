"""One scan in several processes, which are threads here; `test_torchrun` has real ones."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.errors import ScanError
from spectrum_tui.core.events import LayerRescored, ScanEnded, ScanEvent, ScanNote, ScanStarted
from spectrum_tui.core.journal import lock
from spectrum_tui.core.journal.journal import Entry, Journal, journals, rank_journal, read_journal
from spectrum_tui.core.journal.lock import ScanLock
from spectrum_tui.core.journal.spectra import KeptSpectrum, SpectraReader, spectra_path
from spectrum_tui.core.model.inspection import inspect_model
from spectrum_tui.core.scanning.distributed import ProcessGroup
from spectrum_tui.core.scanning.scan import ScanPlan, make_plan, scan
from spectrum_tui.core.scoring.metrics import ONE_DIMENSIONAL
from tests.checkpoints import experts, llama, save
from tests.scans import is_matrix, journal_of, layers_of, run, scores_of
from tests.unit.scanning.thread_groups import in_processes


def plan_of(
    folder: Path, group: ProcessGroup, *, fresh: bool = False, precision: str = "auto"
) -> ScanPlan:
    checkpoint = read_checkpoint(folder)
    layers = [layer for layer in layers_of(checkpoint) if is_matrix(layer)]
    return make_plan(
        checkpoint,
        layers,
        device="cpu",
        batch_size=1,
        since=time.time() if fresh else 0.0,
        group=group,
        precision=precision,
    )


def scan_in(count: int, folder: Path, *, fresh: bool = False) -> list[list[ScanEvent]]:
    """The events that each of `count` processes of a scan yields."""
    found = in_processes(count, lambda group: list(scan(plan_of(folder, group, fresh=fresh))))
    for events in found:
        assert isinstance(events, list), events
    return found  # type: ignore[return-value]


class TestScan:
    @pytest.mark.parametrize("count", [2, 3])
    def test_every_process_knows_every_score(
        self, count: int, tmp_path: Path, computed: list[str]
    ) -> None:
        folder = save(tmp_path, {**llama(3), **experts(1)})
        one = scores_of(run(folder, only=is_matrix))
        journal_of(folder).unlink()
        computed.clear()
        found = scan_in(count, folder)
        assert len(computed) == len(set(computed)) == len(one)
        for events in found:
            assert scores_of(events) == one
            start, end = events[0], events[-1]
            assert isinstance(start, ScanStarted)
            assert isinstance(end, ScanEnded)
            assert start.layers == end.done == len(one)
            assert start.device == f"cpu in {count} processes"
            assert start.batch_size == count

    def test_each_process_writes_its_own_journal(self, tmp_path: Path) -> None:
        folder = save(tmp_path, llama(3))
        scan_in(3, folder)
        journal = journal_of(folder)
        assert journals(journal) == [journal, rank_journal(journal, 1), rank_journal(journal, 2)]
        counts = [len(file.read_text().splitlines()) for file in journals(journal)]
        assert min(counts) > 0
        assert sum(counts) == 3 * 7 + 2 == len(read_journal(journal))

    @pytest.mark.parametrize("count", [1, 2, 4])
    def test_another_number_of_processes_goes_on(
        self, count: int, tmp_path: Path, computed: list[str]
    ) -> None:
        folder = save(tmp_path, llama(3))
        scan_in(3, folder)
        journal = journal_of(folder)
        lost = rank_journal(journal, 1)
        missing = len(lost.read_text().splitlines())
        lost.unlink()
        computed.clear()
        found = scan_in(count, folder)
        assert len(computed) == missing > 0
        assert all(len(scores_of(events)) == 3 * 7 + 2 for events in found)

    def test_an_earlier_scan_counts_as_finished_layers(self, tmp_path: Path) -> None:
        folder = save(tmp_path, llama(2))
        scan_in(2, folder)
        assert sum(inspect_model(str(folder)).summary.scored.values()) == 2 * 7 + 2

    def test_a_group_follows_another_scan_of_the_model(
        self, tmp_path: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its first process waits, all of them know what the other scan finished meanwhile."""
        monkeypatch.setattr(lock, "GRACE", 0.01)
        folder = save(tmp_path, llama(2))
        one = scores_of(run(folder, only=is_matrix))
        journal = journal_of(folder)
        entries = list(read_journal(journal).values())
        journal.unlink()
        computed.clear()
        other = ScanLock(journal)
        assert other.take()
        said: list[str] = []

        def followed(group: ProcessGroup) -> list[ScanEvent]:
            events = []
            for event in scan(plan_of(folder, group)):
                events.append(event)
                if isinstance(event, ScanNote) and group.leads:
                    said.append(event.text)
                    if len(said) == 1:
                        with Journal(journal) as written:
                            for entry in entries[:5]:
                                written.append(entry)
                        other.__exit__(None, None, None)
            return events

        for events in in_processes(2, followed):
            assert isinstance(events, list), events
            assert scores_of(events) == one
            assert isinstance(events[-1], ScanEnded)
            assert events[-1].reason == "finished"
        assert len(computed) == len(set(computed)) == 2 * 7 + 2 - 5
        assert [text.split()[0] for text in said] == ["Another", "The"]

    def test_afresh_every_layer_is_computed_and_the_newest_counts(
        self, tmp_path: Path, computed: list[str]
    ) -> None:
        folder = save(tmp_path, llama(2))
        scan_in(4, folder)
        computed.clear()
        scan_in(2, folder, fresh=True)
        assert len(computed) == 2 * 7 + 2
        journal = journal_of(folder)
        lines = (f.read_bytes().splitlines() for f in journals(journal))
        made = sorted(json.loads(line)["made"] for file in lines for line in file)
        assert sorted(e.made for e in read_journal(journal).values()) == made[2 * 7 + 2 :]

    def test_machines_know_each_others_scores(self, tmp_path: Path, computed: list[str]) -> None:
        """Two machines with a cache each: what one has is not computed by the other."""
        folder = save(tmp_path / "m", llama(3))

        def work(group: ProcessGroup) -> list[ScanEvent]:
            group = replace(group, local_rank=0, local_size=1)
            place = tmp_path / f"machine{group.rank}" / "x.jsonl"
            return list(scan(replace(plan_of(folder, group), journal=place)))

        first = in_processes(2, work)
        kept = [len(read_journal(tmp_path / f"machine{i}" / "x.jsonl")) for i in range(2)]
        assert min(kept) > 0
        assert sum(kept) == 3 * 7 + 2
        computed.clear()
        again = in_processes(2, work)
        assert computed == []
        assert [scores_of(events) for events in again if isinstance(events, list)] == [
            scores_of(events) for events in first if isinstance(events, list)
        ]

    def test_different_models_are_refused(self, tmp_path: Path, computed: list[str]) -> None:
        folders = [save(tmp_path / str(i), llama(i + 1)) for i in range(2)]
        refused = in_processes(2, lambda group: list(scan(plan_of(folders[group.rank], group))))
        for error in refused:
            assert isinstance(error, ScanError)
            assert "different layers" in error.message
        assert computed == []

    def test_different_precisions_are_refused(self, tmp_path: Path, computed: list[str]) -> None:
        folder = save(tmp_path, llama(1))
        choices = ("fast", "exact")
        for error in in_processes(
            2, lambda g: list(scan(plan_of(folder, g, precision=choices[g.rank])))
        ):
            assert isinstance(error, ScanError)
            assert "--precision" in error.hint
        assert computed == []

    def test_the_order_is_settled_among_the_layers_of_all(self, tmp_path: Path) -> None:
        """Two equal layers in two processes: neither knows by itself that they are too close."""
        tensors = llama(2, hidden=64)
        close = [f"model.layers.{i}.mlp.up_proj" for i in range(2)]
        tensors[f"{close[1]}.weight"] = tensors[f"{close[0]}.weight"].clone()
        folder = save(tmp_path, tensors)
        exact = scores_of(run(folder, only=is_matrix, precision="exact"))
        journal_of(folder).unlink()
        for events in in_processes(
            2, lambda group: list(scan(plan_of(folder, group, precision="fast")))
        ):
            assert isinstance(events, list), events
            again = {e.done.layer: e.done.snr for e in events if isinstance(e, LayerRescored)}
            assert again == {layer: exact[layer] for layer in again}
            assert again.keys() >= set(close)
        known = read_journal(journal_of(folder))
        assert known[close[0]].error == known[close[1]].error == 0.0
        assert any(entry.error for entry in known.values())

    def test_cancelled_in_one_process_is_stopped_in_all(
        self, tmp_path: Path, computed: list[str]
    ) -> None:
        folder = save(tmp_path, llama(6))
        ends = in_processes(
            2,
            lambda group: list(scan(plan_of(folder, group), cancelled=lambda: group.rank == 1))[-1],
        )
        assert ends[0] == ends[1]
        assert isinstance(ends[0], ScanEnded)
        assert ends[0].reason == "stopped"
        assert 6 * 7 + 2 > ends[0].done == len(computed) == len(read_journal(journal_of(folder)))


def test_the_most_exact_score_counts_whichever_journal_it_is_in(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    for rank, error in enumerate((1e-5, 0.0, 1e-6)):
        with Journal(rank_journal(path, rank)) as journal:
            kept = KeptSpectrum(np.full(2, float(rank)), 2, 3)
            metrics = {**ONE_DIMENSIONAL, "spectrum": float(rank)}
            entry = Entry(layer="layer", metrics=metrics, error=error)
            journal.append(entry, kept)
    best = read_journal(path)["layer"]
    assert best.metrics["spectrum"] == 1.0
    with SpectraReader(spectra_path(path.with_name(best.file))) as reader:
        spectrum = reader.read("layer", best.spectrum)
    assert spectrum is not None
    assert spectrum.values.tolist() == [1.0, 1.0]  # its own, not that of another journal
