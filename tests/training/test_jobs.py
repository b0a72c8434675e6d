"""Training jobs for real, in two processes on the CPU: the arguments of AWS's article, DDP, FSDP2.

What the folder of `--as sagemaker` holds is all that they run.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

pytest.importorskip("trl")
pytest.importorskip("datasets")

from spectrum_tui.cli.main import main
from tests.training.text_model import WORDS, write_model
from tests.unit.jobs.test_options import ARTICLE

PORT = 29_650
ACCELERATE = """
compute_environment: LOCAL_MACHINE
distributed_type: FSDP
mixed_precision: 'no'
num_machines: 1
num_processes: 2
machine_rank: 0
main_process_port: {port}
fsdp_config:
  fsdp_version: 2
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_cpu_ram_efficient_loading: true
  fsdp_offload_params: true
  fsdp_reshard_after_forward: true
  fsdp_state_dict_type: FULL_STATE_DICT
"""


class Job:
    """A model, the folder of its job, and a folder as `/opt/ml` is in a container."""

    def __init__(self, root: Path) -> None:
        self.root, self.model, self.folder, self.ml = root, root / "m", root / "job", root / "ml"
        write_model(self.model)
        out = root / "scores"
        assert main(["scan", str(self.model), "--output-dir", str(out)]) == 0
        (self.scores,) = (out / "model_snr_results").iterdir()
        self.export(34, self.folder)
        (layers,) = (self.folder / "spectrum-layer").iterdir()
        self.layers = layers
        for channel in ("train", "test"):
            place = self.ml / "input" / "data" / channel
            place.mkdir(parents=True)
            rows = [squad(number) for number in range(16)]
            (place / "dataset.json").write_text("\n".join(map(json.dumps, rows)))

    def export(self, percent: int, folder: Path) -> None:
        what = ["--as", "sagemaker", "--top-percent", str(percent), "-o", str(folder)]
        assert main(["export", str(self.scores), *what]) == 0

    @property
    def names(self) -> set[str]:
        return set(yaml.safe_load(self.layers.read_text())["unfrozen_parameters"])

    def run(
        self, *launcher: str, options: Sequence[str], folder: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        return subprocess.run(
            [sys.executable, *launcher, str((folder or self.folder) / "train.py"), *options],
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
            env={**os.environ, **environment},
            cwd=self.root,
        )

    def changed(self, trained: Path) -> set[str]:
        before = load_file(self.model / "model.safetensors")
        after = load_file(trained / "model.safetensors")
        assert before.keys() == after.keys()
        plain = {name: tensor.bfloat16().float() for name, tensor in before.items()}
        return {name for name in plain if not torch.equal(plain[name], after[name].float())}


def squad(number: int) -> dict[str, object]:
    """A row as the notebook writes them."""
    return {
        "id": str(number),
        "title": "t",
        "context": " ".join(WORDS[number % 9 :]),
        "question": "quick fox over",
        "answers": {"text": ["dog lazy"], "answer_start": [0]},
    }


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return Job(tmp_path_factory.mktemp("jobs"))


def torchrun(port: int) -> list[str]:
    return ["-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}"]


def test_the_arguments_of_the_article_unchanged(job: Job) -> None:
    """As in the notebook, but for where `/opt/ml` is and which model it is."""
    layers = str(job.folder / "spectrum-layer" / job.layers.name)
    text = ARTICLE.replace("/opt/ml/input/data/code/spectrum-layer/x.yaml", layers)
    text = text.replace("/opt/ml", str(job.ml)).replace("Qwen/Qwen3-8B", str(job.model))
    config = job.ml / "input" / "data" / "config" / "args.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(text)
    # the hyperparameters of the notebook are this one; the file has the others
    done = job.run(*torchrun(PORT), options=["--config", str(config)])
    assert done.returncode == 0, done.stderr[-3000:]
    assert job.changed(job.ml / "model") == job.names
    named = len(job.names)
    assert f"trained {named} of {named} tensors that the recipe names" in done.stdout
    assert re.search(r"training [\d,]+ of [\d,]+ parameters, \d+\.\d\d%", done.stdout)
    assert "eval_loss" in done.stdout


@pytest.mark.parametrize("how", ["ddp", "fsdp2", "accelerate"])
def test_every_process_trains_what_is_named_and_nothing_else(how: str, job: Job) -> None:
    """A third of the vocabulary is in none of the texts, but weight decay moves every row of what
    trains: both halves, which two processes hold."""
    trained = job.root / how
    config = job.root / f"{how}.yaml"
    config.write_text(ACCELERATE.format(port=PORT + 2))
    by_accelerate = ["-m", "accelerate.commands.launch", "--config_file", str(config)]
    launcher = {"ddp": torchrun(PORT + 1), "fsdp2": torchrun(PORT + 3), "accelerate": by_accelerate}
    options = [
        *("--model-id", str(job.model), "--train", str(job.ml / "input" / "data" / "train")),
        *("--output-dir", str(trained), "--learning-rate", "0.01", "--weight_decay", "0.5"),
        *("--gradient-accumulation-steps", "2", "--save-steps", "1", "--max-steps", "2"),
        *(["--fsdp", "true", "--fsdp_config", '{"version": 2}'] if how == "fsdp2" else []),
    ]
    done = job.run(*launcher[how], options=options)
    assert done.returncode == 0, done.stderr[-3000:]
    assert job.changed(trained) == job.names
    before, after = (load_file(x / "model.safetensors") for x in (job.model, trained))
    for name in job.names:
        plain, now = before[name].bfloat16().float(), after[name].float()
        half = len(now) // 2
        for part in (slice(0, half), slice(half, None)):
            assert not torch.equal(plain[part], now[part]), name
    again = job.run(*launcher[how], options=[*options, "--max-steps", "3"])
    assert again.returncode == 0, again.stderr[-3000:]
    assert "going on from" in again.stdout and "checkpoint-2" in again.stdout


MEASURE = """
import sys, torch
from pathlib import Path
from transformers import LlamaForCausalLM
from torch import distributed
from spectrum_tui.jobs.loading import load_once
distributed.init_process_group("gloo")
status = Path("/proc/self/status")
def kb(name):
    return next(int(x.split()[1]) for x in status.read_text().splitlines() if x.startswith(name))
