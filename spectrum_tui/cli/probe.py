"""`spectrum-tui probe`: what data say of every layer, as metrics beside those of a scan."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from spectrum_tui.cli.options import Parser, add_options, settings_of
from spectrum_tui.cli.output import aligned
from spectrum_tui.cli.status_line import StatusLine
from spectrum_tui.core.comparison.compare import rho_text
from spectrum_tui.core.errors import InputError
from spectrum_tui.core.files import OutputFiles, output_folder, usable_cache
from spectrum_tui.core.memory.presets import parse_batch, parse_sequence
from spectrum_tui.core.numbers import about, count, counted, finite, size
from spectrum_tui.core.policy_values import parse_memory
from spectrum_tui.core.probing.as_metrics import agreement
from spectrum_tui.core.probing.records import Doing, Plan, Probed, ProbeJob, parse_batches
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.saved.library import record
from spectrum_tui.core.saved.sizes import load_sized
from spectrum_tui.core.saved.store import add_details, save_scores
from spectrum_tui.core.scoring.metrics import described
from spectrum_tui.core.settings import DATA_METRICS, DEFAULTS, METRIC, Settings
from spectrum_tui.core.text import safe
from spectrum_tui.proving.probing.asking import Probe, ProbeAsked
from spectrum_tui.stdio.streams import PROGRAM, put_json, put_lines, say

DTYPES = ("auto", "float32", "bfloat16", "float64")
_USUAL = ProbeJob(model="", data="", digest="")


def run(arguments: Sequence[str]) -> int:
    """Measure the layers and write the scores; returns the exit code, raises SpectrumError."""
    options = make_parser().parse_args(arguments)
    settings = settings_of(options)
    if not settings.model:
        raise InputError("No model is given.", "Give a folder, an id or a RESULTS.json.")
    how = _how(options, settings)
    with usable_cache():
        scores = _scores(settings)
        result = load_sized(scores, "")
        is_file = settings.model.endswith(".json")
        model = options.weights or ("" if is_file else settings.model)
        probe = Probe(ProbeAsked(result=result, data=tuple(options.data), how=how, model=model))
        for note in probe.notes:
            say(note)
        found, probed = _run(probe)
        files = _written(found, scores, settings, in_folder=not is_file or "output_dir" in options)
    for note in probed.notes:
        say(f"note: {safe(note)}")
    _tell(found, probed, probe, files, as_json=options.json)
    return 0


def _how(options: argparse.Namespace, settings: Settings) -> ProbeJob:
    return replace(
        _USUAL,
        model_class=settings.model_class,
        allow_gptq=settings.allow_gptq,
        batches=parse_batches(options.batches),
        batch=parse_batch(options.batch),
        sequence=parse_sequence(options.sequence),
        device=settings.device,
        dtype=options.dtype,
        memory=int(parse_memory(options.memory)) if options.memory else 0,
    )


def _scores(settings: Settings) -> Path:
    """Return the file of scores that is named, or that a scan of the model writes: at once where
    every layer is scored already."""
    if settings.model.endswith(".json"):
        return output_folder(settings.model)
    from spectrum_tui.cli.scan_model import run_scan_command  # later: it needs torch's devices

    said: list[Any] = []
    scanned = replace(
        DEFAULTS,
        json=True,
        signals=settings.signals,
        **{name: getattr(settings, name) for name in ("model", *_OF_A_SCAN)},
    )
    code = run_scan_command(scanned, said.append)
    if code == 130 and not said:
        raise KeyboardInterrupt
    if not said:
        raise InputError("The scan before the probe did not finish.", "Start it again.")
    return Path(said[0]["files"]["scores"])


_OF_A_SCAN = ("revision", "output_dir", "model_class", "allow_gptq", "device")


def _written(
    result: Result, scores: Path, settings: Settings, *, in_folder: bool
) -> OutputFiles | None:
    """Keep the metrics beside the scores that were probed; write files of their own where a
    folder or another metric to rank by is asked for."""
    add_details(scores, result)
    ranked = result.with_metric(settings.metric)
    if not in_folder and ranked is result:
        return None
    folder = output_folder(settings.output_dir)
    files = save_scores(ranked, folder, tell=say)
    record(ranked, files.scores)
    return files


# -- while it runs ---------------------------------------------------------------------------------


def _run(probe: Probe) -> tuple[Result, Probed]:
    """Say the plan, and below it how far the batches are."""
    line, begin = StatusLine(), time.monotonic()

    def tell(said: Plan | Doing) -> None:
        nonlocal begin
        if isinstance(said, Plan):
            say(_planned(said))
            begin = time.monotonic()
            return
        passed = time.monotonic() - begin
        left = said.left(passed)
        if said.step == 1:  # no guess from sizes is right on a machine that does other work too
            say(f"{counted(said.steps, 'batch', 'batches')}, {about(passed + left)}")
        if line.is_due():
            share = f"{said.step / said.steps:4.0%}"
            line.show(f"{share}  batch {said.step}/{said.steps}, {about(left)} left")

    try:
        return probe.run(tell)
    finally:
        line.clear()


def _planned(plan: Plan) -> str:
    passes = "" if plan.passes == 1 else f" in {counted(plan.passes, 'pass', 'passes')}"
    amount = f"{count(plan.tokens)} {plan.unit}{passes}"
    return (
        f"{plan.model_class} in {plan.dtype} on {safe(plan.device)}: {amount}, {plan.held}, "
        f"about {size(plan.memory)} of memory"
    )


# -- what came of it -------------------------------------------------------------------------------


def _tell(
    result: Result, probed: Probed, probe: Probe, files: OutputFiles | None, *, as_json: bool
) -> None:
    table = agreement(result)
    say(
        f"loss {probed.loss:.4f} over {counted(probed.batches, 'batch', 'batches')}, "
        f"{count(probed.tokens)} {probed.unit}"
    )
    if as_json:
        put_json(_as_data(result, probed, probe, files, table))
        return
    if files is not None:
        say(f"wrote {files.scores}")
    if table:
        say(f"agreement with the {described(METRIC).title} by type (Spearman's rho):")
        put_lines(_lines(table))


def _lines(table: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    titles = ["type", *DATA_METRICS]
    rows = [[safe(kind), *map(rho_text, rhos.values())] for kind, rhos in table.items()]
    yield from aligned([titles, *rows])


def _as_data(
    result: Result,
    probed: Probed,
    probe: Probe,
    files: OutputFiles | None,
    table: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """Return what `--json` prints: numbers that JSON has no form for are null."""
    dataset = probe.dataset
    return {
        "model": result.provenance.model,
        "model_class": probed.model_class,
        "data": {
            "files": list(dataset.files),
            "documents": len(dataset.examples),
            "sha256": dataset.digest,
            probed.unit: probed.tokens,
        },
        "batches": probed.batches,
        "loss": probed.loss,
        "device": probed.device,
        "dtype": probed.dtype,
        "seconds": probed.seconds,
        "versions": probed.versions,
        "notes": list(probed.notes),
        "files": {} if files is None else {"scores": str(files.scores)},
        "agreement": {
            kind: {name: finite(rho) for name, rho in rhos.items()} for kind, rhos in table.items()
        },
        "layers": list(_layers(result)),
    }


def _layers(result: Result) -> Iterator[dict[str, Any]]:
    """Yield for each layer its type and its metrics of data."""
    scores = result.scores
    columns = {name: scores.metrics[name].values.tolist() for name in DATA_METRICS}
    for row, (layer, kind) in enumerate(zip(scores.layers, scores.type_ids.tolist(), strict=True)):
        metrics = {name: finite(values[row]) for name, values in columns.items()}
        yield {"layer": layer, "type": scores.type_names[kind], "metrics": metrics}


def make_parser() -> argparse.ArgumentParser:
    """Return the options of this command."""
    parser = Parser(
        prog=f"{PROGRAM} probe",
        description="Measure gradients and activations of every layer on some data, as metrics "
        f"beside those of a scan: {', '.join(DATA_METRICS)}.",
    )
    add = parser.add_argument
    add_options(parser, "model")
    add("--data", nargs="+", metavar="FILE", required=True, help="texts: JSONL, JSON, CSV, "
        "Parquet, text, folders of those, builtin:pydoc, builtin:stdlib; images: a folder with one "
        "for each class; speech: a table with path (WAV) and text")  # fmt: skip
    add("--batches", default=str(_USUAL.batches), metavar="N", help=f"batches ({_USUAL.batches})")
    add("--batch", default=str(_USUAL.batch), metavar="N", help=f"sequences ({_USUAL.batch})")
    add("--sequence", default=str(_USUAL.sequence), metavar="N",
        help=f"their tokens ({_USUAL.sequence})")  # fmt: skip
    add("--dtype", default="auto", choices=DTYPES, help="type to compute in (auto: bfloat16 on a "
        "GPU, float32 elsewhere)")  # fmt: skip
    add("--memory", default="", metavar="GiB", help="most memory to take; layers are measured in "
        "several passes where they do not fit (what is free)")  # fmt: skip
    add("--weights", default="", metavar="MODEL",
        help="where the model of a RESULTS.json is (as it was scanned)")  # fmt: skip
    add("-o", "--output-dir", default=argparse.SUPPRESS, metavar="DIR",
        help="folder for the files written (.; of a RESULTS.json none)")  # fmt: skip
    add_options(parser, "metric", "device", "revision", "model_class", "allow_gptq")
    add("--json", action="store_true", help="print the results as JSON on stdout")
    return parser
