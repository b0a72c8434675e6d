"""Layer types of whole models: what they are in one stack of blocks, in stages, and of experts."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml

from spectrum_tui.cli.main import main
from spectrum_tui.core.layer_types import tower_of
from spectrum_tui.core.model.inspection import inspect_model
from spectrum_tui.core.naming.layers import Layer, with_types
from spectrum_tui.core.naming.roles import role_types
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.recipes.reference import ReferenceKind
from spectrum_tui.core.recipes.spectrum import SpectrumYaml
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.saved.store import load_result
from spectrum_tui.core.training.rescoring import live_layers
from spectrum_tui.freeze import freeze_except
from tests import oracle
from tests.architectures.compare import load_as_a_trainer
from tests.architectures.conftest import built
from tests.architectures.test_scans import scanned
from tests.architectures.tiny import ARCHITECTURES, STAGES, Architecture
from tests.checkpoints import save
from tests.commands import FLAT, Capture
from tests.unit.test_layer_types import reference_type

PLACES = ("visual.merger.mlp.0", "visual.merger.mlp.2")
"""Two linear layers in a row: of one type for the reference tool, in spite of their roles."""


def empty(architecture: Architecture) -> Any:
    """A model without memory for its weights."""
    config = getattr(transformers, architecture.config)(**architecture.options)
    with torch.device("meta"):
        return getattr(transformers, architecture.model)(config)


def layers_of(architecture: Architecture) -> list[Layer]:
    """The layers of a model: of every parameter that is called a weight."""
    model = empty(architecture)
    weights = {n: tuple(p.shape) for n, p in model.named_parameters() if n.endswith(".weight")}
    layers = []
    for weight, shape in weights.items():
        name = weight.removesuffix(".weight")
        layers.append(
            Layer(
                name=name,
                type="",
                shape=shape,
                rows=0,
                columns=0,
                parameters=(weight,),
                numel=0,
                nbytes=0,
            )
        )
    return with_types(layers)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_types_of_one_stack_of_blocks_are_the_reference_tools(name: str) -> None:
    if not ARCHITECTURES[name].available:
        pytest.skip("not in this transformers")
    layers = built(name, layers_of)
    several = len({tower_of(layer.name) for layer in layers}) > 1
    for layer in layers:
        tower = tower_of(layer.name)
        prefix = f"{tower}:" if several and tower != "language" else ""
        plain = layer.name if layer.name.endswith(PLACES) else reference_type(layer.name)
        assert layer.type == prefix + plain, layer.name


def counted(name: str) -> Counter[str]:
    return Counter(layer.type for layer in layers_of(STAGES[name]) if len(layer.shape) > 1)


@pytest.mark.parametrize("name", STAGES)
def test_a_type_holds_one_role_of_one_width(name: str) -> None:
    widths: dict[str, set[int]] = {}
    for layer in layers_of(STAGES[name]):
        if len(layer.shape) > 1:
            widths.setdefault(layer.type, set()).add(layer.shape[0])
    assert {kind: sizes for kind, sizes in widths.items() if len(sizes) > 1} == {}


def test_swin() -> None:
    types = counted("swin")
    parts = ["attention.q_proj", "attention.o_proj", "mlp.fc1", "mlp.fc2"]
    if "layers.0.blocks.*.attention.q_proj" not in types:  # names of transformers before 5.20
        parts = ["attention.self.query", "attention.output.dense", "intermediate.dense"]
    for part in parts:
        depths = [types[f"layers.{stage}.blocks.*.{part}"] for stage in range(4)]
        assert depths == [2, 2, 6, 2], part
    assert [types[f"layers.{stage}.downsample.reduction"] for stage in range(4)] == [1, 1, 1, 0]


def test_convnext() -> None:
    types = counted("convnext")
    for part in ("dwconv", "pwconv1", "pwconv2"):
        depths = [types[f"stages.{stage}.layers.*.{part}"] for stage in range(4)]
        assert depths == [3, 3, 9, 3], part
    assert types["stages.2.downsampling_layer.1"] == 1


def test_resnet_keeps_the_place_of_a_convolution_in_its_block() -> None:
    types = counted("resnet")
    for place in range(3):
        kinds = [f"stages.{stage}.layers.*.layer.{place}.convolution" for stage in range(4)]
        assert [types[kind] for kind in kinds] == [3, 4, 6, 3]


@pytest.mark.parametrize(
    ("name", "blocks", "patches"),
    [
        ("pvt", "block.{}.*.mlp.dense1", "patch_embeddings.{}.projection"),
        ("segformer", None, None),
    ],
)
def test_pvt_and_segformer(name: str, blocks: str | None, patches: str | None) -> None:
    types = counted(name)
    if blocks is None or patches is None:  # named otherwise before transformers 5.20
        new = "stages.0.blocks.*.mlp.fc1" in types
        blocks = "stages.{}.blocks.*.mlp.fc1" if new else "block.{}.*.mlp.dense1"
        patches = "stages.{}.patch_embeddings.proj" if new else "patch_embeddings.{}.proj"
    assert [types[blocks.format(stage)] for stage in range(4)] == [2, 2, 6, 2]
    assert [types[patches.format(stage)] for stage in range(4)] == [1, 1, 1, 1]


def test_a_model_in_memory_has_the_types_of_its_files() -> None:
    model = empty(STAGES["swin"])
    live = {one.name: one.layer.type for one in live_layers(model)}
    matrices = {x.name: x.type for x in layers_of(STAGES["swin"]) if len(x.shape) > 1}
    assert live == matrices


def test_half_of_every_stage_trains(tmp_path: Path) -> None:
    folder = tmp_path / "swin"
    STAGES["swin"].build().save_pretrained(folder)
    result = scanned(folder, tmp_path / "out", everything=False)
    selection = Selection(result)
    text = SpectrumYaml(selection).text(Policy(percent=50))
    model, _ = load_as_a_trainer(folder, STAGES["swin"].model)
    freeze_except(model, yaml.safe_load(text)["unfrozen_parameters"])
    trained = {n for n, p in model.named_parameters() if p.requires_grad and p.ndim > 1}
    scores = dict(zip(result.scores.layers, result.scores.values.tolist(), strict=True))
    for stage, depth in enumerate((2, 2, 6, 2)):
        blocks = [x for x in scores if f"layers.{stage}.blocks" in x and x.endswith("mlp.fc1")]
        if not blocks:
            pytest.skip("named otherwise in this transformers")
        best = oracle.selected({x: scores[x] for x in blocks}, 50)
        assert len(blocks) == depth and len(best) == depth // 2
        assert {f"{x}.weight" for x in best} == {f"{x}.weight" for x in blocks} & trained
    assert selection.too_small(Policy(percent=50)) == "4 types have one layer: none below 100 %"


def test_small_types_are_said_on_stderr_by_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    STAGES["resnet"].build().save_pretrained("m")
    note = "types have one layer: none below 100 %"
    for command in (["scan", "m"], ["yaml", FLAT.format("m")], ["export", FLAT.format("m")]):
        assert main([*command, "--top-percent", "50"]) == 0
        assert capsys.readouterr().err.count(note) == 1, command
    assert main(["yaml", FLAT.format("m"), "--top-percent", "100"]) in (0, 2)
    assert note not in capsys.readouterr().err


def test_scores_of_an_older_version_keep_their_types(tmp_path: Path) -> None:
    rows = {
        f"encoder.layers.{stage}.blocks.{block}.fc1": {"snr": 1.0, "type": f"blocks.{block}.fc1"}
        for stage, depth in enumerate((2, 6))
        for block in range(depth)
    }
    path = tmp_path / "snr_results_a-b.json"
    path.write_text(json.dumps(rows))
    scores = load_result(path).scores
    assert [scores.type_names[i] for i in scores.type_ids] == [x["type"] for x in rows.values()]


def test_spectrum_pys_own_grouping_is_to_be_had(tmp_path: Path) -> None:
    folder = tmp_path / "convnext"
    STAGES["convnext"].build().save_pretrained(folder)
    choice = Choice(
        selection=Selection(scanned(folder, tmp_path / "out", everything=False)),
        policy=Policy(percent=25),
    )
    scores = ReferenceKind().ranked(choice).selection.result.scores
    assert scores.layers == choice.selection.result.scores.layers
    types = [scores.type_names[kind] for kind in scores.type_ids]
    assert types == [reference_type(layer) for layer in scores.layers]
    assert "layers.3.pwconv1" in types, "every fourth block of any stage"


def test_experts_under_stored_names_are_one_type_a_role(tmp_path: Path) -> None:
    """In the shape of Kimi-K2: an architecture that needs code of its own, 384 experts a layer."""
    tensors = {"model.embed_tokens.weight": torch.ones(8, 4)}
    for layer in range(1, 3):
        for expert in range(384):
            for part in ("gate_proj", "up_proj", "down_proj"):
                name = f"model.layers.{layer}.mlp.experts.{expert}.{part}.weight"
                tensors[name] = torch.ones(2, 4)
        tensors[f"model.layers.{layer}.mlp.gate.weight"] = torch.ones(384, 4)
        tensors[f"model.layers.{layer}.self_attn.o_proj.weight"] = torch.ones(4, 4)
    summary = inspect_model(str(save(tmp_path / "m", tensors))).summary
    types = {kind.name: kind.layers for kind in summary.types}
    assert types == {
        "model.embed_tokens": 1,
        "self_attn.o_proj": 2,
        "mlp.gate": 2,
        **{f"mlp.experts.*.{p}": 2 * 384 for p in ("down_proj", "gate_proj", "up_proj")},
    }


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        # one list of blocks whose first is dense, whose widths inside vary: one stack all the same
        (
            {"model.layers.0.mlp.up": (9, 4), "model.layers.1.mlp.up": (5, 4)},
            ["mlp.up", "mlp.up"],
        ),
        # two stacks of blocks that differ in width
        (
            {
                **{f"talker.layers.{i}.{part}": (4, 4) for i in range(2) for part in "qk"},
                **{f"thinker.layers.{i}.{part}": (8, 8) for i in range(2) for part in "qk"},
            },
            ["talker.layers.*.q", "talker.layers.*.k"] * 2
            + ["thinker.layers.*.q", "thinker.layers.*.k"] * 2,
        ),
        # two that do not
        (
            {f"{side}.layers.0.{part}": (4, 4) for side in ("encoder", "decoder") for part in "qk"},
            ["q", "k", "q", "k"],
        ),
        # stages whose number is in a word
        (
            {
                **{f"layer1.{i}.conv{c}": (4, 4) for i in range(2) for c in (1, 2)},
                **{f"layer2.{i}.conv{c}": (8, 8) for i in range(2) for c in (1, 2)},
            },
            ["layer1.*.conv1", "layer1.*.conv2"] * 2 + ["layer2.*.conv1", "layer2.*.conv2"] * 2,
        ),
        # bare layers: alike, and of different roles
        ({f"lm_heads.{i}": (9, 4) for i in range(3)}, ["lm_heads.*"] * 3),
        ({"head.0": (9, 4), "head.2": (2, 9)}, ["head.0", "head.2"]),
        # parts of a block that share no matrix
        (
            {
                "block.0.layer.0.attention.q": (4, 4),
                "block.0.layer.0.attention.k": (4, 4),
                "block.0.layer.1.dense.wi": (8, 4),
                "block.0.layer.1.dense.wo": (4, 8),
            },
            [
                "layer.0.attention.q",
                "layer.0.attention.k",
                "layer.1.dense.wi",
                "layer.1.dense.wo",
            ],
        ),
        ({"layers.3.ffn.experts.expert_7.fc1": (4, 4)}, ["ffn.experts.expert_*.fc1"]),
        ({"0": (3,), "a": (3,)}, ["*", "a"]),
        ({}, []),
    ],
)
def test_what_numbers_mean(names: dict[str, tuple[int, ...]], expected: list[str]) -> None:
    assert role_types(list(names.items())) == expected
