"""What a model is planned as, kept: from its inspection to its scan in one process, and on disk so
that the next start takes no time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from spectrum_tui.core import wire
from spectrum_tui.core.checkpoint.headers import is_unchanged
from spectrum_tui.core.conforming import conforms
from spectrum_tui.core.errors import OutputError
from spectrum_tui.core.files import cache_dir, read_kept, write_kept
from spectrum_tui.core.hub.cache import find_local
from spectrum_tui.core.layer_types import TypeInfo
from spectrum_tui.core.model.earlier import Measured, kept_scores, measured, with_earlier
from spectrum_tui.core.model.inspection import (
    Inspection,
    as_far_as_known,
    tensors_to_load,
)
from spectrum_tui.core.requests import ModelSummary
from spectrum_tui.core.settings import DEFAULTS, Settings

_FORM = f"plan {wire.form_of(ModelSummary, TypeInfo)}"


class KeptModel:
    """An inspected model whose plan is made once, by whichever thread needs it first."""

    def __init__(self, inspection: Inspection, settings: Settings = DEFAULTS) -> None:
        self.inspection = inspection
        self._settings = settings
        self._lock = threading.RLock()
        self._exact: Inspection | None = None

    def answers(self, settings: Settings) -> bool:
        """Return whether an inspection of that model at a commit would find, and plan, the same
        now."""
        summary = self.inspection.summary
        mine = replace(self._settings, model=summary.model, revision=summary.revision)
        same = mine.that_change("model", "names") == settings.that_change("model", "names")
        return same and self._is_current()

    def exact(self) -> Inspection:
        """Return the model under the names of a trainer; raises what `with_exact_names` raises."""
        with self._lock:
            if self._exact is None:
                self._exact = as_far_as_known(self.inspection, self._settings)
            return self._exact

    def recount(self) -> None:
        """Look up what is scored by now."""
        scored = kept_scores(self.inspection.checkpoint)
        self.inspection = replace(self.inspection, scored=scored)

    def summary(self) -> ModelSummary:
        """Return the summary under these names, from disk where files, class and transformers are
        those of last time; raises what `with_exact_names` raises."""
        with self._lock:
            path = self._path()
            kept = _read(path)
            if kept is None:
                exact = self.exact()
                kept = exact.summary, measured(exact.model.layers)
                # A cache that cannot be written costs time, not the answer.
                with contextlib.suppress(OutputError):
                    write_kept(path, _FORM, f"{wire.encode(kept[0])}\n{json.dumps(kept[1])}\n")
        summary, layers = kept
        now = self.inspection.summary
        return replace(
            with_earlier(summary, self.inspection.scored, layers),
            model=now.model,
            folder=now.folder,
            revision=now.revision,
            name=now.name,
            local_bytes=now.local_bytes,
            free=now.free,
            mounted=now.mounted,
        )

    def needs_imports(self) -> bool:
        """Return whether `summary` has to import transformers, which takes seconds."""
        with self._lock:
            if self._exact is not None or _read(self._path()) is not None:
                return False
        return not _is_built_in(self.inspection, self._settings)

    def _is_current(self) -> bool:
        """Of a model that is only on the hub, whether it still is: a commit there never changes."""
        summary = self.inspection.summary
        if summary.is_local:
            return is_unchanged(self.inspection.checkpoint)
        return find_local(summary.model, summary.revision) is None

    def _path(self) -> Path:
        checkpoint = self.inspection.checkpoint
        choices = " ".join(map(str, self._settings.that_change("names")))
        config = repr(sorted(checkpoint.config.items(), key=lambda item: item[0]))
        # What is said of the same weights depends on where, and as which files, they lie.
        origin = self.inspection.summary.origin
        beside = repr((checkpoint.has_config, checkpoint.indexed, checkpoint.has_adapter))
        beside += repr((origin, checkpoint.shards))
        key = "\0".join((checkpoint.fingerprint, _transformers_version(), choices, config, beside))
        return cache_dir() / "plans" / f"{hashlib.sha256(key.encode()).hexdigest()[:40]}.json"


def _is_built_in(inspection: Inspection, settings: Settings) -> bool:
    """Return whether the exact names are known without transformers; raises CheckpointError."""
    from spectrum_tui.core.naming.plain_decoders import known_plan

    sources = tensors_to_load(inspection, settings).sources
    return known_plan(inspection.checkpoint, sources, model_class=settings.model_class) is not None


def _transformers_version() -> str:
    """From what pip wrote down: asking the package itself is an import of 4 s."""
    try:
        return version("transformers")
    except PackageNotFoundError:
        return ""


def _read(path: Path) -> tuple[ModelSummary, tuple[Measured, ...]] | None:
    text = read_kept(path, _FORM)
    if text is None:
        return None
    try:
        first, second = text.splitlines()
        layers = tuple((*others, tuple(names)) for *others, names in json.loads(second))
        kept = wire.decode(first), layers
    except (ValueError, TypeError, RecursionError):
        return None
    return kept if conforms(kept, tuple[ModelSummary, tuple[Measured, ...]]) else None
