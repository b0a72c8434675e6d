"""A probe seen from the process that asks for one: without torch."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from spectrum_tui.core.dataset.describing import describe
from spectrum_tui.core.dataset.examples import Dataset
from spectrum_tui.core.dataset.kept_examples import write_examples
from spectrum_tui.core.dataset.reading import read_dataset
from spectrum_tui.core.errors import ScanError
from spectrum_tui.core.logs import log_file
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.own_process import own_environment
from spectrum_tui.core.probing.as_metrics import targets_of, with_probed
from spectrum_tui.core.probing.records import Doing, Plan, Probed, ProbeJob, job_text, said_of
from spectrum_tui.core.results.results import Result
from spectrum_tui.proving.preparing import conditions_of
from spectrum_tui.proving.process import OwnProcess
from spectrum_tui.worker.process import describe_exit

COMMAND = (sys.executable, "-P", "-m", "spectrum_tui.proving.probing")


@dataclass(frozen=True, eq=False, kw_only=True)
class ProbeAsked:
    """What is to be measured: `how` is a job whose model, data and targets are still to come;
    `model` says where the model is, "" for what the scores say."""

    result: Result
    data: tuple[str, ...]
    how: ProbeJob
    model: str = ""


class Probe:
    """One probe: the data are read when it is made, so that what is wrong with them is said before
    anything starts. Raises DataError, InputError."""

    def __init__(self, asked: ProbeAsked, command: Sequence[str] = COMMAND) -> None:
        self._asked = asked
        self._conditions = conditions_of(asked.result, asked.model)
        self.dataset: Dataset = read_dataset(asked.data, media=True)
        self._process = OwnProcess(command)

    @property
    def notes(self) -> list[str]:
        """What was read."""
        return describe(self.dataset)

    def end(self) -> None:
        """End it, from any thread."""
        self._process.end()

    def run(self, tell: Callable[[Plan | Doing], None]) -> tuple[Result, Probed]:
        """Return the result with the metrics of the data, and what came of the probe; raises
        ScanError where nothing did."""
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "data.jsonl"
            digest = write_examples(data, self.dataset.examples)
            probed = self._outcome(self._job(data, digest), tell)
        if probed.error:
            raise ScanError(probed.error, probed.hint)
        return with_probed(self._asked.result, probed, self._about(probed)), probed

    def _job(self, data: Path, digest: str) -> ProbeJob:
        conditions, result = self._conditions, self._asked.result
        return replace(
            self._asked.how,
            model=conditions.model,
            revision=conditions.revision,
            model_class=self._asked.how.model_class or conditions.model_class,
            data=str(data),
            digest=digest,
            checkpoint=result.checkpoint,
            targets=targets_of(result),
        )

    def _outcome(self, job: ProbeJob, tell: Callable[[Plan | Doing], None]) -> Probed:
        found: list[Probed] = []

        def hear(line: str) -> None:
            said = said_of(line)
            if isinstance(said, Probed):
                found.append(said)
            else:
                tell(said)

        with log_file("probe") as (path, log):
            try:
                code = self._process.follow(job_text(job), log, hear, own_environment())
            except OSError as exc:
                return Probed(error=f"The probe cannot be started: {exc.strerror or exc}.")
        details = f"Details are in {path}." if path else ""
        if not found:
            return Probed(error=f"The probe {describe_exit(code)}.", hint=details)
        return found[0] if found[0].hint else replace(found[0], hint=details)

    def _about(self, probed: Probed) -> str:
        how, dataset = self._asked.how, self.dataset
        batches = counted(probed.batches, "batch", "batches")
        each = f"{how.batch} × {how.sequence} tokens"
        if probed.unit != "tokens":
            each = f"{how.batch} {probed.unit}"
        more = "" if len(dataset.files) == 1 else f" and {len(dataset.files) - 1} more"
        return (
            f"{dataset.files[0]}{more} (sha256 {dataset.digest[:12]}): {batches} of {each} "
            f"as {probed.model_class} in {probed.dtype} on {probed.device}"
        )
