"""Models that are scanned one after the other, each with its own files and its own end."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial

from spectrum_tui.cli.copies import Copy, copy_of
from spectrum_tui.cli.scan_model import run_scan_command
from spectrum_tui.cli.scan_plan import run_dry
from spectrum_tui.core.errors import InputError, SpectrumError
from spectrum_tui.core.files import slug
from spectrum_tui.core.model.places import called
from spectrum_tui.core.settings import Settings
from spectrum_tui.stdio.last_resort import INTERRUPTED, report_error
from spectrum_tui.stdio.streams import put_json, say


def run_queue(queue: Sequence[Settings]) -> int:
    """Scan the models; returns the worst of their exit codes. A failure does not stop the next
    one, an interrupt ends all. One model alone raises SpectrumError.

    Of several copies of one command the first scans, and the others end at once.
    """
    _check_files(queue)
    copy = Copy() if queue[0].cluster else copy_of(os.environ)
    if copy.said:
        say(copy.said)
    if not copy.first:
        return 0
    if len(queue) == 1:
        return _command(queue[0])(queue[0], put_json)
    worst = 0
    for number, settings in enumerate(queue, 1):
        say(f"model {number} of {len(queue)}: {settings.model}")
        code = _one_of(settings)
        if code == INTERRUPTED:
            return code
        worst = max(worst, code)
    return worst


def _command(settings: Settings) -> Callable[[Settings, Callable[[object], None]], int]:
    return run_dry if settings.dry_run else run_scan_command


def _one_of(settings: Settings) -> int:
    """Scan one model of several: an error is said, and is data where the results are."""
    put = partial(put_json, one_line=True)
    try:
        return _command(settings)(settings, put)
    except SpectrumError as exc:
        report_error(exc)
        if settings.json:
            error = {"message": exc.message, "hint": exc.hint}
            put({"model": settings.model, "error": error})
        return 2


def _check_files(queue: Sequence[Settings]) -> None:
    """Raise InputError for two models whose files have the same names: before hours of scans."""
    known: dict[str, str] = {}
    for settings in queue:
        name = slug(called(settings.model))
        if name in known:
            raise InputError(
                f"The files of {known[name]} and {settings.model} would have the same names.",
                "Scan them one by one, each with its own --output-dir.",
                field="model",
            )
        known[name] = settings.model
