"""What training takes, measured on tensors and clocks: full, parts by Spectrum, PEFT adapters.

`python tests/benchmarks/bench_training.py` in an environment with the extra `train` prints one
table. Each way trains a Llama of 22 M parameters in bfloat16 with torch's AdamW, in a process of
its own; which layers are chosen matters to none of the figures, so that the weights are random.
Bytes are those of the tensors that are there after a step, the peak is the process's own beyond
what it had before the model was loaded (Linux counts it). A step is timed on one core in seconds
of the processor, which are much the same when others use the machine too.
"""

from __future__ import annotations

import importlib
import importlib.util
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch

from spectrum_tui.core.model.inspection import inspect_model, with_exact_names
from spectrum_tui.core.numbers import count, size
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.recipes.kinds import KINDS
from spectrum_tui.core.requests import ResultReady
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.saved.store import load_result
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.settings import Settings
from spectrum_tui.freeze import freeze_except
from spectrum_tui.proving.measure import Peaks, static_bytes, trainable
from tests.benchmarks.machine import describe

SHAPE = {
    "vocab_size": 8192,
    "hidden_size": 384,
    "intermediate_size": 1024,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}
"""SmolLM-135M at two thirds of its width, with 12 of its 30 blocks and 1/6 of its vocabulary."""
BATCH, TOKENS = 1, 64
WARM_UP, STEPS = 2, 9


@dataclass(frozen=True)
class Way:
    """A line of the table. `kind` is a recipe's, "" for all parameters."""

    title: str
    kind: str = ""
    percent: int = 100
    embeddings: bool = True


WAYS = (
    Way("full"),
    *(Way(f"Spectrum, top {percent} %", "spectrum", percent) for percent in (50, 25, 10)),
    *(
        Way(f"Spectrum, top {percent} %, embeddings frozen", "spectrum", percent, embeddings=False)
        for percent in (50, 25, 10)
    ),
    Way("LoRA on the top 25 %", "peft-lora", 25),
    Way("LoRA in tiers, 25 % and 50 %", "peft-tiers", 25),
    Way("4-bit base, top 25 % whole, LoRA to 50 %", "peft-hybrid", 25),
)


def main() -> None:
    """Make the model, train it in every way that is installed, print the table."""
    known = {kind.name for kind in KINDS} | {""}
    if importlib.util.find_spec("peft") is None:
        known = {name for name in known if not name.startswith("peft-")}
    ways = [way for way in WAYS if way.kind in known]
    import_everything()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["SPECTRUM_TUI_CACHE"] = str(folder / "cache")
        in_a_process(make, folder)
        rows = []
        for way in ways:
            sys.stderr.write(f"{way.title}\n")
            rows.append(in_a_process(measured, folder, way))
    print_table(ways, rows)


def import_everything() -> None:
    """Once for all processes; what is imported later would count as memory of the model.

    Nothing is computed here: threads do not live through a fork.
    """
    importlib.import_module("transformers.models.llama.modeling_llama")
    for name in ("peft", "bitsandbytes"):
        if importlib.util.find_spec(name):
            importlib.import_module(name)


def in_a_process(run: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a fork of this process."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    process = fork.Process(target=lambda: theirs.send(run(*arguments)), daemon=True)
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        sys.exit(f"{arguments} ended without figures")


def make(folder: Path) -> None:
    """The model and its scores."""
    make_model(folder / "model")
    scan(folder)


def make_model(folder: Path) -> None:
    """A Llama with random weights, in bfloat16."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**SHAPE)).to(torch.bfloat16).save_pretrained(folder)


def scan(folder: Path) -> None:
    """Score it, into the folder."""
    inspection = with_exact_names(inspect_model(str(folder / "model")))
    request = Settings(model=str(folder / "model"), device="cpu", output_dir=str(folder))
    *_, ready = run_scan(request, inspection)
    assert isinstance(ready, ResultReady) and ready.complete


def scores(folder: Path) -> Result:
    """What it wrote."""
    return load_result(folder / "model_snr_results" / "snr_results_model.json")


# -- in the process of one way ----------------------------------------------------------------


def measured(folder: Path, way: Way) -> dict[str, float]:
    """Load, freeze or wrap, train; the figures."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    peaks = Peaks(torch.device("cpu"))
    model = prepared(way, folder)
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-5)
    tokens = torch.randint(0, SHAPE["vocab_size"], (BATCH, TOKENS))
    peaks.begin()
    seconds = []
    for _ in range(WARM_UP + STEPS):
        begin = time.process_time()
        optimizer.zero_grad()
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
        seconds.append(time.process_time() - begin)
    held = peaks.beside(static_bytes(model, optimizer))
    return {
        "trainable": trainable(model),
        "parameters": held.weights,
        "gradients": held.gradients,
        "optimizer": held.optimizer,
        "peak": held.peak_process,
        "step": statistics.median(seconds[WARM_UP:]),
    }


def prepared(way: Way, folder: Path) -> Any:
    """The model as it is before the optimizer."""
    from transformers import AutoModelForCausalLM

    if not way.kind:
        return AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.bfloat16)
    path = written(way, folder)
    if path.suffix == ".py":
        return loader(path)(str(folder / "model"))
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.bfloat16)
    freeze_except(model, path)
    return model


def written(way: Way, folder: Path) -> Path:
    """The recipe's file that is read or run: its script where it has one."""
    choice = Choice(
        selection=Selection(scores(folder)),
        policy=Policy(percent=way.percent, embeddings=way.embeddings),
    )
    kind = next(kind for kind in KINDS if kind.name == way.kind)
    paths = []
    for file in kind.files(kind.ranked(choice)):
        paths.append(folder / f"snr_results_model{file.ending}")
        paths[-1].write_text(file.text, encoding="utf-8")
    return next((path for path in paths if path.suffix == ".py"), paths[0])


def loader(script: Path) -> Callable[[str], Any]:
    """`load_model` of a recipe's script."""
    spec = importlib.util.spec_from_file_location("recipe", script)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    load: Callable[[str], Any] = module.load_model
    return load


# -- the table --------------------------------------------------------------------------------


def print_table(ways: list[Way], rows: list[dict[str, float]]) -> None:
    """Markdown, and the machine that it was measured on."""
    total = rows[0]["trainable"]
    print("| method | trainable | weights | gradients | optimizer | static | peak | step |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for way, row in zip(ways, rows, strict=True):
        static = row["parameters"] + row["gradients"] + row["optimizer"]
        share = f"{count(row['trainable'])} ({row['trainable'] / total:.1%})".replace("%", " %")
        sizes = (row["parameters"], row["gradients"], row["optimizer"], static, row["peak"])
        cells = (way.title, share, *map(size, sizes), f"{1000 * row['step']:.0f} ms")
        print("| " + " | ".join(cells) + " |")
    print(
        f"\n{count(total)} parameters in bfloat16, {BATCH} × {TOKENS} tokens, "
        f"one core, torch {torch.__version__}; median of {STEPS} steps; {describe()}."
    )


if __name__ == "__main__":
    main()
