"""The command line: exit codes, what goes to stdout and what to stderr, and bad input in a line."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from spectrum_tui import __version__
from spectrum_tui.cli.main import main, run
from spectrum_tui.cli.status_line import StatusLine
from spectrum_tui.stdio import last_resort
from tests import checkpoints
from tests.checkpoints import ODD_NAME, llama, save
from tests.commands import FLAT, RECIPE, Capture, process, refused
from tests.forked import Forked
from tests.scans import spy_on_scores

pytestmark = pytest.mark.usefixtures("in_empty_folder")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(tmp_path / "models" / "tiny", llama(4))


def scan_files(model: str, percent: int = 50) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    flat = json.loads(Path(FLAT.format(model)).read_text())
    in_order = json.loads(Path(f"snr_results_{model}_sorted.json").read_text())
    recipe = yaml.safe_load(Path(RECIPE.format(model, percent)).read_text())
    return flat, in_order, recipe["unfrozen_parameters"]


class TestHelp:
    def test_help_and_version(self) -> None:
        for arguments in (["--help"], ["scan", "--help"], ["yaml", "--help"]):
            done = process(*arguments)
            assert done.returncode == 0
            assert "--top-percent" in done.stdout
            assert done.stderr == ""
        assert process("--version").stdout.strip() == f"spectrum-tui {__version__}"

    @pytest.mark.parametrize("arguments", [["--help"], ["scan", "--help"], ["--version"]])
    def test_help_loads_neither_the_screen_nor_torch(self, arguments: list[str]) -> None:
        code = (
            "import sys\nfrom spectrum_tui.cli.main import main\n"
            "try: main()\nexcept SystemExit: pass\n"
            "heavy = {'textual', 'rich', 'torch', 'transformers', 'huggingface_hub', 'numpy'}\n"
            "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
        )
        done = process(*arguments, code=code)
        assert done.returncode == 0, done.stderr

    def test_yaml_loads_neither_the_screen_nor_torch(self, model: Path, capsys: Capture) -> None:
        assert main(["scan", str(model)]) == 0
        code = (
            "import sys\nfrom spectrum_tui.cli.main import main\nassert main() == 0\n"
            "heavy = {'textual', 'rich', 'torch', 'transformers', 'huggingface_hub'}\n"
            "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
        )
        done = process("yaml", FLAT.format("tiny"), code=code)
        assert done.returncode == 0, done.stderr


class TestScan:
    def test_writes_three_files_and_names_them_on_stdout(
        self, model: Path, capsys: Capture
    ) -> None:
        assert main(["scan", str(model), "--top-percent", "25"]) == 0
        out, err = capsys.readouterr()
        files = [Path(line) for line in out.splitlines()]
        assert [f.as_posix() for f in files] == [
            FLAT.format("tiny"),
            "snr_results_tiny_sorted.json",
            RECIPE.format("tiny", 25),
        ]
        assert all(f.is_file() for f in files)
        assert "30 layers scored" in err
        flat, in_order, names = scan_files("tiny", 25)
        assert len(flat) == 4 * 7 + 2
        assert {layer for t in in_order.values() for layer in t} == set(flat)
        assert len(names) == 7 + 2
        assert set(names) <= set(llama(4))

    def test_stdout_and_stderr_of_a_process(self, model: Path) -> None:
        done = process("scan", str(model), "--batch-size", "1")
        assert done.returncode == 0
        assert len(done.stdout.splitlines()) == 3
        assert "layers on cpu, 1 at a time" in done.stderr
        assert "\x1b" not in done.stdout + done.stderr

    def test_json_is_strict_and_alone_on_stdout(self, tmp_path: Path, capsys: Capture) -> None:
        tensors = checkpoints.spoil(llama(3), "model.layers.0.mlp.up_proj", float("nan"))
        low = torch.zeros(96, 32)
        low[0, 0], low[1, 1] = 2.0, 1.0
        tensors["model.layers.1.mlp.up_proj.weight"] = low
        assert main(["scan", str(save(tmp_path / "m", tensors)), "--json"]) == 1
        out = capsys.readouterr().out

        def forbidden(constant: str) -> None:
            raise AssertionError(constant)

        data = json.loads(out, parse_constant=forbidden)
        rows = {row["layer"]: row for row in data["layers"]}
        assert len(rows) == 23
        failed = rows["model.layers.0.mlp.up_proj"]
        assert failed["snr"] is None
        assert failed["problem"] == "holds NaN or Inf"
        assert not failed["trains"]
        infinite = rows["model.layers.1.mlp.up_proj"]
        assert infinite["snr"] is None
        assert infinite["infinite"] is True
        assert rows["model.layers.0.mlp.down_proj"]["snr"] > 0
        assert all(Path(path).is_file() for path in data["files"].values())

    def test_a_failed_layer_is_listed_and_the_exit_code_is_one(
        self, tmp_path: Path, capsys: Capture
    ) -> None:
        bad = "model.layers.1.self_attn.q_proj"
        folder = save(tmp_path / "m", checkpoints.zero(llama(2), bad))
        assert main(["scan", str(folder), "--top-percent", "100"]) == 1
        out, err = capsys.readouterr()
        assert f"failed: {bad}: is all zero" in err
        assert "1 failed" in err
        assert len(out.splitlines()) == 3
        flat, _, names = scan_files("m", 100)
        assert bad not in flat
        assert f"{bad}.weight" not in names

    def test_nothing_could_be_scored(self, tmp_path: Path, capsys: Capture) -> None:
        folder = save(tmp_path / "m", {"a.weight": torch.zeros(4, 4)})
        assert "is all zero" in refused(capsys, "scan", str(folder))

    def test_model_name_as_the_reference_tool_calls_it(self, model: Path, capsys: Capture) -> None:
        assert main(["scan", "--model-name", str(model), "--top-percent", "50"]) == 0
        assert Path(FLAT.format("tiny")).is_file()
        assert main(["scan", str(model), "--model-name", str(model)]) == 0

    def test_types(self, model: Path, capsys: Capture) -> None:
        assert main(["scan", str(model), "--types", "mlp.*", "*.q_proj"]) == 0
        flat, in_order, _ = scan_files("tiny")
        assert set(in_order) == {
            "mlp.down_proj",
            "mlp.gate_proj",
            "mlp.up_proj",
            "self_attn.q_proj",
        }
        assert len(flat) == 16

    def test_norms_alone(self, model: Path, capsys: Capture) -> None:
        assert main(["scan", str(model), "--types", "input_layernorm"]) == 0
        flat, _, names = scan_files("tiny")
        assert {row["snr"] for row in flat.values()} == {1.0}
        assert len(names) == 2 + 2

    def test_no_embeddings(self, model: Path, capsys: Capture) -> None:
        for percent in ("50", "100"):
            assert main(["scan", str(model), "--top-percent", percent, "--no-embeddings"]) == 0
            _, _, names = scan_files("tiny", int(percent))
            assert not {"model.embed_tokens.weight", "lm_head.weight"} & set(names)

    def test_output_folder(self, model: Path, tmp_path: Path, capsys: Capture) -> None:
        out = tmp_path / "deep" / "out"
        assert main(["scan", str(model), "--output-dir", str(out)]) == 0
        assert list(Path.cwd().iterdir()) == []
        assert len([p for p in out.rglob("*") if p.is_file()]) == 3

    def test_demo(self, capsys: Capture) -> None:
        assert main(["scan", "--demo", "--types", "self_attn.k_proj"]) == 0
        assert "random" in Path(RECIPE.format("spectrum-tui-demo", 50)).read_text()

    def test_a_percentage_too_small_keeps_the_scores(self, model: Path, capsys: Capture) -> None:
        assert main(["scan", str(model), "--top-percent", "3"]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert "smallest percentage that selects one here is 25 %" in err.splitlines()[-1]
        assert Path(FLAT.format("tiny")).is_file()
        assert list(Path.cwd().glob("*.yaml")) == []
        assert main(["yaml", FLAT.format("tiny"), "--top-percent", "25"]) == 0

    def test_an_odd_layer_name_is_scored_and_refused_where_it_would_be_misread(
        self, tmp_path: Path, capsys: Capture
    ) -> None:
        weights = {f"{ODD_NAME}.weight": checkpoints.matrix("odd", 8, 8)}
        folder = save(tmp_path / "m", {**llama(2), **weights})
        assert main(["scan", str(folder), "--top-percent", "50"]) == 0
        assert ODD_NAME in scan_files("m")[0]
        assert main(["yaml", FLAT.format("m"), "--top-percent", "100"]) == 2
        assert ODD_NAME in capsys.readouterr().err

    def test_control_characters_in_a_name_do_not_reach_the_terminal(
        self, tmp_path: Path, capsys: Capture
    ) -> None:
        folder = save(tmp_path / "m", {**llama(1), "\x1b[31mx.weight": torch.zeros(4, 4)})
        assert main(["scan", str(folder), "--top-percent", "100"]) == 1
        out, err = capsys.readouterr()
        assert "\x1b" not in out + err
        lone = save(tmp_path / "lone", {"\x1b[31mx.weight": torch.zeros(4, 4)})
        assert main(["scan", str(lone)]) == 2
        assert "\x1b" not in capsys.readouterr().err

    def test_a_second_scan_and_the_yaml_command_write_the_same_bytes(
        self, model: Path, capsys: Capture
    ) -> None:
        main(["scan", str(model)])
        names = (FLAT.format("tiny"), "snr_results_tiny_sorted.json", RECIPE.format("tiny", 50))
        first = [Path(name).read_bytes() for name in names]
        main(["scan", str(model), "--batch-size", "7"])
        assert [Path(name).read_bytes() for name in names] == first
        capsys.readouterr()
        main(["yaml", names[0]])
        assert capsys.readouterr().out.encode() == first[2]


class TestApp:
    def test_without_a_terminal(self, model: Path) -> None:
        done = process(str(model))
        assert done.returncode == 2
        assert done.stdout == ""
        assert f"spectrum-tui scan {model}" in done.stderr
        assert len(done.stderr.splitlines()) == 1

    def test_results_that_are_missing(self, capsys: Capture) -> None:
        assert "no file missing.json" in refused(capsys, "missing.json")


class TestYaml:
    @pytest.fixture
    def scores(self, model: Path, capsys: Capture) -> str:
        assert main(["scan", str(model)]) == 0
        capsys.readouterr()
        return FLAT.format("tiny")

    def test_to_stdout_and_to_a_file(self, scores: str, capsys: Capture) -> None:
        assert main(["yaml", scores, "--top-percent", "25"]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert len(yaml.safe_load(out)["unfrozen_parameters"]) == 9
        assert main(["yaml", scores, "--top-percent", "25", "-o", "deep/x.yaml"]) == 0
        assert Path("deep/x.yaml").read_text() == out
        written = capsys.readouterr()
        assert written.out == ""
        assert "wrote deep/x.yaml" in written.err

    def test_no_embeddings(self, scores: str, capsys: Capture) -> None:
        assert main(["yaml", scores, "--top-percent", "100", "--no-embeddings"]) == 0
        names = yaml.safe_load(capsys.readouterr().out)["unfrozen_parameters"]
        assert len(names) == 28

    def test_a_reader_that_goes_away(self, scores: str) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            [sys.executable, "-m", "spectrum_tui", "yaml", scores],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        os.close(writing)
        assert done.returncode == 0
        assert done.stderr == ""

    def test_bad_files(self, tmp_path: Path, capsys: Capture) -> None:
        assert "missing.json" in refused(capsys, "yaml", "missing.json")
        assert "is a folder. Give a score file in it" in refused(capsys, "yaml", str(tmp_path))
        blank = tmp_path / "blank.json"
        blank.write_text(" \n")
        assert "blank" in refused(capsys, "yaml", str(blank))
        blank.write_text("[]")
        assert "not a score file" in refused(capsys, "yaml", str(blank))

    def test_an_output_that_cannot_be_written(self, scores: str, capsys: Capture) -> None:
        assert "Cannot write" in refused(capsys, "yaml", scores, "-o", f"{scores}/x.yaml")
        assert "Cannot write" in refused(capsys, "yaml", scores, "-o", ".")

    def test_a_selection_of_nothing_leaves_the_old_file(self, scores: str, capsys: Capture) -> None:
        Path("x.yaml").write_text("old")
        assert "25 %" in refused(capsys, "yaml", scores, "--top-percent", "3", "-o", "x.yaml")
        assert Path("x.yaml").read_text() == "old"

    def test_scores_of_another_tool(self, tmp_path: Path, capsys: Capture) -> None:
        rows = {
            f"model.layers.{i}.mlp.up_proj": {
                "snr": math.inf if i == 2 else i,
                "type": "mlp.up_proj",
            }
            for i in range(4)
        }
        path = tmp_path / "snr_results_x.json"
        path.write_text(json.dumps(rows))
        assert main(["yaml", str(path), "--top-percent", "50"]) == 0
        assert yaml.safe_load(capsys.readouterr().out)["unfrozen_parameters"] == [
            "model.embed_tokens.weight",
            "lm_head.weight",
            "model.layers.2.mlp.up_proj.weight",
            "model.layers.3.mlp.up_proj.weight",
        ]


LONG = 200
"""Layers of the model that is interrupted."""


def journal_lines() -> int:
    folder = Path(os.environ["SPECTRUM_TUI_CACHE"]) / "scans"
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("*.jsonl"))


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError("it never came")


@pytest.fixture
def long_model(tmp_path: Path) -> Path:
    """A second of work in matrices of 5 ms: a signal after the first score comes in time."""
    weight = checkpoints.matrix("one", 200, 200)
    layers = {f"model.layers.{i}.mlp.up_proj.weight": weight for i in range(LONG)}
    return save(tmp_path / "long", layers)


def scanning(model: Path) -> Forked:
    """The command line in a process of its own."""

    def work() -> None:
        sys.argv[1:] = ["scan", str(model), "--batch-size", "2"]
        run()

    return Forked(work)


def test_interrupt_keeps_what_is_finished_and_the_same_command_goes_on(
    long_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    child = scanning(long_model)
    wait_until(lambda: journal_lines() > 0)
    child.send(signal.SIGINT)
    done = child.wait()
    assert done.returncode == 130
    assert done.stdout == ""
    kept = journal_lines()
    assert 0 < kept < LONG
    assert f"interrupted: {kept} of {LONG} layers are kept" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(Path.cwd().iterdir()) == []  # nothing that looks like a finished scan

    computed = spy_on_scores(monkeypatch)
    capsys.readouterr()
    assert main(["scan", str(long_model)]) == 0
    said = capsys.readouterr().err
    assert f"\n{kept} came from an earlier scan\n" in said
    assert "scored already" not in said
    assert len(computed) == LONG - kept
    assert len(json.loads(Path(FLAT.format("long")).read_text())) == LONG


def test_a_scan_with_nothing_left_says_so_and_shows_no_progress(
    long_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert main(["scan", str(long_model)]) == 0
    monkeypatch.setattr(StatusLine, "is_due", lambda line: True)
    capsys.readouterr()
    assert main(["scan", str(long_model)]) == 0
    said = capsys.readouterr().err
    assert f"\n{LONG} came from an earlier scan\nevery layer was scored already; --fresh" in said
    assert "%" not in said
    assert main(["scan", str(long_model), "--fresh"]) == 0
    said = capsys.readouterr().err
    assert f"{LONG}/{LONG} layers" in said
    assert "scored already" not in said


def test_kill_keeps_what_is_finished(long_model: Path) -> None:
    child = scanning(long_model)
    wait_until(lambda: journal_lines() > 0)
    child.send(signal.SIGKILL)
    assert child.wait().returncode == -signal.SIGKILL
    kept = journal_lines()
    assert 0 < kept < LONG
    assert list(Path.cwd().iterdir()) == []
    assert main(["scan", str(long_model), "--json", "--types", "mlp.*"]) == 0
    assert journal_lines() == LONG


def test_ctrl_c_while_an_error_is_told_leaves_no_traceback() -> None:
    """What the error holds is freed then: 900,000 tensors take 3 s."""

    def work() -> None:
        def pressed(error: object) -> None:
            os.kill(os.getpid(), signal.SIGINT)

        sys.argv = ["spectrum-tui", "scan", "/no/such/folder"]
        last_resort.report_error = pressed
        run()

    done = Forked(work).wait()
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
