"""The small world of the cases: models, scores, recipes and caches, and which file is damaged."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from spectrum_tui.cli import main
from spectrum_tui.core.dataset.describing import describe
from spectrum_tui.core.dataset.kept_examples import read_examples, write_examples
from spectrum_tui.core.dataset.reading import read_dataset
from spectrum_tui.core.dataset.split import split, with_tuning
from spectrum_tui.core.errors import SpectrumError
from spectrum_tui.core.model.inspection import inspect_model
from spectrum_tui.core.model.kept_plans import KeptModel
from spectrum_tui.core.recipes.policy_line import OPENING
from spectrum_tui.stdio import last_resort
from tests import checkpoints, peft_folders, quantised, quantisers
from tests.fuzz.damage import (
    Damage,
    damage_bytes,
    damage_header,
    damage_json,
    damage_lines,
    damage_text,
    resealed_lines,
)

SCORES = "work/model_snr_results/snr_results_model.json"
MODELS = ("model", "sharded", "fp8")
"""Folders of models in the lab."""
DESCRIBE = "describe"
"""What the app's worker does where the command line has no such command."""
READ_DATA = "read-data"
"""What every command with `--data` does first."""
_SCAN = ("scan", "{model}", "--device", "cpu", "--batch-size", "1")
_OUTPUT = ("--output-dir", "out")
_READERS = (
    ("yaml", "{scores}"),
    *(("export", "{scores}", "--as", kind) for kind in ("axolotl", "trl", "peft-tiers")),
    ("export", "{scores}", "--as", "spectrum-reference", "--metric", "calibrated"),
    ("export", "{scores}", "--sizes-from", "{model}", "-o", "recipe.out"),
    ("memory", "{scores}"),
    ("compare", "{scores}", "{scores}"),
)
_AUDITS = (
    ("audit", "{recipe}"),
    ("audit", "{recipe}", "--json"),
    ("audit", "{recipe}", "--model", "{model}"),
    ("audit", "{recipe}", "--model", "{model}", "-o", "fixed.yaml"),
)
_SHAPED = (
    *(
        "--top-percent",
        "37.5",
        "--type-percent",
        "mlp.*=60",
        "--blocks",
        "0-1,1-",
        "--no-embeddings",
    ),
    *("--pin", "model.layers.0.*", "--ban", "model.layers.1.mlp.up_proj", "--rule", "global-rank"),
)
_POLICIES = (
    ("export", "{scores}", "--policy", "{policy}"),
    ("export", "{scores}", "--policy", "{policy}", "--as", "axolotl"),
    ("memory", "{scores}", "--policy", "{policy}"),
    ("compare", "{scores}", "{scores}", "--policy-b", "{policy}"),
    (*_SCAN, *_OUTPUT, "--policy", "{policy}"),
)
_ADAPTERS = (
    ("adapter", "{adapter}"),
    ("adapter", "{adapter}", "--base", "{sharded}", "--json"),
    ("merge", "{adapter}", "--into", "{sharded}", "-o", "out/merged"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A file to damage, and commands that read it. `file` is relative to the case's folder and
    may be a pattern. Where `same_scores` holds, the damage is to what is only remembered: the
    scores that are written must be those of the undamaged lab."""

    name: str
    file: str
    damage: Damage
    commands: Sequence[Sequence[str]]
    same_scores: bool = False


TARGETS = {
    target.name: target
    for target in (
        Target(
            name="header",
            file="model/model.safetensors",
            damage=damage_header,
            commands=((*_SCAN, *_OUTPUT), (*_SCAN, "--json"), _AUDITS[2]),
        ),
        Target(
            name="index",
            file="sharded/model.safetensors.index.json",
            damage=damage_json,
            commands=((*_SCAN, *_OUTPUT), _AUDITS[2]),
        ),
        Target(
            name="config",
            file="model/config.json",
            damage=damage_json,
            commands=((*_SCAN, *_OUTPUT), _AUDITS[2]),
        ),
        Target(
            name="fp8header",
            file="fp8/model.safetensors",
            damage=damage_header,
            commands=((*_SCAN, *_OUTPUT),),
        ),
        Target(
            name="fp8config",
            file="fp8/config.json",
            damage=damage_json,
            commands=((*_SCAN, *_OUTPUT),),
        ),
        Target(name="scores", file=SCORES, damage=damage_json, commands=_READERS),
        Target(name="recipe", file="work/recipe.yaml", damage=damage_text, commands=_AUDITS),
        Target(name="policy", file="work/policy.yaml", damage=damage_text, commands=_POLICIES),
        Target(
            name="journal",
            file="cache/scans/*.jsonl",
            damage=damage_lines,
            commands=((*_SCAN, *_OUTPUT),),
            same_scores=True,
        ),
        Target(
            name="entries",
            file="cache/scans/*.jsonl",
            damage=resealed_lines,
            commands=((*_SCAN, *_OUTPUT), (DESCRIBE, "{model}")),
        ),
        Target(
            name="spectra",
            file="cache/scans/*.spectra",
            damage=damage_bytes,
            commands=((*_SCAN, *_OUTPUT),),
            same_scores=True,
        ),
        Target(
            name="plan",
            file="cache/plans/*.json",
            damage=damage_lines,
            commands=((DESCRIBE, "{model}"),),
        ),
        *(
            Target(
                name=name,
                file=f"work/data/{file}",
                damage=damage,
                commands=((READ_DATA, f"{{data}}/{file}"),),
            )
            for name, file, damage in (
                ("chats", "chats.jsonl", damage_lines),
                ("squad", "squad.json", damage_json),
                ("table", "table.csv", damage_bytes),
                ("packed", "table.csv.gz", damage_bytes),
            )
        ),
        *(
            Target(
                name=f"adapter{name}",
                file=f"work/adapter/adapter_{file}",
                damage=damage,
                commands=_ADAPTERS,
            )
            for name, file, damage in (
                ("config", "config.json", damage_json),
                ("header", "model.safetensors", damage_header),
            )
        ),
        Target(
            name="details",
            file="cache/results/*.json",
            damage=damage_lines,
            commands=_READERS,
        ),
    )
}


def run_command(arguments: Sequence[str]) -> int:
    """Run a command of the program, describe a model as the app's worker does, or read data."""
    if arguments[0] not in (DESCRIBE, READ_DATA):
        return main.main(arguments)
    try:
        _print_read(*arguments)
    except SpectrumError as exc:
        last_resort.report_error(exc)
        return 2
    return 0


def _print_read(command: str, path: str) -> None:
    if command == DESCRIBE:
        summary = KeptModel(inspect_model(path)).summary()
        print(len(summary.types), summary.parameters)
        return
    data = read_dataset([path])
    print("\n".join(describe(data)))
    sides = with_tuning(split(data))
    written = write_examples(Path("out/train.jsonl"), sides.train)
    assert read_examples(Path("out/train.jsonl"), written) == sides.train


@dataclass(frozen=True, slots=True)
class Case:
    """One damaged file and the command that meets it."""

    target: Target
    content: bytes
    command: Sequence[str]
    label: str


def _in_fp8(tensors: checkpoints.Tensors) -> checkpoints.Tensors:
    """The matrices of the blocks in FP8, with a scale for each 16 by 16."""
    made: checkpoints.Tensors = {}
    for seed, (name, tensor) in enumerate(tensors.items()):
        made[name] = tensor
        if tensor.ndim == 2 and ".layers." in name:
            rows, columns = tensor.shape
            made[name] = quantisers.fp8(seed, rows, columns)
            scale = quantisers.scales(seed, -(-rows // 16), -(-columns // 16))
            made[f"{name}_scale_inv"] = scale
    return made


def _write_data(folder: Path) -> None:
    """Data files of which one line in 200 may be wrong, and a small one."""
    folder.mkdir()
    turns = [{"role": "user", "content": "Hé?"}, {"role": "assistant", "content": "Yes."}]
    chats = "".join(f"{json.dumps({'n': n, 'messages': turns})}\n" for n in range(200))
    (folder / "chats.jsonl").write_text(chats)
    asked = [{"question": "What?", "answers": [{"text": "3"}]}, {"question": "Who?", "answers": []}]
    paragraphs = [{"context": "It is 3.", "qas": asked}]
    (folder / "squad.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}] * 2}))
    table = "text,label\n" + "".join(f'"Line {n},\nhé",1\n' for n in range(200))
    (folder / "table.csv").write_text(table, encoding="utf-8")
    (folder / "table.csv.gz").write_bytes(gzip.compress(table.encode()))


class Lab:
    """The undamaged world in `folder`, made once; each case works on a copy of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.canary = folder / "canary"
        self.pristine = folder / "pristine"
        self.canary.mkdir(parents=True)

    def build(self) -> None:
        """Write the models and score one, which imports all that the cases need."""
        torch.set_num_threads(1)
        tensors = checkpoints.llama()
        # Granite has Llama's names, but they are asked of transformers and then remembered.
        granite = {"architectures": ["GraniteForCausalLM"], "model_type": "granite"}
        model = checkpoints.save(self.pristine / "model", tensors, config=granite)
        checkpoints.save(self.pristine / "sharded", tensors, shards=3)
        fp8 = quantised.config("fp8", weight_block_size=[16, 16], activation_scheme="dynamic")
        config = {**checkpoints.config_for(tensors), **fp8}
        checkpoints.save(self.pristine / "fp8", _in_fp8(tensors), config=config)
        work = self.pristine / "work"
        work.mkdir()
        run = ["scan", str(model), "--device", "cpu", "--output-dir", str(work)]
        assert main.main(run) == 0
        (recipe,) = work.glob("*percent.yaml")
        recipe.rename(work / "recipe.yaml")
        shaped = ["export", str(work / SCORES.removeprefix("work/")), *_SHAPED]
        assert main.main([*shaped, "-o", str(work / "shaped.yaml")]) == 0
        text = (work / "shaped.yaml").read_text(encoding="utf-8")
        (line,) = (line for line in text.splitlines() if line.startswith(OPENING))
        _write_data(work / "data")
        fields = peft_folders.config("nothing/here", alpha_pattern={"q_proj": 2})
        peft_folders.save_adapter(work / "adapter", peft_folders.pairs(tensors), fields)
        (work / "policy.yaml").write_text(f"{line}\n", encoding="utf-8")  # where damage counts
        for command in (*_READERS, *_AUDITS, *_ADAPTERS, (DESCRIBE, "{model}")):
            run_command(self.arguments(command, model, work)[:6])

    def arguments(self, command: Sequence[str], model: Path, work: Path) -> list[str]:
        """The command with the paths of a case in it."""
        places = {
            "model": str(model),
            "scores": str(work / SCORES.removeprefix("work/")),
            "recipe": str(work / "recipe.yaml"),
            "policy": str(work / "policy.yaml"),
            "data": str(work / "data"),
            "adapter": str(work / "adapter"),
            "sharded": str(self.pristine / "sharded"),
        }
        return [part.format(**places) for part in command]

    def original(self, target: Target) -> Path:
        """The file that the target damages, undamaged."""
        found = sorted(self.pristine.glob(target.file))
        assert len(found) == 1, (target.name, found)
        return found[0]

    def case(self, target: Target, seed: str) -> Case:
        """The case that a seed stands for."""
        rng = random.Random(f"{target.name}:{seed}")
        content = self.original(target).read_bytes()
        content = target.damage(content, rng, str(self.canary / "x"))
        return Case(target, content, rng.choice(list(target.commands)), f"{target.name}:{seed}")

    def lay_out(self, case: Case, folder: Path) -> list[str]:
        """Copy the world to `folder` with the damaged file in it; returns the command line.

        What is remembered of a model belongs to its very files: where only that is damaged, the
        model stays where it is.
        """
        shutil.copytree(self.pristine, folder)
        original = self.original(case.target)
        (folder / original.relative_to(self.pristine)).write_bytes(case.content)
        (folder / "home").mkdir()
        top = case.target.file.partition("/")[0]
        model = folder / top if top in MODELS else self.pristine / "model"
        work = folder / "work" if top == "work" else self.pristine / "work"
        return self.arguments(case.command, model, work)
