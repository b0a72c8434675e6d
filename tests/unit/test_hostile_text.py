"""Hostile text in every field that comes from outside: both streams of every command stay plain."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from spectrum_tui.cli.main import main
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.recipes.kinds import KINDS
from spectrum_tui.core.recipes.writing import drafted
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.saved.store import load_result, save_scores
from spectrum_tui.core.text import has_controls, is_seen, printable_json, safe, safe_lines
from spectrum_tui.stdio.streams import plain_stderr
from tests import made
from tests.checkpoints import Tensors, config_for, llama, matrix, save
from tests.fake_hub import FakeHub
from tests.hostile import ESCAPES, HALF, HIDDEN, JSON_TEXT, TEXT, assert_plain

Bytes = pytest.CaptureFixture[bytes]


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


class Shell:
    """Runs a command here and looks at every byte that it writes."""

    def __init__(self, streams: Bytes) -> None:
        self._streams = streams

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        try:
            code = main(arguments)
        except SystemExit as exc:
            code = int(exc.code or 0)
        out, err = self._streams.readouterr()
        assert_plain(out)
        assert_plain(err)
        assert code in (0, 1, 2), err.decode()
        return code, out.decode(), err.decode()


@pytest.fixture
def shell(capfdbinary: Bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    monkeypatch.setattr(sys, "stderr", plain_stderr())
    yield Shell(capfdbinary)


def test_safe() -> None:
    controls = (c for c in ESCAPES if not " " <= c <= "~")
    for hostile in (*controls, *HIDDEN, *HALF, "\n", "\r", "\x00", "\x85", "\u2029"):
        assert safe(f"a{hostile}b") == "a?b"
        assert not is_seen(hostile)
        assert has_controls(hostile)
        assert json.loads(printable_json(hostile)) == hostile
        assert safe(printable_json(hostile)) == printable_json(hostile)
    for harmless in ("höhe", "模型", "🙂", "e\u0301", "[b]", "a b", "x_1", "❤\ufe0f"):
        assert safe(harmless) == harmless
        assert not has_controls(harmless)
        assert printable_json(harmless) == f'"{harmless}"'
    assert safe_lines("a\nb\x1b\n") == "a\nb?\n"
    assert not has_controls("می\u200cخواهم　x")


# -- a model -----------------------------------------------------------------------------------


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


# -- scores and recipes ------------------------------------------------------------------------


def scores_file(tmp_path: Path, rows: Any) -> str:
    path = tmp_path / f"snr_results_{ESCAPES}{HIDDEN}.json"
    path.write_text(json.dumps(rows))
    return str(path)


ROWS: dict[str, Any] = {
    "layer": {JSON_TEXT: {"snr": 1.0, "type": "a"}, "b.0.x": {"snr": 2.0, "type": "a"}},
    "type": {f"b.{i}.x": {"snr": float(i), "type": JSON_TEXT} for i in range(4)},
    "sorted": {JSON_TEXT: {f"b.{i}.{JSON_TEXT}": float(i) for i in range(4)}},
    "number": {"a": {"snr": JSON_TEXT, "type": "a"}},
    "list": [JSON_TEXT],
    "text": JSON_TEXT,
    "layers": {f"b.{i}.{JSON_TEXT}": {"snr": float(i), "type": "t"} for i in range(9)},
}


@pytest.mark.parametrize("field", ROWS)
def test_scores(field: str, tmp_path: Path, shell: Shell) -> None:
    path = scores_file(tmp_path, ROWS[field])
    shell("yaml", path)
    shell("yaml", path, "-o", f"{ESCAPES}.yaml")
    for kind in KINDS:
        shell("export", path, "--as", kind.name)
        shell("export", path, "--as", kind.name, "-o", f"out{Path(kind.name).suffix}.json")
    shell("compare", path, path)
    shell("compare", path, path, "--json")
    shell("memory", path)
    shell("memory", path, "--json")
    shell("yaml", path, "--sizes-from", str(tmp_path / TEXT))


def test_five_thousand_digits(tmp_path: Path, shell: Shell) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"a.0.b": {"snr": ' + "9" * 5000 + ', "type": "b"}}')
    for command in ("yaml", "export", "memory"):
        code, _, err = shell(command, str(path))
        assert code == 2
        assert len(err) < 500


def hostile_result() -> Any:
    """Details of the cache as no scan of ours writes them."""
    result = made.with_parameters(made.result(layers=12, types=2))
    scores = result.scores
    scores.snr[0] = np.nan
    scores.problems[0] = JSON_TEXT
    scores.parts[1] = ((JSON_TEXT, 1.0), ("b", 2.0))
    scores.type_names[1] = JSON_TEXT
    origin = result.provenance
    for field in ("model", "architecture", "dtypes", "device", "finished", "naming", "revision"):
        object.__setattr__(origin, field, JSON_TEXT)
    object.__setattr__(origin, "notes", (JSON_TEXT,))
    object.__setattr__(result, "skipped", ((JSON_TEXT, JSON_TEXT),))
    return result


def test_details_of_the_cache(tmp_path: Path, shell: Shell) -> None:
    path = str(save_scores(hostile_result(), tmp_path).scores)
    assert load_result(Path(path)).provenance.model == JSON_TEXT
    for kind in KINDS:
        shell("export", path, "--as", kind.name)
    shell("compare", path, path)
    shell("memory", path, "--fit", "24")
    shell("memory", path, "--json")


def test_recipes_of_hostile_results_say_what_they_mean() -> None:
    """Comments are made printable; names are exact or refused."""
    choice = Choice(selection=Selection(hostile_result()), percent=50, embeddings=True)
    for kind in KINDS:
        for file in drafted(kind, choice):
            assert_plain(file.text.encode())
            if file.ending.endswith(".yaml"):
                assert yaml.safe_load(file.text)
            if file.ending.endswith(".py"):
                compile(file.text, "x.py", "exec")


QUOTED = json.dumps(TEXT)
RECIPES = [
    f"unfrozen_parameters:\n- {TEXT}\n",
    f"# {TEXT}\nunfrozen_parameters:\n- ^model.layers.0.{ESCAPES}$\n- 'x{HIDDEN}'\n",
    f"base_model: {QUOTED}\nunfrozen_parameters:\n- {QUOTED}\n- {QUOTED}\n",
    f"{QUOTED}: 1\nadapter: {QUOTED}\nunfrozen_parameters: {QUOTED}\n",
    f"unfrozen_parameters: [{json.dumps(JSON_TEXT)}]\n",
    json.dumps({"unfrozen_parameters": [JSON_TEXT], JSON_TEXT: 1}),
    f"unfrozen_parameters:\n- a: !{ESCAPES} x\n",
    "unfrozen_parameters:\n- 1" + "0" * 5000 + "\n- x\n",
]


@pytest.mark.parametrize("text", RECIPES, ids=range(len(RECIPES)))
def test_recipes(text: str, tmp_path: Path, shell: Shell) -> None:
    path = tmp_path / f"{ESCAPES}.yaml"
    path.write_text(text, encoding="utf-8", newline="")
    model = save(tmp_path / "m", llama(1))
    for more in ([], ["--json"], ["-o", f"{ESCAPES}-fixed.yaml"], ["--model", str(model)]):
        shell("audit", str(path), *more)
    for file in Path().glob("*-fixed.yaml"):
        assert yaml.safe_load(file.read_text(encoding="utf-8"))


# -- arguments and environment -------------------------------------------------------------------


OPTIONS = {
    "scan": ["--top-percent", "--metric", "--batch-size", "--device", "--precision", "--revision",
             "--output-dir", "--model-class", "--types", "--model-name"],
    "yaml": ["--top-percent", "--metric", "-o", "--sizes-from"],
    "export": ["--as", "--top-percent", "--metric", "-o", "--sizes-from", "--medium-percent",
               "--high-rank", "--medium-rank"],
    "memory": ["--top-percent", "--metric", "--sizes-from", "--fit", "--preset", "--gpus",
               "--sharding", "--batch", "--sequence"],
    "compare": ["--top-percent", "--metric"],
    "audit": ["--model", "--revision", "--model-class", "-o"],
}  # fmt: skip


@pytest.mark.parametrize("command", OPTIONS)
def test_arguments(command: str, tmp_path: Path, shell: Shell) -> None:
    model = save(tmp_path / "m", llama(1))
    scores = save_scores(made.result(layers=2, types=2), tmp_path).scores
    recipe = tmp_path / "r.yaml"
    recipe.write_text("unfrozen_parameters:\n- lm_head.weight\n")
    given = {"scan": [str(model)], "compare": [str(scores)] * 2, "audit": [str(recipe)]}
    for option in OPTIONS[command]:
        for text in (TEXT, "\udc80", "9" * 5000):
            shell(command, *given.get(command, [str(scores)]), option, text)
    for text in (TEXT, "\udc80", "x" * 5000, f"--{TEXT}", f"{ESCAPES}.json"):
        shell(command, text, *([text] if command == "compare" else []))
        shell(text)
        shell(f"./{text}", "--demo")


def test_an_output_folder_that_cannot_be_printed_is_refused(tmp_path: Path, shell: Shell) -> None:
    model = save(tmp_path / "m", llama(2))
    for name in (*ESCAPES.replace("]52;c;aGk=", "").replace("[2J", ""), "a\nb", "\u202e", "\udc80"):
        if name.isprintable():
            continue
        code, out, err = shell("scan", str(model), "--output-dir", f"out{name}")
        assert (code, out) == (2, "")
        assert "invisible characters" in err
    code, out, _ = shell("scan", str(model), "--output-dir", "ausgäbe 模型　x")
    assert code == 0
    assert all(Path(line).is_file() for line in out.splitlines())


ENVIRONMENT = {
    "SPECTRUM_TUI_CACHE": "{}",
    "HF_TOKEN": "{}",
    "HF_ENDPOINT": "http://{}",
    "HF_HOME": "{}",
    "HOME": "{}",
    "WORLD_SIZE": "{}",
    "RANK": "{}",
    "CUDA_VISIBLE_DEVICES": "{}",
    "OMP_NUM_THREADS": "{}",
    "COLUMNS": "{}",
    "NO_COLOR": "{}",
    "TEXTUAL_DRIVER": "{}",
    "LC_ALL": "{}",
    "TMPDIR": "{}",
}


def test_environment(tmp_path: Path) -> None:
    """A process for all of them: most are read when modules are imported."""
    model = save(tmp_path / "m", llama(2))
    hostile = TEXT.replace("\n", "").encode()
    names = {n: p.encode().replace(b"{}", hostile) for n, p in ENVIRONMENT.items()}
    single = ("WORLD_SIZE", "RANK")
    for changed in ({k: v for k, v in names.items() if k not in single}, names):
        done = subprocess.run(
            [sys.executable, "-m", "spectrum_tui", "scan", str(model), "--json"],
            capture_output=True,
            env={**os.environb, **{name.encode(): value for name, value in changed.items()}},
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=100,
        )
        assert done.returncode in (0, 2), done.stderr
        assert_plain(done.stdout)
        assert_plain(done.stderr)


# -- the hub ----------------------------------------------------------------------------------


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
