"""The script for TRL as it is started: its options, its data, and what reaches the trainer.

TRL, transformers and torch are stand-ins here; tests/training runs the script for real.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from spectrum_tui.core.errors import SpectrumError
from tests import made
from tests.unit.recipes.trl_script import RESULT, script_of, values_in


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the script defines, outside of any training job."""
    for name in [name for name in os.environ if name.startswith("SM_")]:
        monkeypatch.delenv(name)
    return values_in(script_of(RESULT), tmp_path)


def test_help_needs_nothing_heavy(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text(script_of(RESULT), encoding="utf-8")
    code = (
        "import runpy, sys\n"
        "sys.argv = ['train.py', '--help']\n"
        f"try: runpy.run_path({str(path)!r}, run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'transformers', 'trl', 'datasets', 'spectrum_tui', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    environment = {**os.environ, "SM_MODEL_DIR": "100%s"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert "--learning-rate" in done.stdout and "100%s" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_command_line_alone(script: dict[str, Any]) -> None:
    options = script["read_options"](["--train", "x.jsonl"])
    assert (options.model, options.revision) == ("made/llama", RESULT.provenance.revision)
    assert (options.output_dir, options.checkpoint_dir) == ("trained", "trained/checkpoints")
    assert options.gradient_checkpointing is True
    other = script["read_options"](["--train", "x.jsonl", "--model", "other/model"])
    assert other.revision == "main"


def test_a_training_job(
    script: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "args.yaml").write_text(
        "learning_rate: 1e-4\nbatch_size: 3\npacking: true\nepochs: 2\nrevision: null\n"
    )
    for name, value in {
        "SM_CHANNEL_TRAINING": "/opt/ml/input/data/training",
        "SM_CHANNEL_VALIDATION": "/opt/ml/input/data/validation",
        "SM_CHANNEL_MODEL": "/opt/ml/input/data/model",
        "SM_CHANNEL_CONFIG": str(tmp_path / "config"),
        "SM_MODEL_DIR": "/opt/ml/model",
        "SM_OUTPUT_DATA_DIR": "/opt/ml/output/data",
    }.items():
        monkeypatch.setenv(name, value)
    options = script["read_options"](
        ["--batch_size", "5", "--gradient_checkpointing", "False", "--max_steps", "-1"]
    )
    assert options.train == "/opt/ml/input/data/training"
    assert options.test == "/opt/ml/input/data/validation"
    assert options.model == "/opt/ml/input/data/model"
    assert (options.output_dir, options.checkpoint_dir) == ("/opt/ml/model", "/opt/ml/output/data")
    assert (options.learning_rate, options.epochs, options.packing) == (1e-4, 2.0, True)
    assert (options.batch_size, options.max_steps) == (5, -1)  # the command line counts more
    assert options.gradient_checkpointing is False
    assert options.revision == "main"


BAD = {
    "no data": ([], "", "where the data are"),
    "unknown option": (["--train", "x", "--lr", "1"], "", "unrecognized arguments: --lr"),
    "no number": (["--train", "x", "--epochs", "two"], "", "argument --epochs: invalid"),
    "neither": (["--train", "x", "--packing", "maybe"], "", "true or false"),
    "config: unknown": (["--train", "x"], "lr: 1", "unrecognized arguments: --lr=1"),
    "config: a list": (["--train", "x"], "seed: [1]", "seed is not a plain value"),
    "config: no options": (["--train", "x"], "- seed", "not a mapping of options"),
    "config: broken": (["--train", "x"], "a: [", "cannot be read"),
    "config: binary": (["--train", "x"], "\0", "cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_options_are_one_line(
    name: str, script: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, config, expected = BAD[name]
    if config:
        (tmp_path / "c.yaml").write_text(config)
        arguments = [*arguments, "--config", str(tmp_path / "c.yaml")]
    with pytest.raises(SystemExit) as ended:
        script["read_options"](arguments)
    assert ended.value.code == 2
    assert expected in capsys.readouterr().err.splitlines()[-1]


def test_a_folder_of_several_configs_is_refused(
    script: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.yaml", "b.yml"):
        (tmp_path / name).touch()
    with pytest.raises(SystemExit):
        script["read_options"](["--train", "x", "--config", str(tmp_path)])
    assert "holds 2 YAML files" in capsys.readouterr().err


def test_no_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = values_in(script_of(made.result(sizes=False)), tmp_path)
    with pytest.raises(SystemExit):
        script["read_options"](["--train", "x"])
    assert "which model" in capsys.readouterr().err


@dataclass
class Weight:
    """A parameter as far as counting goes."""

    numel_: int
    requires_grad: bool = True

    def numel(self) -> int:
        return self.numel_


class Model:
    def __init__(self) -> None:
        self.weights = {name: Weight(10) for name in ("a", "b", "c")}

    def parameters(self) -> list[Weight]:
        return list(self.weights.values())


class Stands:
    """Modules in the place of those that the script imports, and what they were asked."""

    def __init__(self, unmatched: tuple[str, ...], trained: tuple[str, ...]) -> None:
        self.model = Model()
        self.asked: dict[str, Any] = {}
        self.unmatched, self.trained = unmatched, trained

    def freeze_except(self, model: Model, names: tuple[str, ...]) -> SimpleNamespace:
        assert model is self.model
        self.asked["names"] = names
        for name, weight in model.weights.items():
            weight.requires_grad = name in self.trained
        return SimpleNamespace(matched=self.trained, unmatched=self.unmatched)

    def from_pretrained(self, model: str, **how: Any) -> Model:
        self.asked["model"] = (model, how)
        return self.model

    def trainer(self, **how: Any) -> Any:
        self.asked["trainer"] = how
        frozen = [name for name, w in self.model.weights.items() if not w.requires_grad]
        self.asked["frozen before the trainer"] = frozen
        return SimpleNamespace(
            train=lambda: self.asked.setdefault("trained", True),
            save_model=lambda folder: self.asked.setdefault("saved", folder),
        )

    def modules(self) -> dict[str, dict[str, Any]]:
        auto = SimpleNamespace(from_pretrained=self.from_pretrained)
        tokenizer = SimpleNamespace(from_pretrained=lambda model, **how: (model, how))
        return {
            "torch": {
                "cuda": SimpleNamespace(is_available=lambda: False),
                "float32": "float32",
                "bfloat16": "bfloat16",
            },
            "transformers": {"AutoModelForCausalLM": auto, "AutoTokenizer": tokenizer},
            "trl": {"SFTConfig": dict, "SFTTrainer": self.trainer},
            "datasets": {
                "load_dataset": lambda kind, **how: (kind, how),
                "load_from_disk": lambda place: ("disk", place),
            },
            "spectrum_tui.freeze": {
                "freeze_except": self.freeze_except,
                "SpectrumError": SpectrumError,
            },
        }


StandIn = Callable[..., Stands]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    def install(unmatched: tuple[str, ...] = (), trained: tuple[str, ...] = ("a",)) -> Stands:
        stands = Stands(unmatched, trained)
        for name, members in stands.modules().items():
            module = ModuleType(name)
            vars(module).update(members)
            monkeypatch.setitem(sys.modules, name, module)
        return stands

    return install


def test_the_names_reach_the_model_before_the_trainer(
    script: dict[str, Any], stand_in: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stands = stand_in()
    (tmp_path / "data.jsonl").touch()
    data, folder = str(tmp_path / "data.jsonl"), str(tmp_path / "out")
    script["main"](["--train", data, "--output-dir", folder, "--dtype", "float32"])
    asked = stands.asked
    assert asked["names"] == script["NAMES"]
    revision = RESULT.provenance.revision
    how = {"revision": revision, "dtype": "float32", "trust_remote_code": False}
    assert asked["model"] == ("made/llama", how)
    assert asked["frozen before the trainer"] == ["b", "c"]
    assert asked["trainer"]["train_dataset"] == ("json", {"data_files": [data], "split": "train"})
    assert asked["trainer"]["processing_class"] == ("made/llama", {"revision": revision})
    arguments = asked["trainer"]["args"]
    assert arguments["gradient_checkpointing_kwargs"] == {"use_reentrant": False}
    assert arguments["output_dir"] == f"{folder}/checkpoints"
    assert arguments["bf16"] is False
    assert (asked["trained"], asked["saved"]) == (True, folder)
    assert "training 10 of 30 parameters, 33.33%" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("unmatched", "trained", "expected"),
    [
        (("model.layers.0.mlp.x",), ("a",), r"1 of \d+ names are not in this model, first model"),
        ((), (), "Nothing of this model would train"),
    ],
)
def test_what_is_not_meant_ends_it_before_training(
    unmatched: tuple[str, ...],
    trained: tuple[str, ...],
    expected: str,
    script: dict[str, Any],
    stand_in: StandIn,
) -> None:
    stands = stand_in(unmatched, trained)
    with pytest.raises(SystemExit) as ended:
        script["main"](["--train", "x.jsonl"])
    assert re.match(expected, str(ended.value.code))
    assert "trainer" not in stands.asked


def test_an_assumed_head_that_is_missing_does_not_end_it(stand_in: StandIn, tmp_path: Path) -> None:
    script = values_in(script_of(made.result(sizes=False)), tmp_path)
    stands = stand_in(("lm_head.weight",))
    script["freeze"](stands.model)
    assert stands.asked["names"] == script["NAMES"]


def test_folders_of_data(script: dict[str, Any], stand_in: StandIn, tmp_path: Path) -> None:
    stand_in()
    folder = tmp_path / "data"
    (folder / "deep").mkdir(parents=True)
    for name in ("b.jsonl", "deep/a.json", "README.md"):
        (folder / name).touch()
    kind, how = script["load_data"](str(folder))
    assert kind == "json"
    assert how["data_files"] == [str(folder / name) for name in ("b.jsonl", "deep/a.json")]
    (folder / "c.csv").touch()
    for place in (folder, tmp_path / "none"):
        with pytest.raises(SystemExit) as ended:
            script["load_data"](str(place))
        assert "one kind: .jsonl, .json, .parquet, .csv" in str(ended.value.code)
    (folder / "state.json").write_text(json.dumps({}))
    assert script["load_data"](str(folder)) == ("disk", str(folder))


def test_only_the_first_process_speaks(
    script: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        script["say"](f"rank {rank}")
    assert capsys.readouterr().out == "rank 0\n"
