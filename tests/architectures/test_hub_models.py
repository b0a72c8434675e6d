"""A hub model is what a trainer will see before anything of it is downloaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from spectrum_tui.core.checkpoint.headers import Tensor
from spectrum_tui.core.checkpoint.reading import read_stored
from spectrum_tui.core.errors import NotHereError
from spectrum_tui.core.model import inspection
from spectrum_tui.core.model.inspection import as_far_as_known, inspect_model, with_exact_names
from spectrum_tui.core.naming.stored import NAMING
from spectrum_tui.core.numbers import count
from tests.architectures.conftest import TinyModels
from tests.fake_hub import FakeHub
from tests.unit.hub.scripts import run

NAMES = ("mixtral", "deepseek_v3", "gpt_oss", "llama")

LOOK = """
import os
from spectrum_tui.core import wire
from spectrum_tui.core.model.inspection import inspect_model
from spectrum_tui.core.model.kept_plans import KeptModel

answer = {}
for name in NAMES:
    found = inspect_model(f"org/{name}")
    summary = KeptModel(found).summary()
    types = [(info.name, info.layers, info.parameters, info.experts) for info in summary.types]
    answer[name] = [summary.is_local, summary.parameters, summary.naming, types]
"""

SCAN = """
import contextlib, io
from spectrum_tui.cli.main import main
err = io.StringIO()
with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
    code = main(["scan", "org/mixtral", "--device", "cpu", "--output-dir", OUTPUT])
answer = [code, err.getvalue(), find_local("org/mixtral")]
"""

WORK = """
import os, threading
from spectrum_tui.core import wire
from spectrum_tui.core.requests import Request
from spectrum_tui.core.settings import Settings
from spectrum_tui.worker.server import Worker

read, write = os.pipe()
lines, heard = os.fdopen(read), []
worker = Worker(write)
worker._torch_ready.set()
threading.Thread(target=worker._serve, daemon=True).start()

def until(*kinds):
    for line in lines:
        message = wire.decode(line)
        name = type(message).__name__
        if name not in ("DownloadProgress", "Ready"):  # that come at any time
            heard.append(name)
        if name in kinds:
            return message

def scan(number, types):
    asked = Settings(
        model="org/mixtral", revision=found.revision, types=types, device="cpu", output_dir=OUTPUT
    )
    worker._receive(Request(task="scan", number=number, settings=asked, branch=""))
    return until("ResultReady", "Failed")

worker._receive(Request(task="inspect", number=1, settings=Settings(model="org/mixtral")))
found = until("Refined").summary
local = [found.is_local, find_local("org/mixtral")]
with open(scan(2, ("mlp.experts.gate_up_proj",)).path) as file:
    scores = file.read()
again = len(heard)
scan(3, ("mlp.experts.down_proj",))
answer = [local, heard, heard[again:], scores]
answer.append(find_local("org/mixtral"))
"""


@pytest.fixture
def fake(tiny: TinyModels) -> Iterator[FakeHub]:
    """A hub of tiny models in the layouts of the real one."""
    with FakeHub({f"org/{name}": tiny.folder(name) for name in NAMES}) as hub:
        yield hub


def no_weights(home: Path) -> bool:
    return not list(home.rglob("*.safetensors")) and not list(home.rglob("blobs"))


def test_names_and_counts_are_exact_before_a_download(
    fake: FakeHub, tiny: TinyModels, tmp_path: Path
) -> None:
    answer = run(fake.url, tmp_path, f"NAMES = {NAMES}\n{LOOK}")
    assert no_weights(tmp_path)
    for name, (is_local, parameters, naming, types) in answer.items():
        exact = with_exact_names(inspect_model(str(tiny.folder(name)))).summary
        assert (is_local, parameters, naming) == (False, exact.parameters, exact.naming)
        assert types == [[t.name, t.layers, t.parameters, t.experts] for t in exact.types], name


def test_the_scan_command_tells_them_before_it_downloads(
    fake: FakeHub, tiny: TinyModels, tmp_path: Path
) -> None:
    code, err, local = run(fake.url, tmp_path / "home", f"OUTPUT = {str(tmp_path)!r}\n{SCAN}")
    exact = with_exact_names(inspect_model(str(tiny.folder("mixtral")))).summary
    matrices = sum(not info.one_dimensional for info in exact.types)
    known = f"{count(exact.parameters)} parameters, {matrices} types of matrices"
    first = f"org/mixtral: MixtralForCausalLM, {known}"
    assert code == 0 and err.startswith(first), err
    assert local[1] == fake.commit("org/mixtral")
    scores = tmp_path / "model_snr_results" / "snr_results_org-mixtral.json"
    assert {each["type"] for each in json.loads(scores.read_text()).values()} == {
        info.name for info in exact.types if not info.one_dimensional
    }


def test_the_worker_downloads_what_it_is_to_scan(fake: FakeHub, tmp_path: Path) -> None:
    script = f"OUTPUT = {str(tmp_path)!r}\n{WORK}"
    local, heard, again, scores, cached = run(fake.url, tmp_path / "home", script)
    assert local == [False, None]
    assert heard[:5] == ["Inspected", "Refined", "Downloaded", "Refined", "ScanStarted"]
    assert again[0] == "ScanStarted"
    assert "mlp.experts.gate_up_proj" in scores
    # By the name that was typed, and so without the hub.
    assert cached[1] == fake.commit("org/mixtral")


def test_what_is_only_on_the_hub_is_said_to_be(tmp_path: Path) -> None:
    tensor = Tensor(
        name="a.weight",
        shape=(2,),
        dtype="F32",
        file=str(tmp_path / "model.safetensors"),
        start=8,
        end=16,
    )
    with pytest.raises(NotHereError, match=r"a\.weight is not on this machine\."):
        read_stored(tensor, 0, 8)


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
