"""What is known of the largest models before anything of them is downloaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from spectrum_tui.core.model.inspection import inspect_model, with_exact_names
from spectrum_tui.core.naming.stored import NAMING
from tests.fake_hub import FakeHub
from tests.giants.deepseek import kimi_k2
from tests.giants.hub import StillHub, giants_below
from tests.giants.models import GIANTS
from tests.giants.parts import named_by_transformers, write
from tests.unit.hub.scripts import run

CHEAP = ("giants/gpt-oss-120b", "giants/Mixtral-8x22B", "giants/Llama-3.1-405B")
"""Those with the fewest tensors: 687, 1,739 and 1,137."""

LOOK = """
from spectrum_tui.core.model.inspection import inspect_model
from spectrum_tui.core.model.kept_plans import KeptModel

model = KeptModel(inspect_model(MODEL))
summary, parameters = model.summary(), model.exact().model.parameters
answer = [summary.is_local, summary.parameters, [parameter.name for parameter in parameters]]
"""

COMMAND = """
import contextlib, io
from spectrum_tui.cli.main import main
out, err = io.StringIO(), io.StringIO()
with contextlib.redirect_stderr(err), contextlib.redirect_stdout(out):
    code = main(ARGUMENTS)
answer = [code, out.getvalue(), err.getvalue()]
"""


@pytest.fixture(scope="module")
def _running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StillHub]:
    with StillHub(giants_below(tmp_path_factory.mktemp("giants"), *CHEAP)) as hub:
        yield hub


@pytest.fixture
def fake(_running: StillHub) -> FakeHub:
    """A hub of large models, as the real one: files lie at signed addresses of another host."""
    _running.forget()
    _running.signed_seconds = 3600
    return _running


@pytest.mark.parametrize("model", CHEAP)
def test_counts_and_names_are_those_of_the_class(fake: FakeHub, tmp_path: Path, model: str) -> None:
    is_local, counted, names = run(fake.url, tmp_path, f"MODEL = {model!r}\n{LOOK}")
    giant = GIANTS[model]()
    assert not is_local
    assert counted / 1e9 == pytest.approx(giant.parameters, rel=1e-3)
    assert set(names) == set(named_by_transformers(giant.config))
    looked_up = [r.path for r in fake.requests if r.status == 302]
    assert len(looked_up) == len(set(looked_up)) == giant.shards
    assert fake.bytes_sent < 20_000_000


def test_experts_of_a_class_that_nobody_knows_are_a_type_each(tmp_path: Path) -> None:
    """An index of one of Kimi-K2's experts means nothing across layers."""
    kimi = kimi_k2()
    first = takewhile(lambda tensor: not tensor[0].startswith("model.layers.3."), kimi.tensors())
    few = replace(kimi, tensors=lambda: first, shards=2)
    found = with_exact_names(inspect_model(str(write(tmp_path / "kimi", few))))
    experts = [info for info in found.summary.types if ".experts." in info.name]
    assert found.summary.naming == NAMING
    assert [info.name.rpartition(".")[2] for info in experts] == [
        "down_proj",
        "gate_proj",
        "up_proj",
    ]
    assert {info.name.rpartition(".")[0] for info in experts} == {"mlp.experts.*"}
    assert all(info.layers > 384 for info in experts)


def command(fake: FakeHub, home: Path, *arguments: str) -> Any:
    return run(fake.url, home, f"ARGUMENTS = {list(arguments)!r}\n{COMMAND}")


def test_a_recipe_is_audited_by_headers_alone(fake: FakeHub, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    names = ("model.layers.3.mlp.experts.gate_up_proj_bias", "lm_head.weight")
    recipe.write_text("unfrozen_parameters:\n" + "".join(f"- {name}\n" for name in names))
    fake.failures["/resolve/"] = [0, 0, 0, 429]
    fake.retry_after = "0"
    home = tmp_path / "home"
    code, out, err = command(fake, home, "audit", str(recipe), "--model", CHEAP[0])
    assert code == 0, out
    assert "meant to train: 2 parameters (580 M of 117 B elements" in out
    assert "refuses further requests for 1 s (429, rate limit); waiting." in err
    assert not list(home.rglob("*.safetensors"))


def test_imported_scores_get_sizes_by_headers_alone(fake: FakeHub, tmp_path: Path) -> None:
    names = [f"model.layers.{n}.self_attn.q_proj" for n in range(56)]
    scores = tmp_path / "scores.json"
    kind = "self_attn.q_proj"
    scores.write_text(json.dumps({name: {"snr": 2.0, "type": kind} for name in names}))
    fake.failures["/resolve/"] = [0, 0, 429]
    fake.retry_after = "0"
    home = tmp_path / "home"
    asked = ("memory", str(scores), "--sizes-from", CHEAP[1])
    code, out, err = command(fake, home, *asked)
    assert code == 0, err
    assert "of 141 B parameters" in out
    assert "refuses further requests for 1 s (429, rate limit); waiting." in err
    assert not list(home.rglob("*.safetensors"))


@pytest.mark.parametrize("way", ["--download", "--stream"])
def test_a_scan_is_planned_by_headers_alone(fake: FakeHub, tmp_path: Path, way: str) -> None:
    home = tmp_path / "home"
    asked = ("scan", CHEAP[0], "--dry-run", "--json", "--device", "cpu", way)
    code, out, err = command(fake, home, *asked)
    assert code == 0, err
    assert err.startswith("giants/gpt-oss-120b: GptOssForCausalLM, 117 B parameters, 9 types")
    found = json.loads(out)
    types = {kind["type"]: kind for kind in found["types"]}
    # Half a byte a value, and one for each 32 of them.
    packed = 36 * 128 * 2880 * 2880 * 17 // 32
    assert types["mlp.experts.down_proj"]["bytes"] == packed
    assert types["mlp.experts.gate_up_proj"]["bytes"] == 2 * packed
    assert types["mlp.experts.gate_up_proj"]["matrices"] == 36 * 128 * 2
    assert types["lm_head"]["bytes"] == 2 * 201088 * 2880
    assert found["streamed"] is (way == "--stream")
    assert found["download_bytes"] == (0 if way == "--stream" else found["bytes"])
    assert not list(home.rglob("*.safetensors"))
