"""`scan --stream` on the command line: what it says, writes and leaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from spectrum_tui.cli import main
from spectrum_tui.core.hub import outage
from spectrum_tui.core.scanning import streaming
from tests.checkpoints import llama, save
from tests.fake_hub import FakeHub
from tests.streamed import REPO, Streamed, stream_from

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Streamed]:
    with FakeHub({}) as hub:
        yield stream_from(save(tmp_path / "model", llama(2)), hub, tmp_path, monkeypatch)


def scan(model: Streamed, *options: str) -> int:
    return main.main(["scan", REPO, "--device", "cpu", "--output-dir", str(model.out), *options])


def test_a_model_is_scanned_without_a_download(
    model: Streamed, tmp_path: Path, capsys: Capture
) -> None:
    assert scan(model, "--stream") == 0
    said = capsys.readouterr()
    assert "it is scanned without a download" in said.err
    assert "the hashes of whole files cannot be checked" in said.err
    assert [Path(line).is_file() for line in said.out.splitlines()] == [True] * 3
    assert not list((tmp_path / "hub-cache").rglob("*.safetensors"))
    (recipe,) = model.out.glob("*.yaml")
    assert "org/model" in recipe.read_text(encoding="utf-8")


def test_a_network_that_is_gone_interrupts(
    model: Streamed, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"GIVE_UP": 0.2, "FIRST_WAIT": 0.02, "TOLD_AFTER": 0.0}.items():
        monkeypatch.setattr(outage, name, value)
    monkeypatch.setattr(streaming, "TICK", 0.01)
    # The first requests are for the header.
    model.hub.failures["/signed/"] = [0, 0, 0, 0] + [503] * 1000
    assert scan(model, "--stream") == 130
    said = capsys.readouterr().err
    assert "Waiting for the network; finished scores are kept." in said
    assert "reports an error of its own (HTTP 503)" in said
    assert "the same command goes on from there" in said and "failed" not in said
    model.hub.failures.clear()
    assert scan(model, "--stream") == 0


def test_both_ways_are_refused(model: Streamed, capsys: Capture) -> None:
    assert scan(model, "--stream", "--download") == 2
    assert "--stream and --download are given." in capsys.readouterr().err


def test_a_model_whose_scores_are_all_there_is_not_downloaded(
    model: Streamed, tmp_path: Path, capsys: Capture
) -> None:
    assert scan(model, "--stream") == 0
    scores = {path: path.read_bytes() for path in model.out.glob("**/*.json")}
    model.hub.forget()
    capsys.readouterr()
    for way in ((), ("--stream",), ("--download",)):
        assert scan(model, "--dry-run", *way) == 0
        told = capsys.readouterr().out.splitlines()
        assert told[-2] == "nothing is read: every score is there"
        assert told[-4].endswith("0 B")
        assert scan(model, *way) == 0
        said = capsys.readouterr().err
        assert "every layer was scored already" in said
        assert "downloading" not in said and "in ranges" not in said
    assert model.fetched() == 0
    assert not list((tmp_path / "hub-cache").rglob("*.safetensors"))
    assert {path: path.read_bytes() for path in scores} == scores
    assert scan(model, "--dry-run", "--json", "--fresh") == 0
    assert '"download_bytes": 0' not in capsys.readouterr().out


def test_both_ways_are_refused_for_a_model_on_this_machine(
    model: Streamed, capsys: Capture
) -> None:
    for more in ((), ("--dry-run",)):
        assert main.main(["scan", str(model.folder), "--stream", "--download", *more]) == 2
        assert "--stream and --download are given." in capsys.readouterr().err
