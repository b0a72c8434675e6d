"""The options of a training job: command line, YAML, channels, other names, and what is wrong."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from spectrum_tui.core.errors import InputError
from spectrum_tui.jobs.options import Options, read_options
from spectrum_tui.jobs.values import from_command_line, from_yaml


@pytest.fixture(autouse=True)
def _no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of any training job; what a test sets goes with it."""
    for name in [name for name in os.environ if name.startswith(("SM_", "SPECTRUM_"))]:
        monkeypatch.delenv(name)
    for name in ("HF_TOKEN", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.setenv(name, "")


def options(*arguments: str) -> Options:
    return read_options(arguments, model="made/llama", revision="abc")


def test_the_command_line_alone() -> None:
    found = options("--train", "x.jsonl")
    assert (found.model, found.revision) == ("made/llama", "abc")
    assert (found.output_dir, found.checkpoint_dir) == ("trained", "trained/checkpoints")
    assert (found.task, found.dtype, found.resume, found.enable_spectrum) == (
        "sft",
        "bfloat16",
        True,
        True,
    )
    assert found.trainer == {}
    assert options("--train", "x", "--model", "other/model").revision == "main"


@pytest.mark.parametrize("dashes", ["--num-train-epochs", "--num_train_epochs", "--epochs"])
def test_names_of_a_trainer_have_dashes_or_underscores(dashes: str) -> None:
    for given in ([dashes, "2"], [f"{dashes}=2"]):
        assert options("--train", "x", *given).trainer == {"num_train_epochs": "2"}


def test_options_are_read_from_a_file_alone(tmp_path: Path) -> None:
    """A pipe that nobody writes to would be waited for, and a device has no end."""
    pipe = tmp_path / "args.yaml"
    os.mkfifo(pipe)
    for place, why in ((pipe, "not a mapping"), (Path("/dev/zero"), "it is a device")):
        with pytest.raises(InputError, match=why):
            from_yaml(str(place))


def test_what_a_command_line_says() -> None:
    given = ["--a", "-1", "--b", "x", "y", "--c", "--d={1: 2}", '--e={"f": [1]}', "--g=", "--h=[1]"]
    assert from_command_line(given) == {
        "a": "-1",
        "b": ["x", "y"],
        "c": "true",
        "d": "{1: 2}",
        "e": {"f": [1]},
        "g": "",
        "h": [1],
    }


# AWS's notebook writes this file; paths and names as there, without the comments.
ARTICLE = """
hf_token: "secret"
model_id: "Qwen/Qwen3-8B"
mlflow_uri: ""
mlflow_experiment_name: "spectrum-fine-tuning-Qwen-Qwen3-8B-10pct"
output_dir: "/opt/ml/model"
train_dataset_path: "/opt/ml/input/data/train/"
test_dataset_path: "/opt/ml/input/data/test/"
enable_spectrum: true
spectrum_config_path: "/opt/ml/input/data/code/spectrum-layer/x.yaml"
enable_lora: false
enable_quantization: false
lora_r: 8
lora_alpha: 16
lora_dropout: 0.1
merge_weights: true
learning_rate: 2e-4
num_train_epochs: 1
per_device_train_batch_size: 8
per_device_eval_batch_size: 1
gradient_accumulation_steps: 2
gradient_checkpointing: true
bf16: true
tf32: false
fsdp: "full_shard auto_wrap offload"
fsdp_config:
    backward_prefetch: "backward_pre"
    cpu_ram_efficient_loading: true
    offload_params: true
    forward_prefetch: false
    use_orig_params: true
"""


def test_the_arguments_of_the_article(tmp_path: Path) -> None:
    (tmp_path / "args.yaml").write_text(ARTICLE)
    found = options("--config", str(tmp_path / "args.yaml"), "--hf-token", "other")
    assert (found.model, found.revision) == ("Qwen/Qwen3-8B", "main")
    assert (found.train, found.test) == ("/opt/ml/input/data/train/", "/opt/ml/input/data/test/")
    assert found.recipe == "/opt/ml/input/data/code/spectrum-layer/x.yaml"
    assert (found.output_dir, found.checkpoint_dir) == (
        "/opt/ml/model",
        "/opt/ml/model/checkpoints",
    )
    assert found.trainer["fsdp_config"] == {
        "backward_prefetch": "backward_pre",
        "cpu_ram_efficient_loading": True,
        "offload_params": True,
        "forward_prefetch": False,
        "use_orig_params": True,
    }
    assert set(found.trainer) == {
        "learning_rate",
        "num_train_epochs",
        "per_device_train_batch_size",
        "per_device_eval_batch_size",
        "gradient_accumulation_steps",
        "gradient_checkpointing",
        "bf16",
        "tf32",
        "fsdp",
        "fsdp_config",
    }
    assert os.environ["HF_TOKEN"] == "other"  # the command line counts more
    assert os.environ["MLFLOW_TRACKING_URI"] == ""


def test_a_job_with_its_channels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "args.yaml").write_text("learning_rate: 1e-4\nbatch_size: 3\nrevision: null\n")
    for name, value in {
        "SM_CHANNEL_TRAINING": "/opt/ml/input/data/training",
        "SM_CHANNEL_VALIDATION": "/opt/ml/input/data/validation",
        "SM_CHANNEL_MODEL": "/opt/ml/input/data/model",
        "SM_CHANNEL_CONFIG": str(tmp_path),
        "SM_MODEL_DIR": "/opt/ml/model",
        "SM_OUTPUT_DATA_DIR": "/opt/ml/output/data",
    }.items():
        monkeypatch.setenv(name, value)
    found = options("--per_device_train_batch_size", "5")
    assert found.train == "/opt/ml/input/data/training"
    assert found.test == "/opt/ml/input/data/validation"
    assert (found.model, found.revision) == ("/opt/ml/input/data/model", "main")
    assert (found.output_dir, found.checkpoint_dir) == ("/opt/ml/model", "/opt/ml/output/data")
    assert found.trainer["per_device_train_batch_size"] == "5"


