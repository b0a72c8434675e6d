"""What the screens ask of the app. Answers come back as method calls on the active screen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textual.message import Message

from spectrum_tui.core.requests import ModelSummary
from spectrum_tui.core.settings import Settings

if TYPE_CHECKING:
    from spectrum_tui.app.proof_run import ProofRun, ProofView
    from spectrum_tui.app.screens.result_state import ResultState


@dataclass
class InspectRequested(Message):
    """Read the headers of this model; a later request replaces an earlier one."""

    model: str
    revision: str


@dataclass
class DownloadRequested(Message):
    """Fetch the inspected hub model into the hub's cache."""

    model: str
    revision: str


class DownloadCancelled(Message):
    """Stop the download; whole files that are there stay there."""


@dataclass
class OpenRequested(Message):
    """Open saved scores, the training run that they are of where `film`, or a recipe to audit;
    what is open starts with these settings."""

    path: Path
    settings: Settings
    film: bool = False


@dataclass
class LibraryRequested(Message):
    """Show the library; what is opened from there starts with these settings, without any with
    those of the app."""

    settings: Settings | None = None


@dataclass
class CompareRequested(Message):
    """Compare two files of saved scores by what these settings choose."""

    a: Path
    b: Path
    settings: Settings


@dataclass
class NamesRequested(Message):
    """Find the parameters of this model, to judge a recipe by."""

    model: str


@dataclass
class SizesRequested(Message):
    """Find the sizes of these scores in this model."""

    scores: Path
    model: str


@dataclass
class LayersRequested(Message):
    """The model is known and the settings are valid: choose the layer types."""

    summary: ModelSummary
    settings: Settings


@dataclass
class ExactNamesRequested(Message):
    """Names of a model are wanted that could not be had before."""

    summary: ModelSummary


@dataclass
class ScanRequested(Message):
    """Score every layer of these types, after a download where it takes one.

    `fresh` ignores scores of an earlier scan; the settings say how the values of a hub model come.
    """

    types: tuple[str, ...]
    settings: Settings
    fresh: bool = False


class AddRequested(Message):
    """Ask which model is scanned after the others."""


@dataclass
class CheckRequested(Message):
    """Read the headers of a model that is to be scanned after the others."""

    model: str


class NextRequested(Message):
    """Go on with the model that waits first."""


class RecountRequested(Message):
    """Say how many layers have a score by now."""


@dataclass
class StopRequested(Message):
    """End the scan after the matrices in work; everything finished is kept."""


class ForceStopRequested(Message):
    """End the scan at once; the matrices in work are lost, everything finished is kept."""


class ResumeRequested(Message):
    """Go on with a scan that was stopped or died; finished layers are not computed again."""


class PartialResultsRequested(Message):
    """Show what an unfinished scan has scored so far."""


@dataclass
class KindUsed(Message):
    """Offer this kind of recipe first, the next time that results are saved."""

    kind: str


@dataclass
class ProveRequested(Message):
    """Ask how these results are to be proved."""

    state: ResultState


@dataclass
class ProofStarted(Message):
    """Run this proof, which the set-up gives way to; `state` is of the results below."""

    run: ProofRun
    state: ResultState


@dataclass
class TakeRequested(Message):
    """Open the scores of a proof with what a method of it selects."""

    proof: ProofView
    method: str
