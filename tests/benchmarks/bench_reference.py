"""This program against the reference: `python -m tests.benchmarks.bench_reference --reference PATH`

PATH is a checkout of github.com/QuixiAI/spectrum. Models are made, and whole processes of this
program (`--precision exact` and `fast`, an empty cache each time) and of the reference run in
turn, imports included. Every score is compared with that of a float64 SVD. Prints Markdown.

`--single` measures single matrices instead, against float32 `svdvals` on the same threads;
`--memory` the peak memory of 4 and of 32 layers; `--quick` takes tiny models and one run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import safe_open
from threadpoolctl import threadpool_limits

from spectrum_tui.core.scoring import openblas, svd
from spectrum_tui.core.stored_types import Array, as_numpy
from tests import oracle
from tests.benchmarks.machine import describe
from tests.benchmarks.models import Shape, trained, write_model

ROOT = Path(__file__).parents[2]
MODELS = (
    Shape("Qwen-shaped, 8 layers", 8, 1024, 3072, 32_000, 16, 8, qwen=True),
    Shape("Llama-shaped, 135 M", 30, 576, 1536, 49_152, 9, 3),
)
QUICK = (Shape("tiny Qwen", 2, 64, 192, 512, 4, 2, qwen=True), Shape("tiny", 3, 48, 96, 640, 4, 2))
DEPTHS = (4, 32)
SINGLE = ((12288, 4096), (4096, 4096))
QUICK_SINGLE = ((768, 256), (256, 256))
REFERENCE = "reference"
SVDVALS = "float32 `svdvals`"
Scores = dict[str, float]

DRIVER = """
import json, sys, types
try:
    import prompt_toolkit.shortcuts
except ImportError:  # only its dialogs need it
    stub = types.ModuleType("prompt_toolkit.shortcuts")
    stub.checkboxlist_dialog = stub.input_dialog = None
    sys.modules["prompt_toolkit"] = types.ModuleType("prompt_toolkit")
    sys.modules["prompt_toolkit.shortcuts"] = stub
sys.path.insert(0, sys.argv[1])
import spectrum
modifier = spectrum.ModelModifier(model_name=sys.argv[2], batch_size=1)
modifier.layer_types = json.loads(sys.argv[3])
modifier.assess_layers_snr(modifier.layer_types)
modifier.save_snr_to_json()
"""
"""What the reference's dialogs would ask, answered: batch size 1, every type of matrices."""


@dataclass
class Runs:
    """What was measured of one program on one model."""

    seconds: list[float] = field(default_factory=list)
    peak: list[int] = field(default_factory=list)
    scores: Scores = field(default_factory=dict)


LAUNCH = """
import os, sys, time
begin = time.perf_counter()
child = os.spawnvp(os.P_NOWAIT, sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(child, 0)
with open(sys.argv[1], "w") as file:
    file.write(f"{time.perf_counter() - begin} {usage.ru_maxrss}")
sys.exit(os.waitstatus_to_exitcode(status) != 0)
"""
"""A small process between: the peak that the system accounts to a process begins with that of the
one that started it, and this script has made models."""


