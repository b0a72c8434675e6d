"""A probe as the app knows it: run on a thread, looked at by polling."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from spectrum_tui.core.errors import SpectrumError
from spectrum_tui.core.memory.model import ModelSizes
from spectrum_tui.core.numbers import counted, size
from spectrum_tui.core.probing.passes import in_passes, rough_sizes
from spectrum_tui.core.probing.records import Doing, Plan
from spectrum_tui.core.results.results import Result

if TYPE_CHECKING:
    from spectrum_tui.proving.probing.asking import Probe, ProbeAsked

ProbePhase = Literal["reading", "measuring", "stopping", "stopped", "finished", "failed"]
LIVE: tuple[ProbePhase, ...] = ("reading", "measuring", "stopping")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeView:
    """A probe as it is now: `left` are seconds, NaN before the first batch is measured; `error` and
    `field` say what was wrong, and `result` has the new metrics once all is `finished`."""

    phase: ProbePhase = "reading"
    plan: Plan | None = None
    doing: Doing | None = None
    left: float = math.nan
    error: SpectrumError | None = None
    result: Result | None = None
    note: str = ""


class ProbeRun:
    """One probe, from its texts to the scores that hold its metrics."""

    def __init__(self, asked: ProbeAsked) -> None:
        self._asked = asked
        self._lock = threading.Lock()
        self._probe: Probe | None = None
        self._view = ProbeView()
        self._measured_from = 0.0

    @property
    def view(self) -> ProbeView:
        """The probe as it is now."""
        with self._lock:
            return self._view

    @property
    def live(self) -> bool:
        """Whether it runs."""
        return self.view.phase in LIVE

    def begin(self) -> None:
        """Read the texts and measure, on a thread of its own."""
        threading.Thread(target=self._run, daemon=True).start()

    def stop(self) -> None:
        """End its process soon; nothing is kept."""
        with self._lock:
            if self._view.phase not in LIVE:
                return
            self._view, probe = ProbeView(phase="stopping", plan=self._view.plan), self._probe
        if probe is not None:
            probe.end()

    # -- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            view = self._measured()
        except SpectrumError as error:
            view = ProbeView(phase="failed", error=error)
        except Exception as exc:  # the thread must not end without a word
            said = SpectrumError(f"The probe cannot go on: {type(exc).__name__}: {exc}", "")
            view = ProbeView(phase="failed", error=said)
        with self._lock:
            stopped = self._view.phase == "stopping" and view.phase == "failed"
            self._view = ProbeView(phase="stopped") if stopped else view

    def _measured(self) -> ProbeView:
        from spectrum_tui.proving.probing.asking import Probe

        probe = Probe(self._asked)
        with self._lock:
            self._probe = probe
            unwanted = self._view.phase == "stopping"
        if unwanted:
            return ProbeView(phase="stopped")
        result, probed = probe.run(self._hear)
        return ProbeView(
            phase="finished", result=result, note="; ".join((*probed.notes, *_kept(result)))
        )

    def _hear(self, said: Plan | Doing) -> None:
        now = time.monotonic()
        with self._lock:
            if self._view.phase == "stopping":
                return
            if isinstance(said, Plan):
                self._measured_from = now
                self._view = ProbeView(phase="measuring", plan=said)
            else:
                left = said.left(now - self._measured_from)
                self._view = ProbeView(
                    phase="measuring", plan=self._view.plan, doing=said, left=left
                )


def _kept(result: Result) -> list[str]:
    """Keep the metrics beside the scores that were probed; return why they are not."""
    from spectrum_tui.core.saved.store import add_details

    if not result.source:
        return ["the scores have no file yet: the metrics are kept with them when you save"]
    try:
        add_details(Path(result.source), result)
    except SpectrumError as error:
        return [f"the metrics are not kept: {error}"]
    return []


def memory_text(result: Result, *, tokens: int, half: bool) -> str:
    """Return what a probe takes with so many tokens in a batch; "" where no sizes are known."""
    if not result.parameters:
        return ""
    width = 2 if half else 4
    scores = result.scores
    sizes = rough_sizes(ModelSizes(result.parameters, result.embeddings), tokens, width)
    sums = {layer: 4 * int(n) for layer, n in zip(scores.layers, scores.numel, strict=True)}
    whole, least = (in_passes(sizes, sums, memory) for memory in (2**62, 0))
    said = f"About {size(whole.memory)} ({'bf16' if half else 'float32'}, an estimate)"
    passes = counted(len(least.groups), "pass", "passes")
    return f"{said}; where less is free up to {passes}, {size(least.memory)} at the least"