LlamaForCausalLM  # imported before it is measured
Path("/proc/self/clear_refs").write_text("5")
before = kb("VmRSS")
model = load_once(
    lambda: LlamaForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16),
    sharded=True, device=torch.device("cpu"),
)
names = [name for name, _ in model.named_parameters()]
buffers = {name: buffer.sum().item() for name, buffer in model.named_buffers()}
size = sum(p.numel() * p.element_size() for p in model.parameters())
rank = distributed.get_rank()
peak = 1024 * (kb("VmHWM") - before)
Path(sys.argv[2] + str(rank)).write_text(repr((size, peak, names, buffers)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_one_process_reads_the_weights(tmp_path: Path) -> None:
    """The peak of the second process stays below a tenth of the model (8.8 of 112 MB)."""
    model = write_model(tmp_path / "m", vocab_size=48_000, hidden_size=512, intermediate_size=1024)
    script = tmp_path / "measure.py"
    script.write_text(MEASURE)
    done = subprocess.run(
        [sys.executable, *torchrun(PORT + 4), str(script), str(model), str(tmp_path / "rank")],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (size, first, *same), (_, second, *other) = (
        eval((tmp_path / f"rank{rank}").read_text())  # noqa: S307 - written above
        for rank in range(2)
    )
    assert same == other and same[1]
    assert size > 100e6
    assert first > 0.9 * size, (first, size)
    assert second < 0.1 * size, (second, size)
    print(f"model {size / 1e6:.0f} MB: first {first / 1e6:.0f} MB, second {second / 1e6:.1f} MB")


@pytest.fixture
def alone(job: Job, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """The job in this process: importing TRL takes ten seconds."""

    def run(*options: str, folder: Path = job.folder) -> None:
        given = ["--model", str(job.model), "--train", str(job.ml / "input" / "data" / "train")]
        monkeypatch.setattr(sys, "argv", ["train.py", *given, *options])
        monkeypatch.setattr(sys, "path", list(sys.path))
        runpy.run_path(str(folder / "train.py"), run_name="__main__")

    return run


def test_preferences(job: Job, alone: Callable[..., None], tmp_path: Path) -> None:
    rows = [
        {"prompt": "the quick", "chosen": f" {one}", "rejected": f" {two}"}
        for one, two in pairwise(WORDS)
    ]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    where = ["--train", str(tmp_path / "p.jsonl"), "--output-dir", str(tmp_path / "out")]
    alone(*where, "--task", "dpo", "--learning-rate", "0.01", "--max-steps", "1")
    assert job.changed(tmp_path / "out") == job.names


def test_a_job_goes_on_from_its_own_checkpoint_alone(
    job: Job, alone: Callable[..., None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ["--output-dir", str(tmp_path / "out"), "--save-steps", "1", "--max-steps", "1"]
    alone(*options)
    other = tmp_path / "other"
    job.export(70, other)
    with pytest.raises(SystemExit, match=r"trains other tensors\. Give another --checkpoint-dir"):
        alone(*options, folder=other)
    capfd.readouterr()
    alone(*options, "--resume", "false", folder=other)
    assert "going on" not in capfd.readouterr().out
    alone(*options, "--max-steps", "2", folder=other)
    assert re.search(r"going on from \S+checkpoint-1\n", capfd.readouterr().out)


BAD = {
    "unknown": (["--learning-rat", "1"], "There is no option learning_rat. Do you mean learning_"),
    "no number": (["--num-train-epochs", "two"], "Argument --num_train_epochs"),
    "no such type": (["--save-strategy", "never"], "Argument --save_strategy"),
    "tf32": (["--tf32", "true"], "SFTConfig refuses this"),
    "nested": (["--fsdp_config", "/none"], "SFTConfig refuses this"),
    "no batch": (["--batch-size", "0"], "per_device_train_batch_size is '0'. Give 1 or more."),
    "too many": (["--batch-size", "9" * 400], "Give 2,147,483,647 at most."),
    "no rate": (["--learning-rate", "nan"], "learning_rate is 'nan'. Give a number."),
    "not above 0": (["--learning-rate", "-1"], "learning_rate is '-1'. Give 0 or more."),
    "a list": (["--learning-rate", "[1]"], "learning_rate is [1]. Give a number."),
    "a mapping": (["--max-steps", '{"a": 1}'], "Give a whole number."),
    "no server": (["--report-to", "nowhere"], "The trainer refuses this: nowhere"),
    "no folder": (["--output-dir", "/dev/full"], "Cannot write to /dev/full"),
    "no checkpoints": (["--checkpoint-dir", "/dev/full"], "/dev/full"),
    "no data": (["--train", "/none"], "/none must be a file"),
    "empty data": (["--train", "EMPTY.jsonl"], "EMPTY.jsonl has no rows."),
    "cut data": (["--train", "CUT.jsonl"], "CUT.jsonl cannot be read"),
    "columns": (["--task", "dpo"], "has no preferences"),
    "model": (["--model", "/none"], "/none cannot be loaded"),
    "names": (["--recipe", "/none"], "/none"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(name: str, alone: Callable[..., None], tmp_path: Path) -> None:
    arguments, words = BAD[name]
    (tmp_path / "EMPTY.jsonl").touch()
    (tmp_path / "CUT.jsonl").write_text('{"text": "a"}\n{"text":\n')
    arguments = [str(tmp_path / one) if one.endswith(".jsonl") else one for one in arguments]
    more = ["--fsdp", "full_shard"] if name == "nested" else []
    with pytest.raises(SystemExit) as ended:
        alone("--output-dir", str(tmp_path), *more, *arguments)
    assert words in str(ended.value.code) and "\n" not in str(ended.value.code)


def test_a_model_of_nan_is_no_success(alone: Callable[..., None], tmp_path: Path) -> None:
    where = ["--output-dir", str(tmp_path / "out"), "--max-steps", "2"]
    with pytest.raises(SystemExit, match=r"NaN or infinity, first \S+: the training diverged"):
        alone(*where, "--learning-rate", "1e30", "--max-grad-norm", "0")