def process(command: Sequence[str], cwd: Path, **environment: str) -> tuple[float, int]:
    """(seconds, peak memory in bytes) of a whole process; its output is shown where it fails."""
    log, usage = cwd / "log", cwd / "usage"
    with log.open("w") as out:
        done = subprocess.run(
            [sys.executable, "-S", "-c", LAUNCH, str(usage), *command],
            cwd=cwd,
            env={**os.environ, **environment},
            stdout=out,
            stderr=out,
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{log.read_text()}")
    seconds, peak = usage.read_text().split()
    return float(seconds), int(peak) * (1 if sys.platform == "darwin" else 1024)


def run_program(name: str, model: Path, types: Sequence[str], reference: Path) -> Runs:
    """One run of this program at the precision `name`, or of the reference."""
    with tempfile.TemporaryDirectory() as place:
        cwd = Path(place)
        if name == REFERENCE:
            (cwd / "driver.py").write_text(DRIVER, encoding="utf-8")
            (cwd / model.name).symlink_to(model)
            command = ["driver.py", str(reference), model.name, json.dumps(types)]
        else:
            command = ["-m", "spectrum_tui", "scan", str(model), "--precision", name]
        environment = {"SPECTRUM_TUI_CACHE": f"{place}/cache", "PYTHONPATH": str(ROOT)}
        seconds, peak = process([sys.executable, *command], cwd, **environment)
        (found,) = (cwd / "model_snr_results").glob("snr_results_*.json")
        rows = json.loads(found.read_text(encoding="utf-8"))
    return Runs([seconds], [peak], {layer: float(row["snr"]) for layer, row in rows.items()})


def in_turn(
    model: Path, types: Sequence[str], reference: Path, programs: Sequence[str], repeats: int
) -> dict[str, Runs]:
    """All programs one after another, `repeats` times."""
    found = {name: Runs() for name in programs}
    for _ in range(repeats):
        for name, runs in found.items():
            one = run_program(name, model, types, reference)
            runs.seconds += one.seconds
            runs.peak += one.peak
            runs.scores = one.scores
            print(f"  {name}: {one.seconds[0]:.1f} s", file=sys.stderr)
    return found


def type_of(layer: str) -> str:
    """The reference's name of a layer's type: what follows its number, or all of it."""
    parts = layer.split(".")
    number = next((i for i, part in enumerate(parts) if part.isdigit()), -1)
    return ".".join(parts[number + 1 :])


def true_scores(model: Path, shape: Shape) -> Scores:
    """Every matrix's SNR by a float64 SVD."""
    with safe_open(model / "model.safetensors", framework="pt") as file:
        return {
            name: oracle.snr(oracle.as_matrix(file.get_tensor(f"{name}.weight")))
            for name in shape.matrices()
        }


def orders(scores: Mapping[str, float], layers: Sequence[str]) -> dict[str, list[str]]:
    """The layers of each type, highest score first."""
    found: dict[str, list[str]] = {}
    for layer in sorted(layers, key=lambda name: -scores[name]):
        found.setdefault(type_of(layer), []).append(layer)
    return found


def accuracy(scores: Scores, truth: Scores) -> tuple[float, int, int]:
    """(largest relative error, types in the true order, types)."""
    error = max(abs(scores[layer] - true) / abs(true) for layer, true in truth.items())
    got, wanted = orders(scores, list(truth)), orders(truth, list(truth))
    return error, sum(got[kind] == layers for kind, layers in wanted.items()), len(wanted)


def compare(options: argparse.Namespace, folder: Path) -> Iterator[str]:
    """The table of whole runs."""
    yield "| model | program | seconds | of the reference | peak memory | of the reference |" + (
        " largest relative error | types in the true order |"
    )
    yield "|---|---|---:|---:|---:|---:|---:|---:|"
    for number, shape in enumerate(QUICK if options.quick else MODELS):
        model = write_model(shape, folder / f"model-{number}")
        types = sorted({type_of(layer) for layer in shape.matrices()})
        programs = (REFERENCE, "exact", "fast")
        found = in_turn(model, types, options.reference, programs, options.repeats)
        truth = true_scores(model, shape)
        base = found[REFERENCE]
        for name, runs in found.items():
            error, right, of = accuracy(runs.scores, truth)
            yield (
                f"| {shape.name} | {name} | {against(runs.seconds, base.seconds, '{:.1f}')} "
                f"| {against(megabytes(runs), megabytes(base), '{:.0f} MB')} "
                f"| {error:.1e} | {right} of {of} |"
            )


def megabytes(runs: Runs) -> list[float]:
    """Peak memory of each run."""
    return [peak / 1e6 for peak in runs.peak]


def against(mine: Sequence[float], theirs: Sequence[float], form: str) -> str:
    """Two cells: a median, and its ratio to another."""
    median = statistics.median(mine)
    return f"{form.format(median)} | {median / statistics.median(theirs):.2f}"


def memory(options: argparse.Namespace, folder: Path) -> Iterator[str]:
    """The table of peak memory over the number of layers."""
    yield f"| program | {' | '.join(f'{n} layers' for n in DEPTHS)} | ratio |"
    yield "|---|---:|---:|---:|"
    width = (64, 192, 512, 4, 2) if options.quick else (1024, 3072, 32_000, 16, 8)
    models = {}
    for layers in DEPTHS:
        shape = Shape(f"{layers} layers", layers, *width, qwen=True)
        types = sorted({type_of(layer) for layer in shape.matrices()})
        models[layers] = write_model(shape, folder / f"layers-{layers}")
    for name in ("exact", "fast", REFERENCE):
        runs = [run_program(name, model, types, options.reference) for model in models.values()]
        peaks = [megabytes(run)[0] for run in runs]
        cells = " | ".join(f"{peak:.0f} MB" for peak in peaks)
        yield f"| {name} | {cells} | {peaks[-1] / peaks[0]:.2f} |"


@dataclass(frozen=True)
class InMemory:
    """A matrix that need not be read."""

    values: torch.Tensor
    by_rows: bool = True

    def read_rows(self, start: int, stop: int) -> Array:
        """Rows [start, stop)."""
        return as_numpy(self.values[start:stop])

    def read_columns(self, rows: int, start: int, stop: int) -> Array:
        """Columns [start, stop) of the first `rows` rows."""
        return as_numpy(self.values[:rows, start:stop])


def single(options: argparse.Namespace) -> Iterator[str]:
    """The table of single matrices."""
    yield "| matrix | way | seconds | of `svdvals` |"
    yield "|---|---|---:|---:|"
    torch.set_num_threads(options.threads)
    openblas.library()  # what is loaded later would not be limited
    threadpool_limits(options.threads, "blas")
    for way in ways_for(torch.randn(256, 256)).values():
        way()  # libraries start up at their first call
    for rows, columns in QUICK_SINGLE if options.quick else SINGLE:
        values = trained(rows, columns, torch.Generator().manual_seed(0))
        ways = ways_for(values)
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.repeats):
            for name, way in ways.items():
                seconds[name].append(timed(way))
        base = seconds[SVDVALS]
        for name, took in seconds.items():
            yield f"| {rows}×{columns} | {name} | {against(took, base, '{:.2f}')} |"


