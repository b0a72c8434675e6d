"""A hub model is what a trainer will see before anything of it is downloaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from spectrum_tui.core import inspection
from spectrum_tui.core.checkpoint import Tensor
from spectrum_tui.core.errors import NotHereError
from spectrum_tui.core.inspection import as_far_as_known, inspect_model, with_exact_names
from spectrum_tui.core.naming import NAMING
from spectrum_tui.core.naming.reading import read_bytes
from spectrum_tui.core.numbers import count
from tests.architectures.conftest import TinyModels
from tests.fake_hub import FakeHub
from tests.unit.hub.scripts import run

NAMES = ("mixtral", "deepseek_v3", "gpt_oss", "llama")

LOOK = """
import os
from pathlib import Path
from spectrum_tui.core.inspection import inspect_model
from spectrum_tui.core.refinement import refined_summary

os.environ["SPECTRUM_TUI_CACHE"] = f"{OUTPUT}/look-cache"
looked = {}
for name in NAMES:
    found = inspect_model(f"org/{name}")
    summary = refined_summary(found)
    types = [(info.name, info.layers, info.parameters, info.experts) for info in summary.types]
    looked[name] = [summary.is_local, summary.parameters, summary.naming, types]
home = Path(os.environ["HF_HOME"])
weights = [*home.rglob("*.safetensors"), *home.rglob("blobs")]
"""

SCAN = """
import contextlib, io
from spectrum_tui import cli

os.environ["SPECTRUM_TUI_CACHE"] = f"{OUTPUT}/scan-cache"
err = io.StringIO()
with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
    code = cli.main(["scan", "org/mixtral", "--device", "cpu", "--output-dir", OUTPUT])
scanned = [code, err.getvalue(), hub.find_local("org/mixtral")]
"""

WORK = """
import threading
from dataclasses import asdict
from spectrum_tui.core import wire
from spectrum_tui.core.requests import ScanRequest
from spectrum_tui.worker import Worker

os.environ["SPECTRUM_TUI_CACHE"] = f"{OUTPUT}/work-cache"
read, write = os.pipe()
lines, heard = os.fdopen(read), []
worker = Worker(write)
worker._torch_ready.set()
threading.Thread(target=worker._serve, daemon=True).start()

def until(*kinds):
    for line in lines:
        message = wire.decode(line)
        heard.append(type(message).__name__)
        if heard[-1] in kinds:
            return message

def scan(number, types):
    asked = ScanRequest("own/mixtral", found.revision, types, device="cpu", output_dir=OUTPUT)
    worker._receive({"do": "scan", "request": number, **asdict(asked), "branch": ""})
    return until("ResultReady", "Failed")

worker._receive({"do": "inspect", "request": 1, "model": "own/mixtral", "revision": ""})
found = until("Refined").summary
local = [found.is_local, hub.find_local("own/mixtral")]
with open(scan(2, ("mlp.experts.gate_up_proj",)).path) as file:
    scores = file.read()
again = len(heard)
scan(3, ("mlp.experts.down_proj",))
worked = [local, [each for each in heard if each != "DownloadProgress"], heard[again:], scores]
worked.append(hub.find_local("own/mixtral"))
"""


@dataclass(frozen=True)
class Told:
    """What one process said: importing transformers is most of what it does.

    Each of its parts has a cache of its own, and the worker a repository that the command has not
    downloaded.
    """

    looked: dict[str, list[Any]]
    weights: list[str]
    scanned: list[Any]
    worked: list[Any]
    commits: dict[str, str]
    output: Path


@pytest.fixture(scope="module")
def told(tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """Models looked at, scanned by the command and scanned by the worker, from a hub of tiny
    models in the layouts of the real one."""
    root = tmp_path_factory.mktemp("hub-models")
    repos = {f"org/{name}": tiny.folder(name) for name in NAMES}
    repos["own/mixtral"] = tiny.folder("mixtral")
    output = f"NAMES = {NAMES}\nOUTPUT = {str(root)!r}"
    answer = "answer = [looked, weights, scanned, worked]"
    with FakeHub(repos) as hub:
        script = "\n".join((output, LOOK, SCAN, WORK, answer))
        answers = run(hub.url, root / "home", script, HOME=str(root))
        return Told(*answers, {repo: hub.commit(repo) for repo in repos}, root)


def test_names_and_counts_are_exact_before_a_download(told: Told, tiny: TinyModels) -> None:
    assert told.weights == []
    assert list(told.looked) == list(NAMES)
    for name, (is_local, parameters, naming, types) in told.looked.items():
        exact = with_exact_names(inspect_model(str(tiny.folder(name)))).summary
        assert (is_local, parameters, naming) == (False, exact.parameters, exact.naming)
        assert types == [[t.name, t.layers, t.parameters, t.experts] for t in exact.types], name


def test_the_scan_command_tells_them_before_it_downloads(told: Told, tiny: TinyModels) -> None:
    code, err, local = told.scanned
    exact = with_exact_names(inspect_model(str(tiny.folder("mixtral")))).summary
    matrices = sum(not info.one_dimensional for info in exact.types)
    known = f"{count(exact.parameters)} parameters, {matrices} types of matrices"
    first = f"org/mixtral: MixtralForCausalLM, {known}"
    assert code == 0 and err.startswith(first), err
    assert local[1] == told.commits["org/mixtral"]
    scores = told.output / "model_snr_results" / "snr_results_org-mixtral.json"
    assert {each["type"] for each in json.loads(scores.read_text()).values()} == {
        info.name for info in exact.types if not info.one_dimensional
    }


def test_the_worker_downloads_what_it_is_to_scan(told: Told) -> None:
    local, heard, again, scores, cached = told.worked
    assert local == [False, None]
    assert heard[:5] == ["Inspected", "Refined", "Downloaded", "Refined", "ScanStarted"]
    assert again[0] == "ScanStarted"
    assert "mlp.experts.gate_up_proj" in scores
    # By the name that was typed, and so without the hub.
    assert cached[1] == told.commits["own/mixtral"]


def test_what_is_only_on_the_hub_is_said_to_be(tmp_path: Path) -> None:
    tensor = Tensor("a.weight", (2,), "F32", str(tmp_path / "model.safetensors"), 8, 16)
    with pytest.raises(NotHereError, match=r"a\.weight is not on this machine\."):
        read_bytes(tensor, 0, 8)


def test_names_that_need_stored_values_wait_for_the_download(
    tiny: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*args: object, **choices: object) -> object:
        raise NotHereError("x is not on this machine.")

    found = inspect_model(str(tiny.folder("llama")))
    monkeypatch.setattr(inspection, "with_exact_names", unknown)
    told = as_far_as_known(found).summary
    assert told.naming == NAMING and told.types == found.summary.types
    assert "known after the download" in told.notes[-1]
