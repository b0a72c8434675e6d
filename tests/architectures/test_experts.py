"""Fused experts: one by one, gate and up apart, and no byte more than is asked for."""

from __future__ import annotations

import io

import pytest
from safetensors.torch import load_file

from spectrum_tui.core.checkpoint import reading, sources
from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.experts import GateUpSplit, expert_of, experts_in, gate_up_split
from spectrum_tui.core.naming.parameters import MatrixRef, ParameterPlan, Window
from spectrum_tui.core.naming.plan import plan_parameters
from tests.architectures.conftest import TinyModels
from tests.architectures.tiny import ARCHITECTURES
from tests.checkpoints import equal

FUSED = (
    "mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "phimoe", "granitemoe", "minimax_m2",
    "deepseek_v3", "glm4_moe", "gpt_oss", "llama4_text", "lfm2_moe", "ernie4_5_moe", "jamba",
    "qwen3_next", "nemotron_h", "qwen3_vl_moe", "qwen3_5_moe", "llama4",
)  # fmt: skip
ONE_BY_ONE = ("mixtral", "qwen3_moe", "deepseek_v3", "jamba", "phimoe")


def plan_of(tiny: TinyModels, name: str, layout: str) -> ParameterPlan:
    return plan_parameters(read_checkpoint(tiny.folder(name, layout)))


def expert_matrices(plan: ParameterPlan) -> dict[tuple[str, str], MatrixRef]:
    fused = [parameter for parameter in plan.parameters if parameter.experts]
    return {(p.name, ref.label): ref for p in fused for ref in plan.matrices(p)}


@pytest.mark.parametrize("name", FUSED)
def test_both_layouts_have_the_same_matrices(name: str, tiny: TinyModels) -> None:
    single = expert_matrices(plan_of(tiny, name, "transformers-4"))
    fused = expert_matrices(plan_of(tiny, name, "fused"))
    assert list(single) == list(fused) != []
    for key, ref in single.items():
        ours, theirs = ref.read(), fused[key].read()
        assert equal(ours if ours.shape == theirs.shape else ours.T, theirs), key


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_gate_and_up_are_the_tensors_stored_under_these_names(name: str, tiny: TinyModels) -> None:
    stored = load_file(tiny.folder(name) / "model.safetensors")
    names = {"gate": ("gate_proj", "w1"), "up": ("up_proj", "w3")}
    for layout in ("transformers-4", "fused"):
        checked = 0
        for (parameter, label), ref in expert_matrices(plan_of(tiny, name, layout)).items():
            half = label.split()[-1]
            if half not in names:
                continue
            parent = parameter.removesuffix(".gate_up_proj")
            parent = parent.replace(".mlp.", ".block_sparse_moe.") if name == "mixtral" else parent
            found = [
                tensor
                for stem in names[half]
                for stored_name, tensor in stored.items()
                if stored_name.endswith(f".{stem}.weight")
                and _layer(stored_name) == _layer(parameter)
                and f".experts.{expert_of(label)}." in stored_name
            ]
            assert len(found) == 1 and equal(ref.read(), found[0])
            checked += 1
        assert checked


def _layer(name: str) -> str:
    return name.partition(".layers.")[2].partition(".")[0]


def test_gpt_oss_alternates_gate_and_up(tiny: TinyModels) -> None:
    model = tiny.model("gpt_oss")
    weight = model.get_parameter("model.layers.1.mlp.experts.gate_up_proj").detach()
    refs = expert_matrices(plan_of(tiny, "gpt_oss", "fused"))
    for half, start in (("gate", 0), ("up", 1)):
        ref = refs["model.layers.1.mlp.experts.gate_up_proj", f"expert 2 {half}"]
        assert equal(ref.read(), weight[2, :, start::2])


def test_llama4_has_gate_before_up_in_the_columns(tiny: TinyModels) -> None:
    model = tiny.model("llama4_text")
    name = "model.layers.0.feed_forward.experts.gate_up_proj"
    gate, up = model.get_parameter(name).detach()[3].chunk(2, dim=-1)
    refs = expert_matrices(plan_of(tiny, "llama4_text", "fused"))
    assert equal(refs[name, "expert 3 gate"].read(), gate)
    assert equal(refs[name, "expert 3 up"].read(), up)


