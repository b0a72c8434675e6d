"""`scan --stream` on the command line: what it says, writes and leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from spectrum_tui.cli import downloading, main
from spectrum_tui.core.checkpoint import mounts
from spectrum_tui.core.hub import outage
from spectrum_tui.core.hub.transfer import Progress
from spectrum_tui.core.platforms import Mount
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
    text = recipe.read_text(encoding="utf-8")
    assert "org/model" in text and "hashes of whole files not checked" in text
    assert scan(model, "--stream") == 0  # nothing is left to be read
    assert "without a download" not in capsys.readouterr().err


def test_json_has_what_was_not_checked(model: Streamed, capsys: Capture) -> None:
    assert scan(model, "--stream", "--json") == 0
    (note,) = json.loads(capsys.readouterr().out)["notes"]
    assert "hashes of whole files were not checked" in note
    assert scan(model, "--stream", "--json") == 0  # from the scan before
    assert json.loads(capsys.readouterr().out)["notes"] == [note]


def test_what_is_computed_again_from_whole_files_is_checked(
    model: Streamed, capsys: Capture
) -> None:
    only = ("--json", "--types", "mlp.up_proj")
    assert scan(model, "--stream", *only) == 0
    capsys.readouterr()
    assert scan(model, "--download", *only) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["notes"]
    assert "nothing is downloaded: every score is there" in said.err
    assert scan(model, "--fresh", *only) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == []


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


def test_a_refusal_fails_one_model_of_a_queue(
    model: Streamed, tmp_path: Path, capsys: Capture
) -> None:
    other = save(tmp_path / "other", llama(1))
    model.hub.failures["/signed/"] = [0, 0, 0, 0] + [403] * 1000
    options = ("--stream", "--device", "cpu", "--output-dir", str(model.out))
    assert main.main(["scan", REPO, str(other), *options]) == 2
    said = capsys.readouterr().err
    assert "HTTP 403" in said and "scores are kept" in said
    assert "model 2 of 2" in said and list(model.out.rglob("snr_results_other.json"))


def test_an_interrupted_download_says_what_is_kept(
    model: Streamed, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloading, "BETWEEN", 0.0)

    def interrupted(inspection: object, *, progress: Progress, **_: object) -> None:
        progress(0, 1000, 0.0, False)
        progress(500, 1000, 250.0, False)
        raise KeyboardInterrupt

    monkeypatch.setattr(downloading, "fetch", interrupted)
    assert scan(model, "--download") == 130
    said = capsys.readouterr().err
    assert "downloading 500 B of 1.00 kB, 250 B/s\n" in said
    assert "interrupted: finished files are kept, and the others as far as they came" in said
    assert "the same command downloads the rest" in said


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


def test_a_dry_run_of_a_folder_on_the_web_fetches_headers_alone(
    model: Streamed, capsys: Capture
) -> None:
    assert model.hub._server is not None
    address = f"http://localhost:{model.hub._server.server_port}/web/{REPO}"
    assert main.main(["scan", address, "--dry-run", "--device", "cpu"]) == 0
    said = capsys.readouterr()
    assert "read from the web as it is needed, without a download" in said.out.splitlines()
    assert "in all" not in said.out and "model: LlamaForCausalLM" in said.err
    assert main.main(["scan", address, "--dry-run", "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    told = {name: found[name] for name in ("model", "local", "streamed", "download_bytes")}
    assert told == {"model": "model", "local": False, "streamed": True, "download_bytes": 0}
    assert all(kind["bytes"] and not kind["scored"] for kind in found["types"])
    assert main.main(["scan", address, "--dry-run", "--device", "cpu", "--download"]) == 2
    assert "can be scanned only without a download" in capsys.readouterr().err
    assert not model.out.exists()


def test_a_dry_run_of_a_mount_says_that_it_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    folder = save(tmp_path / "mounted", llama(1))
    monkeypatch.setattr(mounts, "mount_of", lambda device: Mount("fuse", "hf-mount"))
    assert main.main(["scan", str(folder), "--dry-run", "--device", "cpu"]) == 0
    assert "read through a mount, which fetches what is read" in capsys.readouterr().out
