"""The description of a model under exact names, kept so that a second look takes no time."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from spectrum_tui.core import wire
from spectrum_tui.core.conforming import conforms
from spectrum_tui.core.errors import OutputError
from spectrum_tui.core.files import cache_dir, read_kept, write_kept
from spectrum_tui.core.journal.journal import journal_path, read_journal
from spectrum_tui.core.layer_types import TypeInfo
from spectrum_tui.core.model.inspection import Inspection, as_far_as_known
from spectrum_tui.core.requests import ModelSummary
from spectrum_tui.core.settings import DEFAULTS, Settings

_FORM = f"plan {wire.form_of(ModelSummary, TypeInfo)}"


def refined_summary(inspection: Inspection, settings: Settings = DEFAULTS) -> ModelSummary:
    """The summary under a trainer's names, from the cache where files, class and transformers
    are those of last time; raises what `with_exact_names` raises."""
    path = _cache_path(inspection, f"{settings.model_class} {settings.allow_gptq}")
    kept = _read(path)
    if kept is None:
        exact = as_far_as_known(inspection, settings)
        kept = exact.summary, [list(layer.matrix_names) for layer in exact.model.layers]
        # A cache that cannot be written costs time, not the answer.
        with contextlib.suppress(OutputError):
            write_kept(path, _FORM, f"{wire.encode(kept[0])}\n{json.dumps(kept[1])}\n")
    summary, matrices = kept
    known = read_journal(journal_path(inspection.checkpoint.fingerprint)).keys()
    now = inspection.summary
    return replace(
        summary,
        model=now.model,
        folder=now.folder,
        name=now.name,
        local_bytes=now.local_bytes,
        finished=sum(known >= set(names) for names in matrices) if known else 0,
    )


def _cache_path(inspection: Inspection, choices: str) -> Path:
    checkpoint = inspection.checkpoint
    config = repr(sorted(checkpoint.config.items(), key=lambda item: item[0]))
    beside = repr((checkpoint.has_config, checkpoint.indexed, checkpoint.has_adapter))
    key = "\0".join((checkpoint.fingerprint, _transformers_version(), choices, config, beside))
    return cache_dir() / "plans" / f"{hashlib.sha256(key.encode()).hexdigest()[:40]}.json"


def _transformers_version() -> str:
    """From what pip wrote down: asking the package itself is an import of 4 s."""
    try:
        return version("transformers")
    except PackageNotFoundError:
        return ""


def _read(path: Path) -> tuple[ModelSummary, list[list[str]]] | None:
    text = read_kept(path, _FORM)
    if text is None:
        return None
    try:
        first, second = text.splitlines()
        kept = wire.decode(first), json.loads(second)
    except (ValueError, RecursionError):
        return None
    return kept if conforms(kept, tuple[ModelSummary, list[list[str]]]) else None
