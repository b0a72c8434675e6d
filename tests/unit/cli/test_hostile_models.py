"""Hostile text in every field of a model: both streams of every command stay plain."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from spectrum_tui.core.text import is_seen
from tests.checkpoints import Tensors, config_for, llama, matrix, save
from tests.fake_hub import FakeHub
from tests.hostile import ESCAPES, HIDDEN, JSON_TEXT, TEXT, assert_plain
from tests.unit.cli.hostile_shell import Shell

pytestmark = pytest.mark.usefixtures("in_empty_folder")

CONFIGS: dict[str, Any] = {
    "architectures": [JSON_TEXT],
    "architectures 2": {"architectures": JSON_TEXT},
    "model_type": JSON_TEXT,
    "torch_dtype": JSON_TEXT,
    "dtype": JSON_TEXT,
    "auto_map": {"AutoModel": JSON_TEXT, JSON_TEXT: JSON_TEXT},
    "quantization_config": {"quant_method": JSON_TEXT, "fmt": JSON_TEXT, JSON_TEXT: 1},
    "quantized": {"quantization_config": {"quant_method": "fp8", "fmt": JSON_TEXT}},
    "rope": {"rope_scaling": {"type": JSON_TEXT, "rope_type": JSON_TEXT, JSON_TEXT: 1}},
    "hidden_act": JSON_TEXT,
    "hidden_size": JSON_TEXT,
    "number": {"hidden_size": int("9" * 4000)},
    "key": {JSON_TEXT: JSON_TEXT},
    "_name_or_path": JSON_TEXT,
    "transformers_version": JSON_TEXT,
    "text_config": {"model_type": JSON_TEXT},
}


@pytest.mark.parametrize("field", CONFIGS)
def test_config(field: str, tmp_path: Path, shell: Shell) -> None:
    value = CONFIGS[field]
    changed = value if isinstance(value, dict) and field not in CONFIG_KEYS else {field: value}
    folder = save(tmp_path / "m", llama(2), config=changed)
    shell("scan", str(folder))
    recipe = Path("r.yaml")
    recipe.write_text("unfrozen_parameters:\n- ^model.layers.0.mlp.down_proj.weight$\n")
    shell("audit", str(recipe), "--model", str(folder))


CONFIG_KEYS = ("auto_map", "quantization_config", "text_config")


def test_config_that_is_no_configuration(tmp_path: Path, shell: Shell) -> None:
    folder = save(tmp_path / "m", llama(2))
    for text in (
        json.dumps(JSON_TEXT),
        TEXT,
        '{"hidden_size": ' + "9" * 5000 + "}",
        f'{{"a": {TEXT}',
    ):
        (folder / "config.json").write_text(text)
        shell("scan", str(folder))


def raw_safetensors(path: Path, tensors: Mapping[str, Any], metadata: Any = None) -> None:
    """A file whose header says whatever is asked for."""
    header = {**({"__metadata__": metadata} if metadata is not None else {}), **tensors}
    blob = json.dumps(header, ensure_ascii=True).encode()
    path.write_bytes(len(blob).to_bytes(8, "little") + blob + bytes(64))


@pytest.mark.parametrize(
    "entry",
    [
        {JSON_TEXT: {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]}},
        {"a.weight": {"dtype": JSON_TEXT, "shape": [4, 4], "data_offsets": [0, 64]}},
        {"a.weight": {"dtype": "F32", "shape": [JSON_TEXT], "data_offsets": [0, 64]}},
        {"a.weight": {"dtype": "F32", "shape": [4, 4], "data_offsets": [JSON_TEXT, 64]}},
        {"a.weight": {"dtype": "F32", "shape": [int("9" * 4000)], "data_offsets": [0, 64]}},
        {"a.weight": JSON_TEXT},
        {"a.weight": {JSON_TEXT: JSON_TEXT}},
    ],
    ids=["name", "dtype", "shape", "offsets", "number", "entry", "key"],
)
def test_header(entry: dict[str, Any], tmp_path: Path, shell: Shell) -> None:
    folder = save(tmp_path / "m", llama(1))
    raw_safetensors(folder / "model.safetensors", entry, {"format": JSON_TEXT, JSON_TEXT: "x"})
    shell("scan", str(folder), "--json")
    (folder / "config.json").write_text('{"model_type": "of-our-own"}')
    shell("scan", str(folder), "--json", "--top-percent", "100")


def odd_layers() -> Tensors:
    """Matrices whose names are hostile, among others."""
    tensors = {f"model.layers.{i}.mlp.down_proj.weight": matrix(f"d{i}", 16, 24) for i in range(4)}
    return tensors | {f"model.layers.{i}.{TEXT}.weight": matrix(f"x{i}", 16, 24) for i in range(4)}


def test_names_of_layers(tmp_path: Path, shell: Shell) -> None:
    folder = save(tmp_path / "m", odd_layers())
    code, out, err = shell("scan", str(folder), "--json")
    assert (code, out) == (2, "")
    assert "cannot be written to this file" in err or "No layer" in err or "match" in err
    shell("scan", str(folder), "--types", "nothing")
    shell("scan", str(folder), "--types", "mlp.*", "--json")
    (scores,) = Path("model_snr_results").glob("*.json")
    assert all(is_seen(name) for name in json.loads(scores.read_text()))


@pytest.mark.parametrize("part", ["name", "file"])
def test_index(part: str, tmp_path: Path, shell: Shell) -> None:
    folder = save(tmp_path / "m", llama(1), shards=2)
    path = folder / "model.safetensors.index.json"
    where = json.loads(path.read_text())["weight_map"]
    first = next(iter(where))
    where |= {JSON_TEXT: where[first]} if part == "name" else {first: f"{JSON_TEXT}.safetensors"}
    path.write_text(json.dumps({"metadata": {JSON_TEXT: JSON_TEXT}, "weight_map": where}))
    assert shell("scan", str(folder))[0] == 2


@pytest.mark.parametrize("name", [TEXT, "a\udc80"])
def test_the_folder_of_a_model(name: str, tmp_path: Path, shell: Shell) -> None:
    folder = save(tmp_path / name, llama(2))
    for arguments in (["scan"], ["scan", "--json"]):
        code, _, _ = shell(*arguments, str(folder))
        assert code == 0
    for file in (*Path().glob("*"), *Path("model_snr_results").glob("*")):
        assert is_seen(file.name)
        if file.suffix == ".yaml":
            assert yaml.safe_load(file.read_text(encoding="utf-8"))["unfrozen_parameters"]
    shell("scan", str(folder / TEXT))
    (folder / "model.safetensors").unlink()
    (folder / f"{ESCAPES}.bin").touch()
    shell("scan", str(folder))


class HostileHub(FakeHub):
    """A hub with hostile text in every field of its answers."""

    def describe(self, repo: str) -> dict[str, object]:
        found = super().describe(repo)
        strange = {"rfilename": f"{JSON_TEXT}.safetensors", "size": 5, "blobId": JSON_TEXT}
        if repo == "org/fields":
            found |= dict.fromkeys(
                ("sha", "lastModified", "library_name", "pipeline_tag"), JSON_TEXT
            )
        siblings = found.get("siblings")
        if isinstance(siblings, list):
            siblings.append(strange)
        return found


_HUB_COMMANDS = """
import sys
from spectrum_tui.cli.main import main
from spectrum_tui.stdio import last_resort
last_resort.prepare()
codes = [main(["scan", name]) for name in sys.argv[1:]]
codes += [main(["audit", "r.yaml", "--model", name]) for name in sys.argv[1:]]
print(codes)
assert set(codes) <= {0, 1, 2}, codes
"""


def test_the_hub(tmp_path: Path) -> None:
    tensors = llama(1)
    config = {**config_for(tensors), "architectures": [JSON_TEXT], "model_type": JSON_TEXT}
    repos = {
        "org/fields": save(tmp_path / "a", tensors),
        "org/config": save(tmp_path / "b", tensors, config=config),
        "org/header": save(tmp_path / "c", tensors),
        "org/refused": save(tmp_path / "d", tensors),
    }
    raw_safetensors(repos["org/header"] / "model.safetensors", {JSON_TEXT: {"dtype": JSON_TEXT}})
    Path("r.yaml").write_text("unfrozen_parameters:\n- lm_head.weight\n")
    with HostileHub(repos, gated=frozenset({f"org/{ESCAPES}"})) as hub:
        done = subprocess.run(
            [sys.executable, "-c", _HUB_COMMANDS, *repos, f"org/{ESCAPES}", f"org/x{HIDDEN}"],
            capture_output=True,
            env={**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"},
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=100,
        )
    assert done.returncode == 0, done.stderr.decode()
    assert_plain(done.stdout)
    assert_plain(done.stderr)
