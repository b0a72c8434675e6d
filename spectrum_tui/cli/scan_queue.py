"""Models that are scanned one after the other, each with its own files and its own end."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from spectrum_tui.cli.scan_model import run_scan_command
from spectrum_tui.core.errors import InputError, SpectrumError
from spectrum_tui.core.files import slug
from spectrum_tui.core.scanning.distributed import PeerLostError, ProcessGroup, join
from spectrum_tui.core.settings import Settings
from spectrum_tui.stdio.last_resort import INTERRUPTED, report_error
from spectrum_tui.stdio.streams import put_json, say


def run_queue(queue: Sequence[Settings]) -> int:
    """Scan the models; returns the worst of their exit codes. A failure does not stop the next
    one, an interrupt ends all. One model alone raises SpectrumError.

    Started by torchrun, this is one of several processes: the first speaks for all of them.
    """
    _check_files(queue)
    group = join()
    if len(queue) == 1 and group.size == 1:
        return run_scan_command(group, queue[0])
    worst = 0
    for number, settings in enumerate(queue, 1):
        if group.leads and len(queue) > 1:
            say(f"model {number} of {len(queue)}: {settings.model}")
        try:
            code = _one_of(group, settings, alone=len(queue) == 1)
        except PeerLostError as exc:
            report_error(exc)
            return 2
        if code == INTERRUPTED:
            return code
        worst = max(worst, code)
    return worst


def _one_of(group: ProcessGroup, settings: Settings, *, alone: bool) -> int:
    """Scan one model of several, or in several processes: an error is said, and is data where the
    results are."""
    put = partial(put_json, one_line=not alone)
    try:
        return run_scan_command(group, settings, put)
    except PeerLostError:
        raise
    except SpectrumError as exc:
        if group.leads:
            report_error(exc)
            if settings.json and not alone:
                error = {"message": exc.message, "hint": exc.hint}
                put({"model": settings.model, "error": error})
        return 2


def _check_files(queue: Sequence[Settings]) -> None:
    """Raise InputError for two models whose files have the same names: before hours of scans."""
    known: dict[str, str] = {}
    for settings in queue:
        name = slug(settings.model)
        if name in known:
            raise InputError(
                f"The files of {known[name]} and {settings.model} would have the same names.",
                "Scan them one by one, each with its own --output-dir.",
                field="model",
            )
        known[name] = settings.model
