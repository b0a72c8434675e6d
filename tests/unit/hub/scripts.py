"""Repositories right and wrong in every way, and scripts that read them through a hub.

The client reads its environment once, so each scenario that talks to the hub is a short script in
a process of its own; a secret token is set in all of them and looked for in all that they print
and write.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import HfApi, constants, hf_hub_download  # noqa: F401 (no child loads them)
from safetensors.numpy import save_file

from tests.fake_hub import GOOD_TOKEN
from tests.forked import Forked

COMMIT = "c0ffee" + "0" * 34
PRELUDE = """
import json
from spectrum_tui.core.errors import SpectrumError, to_dict
from spectrum_tui.core.hub.cache import HubFiles, cached_models, find_local
from spectrum_tui.core.hub.patience import Patience
from spectrum_tui.core.hub.remote import read_remote
from spectrum_tui.core.hub.transfer import DownloadStopped, download

Patience.__init__.__defaults__ = ((0.01, 0.01),)

def told(repo, revision=""):
    try:
        return read_remote(repo, revision).files.commit
    except SpectrumError as error:
        return to_dict(error)

def fetch(repo, cancel_at=None, files=None):
    steps = []
    try:
        folder = download(
            files or read_remote(repo).files,
            progress=lambda *step: steps.append(step),
            cancelled=lambda: cancel_at is not None and steps[-1][0] >= cancel_at,
        )
        return {"folder": str(folder), "steps": steps}
    except DownloadStopped:
        return {"cancelled": True, "steps": steps}
    except SpectrumError as error:
        return {**to_dict(error), "steps": steps}
"""


def run(endpoint: str, home: Path, script: str, token: str = GOOD_TOKEN, **extra: str) -> Any:
    """What `script` leaves in `answer`, run against a hub; the token must show up nowhere."""
    code = compile(f"{PRELUDE}\n{script}\nprint(json.dumps(answer, default=str))", "script", "exec")

    def work() -> None:
        importlib.reload(constants)
        exec(code, {})  # noqa: S102

    env = {"HF_HUB_OFFLINE": "0", "HF_TOKEN": token, "HF_ENDPOINT": endpoint, "HF_HOME": str(home)}
    done = Forked(work, **env | extra).wait()
    assert done.returncode == 0, done.stderr
    if token:
        assert token not in done.stdout + done.stderr
        assert not [p for p in home.rglob("*") if p.is_file() and token.encode() in p.read_bytes()]
    return json.loads(done.stdout.splitlines()[-1])


def shard_name(number: int) -> str:
    """The file of one of the three shards of org/sharded."""
    return f"model-{number:05d}-of-00003.safetensors"


ALL_SHARDS = (shard_name(1), shard_name(2), shard_name(3), "model.safetensors.index.json")


def error(message: str, hint: str, field: str = "model", kind: str = "HubError") -> dict[str, str]:
    """An error as it crosses to the app."""
    return {"kind": kind, "message": message, "hint": hint, "field": field}


def _config(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama", "hidden_size": 64}')
    (folder / "README.md").write_text("# " + "words " * 1000)
    return folder


def _tensors(seed: int, rows: int) -> dict[str, np.ndarray[Any, Any]]:
    noise = np.random.default_rng(seed)
    return {
        f"model.layers.{seed}.mlp.up_proj.weight": noise.random((rows, 300), dtype="f4"),
        f"model.layers.{seed}.norm.weight": noise.random(300).astype("f2"),
    }


def _single(folder: Path) -> None:
    save_file(_tensors(0, 800), folder / "model.safetensors")
    save_file(_tensors(1, 10), folder / "consolidated.safetensors")
    (folder / "original").mkdir()
    save_file(_tensors(2, 10), folder / "original" / "model.safetensors")
    (folder / "generation_config.json").write_text("{}")
    (folder / "tokenizer.json").write_text('"' + "x" * 1_500_000 + '"')


def _sharded(folder: Path) -> None:
    weight_map: dict[str, str] = {}
    for number in (1, 2, 3):
        tensors = _tensors(number, 1000)
        save_file(tensors, folder / shard_name(number))
        weight_map |= dict.fromkeys(tensors, shard_name(number))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def _many_tensors(folder: Path) -> None:
    one = np.zeros(1, "f4")
    save_file(
        {f"model.layers.{i}.a.rather.long.name": one for i in range(2000)},
        folder / "model.safetensors",
    )


def _index(folder: Path, *shards: str) -> None:
    weight_map = {str(i): name for i, name in enumerate(shards)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def make_repos(base: Path) -> dict[str, Path]:
    """Folders of repositories below `base`, by their ids."""
    names = (
        "single", "sharded", "many", "gated", "private", "bin", "gguf", "adapter", "pointer",
        "garbage", "lacking", "outside", "badindex", "nothing",
    )  # fmt: skip
    folders = {f"org/{name}": _config(base / name) for name in names}
    _single(base / "single")
    _sharded(base / "sharded")
    _many_tensors(base / "many")
    for name in ("gated", "private"):
        save_file(_tensors(0, 10), base / name / "model.safetensors")
    (base / "bin" / "pytorch_model.bin").write_bytes(b"PK")
    (base / "gguf" / "model-Q4_K_M.gguf").write_bytes(b"GGUF")
    save_file(_tensors(0, 10), base / "adapter" / "adapter_model.safetensors")
    (base / "adapter" / "adapter_config.json").write_text("{}")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5000000000\n"
    (base / "pointer" / "model.safetensors").write_text(pointer)
    (base / "garbage" / "model.safetensors").write_bytes(b"<html>no such page</html>")
    _index(base / "lacking", shard_name(1), shard_name(2))
    save_file(_tensors(1, 10), base / "lacking" / shard_name(2))
    _index(base / "outside", "../../private/model.safetensors")
    (base / "badindex" / "model.safetensors.index.json").write_text("[1, 2]")
    return folders
