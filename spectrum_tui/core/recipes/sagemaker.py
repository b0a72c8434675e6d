"""A training job as a folder that runs as it is: with SageMaker, torchrun, accelerate or alone.

The script is the one for TRL. What it imports of this program goes beside it, so that a container
needs nothing but what `requirements.txt` names.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import ClassVar

from spectrum_tui.core.recipes.choice import Choice, RecipeFile, RecipeKind
from spectrum_tui.core.recipes.spectrum import SpectrumYaml, hub_id, one_line, source_of
from spectrum_tui.core.recipes.tasks import refuse_other
from spectrum_tui.core.recipes.trl import script
from spectrum_tui.core.results.results import Provenance, Result
from spectrum_tui.core.saved.store import files_of

_PACKAGE = "spectrum_tui"
_ROOTS = ("jobs.arguments", "jobs.data", "jobs.loading", "jobs.training")
_RELEASE = re.compile(r"transformers (\d+\.\d+\.\d+) ")
_REQUIREMENTS = """\
# What train.py imports. torch comes with the container.
{transformers}
trl>=1.0
accelerate>=1.10
datasets>=3
pyyaml>=6
"""
_ARGUMENTS = """\
# The options of train.py: these, and every name of TrainingArguments and TRL's SFTConfig.
# The channels train, test, model and config of a training job need no option.
# {source}
{model}
learning_rate: 1e-5
num_train_epochs: 1
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
max_length: 1024
gradient_checkpointing: true
bf16: true
logging_steps: 10
save_strategy: epoch
save_total_limit: 1
# Shards the model where one GPU is too small for it and its optimizer:
# fsdp: true
# fsdp_config:
#   version: 2
#   reshard_after_forward: true
"""


class SagemakerKind(RecipeKind):
    """A folder with the script, its arguments, its requirements, the names, and a launcher."""

    name = "sagemaker"
    title = "Training job"
    purpose = "A training job, also on SageMaker"
    tasks: ClassVar[tuple[str, ...]] = ("text",)

    def files(self, choice: Choice) -> tuple[RecipeFile, ...]:
        """Return the files of the folder; raises SelectionError for a choice that must not be
        written."""
        refuse_other(choice.selection.result, self)
        recipe = SpectrumYaml(choice.selection)
        names = recipe.text(choice.policy)
        result, ending = choice.selection.result, choice.policy.ending
        layers = f"spectrum-layer/{_names_file(result, ending)}"
        origin = result.provenance
        texts = {
            "train.py": script(result, recipe.view(choice.policy), layers),
            "args.yaml": _arguments(origin),
            "requirements.txt": _requirements(origin),
            "launch.py": _own("scripts/launch_on_sagemaker.py").read_text(encoding="utf-8"),
            layers: names,
            **_modules(),
        }
        folder = f"_{self.name}_{ending}"
        return tuple(RecipeFile(f"{folder}/{name}", text) for name, text in texts.items())


def _names_file(result: Result, ending: str) -> str:
    """Return what the kind `spectrum` calls the file, and AWS's `args.yaml` looks for."""
    return files_of(result, Path()).ending(f"_unfrozenparameters_{ending}.yaml").name


def _arguments(origin: Provenance) -> str:
    model = hub_id(origin)
    line = f"model: {model}" if model else "# model: the channel model, or a folder or id"
    if model and origin.revision:
        line += f'\nrevision: "{origin.revision}"'
    return _ARGUMENTS.format(source=one_line(source_of(origin)), model=line)


def _requirements(origin: Provenance) -> str:
    """Return the packages; transformers in the version whose names the scores are under."""
    release = _RELEASE.match(origin.naming)
    wanted = f"transformers=={release[1]}" if release else "transformers>=5.4"
    return _REQUIREMENTS.format(transformers=wanted)


# -- the modules that the script imports -------------------------------------------------------


@cache
def _modules() -> dict[str, str]:
    """{path: text} of every module of this program that the script needs, directly or not."""
    found: dict[str, str] = {}
    waiting = [f"{_PACKAGE}.{name}" for name in _ROOTS]
    while waiting:
        name = waiting.pop()
        path = _path_of(name)
        if path is None or path in found:
            continue
        found[path] = _own(path.removeprefix(f"{_PACKAGE}/")).read_text(encoding="utf-8")
        waiting += [*_imported(found[path]), name.rpartition(".")[0]]
    return dict(sorted(found.items()))


def _own(path: str) -> Traversable:
    return resources.files(_PACKAGE).joinpath(*path.split("/"))


def _path_of(module: str) -> str | None:
    """Return the file of a module or package of this program, None for a name within one."""
    base = module.replace(".", "/")
    for path in (f"{base}.py", f"{base}/__init__.py"):
        if path.startswith(f"{_PACKAGE}/") and _own(path.removeprefix(f"{_PACKAGE}/")).is_file():
            return path
    return None


def _imported(text: str) -> Iterator[str]:
    """Yield what a module imports from this program, names within modules among them."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(_PACKAGE):
            yield str(node.module)
            yield from (f"{node.module}.{name.name}" for name in node.names)
