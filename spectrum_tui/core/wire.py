"""Frozen dataclasses as JSON lines: how the scan process and the app talk to each other."""

from __future__ import annotations

import dataclasses
import json
import zlib
from typing import Any

from spectrum_tui.core import events, requests
from spectrum_tui.core.layer_types import TypeInfo
from spectrum_tui.core.policy_values import Budget
from spectrum_tui.core.settings import Settings

_KINDS: dict[str, type[Any]] = {
    cls.__name__: cls
    for cls in (
        TypeInfo,
        events.ScanStarted,
        events.LayerStarted,
        events.MatrixDone,
        events.LayerDone,
        events.LayerRescored,
        events.LayerFailed,
        events.ScanNote,
        events.NodesChanged,
        events.Fetched,
        events.ScanEnded,
        Settings,
        Budget,
        requests.Request,
        requests.Kept,
        requests.ModelSummary,
        requests.Inspected,
        requests.Refined,
        requests.ModelNames,
        requests.Named,
        requests.Sized,
        requests.RunFound,
        requests.Failed,
        requests.Notice,
        requests.DownloadProgress,
        requests.Downloaded,
        requests.Suggestions,
        requests.Ready,
        requests.ResultReady,
    )
}


def encode(message: Any) -> str:
    """One line of JSON, without the newline."""
    return json.dumps(_plain(message), ensure_ascii=True)


def decode(line: str) -> Any:
    """Return the message that `encode` wrote; raises ValueError for anything else."""
    try:
        message = json.loads(line, object_hook=_revive)
    except (TypeError, RecursionError):
        raise ValueError("not the fields of a message") from None
    if type(message).__name__ not in _KINDS:
        raise ValueError("not a message")
    return message


def form_of(*classes: type[Any]) -> str:
    """Return a name for the fields of dataclasses and their types. It changes when any of them
    does, so that data kept by another version is recognised."""
    fields = [(c.__name__, f.name, f.type) for c in classes for f in dataclasses.fields(c)]
    return f"{zlib.crc32(repr(fields).encode()):08x}"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = (f.name for f in dataclasses.fields(value))
        fields = {name: _plain(getattr(value, name)) for name in names}
        return {"kind": type(value).__name__, **fields}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _revive(data: dict[str, Any]) -> Any:
    cls = _KINDS.get(data.get("kind", ""))
    if cls is None:
        return {key: _frozen(value) for key, value in data.items()}
    return cls(**{key: _frozen(value) for key, value in data.items() if key != "kind"})


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
