"""`spectrum-tui merge ADAPTER -o FOLDER`: a LoRA adapter into the 16-bit base, file by file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spectrum_tui.cli.options import Parser
from spectrum_tui.cli.status_line import StatusLine
from spectrum_tui.core.adapters.folder import Adapter, read_adapter
from spectrum_tui.core.errors import AdapterError, CheckpointError, HubError, InputError
from spectrum_tui.core.files import output_folder
from spectrum_tui.core.hub.patience import Patience
from spectrum_tui.core.numbers import counted, duration, percent, size
from spectrum_tui.stdio.streams import PROGRAM, put_lines, say

if TYPE_CHECKING:
    from spectrum_tui.core.adapters.merging import Merge
    from spectrum_tui.core.adapters.writing import Written
    from spectrum_tui.core.model.inspection import Inspection


def run(arguments: Sequence[str]) -> int:
    """Merge an adapter and print the folder of the model on stdout; raises SpectrumError."""
    from spectrum_tui.core.adapters.merging import plan_merge
    from spectrum_tui.core.adapters.writing import write_merge
    from spectrum_tui.core.model.inspection import exact_plan

    options = make_parser().parse_args(arguments)
    folder = _output(options.output)
    adapter = read_adapter(options.adapter)
    inspection = _base(adapter, options.into, options.revision)
    merge = plan_merge(
        adapter,
        inspection.checkpoint,
        exact_plan(inspection),
        dequantise=options.dequantise,
    )
    _introduce(merge, inspection)
    line, began = StatusLine(), time.monotonic()

    def progress(done: int, total: int, what: str) -> None:
        if line.is_due():
            line.show(f"{what}: {size(done)} of {size(total)} ({percent(done / max(1, total))})")

    try:
        written = write_merge(merge, folder, progress)
    finally:
        line.clear()
    _conclude(merge, written, time.monotonic() - began)
    put_lines([str(folder)])
    return 0


def make_parser() -> Parser:
    """Return the options of this command."""
    parser = Parser(
        prog=f"{PROGRAM} merge",
        description="Merge a PEFT adapter (LoRA, DoRA, rsLoRA, experts, whole modules) into its "
        "base: bit for bit what PEFT's merge_and_unload makes, with one matrix in memory. What was "
        "stopped goes on by the same command.",
    )
    add = parser.add_argument
    add("adapter", metavar="ADAPTER", help="a folder with adapter_config.json")
    add(
        "--into",
        metavar="MODEL",
        default="",
        help="the 16-bit base, a folder or an id (what the adapter's configuration says)",
    )
    add("--revision", metavar="R", default="", help="commit, branch or tag of the base")
    add(
        "--dequantise",
        action="store_true",
        help="decode a quantised base and merge into that, rather than refuse it",
    )
    add("-o", "--output", metavar="FOLDER", required=True, help="the folder of the merged model")
    return parser


def _output(typed: str) -> Path:
    if not typed.strip():
        raise InputError("-o needs a folder.", "Give one that does not exist yet.")
    folder = output_folder(typed)
    if folder.name in ("", ".."):
        raise InputError(f"{typed} is no new folder.", "Give one that does not exist yet.")
    return folder


def _base(adapter: Adapter, into: str, revision: str) -> Inspection:
    """Return the base that was given, or the one that the adapter names; fetches it from the hub
    where it is not on this machine."""
    from spectrum_tui.cli.downloading import downloaded
    from spectrum_tui.core.model.inspection import inspect_model

    config = adapter.config
    model = into or config.base
    if not model:
        raise AdapterError("The adapter does not name its base.", "Give it: --into MODEL.")
    if not into:
        revision = revision or config.revision
    try:
        inspection = inspect_model(model, revision, patience=Patience(say=say))
        return inspection if inspection.summary.is_local else downloaded(inspection)
    except (CheckpointError, HubError) as exc:
        if into:
            raise
        raise AdapterError(
            f"The base that the adapter names cannot be read: {exc.message}",
            f"Give it: --into MODEL. {exc.hint}",
        ) from None


def _introduce(merge: Merge, inspection: Inspection) -> None:
    named = merge.adapter.config.base
    into = inspection.summary.name
    changed = counted(merge.changed, "parameter")
    adapter = merge.adapter.folder.name
    say(f"merging {adapter} into {into} ({size(merge.nbytes)}), {changed} to change")
    if named and Path(named).name != Path(into).name:
        say(f"note: the adapter names {named} as its base.")
    for note in merge.notes:
        say(f"note: {note}")


def _conclude(merge: Merge, written: Written, seconds: float) -> None:
    if written.already_there:
        say("This merge is there already, and each file holds what was computed.")
        return
    kept = f", {counted(written.reused, 'file')} of an earlier start kept" if written.reused else ""
    files = counted(written.written, "file")
    say(f"{files} written and read back in {duration(seconds)}{kept}")
