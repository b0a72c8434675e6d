"""Any order of scanning, stopping, damage and changed files: a score is that of the bytes now on
disk, or the scan says why there is none."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from safetensors.torch import load_file, save_file

from spectrum_tui.core.errors import SpectrumError
from spectrum_tui.core.events import LayerDone, ScanEnded
from spectrum_tui.core.requests import ResultReady
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.settings import Settings
from tests import checkpoints, oracle

LAYERS = ("model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj", "lm_head")
Events = Generator[object, None, None]


class ScanMachine(RuleBasedStateMachine):
    """One small model, scanned again and again while everything around it changes."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="spectrum-machine-"))
        self.patch = pytest.MonkeyPatch()
        self.patch.setenv("SPECTRUM_TUI_CACHE", str(self.folder / "cache"))
        self.version = 0
        self.running: Events | None = None
        self.seen: dict[str, float] = {}

    def teardown(self) -> None:
        self._end_running()
        self.patch.undo()
        shutil.rmtree(self.folder)

    @initialize()
    def make(self) -> None:
        tensors = checkpoints.llama(1, hidden=16, vocabulary=24, norms=False)
        self.model = checkpoints.save(self.folder / "model", tensors)
        self.weights = self.model / "model.safetensors"

    # What a user and a machine do

    @rule(batch_size=st.sampled_from((1, 2, 3)), fresh=st.booleans())
    def begin(self, batch_size: int, fresh: bool) -> None:
        self._end_running()
        self.running = self._scan(batch_size, fresh)

    @precondition(lambda self: self.running is not None)
    @rule(count=st.integers(1, 6))
    def go_on(self, count: int) -> None:
        assert self.running is not None
        for _ in range(count):
            if not self._next(self.running):
                self.running = None
                return

    @precondition(lambda self: self.running is not None)
    @rule()
    def stop(self) -> None:
        """A generator that is closed is what Ctrl-C leaves behind."""
        self._end_running()

    @rule(batch_size=st.sampled_from((1, 2, 3)))
    def scan_to_the_end(self, batch_size: int) -> None:
        """With nothing changing beside it, a scan has every score of what lies there."""
        self._end_running()
        scores = self._scores(self._scan(batch_size, fresh=False))
        assert scores == pytest.approx(self._true_scores(), rel=1e-9)

    # What happens to the files

    @rule(layer=st.sampled_from(LAYERS), keep_time=st.booleans(), in_place=st.booleans())
    def change(self, layer: str, keep_time: bool, in_place: bool) -> None:
        """Other values, the same size; rsync --times and a trainer's memory map among the ways."""
        self.version += 1
        tensors = load_file(self.weights)
        name = f"{layer}.weight"
        shape = tuple(tensors[name].shape)
        tensors[name] = checkpoints.matrix(f"{layer}-{self.version}", *shape, dtype=torch.bfloat16)
        before = self.weights.stat()
        other = self.folder / "other.safetensors"
        save_file(tensors, other, {"format": "pt"})
        if in_place:
            with self.weights.open("r+b") as file:
                file.write(other.read_bytes())
        else:
            other.replace(self.weights)
        if keep_time:
            os.utime(self.weights, ns=(before.st_atime_ns, before.st_mtime_ns))

    @rule(
        place=st.floats(0, 1), bit=st.integers(0, 7), pattern=st.sampled_from(("jsonl", "spectra"))
    )
    def flip_a_bit_of_the_journal(self, place: float, bit: int, pattern: str) -> None:
        for path in self._kept(pattern):
            data = bytearray(path.read_bytes())
            if data:
                data[min(int(place * len(data)), len(data) - 1)] ^= 1 << bit
                path.write_bytes(data)

    @rule(share=st.floats(0, 1), pattern=st.sampled_from(("jsonl", "spectra")))
    def tear_the_journal(self, share: float, pattern: str) -> None:
        """What kill -9 and a full disk leave."""
        for path in self._kept(pattern):
            os.truncate(path, int(share * path.stat().st_size))

    # How it is looked at

    def _kept(self, pattern: str) -> list[Path]:
        self._end_running()
        return sorted((self.folder / "cache" / "scans").glob(f"*.{pattern}"))

    def _scan(self, batch_size: int, fresh: bool) -> Events:
        request = Settings(
            model=str(self.model),
            types=(),
            batch_size=batch_size,
            device="cpu",
            output_dir=str(self.folder / "out"),
            since=time.time() if fresh else 0.0,
        )
        yield from run_scan(request)

    def _next(self, events: Events) -> bool:
        """Take one event; a scan whose model changed may end in a line, nothing else may."""
        try:
            event = next(events)
        except (StopIteration, SpectrumError):
            return False
        return not isinstance(event, ResultReady)

    def _scores(self, events: Iterator[object]) -> dict[str, float]:
        scores: dict[str, float] = {}
        for event in events:
            if isinstance(event, LayerDone):
                scores[event.layer] = event.snr
            if isinstance(event, ScanEnded):
                assert event.reason == "finished"
        return scores

    def _true_scores(self) -> dict[str, float]:
        tensors = load_file(self.weights)
        return {
            name.removesuffix(".weight"): oracle.snr(tensor.to(torch.float64).numpy())
            for name, tensor in tensors.items()
        }

    def _end_running(self) -> None:
        if self.running is not None:
            self.running.close()
        self.running = None


TestScanMachine = ScanMachine.TestCase
TestScanMachine.settings = settings(
    max_examples=25,
    stateful_step_count=14,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
