"""What a front end asks of the core, and what it gets to know about a model before a scan."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from spectrum_tui.core.layer_types import TypeInfo
from spectrum_tui.core.settings import DEFAULTS, Settings

Task = Literal[
    "inspect", "recount", "download", "scan", "check", "names", "sizes", "suggest", "stop"
]

Origin = Literal["folder", "cache", "hub", "web", "demo"]
"""Where a model is: in a folder, in the hub's cache, only on the hub, or made on the spot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the app asks of the worker; answers carry its `number`, 0 where none is awaited.

    `branch` is the name by which a downloaded model is found again, if not by its revision, and
    `scores` the file that sizes are wanted for.
    """

    task: Task
    number: int = 0
    settings: Settings = DEFAULTS
    branch: str | None = None
    scores: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What earlier scans have left of a layer type: the bytes that need not be read again and the
    cost of what need not be computed again, to the single expert; `fast_nbytes` and `fast_cost`
    are what of it an exact scan does again."""

    nbytes: int = 0
    cost: float = 0.0
    fast_nbytes: int = 0
    fast_cost: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSummary:
    """What headers alone tell about a model.

    `origin`: a local folder, a snapshot in the hub's cache, only on the hub, a folder on the web,
    or the demo.
    `folder` is "" while nothing is local. `revision` is the commit of a hub model. `free` are the
    bytes that the disk of the hub's cache has left, for a model that is only on the hub, None
    where they are not known. `dtypes` counts bytes per stored type. `scored` counts for each type
    the layers that an earlier scan of these weights has scored, `scored_fast` those of them
    that an exact scan computes again; `kept` is what that saves. `skipped` are (parameter, reason)
    that will have no score. `model` is as it was typed, `name` what the model is called in files
    and on screens. `notes` are what the user should know before scanning. `naming` says whose the
    parameter names are and `model_class` which class gave them; both are empty in a preview from
    headers. `mounted` is whether the folder is on a mount that fetches what is read of it.
    """

    model: str
    origin: Origin
    folder: str
    revision: str
    architecture: str
    parameters: int
    tensors: int
    shards: int
    nbytes: int
    local_bytes: int
    dtypes: dict[str, int]
    types: tuple[TypeInfo, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    scored: dict[str, int] = field(default_factory=dict)
    scored_fast: dict[str, int] = field(default_factory=dict)
    kept: dict[str, Kept] = field(default_factory=dict)
    name: str = ""
    notes: tuple[str, ...] = ()
    naming: str = ""
    model_class: str = ""
    free: int | None = None
    mounted: bool = False

    @property
    def is_local(self) -> bool:
        """Whether its files are on this machine."""
        return bool(self.folder)

    @property
    def can_be_downloaded(self) -> bool:
        """Whether it is on the hub alone: a folder on the web is read where it is."""
        return self.origin == "hub"

    @property
    def missing_bytes(self) -> int:
        """Bytes that a download would fetch."""
        return self.nbytes - self.local_bytes

    @property
    def fits(self) -> bool:
        """Whether the disk has room for what a download would fetch."""
        return self.free is None or self.missing_bytes <= self.free

    def is_streamed(self, settings: Settings) -> bool:
        """Return whether a scan reads the model on the hub, without a download: as it was asked
        for, else where the disk has no room. The machines of a cluster always do, and a folder on
        the web is never downloaded."""
        chosen = settings.stream or self.origin == "web"
        chosen = chosen or not (settings.download or self.fits)
        return bool(chosen or settings.cluster) and not self.is_local


@dataclass(frozen=True, slots=True)
class Inspected:
    """The answer to an inspection; `request` is the number that asked for it."""

    request: int
    summary: ModelSummary


@dataclass(frozen=True, slots=True)
class Refined:
    """The same model under the names that a trainer will have; follows `Inspected`."""

    request: int
    summary: ModelSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNames:
    """The parameters of a model as a trainer has them, for judging a recipe by.

    `sizes` are their elements, `rows` their first dimension (0 without one). `tied` are (other
    name, parameter); `stored` are (name in the checkpoint, parameter) where the two differ.
    `classes` are (class, Auto class that chooses it, names of its parameters) for others that
    transformers may load the model as.
    """

    model: str
    naming: str
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    rows: tuple[int, ...]
    tied: tuple[tuple[str, str], ...] = ()
    stored: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    classes: tuple[tuple[str, str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Named:
    """The answer to a request for a model's parameters."""

    request: int
    names: ModelNames


@dataclass(frozen=True, slots=True)
class Sized:
    """The answer to a request for sizes: the result with them, as `details.details_text` writes it;
    empty where no model is at hand."""

    request: int
    scores: str
    details: str


@dataclass(frozen=True, slots=True)
class RunFound:
    """The answer to an inspection of what is no model: the folder of a training run, whose score
    files play as a film."""

    request: int
    folder: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A request that could not be served: the fields of a `SpectrumError` (`errors.to_dict`)."""

    request: int
    error: dict[str, str]


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence about a request that is in work: a hub asks to wait."""

    request: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadProgress:
    """Bytes fetched so far of all that is needed (`total` 0 until known), bytes per second, and
    whether nothing comes, so that the network is waited for."""

    request: int
    done: int
    total: int
    speed: float
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Downloaded:
    """The model is local now; the summary says where."""

    request: int
    summary: ModelSummary


@dataclass(frozen=True, slots=True)
class Suggestions:
    """Models in the hub's local cache, and saved score files, newest first."""

    models: tuple[str, ...]
    results: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker has torch: which devices exist, seconds per unit of `svd.cost`, and on which
    of them the precision `auto` is `fast`."""

    devices: tuple[str, ...]
    seconds_per_cost: dict[str, float]
    fast: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ResultReady:
    """A scan's scores are on disk: `path` opens with `core.store.load_result`."""

    path: str
    complete: bool