def test_arguments_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPECTRUM_ARGS", "train: x\nmax_steps: 3\n")
    monkeypatch.setenv("SPECTRUM_CONFIG_PATH", "names.yaml")
    found = options()
    assert (found.train, found.recipe, found.trainer) == ("x", "names.yaml", {"max_steps": 3})
    (tmp_path / "a.yaml").write_text("train: y")
    monkeypatch.setenv("SPECTRUM_ARGS", "$FOLDER_OF_TEST/a.yaml")
    monkeypatch.setenv("FOLDER_OF_TEST", str(tmp_path))
    assert options().train == "y"


def test_bf16_off_means_whole_numbers() -> None:
    assert options("--train", "x", "--bf16", "false").dtype == "float32"
    assert options("--train", "x", "--bf16", "false", "--dtype", "bfloat16").dtype == "bfloat16"


def test_mlflow_needs_both_of_its_names() -> None:
    found = options("--train", "x", "--mlflow-uri", "arn:x", "--mlflow-experiment-name", "e")
    assert found.trainer == {"report_to": "mlflow"}
    assert os.environ["MLFLOW_TRACKING_URI"] == "arn:x"


BAD: dict[str, tuple[list[str], str, str]] = {
    "no data": ([], "", "where the data are"),
    "no name": (["x"], "", "x stands where an option should"),
    "neither": (["--train", "x", "--resume", "maybe"], "", "Give true or false"),
    "task": (["--train", "x", "--task", "ppo"], "", "There is sft, dpo"),
    "type": (["--train", "x", "--dtype", "int8"], "", "There is no dtype"),
    "adapters": (["--train", "x", "--enable-lora"], "", "--as peft-lora"),
    "config: a list": (["--train", "x"], "model: [1]", "model is not a plain value"),
    "config: no options": (["--train", "x"], "- seed", "not a mapping of options"),
    "config: broken": (["--train", "x"], "a: [", "cannot be read"),
    "config: binary": (["--train", "x"], "\0", "cannot be read"),
    "config: deep": (["--train", "x"], "[" * 3000, "cannot be read"),
    "config: no file": (["--config", "/none/a.yaml"], "", "cannot be read"),
    "config: no name": (["--config", "a\0b"], "", "cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_options_are_one_line(name: str, tmp_path: Path) -> None:
    arguments, config, expected = BAD[name]
    if config:
        (tmp_path / "c.yaml").write_text(config)
        arguments = [*arguments, "--config", str(tmp_path / "c.yaml")]
    with pytest.raises(InputError) as ended:
        options(*arguments)
    assert expected in str(ended.value) and "\n" not in str(ended.value)


@pytest.mark.parametrize(("names", "words"), [(("a.yaml", "b.yml"), "2 YAML"), ((), "no YAML")])
def test_a_folder_must_hold_one_file(names: tuple[str, ...], words: str, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=f"holds {words}"):
        from_yaml(str(tmp_path))


def test_no_model_is_refused() -> None:
    with pytest.raises(InputError, match="which model"):
        read_options(["--train", "x"])


def test_tasks_are_those_of_the_script() -> None:
    tasks: dict[str, Any] = {"images": ()}
    assert read_options(["--train", "x", "--model", "m"], tasks=tasks).task == "images"