def ways_for(values: torch.Tensor) -> dict[str, Callable[[], object]]:
    """What is compared on one matrix."""

    def svdvals() -> object:
        return torch.linalg.svdvals(values.float())

    rows, columns = values.shape
    ways: dict[str, Callable[[], object]] = {SVDVALS: svdvals}
    for way in (svd.EXACT, svd.FAST):
        ways[way] = partial(svd.singular_values, InMemory(values), rows, columns, "cpu", way)
    return ways


def timed(way: Callable[[], object]) -> float:
    """Seconds of one call."""
    begin = time.perf_counter()
    way()
    return time.perf_counter() - begin


def machine(options: argparse.Namespace) -> str:
    """When, where and with what."""
    names = ("torch", "transformers", "numpy")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    runs = f"{options.repeats} run{'s' if options.repeats > 1 else ''}"
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {describe()}, "
        f"Python {platform.python_version()}, {versions}; medians of {runs}."
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure this program against the reference.")
    parser.add_argument("--reference", type=Path, metavar="PATH", help="a checkout of it")
    parser.add_argument("--single", action="store_true", help="single matrices")
    parser.add_argument("--memory", action="store_true", help="peak memory of 4 and 32 layers")
    parser.add_argument("--quick", action="store_true", help="tiny models, one run")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="runs of each (3)")
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="of torch, with --single"
    )
    options = parser.parse_args()
    if options.quick:
        options.repeats = 1
    if not options.single and not (options.reference and options.reference.is_dir()):
        parser.error("--reference PATH: the folder of a checkout is needed")
    if options.reference:
        options.reference = options.reference.resolve()
    return options


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as place:
        if options.single:
            lines = single(options)
        else:
            lines = (memory if options.memory else compare)(options, Path(place))
        for line in lines:
            print(line, flush=True)
    print(f"\n{machine(options)}")


if __name__ == "__main__":
    main()