@pytest.mark.parametrize("layout", ["transformers-4", "fused"])
@pytest.mark.parametrize("name", ["llama", "mixtral", "qwen3_moe", "mamba", "granitemoe"])
def test_a_matrix_reads_its_own_bytes(
    name: str, layout: str, tiny: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    real = sources._filled

    def count(file: io.FileIO, buffer: memoryview, offset: int) -> bool:
        counted.append(len(buffer))
        return real(file, buffer, offset)

    monkeypatch.setattr(sources, "_filled", count)
    plan = plan_of(tiny, name, layout)
    for parameter in plan.parameters:
        for ref in plan.matrices(parameter):
            counted.clear()
            found = ref.read()
            assert sum(counted) == found.nbytes, ref.label
            if parameter.experts:
                counted.clear()
                expert = plan.values[parameter.name].read_expert(expert_of(ref.label))
                assert sum(counted) == expert.numel() * expert.element_size()


def test_making_the_list_of_matrices_reads_nothing(
    tiny: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("read")

    monkeypatch.setattr(reading, "_read_into", refuse)
    plan = plan_of(tiny, "mixtral", "transformers-4")
    assert sum(len(plan.matrices(parameter)) for parameter in plan.parameters) > 20


def test_what_is_not_an_expert_has_one_matrix(tiny: TinyModels) -> None:
    plan = plan_of(tiny, "mixtral", "fused")
    router = plan.by_name["model.layers.0.mlp.gate.weight"]
    assert router.experts == 0
    assert [ref.label for ref in plan.matrices(router)] == [""]


def test_a_convolution_is_out_by_rest(tiny: TinyModels) -> None:
    plan = plan_of(tiny, "mamba", "fused")
    conv = plan.by_name["backbone.layers.0.mixer.conv1d.weight"]
    (ref,) = plan.matrices(conv)
    assert conv.convolution
    assert (ref.rows, ref.columns) == (conv.shape[0], conv.shape[2])


def test_a_bias_of_two_dimensions_is_a_bias(tiny: TinyModels) -> None:
    plan = plan_of(tiny, "gpt_oss", "fused")
    bias = plan.by_name["model.layers.0.mlp.experts.gate_up_proj_bias"]
    assert len(bias.shape) == 2
    assert bias.unscored == "a bias"
    assert plan.matrices(bias) == ()


def test_what_has_no_score_says_why(tiny: TinyModels) -> None:
    plan = plan_of(tiny, "mamba", "fused")
    reasons = {p.name.rpartition(".")[2]: p.unscored for p in plan.parameters if p.unscored}
    assert reasons["A_log"] == "not the weight of a layer"
    assert reasons["D"] == "a vector"
    assert reasons["bias"] == "a bias"


@pytest.mark.parametrize(
    ("shape", "back", "split"),
    [
        ((4, 48, 32), (4, 32, 24), GateUpSplit(1)),
        ((4, 32, 48), (4, 24, 32), GateUpSplit(2)),
        ((4, 64, 32), (4, 32, 32), GateUpSplit(1)),
        ((4, 32, 64), (4, 32, 32), GateUpSplit(2)),
        ((4, 48, 32), None, GateUpSplit(1)),
        ((4, 32, 32), (4, 32, 32), None),
        ((4, 47, 32), None, None),
    ],
)
def test_where_gate_and_up_lie_follows_from_the_way_back(
    shape: tuple[int, ...], back: tuple[int, ...] | None, split: GateUpSplit | None
) -> None:
    assert gate_up_split("mlp.experts.gate_up_proj", shape, lambda name: back) == split


def test_only_fused_experts_join_gate_and_up() -> None:
    assert gate_up_split("mlp.experts.down_proj", (4, 32, 24), lambda name: None) is None
    assert gate_up_split("mlp.experts.gate_up_proj_bias", (4, 32, 24), lambda name: None) is None
    assert experts_in("mlp.experts.gate_up_proj", (4, 48, 32)) == 4
    assert experts_in("mlp.shared_expert.down_proj.weight", (48, 32)) == 0
    assert experts_in("conv1d.weight", (48, 1, 4)) == 0


def test_a_window_cuts_rows_and_columns(tiny: TinyModels) -> None:
    plan = plan_of(tiny, "llama", "fused")
    parameter = plan.by_name["model.layers.0.mlp.down_proj.weight"]
    weight = plan.values[parameter.name].read()
    window = Window(parameter.sources[0], 3, 48, (1, 48, 2))
    assert equal(window.read_rows(2, 5), weight[5:8, 1::2])


def test_every_architecture_of_experts_is_tried() -> None:
    assert set(FUSED) <= set(ARCHITECTURES)
