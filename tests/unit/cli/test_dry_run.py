"""`scan --dry-run` says what a scan would do, and does nothing of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from spectrum_tui.cli import scan_plan
from spectrum_tui.cli.main import main
from spectrum_tui.core.scanning.workers import Workers
from tests.checkpoints import llama, save
from tests.commands import Capture, refused

ON_CPU = ("--device", "cpu", "--batch-size", "1")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of two blocks; the current folder is an empty one."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return save(tmp_path / "tiny", llama(2, dtype=torch.float32))


def test_types_layers_and_bytes_are_told(model: Path, capsys: Capture) -> None:
    assert main(["scan", str(model), "--dry-run", *ON_CPU, "--types", "mlp.*"]) == 0
    told = capsys.readouterr()
    assert [line.split() for line in told.out.splitlines()] == [
        ["type", "layers", "matrices", "parameters", "to", "read"],
        ["mlp.down_proj", "2", "2", "6.14", "K", "24.6", "kB"],
        ["mlp.gate_proj", "2", "2", "6.14", "K", "24.6", "kB"],
        ["mlp.up_proj", "2", "2", "6.14", "K", "24.6", "kB"],
        ["3", "types", "6", "6", "18.4", "K", "73.7", "kB"],
        [],
        ["read", "from", "this", "machine"],
        [*["computed", "on", "cpu,", "1", "at", "a", "time,", "exact:", "less", "than", "1", "s"]],
    ]
    assert told.err.startswith("tiny: LlamaForCausalLM, ")
    assert list(Path().iterdir()) == []


def test_nothing_is_read_or_kept(
    model: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begun(*_: object) -> None:
        raise AssertionError("a scan was begun")

    monkeypatch.setattr(Workers, "__init__", begun)
    assert main(["scan", str(model), "--dry-run", *ON_CPU, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == "tiny" and found["local"] and not found["streamed"]
    assert found["download_bytes"] == 0
    assert found["devices"] == ["cpu"] and found["batch_size"] == 1
    assert sum(kind["bytes"] for kind in found["types"]) == 4 * sum(
        kind["parameters"] for kind in found["types"]
    )
    assert 0 < found["seconds"] < 10
    assert list(Path().iterdir()) == []


def test_what_an_earlier_scan_left_is_not_computed_again(model: Path, capsys: Capture) -> None:
    scan = ["scan", str(model), *ON_CPU, "--json"]
    assert main([*scan, "--types", "mlp.up_proj"]) == 0
    capsys.readouterr()

    def scored(*options: str) -> dict[str, int]:
        assert main([*scan, "--dry-run", "--types", "mlp.*", *options]) == 0
        found = json.loads(capsys.readouterr().out)
        return {kind["type"]: kind["scored"] for kind in found["types"]}

    assert scored() == {"mlp.down_proj": 0, "mlp.gate_proj": 0, "mlp.up_proj": 2}
    assert not any(scored("--fresh").values())


def test_a_device_that_cannot_be_measured_has_no_estimate(
    model: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> float:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(scan_plan, "rate_of", full)
    assert main(["scan", str(model), "--dry-run", *ON_CPU]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "computed on cpu, 1 at a time, exact: no estimate"
    assert main(["scan", str(model), "--dry-run", *ON_CPU, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seconds"] is None


def test_what_cannot_be_scanned_is_refused(model: Path, capsys: Capture) -> None:
    said = refused(capsys, "scan", str(model), "--dry-run", "--types", "nothing.*")
    assert "No layer type matches 'nothing.*'" in said
    said = refused(capsys, "scan", str(model), "--dry-run", "--cluster", "auto")
    assert "A dry run is of this machine" in said
