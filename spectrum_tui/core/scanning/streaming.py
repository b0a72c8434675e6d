"""A scan of a model that is not on this machine: its values come as they are needed."""

from __future__ import annotations

from spectrum_tui.core import hub
from spectrum_tui.core.errors import InputError
from spectrum_tui.core.model.inspection import Inspection
from spectrum_tui.core.settings import Settings


def streams(settings: Settings, inspection: Inspection) -> bool:
    """Return whether a model is scanned without a download: as it was asked for, else where the
    disk has no room for it. Raises InputError where both are asked for."""
    stream, download = settings.stream, settings.download
    if inspection.summary.is_local:
        return False
    if stream and download:
        raise InputError(
            "--stream and --download are given.", "Give one of them, or none.", field="model"
        )
    if stream or download or inspection.files is None:
        return stream
    return not hub.has_room(inspection.files)
