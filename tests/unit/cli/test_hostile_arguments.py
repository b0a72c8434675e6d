"""Hostile text in arguments and in the environment: both streams of every command stay plain."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from spectrum_tui.core.saved.store import save_scores
from tests import made
from tests.checkpoints import llama, save
from tests.hostile import ESCAPES, TEXT, assert_plain
from tests.peft_folders import config, pairs, save_adapter
from tests.unit.cli.hostile_shell import Shell

pytestmark = pytest.mark.usefixtures("in_empty_folder")

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
    "merge": ["--into", "--revision", "-o"],
    "adapter": ["--base", "--revision"],
}  # fmt: skip


@pytest.mark.parametrize("command", OPTIONS)
def test_arguments(command: str, tmp_path: Path, shell: Shell) -> None:
    model = save(tmp_path / "m", llama(1))
    scores = save_scores(made.result(layers=2, types=2), tmp_path).scores
    recipe = tmp_path / "r.yaml"
    recipe.write_text("unfrozen_parameters:\n- lm_head.weight\n")
    adapter = save_adapter(tmp_path / "a", pairs(llama(1)), config(model))
    given = {
        "scan": [str(model)],
        "compare": [str(scores)] * 2,
        "audit": [str(recipe)],
        "merge": [str(adapter), "-o", "merged"],
        "adapter": [str(adapter)],
    }
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
