"""Every message crosses the line between the processes unchanged, and nothing else does."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from spectrum_tui.core import errors, events, requests, settings
from spectrum_tui.core.layer_types import Group, TypeInfo
from spectrum_tui.core.wire import decode, encode

NAMES = requests.ModelNames(
    model="org/name",
    naming="transformers 5.23.0 LlamaForCausalLM",
    names=("a.weight", "b"),
    sizes=(12, 1),
    rows=(3, 0),
    tied=(("head.weight", "a.weight"),),
    stored=(("old.a", "a.weight"),),
    notes=("a note",),
)

TYPE = TypeInfo(
    name="a[/b][red]", group=Group.OTHER, layers=3, parameters=99, cost=1.5e9, one_dimensional=True
)
SUMMARY = requests.ModelSummary(
    model="org/näme\n",
    origin="cache",
    folder="/x y/z",
    revision="abc",
    architecture="LlamaForCausalLM",
    parameters=8_000_000_000,
    tensors=291,
    shards=4,
    nbytes=2**40,
    local_bytes=17,
    dtypes={"BF16": 12, "kind": 3},
    types=(TYPE, TypeInfo(name="mlp.up_proj", group=Group.MLP, layers=1, parameters=2, cost=3.0)),
    skipped=(("x.weight", "why\u2028not"), ("y", "z")),
    scored={"kind": 5},
    scored_fast={"kind": 1},
    kept={"kind": requests.Kept(nbytes=3, cost=0.5), "": requests.Kept()},
    notes=("a note",),
    naming="transformers 5.23.0 LlamaForCausalLM",
    model_class="LlamaForCausalLM",
)
EXPERTS = TypeInfo(
    name="mlp.experts.down_proj",
    group=Group.EXPERTS,
    layers=48,
    parameters=9,
    cost=1.0,
    one_dimensional=False,
    experts=128,
    tower="language",
)
DONE = events.LayerDone(
    layer="l",
    type="t",
    shape=(4, 8),
    metrics={"spectrum": 1.5, "calibrated": 0.1 + 0.2},
    cost=1e12,
    bytes=77,
    seconds=0.25,
)
MESSAGES = [
    TYPE,
    requests.Kept(nbytes=3, cost=0.5, fast_nbytes=1, fast_cost=0.25),
    EXPERTS,
    events.ScanStarted(
        layers=2,
        cost=3.5,
        types={"mlp.up_proj": 2, "kind": 1},
        device="cuda:0",
        batch_size=8,
        notes=("n",),
    ),
    events.LayerStarted("l", "t", (3, 4)),
    events.MatrixDone(
        layer="l [expert 3 up]", type="t", cost=0.5, bytes=6, seconds=0.25, resumed=True
    ),
    DONE,
    replace(
        DONE,
        shape=(2, 3, 4),
        parts=("expert 0", "b"),
        part_metrics={"spectrum": (1.0, 2.0), "calibrated": (0.0, math.inf)},
    ),
    replace(DONE, shape=(3,), resumed=True),
    replace(DONE, shape=(2, 3, 4, 5), metrics={"spectrum": math.inf}),
    events.LayerFailed(layer="l", type="t", shape=(), reason="holds NaN or Inf", cost=1.0),
    events.LayerRescored(DONE),
    events.ScanNote("a note"),
    events.NodesChanged("1 node (1 core)", 1, "A node is lost."),
    events.Fetched(3, 2**40, 1.5e6, waited="Nobody answers."),
    events.ScanEnded("stopped", 1, 2),
    settings.Settings(
        model="m",
        revision="r",
        types=("a", "b"),
        batch_size=4,
        device="cpu",
        output_dir="/o",
        since=1.7e9,
        model_class="AutoModel",
        allow_gptq=True,
        metric="calibrated",
    ),
    requests.Request(task="stop"),
    requests.Request(
        task="scan", number=9, settings=settings.Settings(model="m", types=("a",)), branch="main"
    ),
    SUMMARY,
    requests.Inspected(7, SUMMARY),
    requests.Refined(7, SUMMARY),
    requests.Named(8, NAMES),
    requests.RunFound(8, "/run"),
    requests.Sized(8, "/s.json", '{"layers": []}'),
    NAMES,
    requests.Failed(8, errors.to_dict(errors.CheckpointError("m", "h", field="model"))),
    requests.DownloadProgress(request=1, done=2**41, total=2**42, speed=1e6),
    requests.Downloaded(3, SUMMARY),
    requests.Suggestions(("a", "b"), ()),
    requests.Notice(8, "The hub asks to wait."),
    requests.Ready(("cpu",), {"cpu": 1e-11}),
    requests.ResultReady("/p", False),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_round_trip(message: Any) -> None:
    line = encode(message)
    assert "\n" not in line
    assert line.isascii()
    back = decode(line)
    assert back == message
    assert type(back) is type(message)


def test_every_event_and_answer_can_cross() -> None:
    covered = {type(m) for m in MESSAGES}
    for module in (events, requests):
        public = {
            cls
            for cls in vars(module).values()
            if isinstance(cls, type) and cls.__module__ == module.__name__
        }
        assert public <= covered


def test_a_group_is_a_group_again() -> None:
    back = decode(encode(TYPE))
    assert back.group is Group.OTHER


@pytest.mark.parametrize(
    "line",
    [
        "",
        "null",
        "[]",
        "{}",
        "17",
        '"ScanEnded"',
        "Traceback (most recent call last):",
        json.dumps({"kind": "Unheard"}),
        json.dumps({"kind": []}),
        json.dumps({"kind": "ScanEnded"}),
        json.dumps({"kind": "ScanEnded", "reason": "finished", "nonsense": 1}),
        encode(MESSAGES[2])[:-5],
    ],
)
def test_anything_else_is_a_value_error(line: str) -> None:
    with pytest.raises(ValueError):
        decode(line)
