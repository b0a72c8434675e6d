"""Several models in one `scan`: each ends for itself, and the worst end is the exit code."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from spectrum_tui.cli import scan_model
from spectrum_tui.cli.main import main
from spectrum_tui.core.saved import library
from spectrum_tui.core.scanning.run import run_scan
from tests import checkpoints
from tests.checkpoints import llama, save
from tests.commands import FLAT, RECIPE, Capture, refused

pytestmark = pytest.mark.usefixtures("in_empty_folder")
TYPES = ("--types", "mlp.up_proj")


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    """Two that can be scanned, and between them one that is not there."""
    first, last = (str(save(tmp_path / "models" / name, llama(2))) for name in ("a", "c"))
    return [first, str(tmp_path / "models" / "missing"), last]


def test_each_model_has_its_files(models: list[str], capsys: Capture) -> None:
    assert main(["scan", models[0], "--top-percent", "60", models[2], *TYPES]) == 0
    out, err = capsys.readouterr()
    names = [Path(line).as_posix() for line in out.splitlines()]
    assert [names[0], names[2], names[3], names[5]] == [
        FLAT.format("a"),
        RECIPE.format("a", 60),
        FLAT.format("c"),
        RECIPE.format("c", 60),
    ]
    assert f"model 1 of 2: {models[0]}" in err
    assert f"model 2 of 2: {models[2]}" in err
    assert {entry.model for entry in library.entries()} == {"a", "c"}


def test_a_failure_does_not_stop_the_next(models: list[str], capsys: Capture) -> None:
    assert main(["scan", *models, *TYPES]) == 2
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 6
    assert Path(FLAT.format("c")).is_file()
    said = [line for line in err.splitlines() if line.startswith("spectrum-tui: ")]
    assert len(said) == 1
    assert "missing" in said[0]


def test_the_worst_end_is_the_exit_code(tmp_path: Path, models: list[str]) -> None:
    spoilt = checkpoints.spoil(llama(2), "model.layers.0.mlp.up_proj", float("nan"))
    failing = str(save(tmp_path / "models" / "b", spoilt))
    anyway = ("--allow-missing", "--top-percent", "100")
    assert main(["scan", failing, models[0], *anyway, *TYPES]) == 1
    assert main(["scan", models[1], failing, *anyway, *TYPES]) == 2


def test_json_is_one_line_for_each(models: list[str], capsys: Capture) -> None:
    assert main(["scan", *models, "--json", *TYPES]) == 2
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["model"] for line in lines] == ["a", models[1], "c"]
    assert [len(line.get("layers", ())) for line in lines] == [2, 0, 2]
    assert set(lines[1]["error"]) == {"message", "hint"}
    assert main(["scan", models[0], "--json", *TYPES]) == 0
    assert capsys.readouterr().out.startswith("{\n")


def test_models_with_the_same_files_are_refused(tmp_path: Path, capsys: Capture) -> None:
    for folder in ("x", "y"):
        save(tmp_path / folder / "checkpoint-500", llama(2))
    pair = [str(tmp_path / folder / "checkpoint-500") for folder in ("x", "y")]
    assert "would have the same names" in refused(capsys, "scan", *pair)
    assert "would have the same names" in refused(capsys, "scan", pair[0], pair[0])
    addresses = [f"https://example.org/{part}/m" for part in "ab"]
    assert "would have the same names" in refused(capsys, "scan", *addresses)
    assert "would have the same names" in refused(capsys, "scan", "s3://b/m", addresses[0])
    assert "uses its own model" in refused(capsys, "scan", "--demo", pair[0])


def test_a_password_in_an_address_is_not_repeated(tmp_path: Path, capsys: Capture) -> None:
    said = refused(capsys, "scan", "demo", "az://account/container/m?sig=SEKRIT")
    assert "without user, password" in said and "SEKRIT" not in said


def test_an_interrupt_ends_all(
    models: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    real = run_scan

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        for event in real(*args, **kwargs):
            os.kill(os.getpid(), signal.SIGINT)
            yield event
            return

    monkeypatch.setattr(scan_model, "run_scan", interrupted)
    assert main(["scan", models[0], models[2], *TYPES]) == 130
    assert "model 2 of 2" not in capsys.readouterr().err


def test_a_second_interrupt_ends_at_once_and_says_so(
    models: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def hanging(*args: Any, **kwargs: Any) -> Any:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        yield from ()

    def end_now() -> None:
        raise SystemExit(130)

    monkeypatch.setattr(scan_model, "run_scan", hanging)
    monkeypatch.setattr(scan_model, "end_now", end_now)
    with pytest.raises(SystemExit):
        main(["scan", models[0], *TYPES])
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "interrupted at once; the same command goes on from what is kept"


@pytest.mark.parametrize(
    "count, number", [("SLURM_NTASKS", "SLURM_PROCID"), ("WORLD_SIZE", "RANK")]
)
def test_of_several_copies_the_first_scans(
    count: str, number: str, models: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv(count, "4")
    monkeypatch.setenv(number, "3")
    assert main(["scan", models[0], *TYPES]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"{count} is 4: copy 3 ends here, copy 0 scans\n")
    assert not list(Path().iterdir())
    monkeypatch.setenv(number, "0")
    assert main(["scan", models[0], *TYPES]) == 0
    assert f"{count} is 4: this copy scans" in capsys.readouterr().err
    assert Path(FLAT.format("a")).is_file()
