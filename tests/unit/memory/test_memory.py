"""Memory estimates against counts by hand, published figures, and each other."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.memory.compute import step_cost
from spectrum_tui.core.memory.estimate import Estimate, MemoryTable
from spectrum_tui.core.memory.fit import fit
from spectrum_tui.core.memory.model import ModelSizes, nf4_bytes
from spectrum_tui.core.memory.presets import (
    PRESETS,
    Preset,
    Training,
    is_half,
    parse_batch,
    parse_gpus,
    parse_sequence,
    preset_named,
    sharding_named,
)
from spectrum_tui.core.memory.savings import savings
from spectrum_tui.core.policy_values import parse_budget, parse_memory
from spectrum_tui.core.recipes.choice import Tiers
from spectrum_tui.core.recipes.spectrum import named
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import EmbeddingParameter, Parameter, Result
from spectrum_tui.core.results.selection import Selection
from tests import made

GIB = 2**30
LLAMA = made.with_parameters(made.result(layers=32))
"""The sizes of an 8 B Llama."""
SMALL = made.with_parameters(made.result(layers=8, bias=True, norms=True))


def table_of(result: Result) -> MemoryTable:
    return MemoryTable(Selection(result), ModelSizes(result.parameters, result.embeddings))


def estimate(
    result: Result, percent: float, preset: str = "bf16", *, embeddings: bool = True
) -> Estimate:
    training = Training(preset=preset_named(preset))
    return table_of(result).estimate(Policy(percent=percent, embeddings=embeddings), training)


def untold(result: Result) -> Result:
    """Without the kinds of modules, as headers alone tell the parameters."""
    return replace(result, parameters=tuple(Parameter(p.name, p.shape) for p in result.parameters))


@pytest.mark.parametrize(
    ("percent", "embeddings", "preset", "gib"),
    [
        (25, True, "bf16", 30.6),
        (25, True, "mixed", 56.6),
        (100, True, "bf16", 59.8),
        (100, True, "mixed", 134.6),
        (25, False, "bf16", 24.7),
    ],
)
def test_figures_of_llama_3_8b(percent: int, embeddings: bool, preset: str, gib: float) -> None:
    assert estimate(LLAMA, percent, preset, embeddings=embeddings).static / GIB == pytest.approx(
        gib, abs=0.05
    )


def test_8_bit_state_of_llama_3_8b() -> None:
    # 25.4 GiB where every tensor has 8-bit state; the table of tokens keeps 32 bits.
    table = 128_256 * 4096
    extra = table * (8 - 2 - 8 / 256) / GIB
    static = estimate(LLAMA, 25, "8bit").static / GIB
    assert static == pytest.approx(25.4 + extra, abs=0.06)


@pytest.mark.parametrize("embeddings", [True, False])
@pytest.mark.parametrize("result", [LLAMA, SMALL, untold(SMALL)], ids=["llama", "bias", "untold"])
def test_what_trains_is_what_the_selection_counts(result: Result, embeddings: bool) -> None:
    selection, table = Selection(result), table_of(result)
    for percent in range(101):
        counted = selection.totals(Policy(percent=percent, embeddings=embeddings)).parameters
        assert (
            table.estimate(Policy(percent=percent, embeddings=embeddings), Training()).trained
            == counted
        )


def test_a_tied_head_counts_once() -> None:
    plain = made.with_parameters(made.result(layers=4))
    table, output = plain.embeddings
    tied = replace(
        plain,
        embeddings=(EmbeddingParameter(table.name, table.numel, (output.name,)),),
        parameters=tuple(p for p in plain.parameters if p.name != output.name),
    )
    both, once = estimate(plain, 50), estimate(tied, 50)
    assert both.trained - once.trained == output.numel
    assert both.weights - once.weights == 2 * output.numel


def test_every_preset_by_hand() -> None:
    trained = estimate(SMALL, 50).trained
    total = SMALL.total_parameters
    expected = {"bf16": (2, 2, 4), "mixed": (2, 4, 12), "fp32": (4, 4, 8)}
    for name, (weights, gradients, optimizer) in expected.items():
        found = estimate(SMALL, 50, name)
        parts = (found.weights, found.gradients, found.optimizer)
        assert parts == (weights * total, gradients * trained, optimizer * trained)


def test_8_bit_state_by_hand() -> None:
    chosen = Selection(SMALL).mask(Policy(percent=50))
    names = {n for i in np.flatnonzero(chosen) for n in SMALL.scores.parameters[i]}
    sizes = {p.name: p.numel for p in SMALL.parameters}
    table, output = SMALL.embeddings
    state = 8 * table.numel + (2 + 8 / 256) * output.numel
    state += sum(sizes[n] * (8 if sizes[n] < 4096 else 2 + 8 / 256) for n in names)
    assert {sizes[n] for n in names} & {1024, 4096}  # below the limit, and on it
    assert estimate(SMALL, 50, "8bit").optimizer == pytest.approx(state)


def test_nf4_by_hand() -> None:
    # 2^20 values: 2^19 bytes, 2^14 scales of a byte, 64 float32, an offset and 16 levels.
    assert nf4_bytes(np.array([2**20])).tolist() == [2**19 + 2**14 + 256 + 4 + 64]
    assert nf4_bytes(np.array([65])).tolist() == [33 + 2 + 4 + 4 + 64]


def test_qlora_leaves_embeddings_head_and_norms_in_16_bits() -> None:
    matrices = [p for p in LLAMA.parameters if p.name.startswith("model.layers") and p.shape[1:]]
    rest = LLAMA.total_parameters - sum(p.numel for p in matrices)
    packed = sum(float(nf4_bytes(np.array([p.numel]))[0]) for p in matrices)
    adapters = 32 * sum(sum(p.shape) for p in matrices)
    found = estimate(LLAMA, 100, "qlora")
    assert found.weights == pytest.approx(packed + 2 * rest + 4 * adapters)
    assert (found.trained, found.gradients, found.optimizer) == (
        adapters,
        4 * adapters,
        8 * adapters,
    )


def test_the_hybrid_by_hand() -> None:
    percent = 25
    tiers = Tiers(medium_percent=50, medium_rank=4)
    selection = Selection(LLAMA)
    names = [
        n
        for i in np.flatnonzero(selection.mask(Policy(percent=percent)))
        for n in LLAMA.scores.parameters[i]
    ]
    sizes = {p.name: p.numel for p in LLAMA.parameters}
    whole = sum(sizes[n] for n in names)
    packed = sum(float(nf4_bytes(np.array([sizes[n]]))[0]) for n in names)
    shapes = {p.name: p.shape for p in LLAMA.parameters}
    medium = selection.mask(Policy(percent=50)) & ~selection.mask(Policy(percent=percent))
    low = [n for i in np.flatnonzero(medium) for n in LLAMA.scores.parameters[i]]
    adapters = 4 * sum(sum(shapes[n]) for n in low)
    base = estimate(LLAMA, percent, "qlora").weights - 4 * estimate(LLAMA, percent, "lora").trained
    training = Training(preset=preset_named("hybrid"), tiers=tiers)
    found = table_of(LLAMA).estimate(Policy(percent=percent), training)
    assert found.trained == whole + adapters
    assert found.weights == pytest.approx(base - packed + 4 * whole + 4 * adapters)
    assert found.gradients == 2 * whole + 4 * adapters
    assert found.optimizer == 4 * whole + 8 * adapters


def test_headers_alone_give_the_same_bytes() -> None:
    for preset in PRESETS:
        known, guessed = (estimate(r, 30, preset.name) for r in (SMALL, untold(SMALL)))
        assert known == guessed


@pytest.mark.parametrize(
    ("name", "by"),
    [("none", (1, 1, 1)), ("zero2", (1, 4, 4)), ("zero3", (4, 4, 4)), ("fsdp", (4, 4, 4))],
)
def test_sharding_divides_what_its_name_says(name: str, by: tuple[int, int, int]) -> None:
    """ZeRO (arXiv:1910.02054): stage 2 divides gradients and optimizer state, 3 weights too."""
    table = table_of(LLAMA)
    alone = table.estimate(Policy(percent=25), Training())
    shared = table.estimate(Policy(percent=25), Training(gpus=4, sharding=sharding_named(name)))
    assert shared.weights == alone.weights / by[0]
    assert shared.gradients == alone.gradients / by[1]
    assert shared.optimizer == alone.optimizer / by[2]
    assert shared.activations == alone.activations


def test_activations_by_hand() -> None:
    hidden, tokens = 4096, 3 * 1000
    block = sum(rows + columns for _, rows, columns in made.TYPES)
    logits = 10 * 128_256
    with_checkpoints = Training(batch=3, sequence=1000)
    kept = table_of(LLAMA).estimate(Policy(percent=100), with_checkpoints).activations
    assert kept == tokens * (2 * hidden * 32 + 2 * block + logits)
    plain = replace(with_checkpoints, checkpointing=False)
    kept = table_of(LLAMA).estimate(Policy(percent=100), plain).activations
    assert kept == tokens * (2 * block * 32 + logits)


def test_gradients_reach_the_lowest_block_that_trains_and_embeddings_force_them_down() -> None:
    scores = {row: 5.0 + row % 8 for row in range(56)}  # the deeper the better
    result = made.with_parameters(made.result(layers=8, snr=scores))
    table = table_of(result)
    for percent, blocks in ((13, 1), (25, 2), (50, 4), (100, 8)):
        assert (
            table.estimate(Policy(percent=percent, embeddings=False), Training()).blocks_back
            == blocks
        )
        assert table.estimate(Policy(percent=percent), Training()).blocks_back == 8
    deep, shallow = (
        table.estimate(
            Policy(percent=25, embeddings=embeddings), Training(checkpointing=False)
        ).activations
        for embeddings in (True, False)
    )
    logits = 2048 * 10 * 128_256
    assert (shallow - logits) * 4 == pytest.approx(deep - logits)


def test_what_sees_comes_before_the_first_block() -> None:
    seeing = Parameter("model.visual.blocks.0.attn.qkv.weight", (96, 32), "linear")
    plain = made.result(
        layers=4, types=1, embeddings=False, names={0: "model.visual.blocks.0.attn.qkv"}
    )
    whole = made.with_parameters(made.result(layers=4, types=1, embeddings=False))
    scores = made.ranked(plain.scores, np.array([9.0, 1.0, 2.0, 3.0]))
    found = replace(plain, scores=scores, parameters=(seeing, *whole.parameters))
    assert estimate(found, 25).blocks_back == estimate(found, 25).blocks == 4
    blind = replace(found, scores=made.ranked(scores, np.array([0.0, 1.0, 2.0, 3.0])))
    assert estimate(blind, 25).blocks_back == 1


def test_an_output_head_alone_reaches_no_block() -> None:
    plain = made.with_parameters(made.result(layers=4))
    output = replace(plain, embeddings=plain.embeddings[1:])
    least = Selection(output).smallest_percent(Policy())
    assert estimate(output, least - 0.1).blocks_back == 0
    assert estimate(output, least - 0.1).trained == plain.embeddings[1].numel


def experts(*, fused: bool) -> Result:
    """Two blocks of 16 experts each, as transformers 4 and 5 have them."""
    found = []
    for block in range(2):
        prefix = f"model.layers.{block}.mlp.experts"
        if fused:
            found.append(Parameter(f"{prefix}.down_proj", (16, 64, 32), "other"))
            continue
        found += [
            Parameter(f"{prefix}.{e}.down_proj.weight", (64, 32), "linear") for e in range(16)
        ]
    plain = made.result(layers=2, types=1, names={i: found[i].name for i in range(2)})
    scores = replace(plain.scores, parameters=[(p.name,) for p in found[:2]])
    return replace(
        plain, scores=scores, parameters=tuple(found), embeddings=(), total_parameters=65_536
    )


def test_eight_experts_work_on_a_token_fused_or_not() -> None:
    for result in (experts(fused=True), experts(fused=False)):
        architecture = ModelSizes(result.parameters, ()).architecture
        assert architecture is not None
        assert architecture.widths.tolist() == [8 * 96, 8 * 96]


def test_fused_experts_are_not_quantised_and_each_has_an_adapter() -> None:
    found = estimate(experts(fused=True), 100, "qlora")
    assert found.trained == 2 * 16 * 32 * (64 + 32)
    assert found.weights == 2 * 65_536 + 4 * found.trained


@pytest.mark.parametrize("percent", [13, 50, 100])
def test_adapters_have_a_rank_of_both_sides_of_each_chosen_matrix(percent: int) -> None:
    """LoRA (arXiv:2106.09685): rank · (rows + columns), rank 32 by default; biases have none."""
    chosen = Selection(SMALL).mask(Policy(percent=percent))
    names = {n for row in np.flatnonzero(chosen) for n in SMALL.scores.parameters[row]}
    shapes = [p.shape for p in SMALL.parameters if p.name in names and len(p.shape) == 2]
    assert shapes
    assert estimate(SMALL, percent, "lora").trained == 32 * sum(map(sum, shapes))


def test_a_model_without_blocks_has_no_activations() -> None:
    one = made.result(layers=1, types=1, names={0: "proj"})
    plain = replace(one, embeddings=(), parameters=(Parameter("proj.weight", (64, 64), "linear"),))
    found = estimate(plain, 100)
    assert (found.activations, found.blocks, found.trained) == (0, 0, 4096)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: p.name)
@pytest.mark.parametrize("embeddings", [True, False])
def test_fit_is_the_highest_percentage_that_fits(preset: Preset, embeddings: bool) -> None:
    table = table_of(LLAMA)
    training = Training(preset=preset)
    for limit in (10e9, 24e9, 48e9, 80e9, 1e12):
        found = fit(table, limit, Policy(embeddings=embeddings), training)
        needs = {
            p: table.estimate(Policy(percent=p, embeddings=embeddings), training).total
            for p in (3.2, *range(4, 101))
        }
        fitting = [p for p in needs if needs[p] <= limit]
        assert found.percent == max(fitting, default=0)
        assert found.needs == needs[found.percent or 3.2]
        assert bool(found.ways) <= (not found.percent)


def test_a_memory_of_just_the_smallest_choice_holds_it() -> None:
    result = made.with_parameters(made.result(layers=100, types=1))
    table = table_of(result)
    limit = table.estimate(Policy(percent=1, embeddings=False), Training()).total
    assert limit < table.estimate(Policy(percent=2, embeddings=False), Training()).total
    assert fit(table, limit, Policy(embeddings=False), Training()).percent == 1
    assert fit(table, limit - 1, Policy(embeddings=False), Training()).percent == 0


def test_two_gpus_divide_and_one_has_everything() -> None:
    assert Training(gpus=2, sharding=sharding_named("zero2")).divided.name == "zero2"
    assert Training(gpus=1, sharding=sharding_named("zero2")).divided.name == "none"


def test_what_would_fit_does() -> None:
    table = table_of(LLAMA)
    training = Training(checkpointing=False)
    found = fit(table, 24e9, Policy(), training)
    assert not found.percent
    assert "Not even the top 3.2 %" in found.text
    words = [way.words for way in found.ways]
    assert {"gradient checkpointing", "QLoRA"} & set(words)
    assert any("GPUs" in word for word in words)
    for way in found.ways:
        total = table.estimate(
            Policy(percent=way.percent, embeddings=way.embeddings), way.training
        ).total
        assert total <= 24e9
        again = fit(table, 24e9, Policy(embeddings=way.embeddings), way.training)
        assert again.percent == way.percent


def test_frozen_embeddings_are_a_way_and_more_gpus_too() -> None:
    found = fit(table_of(LLAMA), 24e9, Policy(), Training())
    ways = {way.words: way for way in found.ways}
    assert ways["embeddings and head frozen"].embeddings is False
    assert ways["2 GPUs, ZeRO-3"].training.gpus == 2


def test_nothing_fits_into_a_byte() -> None:
    found = fit(table_of(LLAMA), 1.0, Policy(), Training())
    assert (found.percent, found.ways) == (0, ())


def test_scores_that_select_nothing_fit_nothing() -> None:
    unscored = made.with_parameters(
        made.result(snr=dict.fromkeys(range(12), float("nan")), types=1)
    )
    found = fit(table_of(unscored), 1e15, Policy(), Training())
    assert found.percent == 0
    assert "No layer has a score" in found.text


def test_names_are_found_or_refused_in_a_line() -> None:
    assert preset_named("8bit").title == "8-bit AdamW"
    assert sharding_named("ZeRO-3") is sharding_named("zero3")
    for call, field in ((preset_named, "preset"), (sharding_named, "sharding")):
        with pytest.raises(InputError) as caught:
            call("sgd")
        assert caught.value.field == field
        assert caught.value.hint


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "x", "٣", "9" * 400, "1e3", "²"])
def test_numbers_that_cannot_be_used(text: str) -> None:
    for parse in (parse_gpus, parse_batch, parse_sequence):
        with pytest.raises(InputError) as caught:
            parse(text)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "x", "nan", "inf", "1e999", "9" * 400, "24 TB", "1E1", "1_0 GiB", "2 4"]
)
def test_sizes_that_cannot_be_used(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_memory(text)
    with pytest.raises(InputError):
        parse_budget(f"{text}GiB")
    assert len(str(caught.value).splitlines()) == 1


def test_sizes_as_people_type_them() -> None:
    """A bare number is what a card has: 24 are GiB; GB are what is written so."""
    gib = {"24": 24, " 23.5 ": 23.5, "24GiB": 24, "24 gib": 24}
    assert {text: parse_memory(text) for text in gib} == {t: n * 2**30 for t, n in gib.items()}
    assert [parse_memory(text) for text in ("24GB", "24 gb")] == [24e9, 24e9]


def test_presets_are_frozen_and_say_what_they_mean_in_a_line() -> None:
    with pytest.raises(FrozenInstanceError):
        PRESETS[0].weights = 1  # type: ignore[misc]
    for preset in PRESETS:
        assert 20 < len(preset.meaning) <= 74


@pytest.mark.parametrize(
    ("reached", "trained", "checkpointing", "cost"),
    [
        (1.0, 1.0, False, 1.0),  # 1 forward, 1 back, 1 for the weights
        (0.75, 0.25, False, 2 / 3),  # 1 + 3/4 + 1/4 of 3
        (0.0, 0.0, False, 1 / 3),  # forward alone
        (1.0, 1.0, True, 1.0),
        (0.75, 0.25, True, 3.25 / 4),  # forward twice, back through all, 1/4 of the weights
    ],
)
def test_the_cost_of_a_step_by_hand(
    reached: float, trained: float, checkpointing: bool, cost: float
) -> None:
    found = step_cost(reached=reached, trained=trained, checkpointing=checkpointing)
    assert found == pytest.approx(cost)


def test_blocks_save_once_embeddings_are_frozen_and_nothing_is_recomputed() -> None:
    blocks = Policy(percent=100, blocks=((24, None),))
    table, plain = table_of(LLAMA), Training(checkpointing=False)
    held = savings(table, blocks, Training())
    assert held.held_by_embeddings and (held.plain.blocks_back, held.blocks_frozen) == (32, 8)
    assert "--no-embeddings" in held.lines[-1] and held.short.endswith("32 of 32 blocks, with e 8")
    found = savings(table, replace(blocks, embeddings=False), plain)
    assert not found.held_by_embeddings and found.plain.blocks_back == 8
    trained = sum(p.numel for p in LLAMA.parameters if _block(p.name) >= 24)
    trained -= 8 * 4096  # the norms, which have no score
    cost = (1 + 8 / 32 + trained / LLAMA.total_parameters) / 3
    assert found.plain.step == pytest.approx(cost)
    assert f"{cost:.1%}".replace("%", " %") in found.lines[0]
    deep = table.estimate(Policy(percent=100, embeddings=False), plain)
    logits = 2048 * 10 * 128_256
    assert (found.plain.activations - logits) * 4 == pytest.approx(deep.activations - logits)


def _block(name: str) -> int:
    return int(name.split(".")[2]) if name.startswith("model.layers.") else -1


@pytest.mark.parametrize("preset", ["bf16", "mixed", "fp32", "8bit"])
@pytest.mark.parametrize("sharding", ["none", "zero2"])
def test_what_a_layer_costs_is_what_it_adds(preset: str, sharding: str) -> None:
    table = table_of(SMALL)
    training = Training(preset=preset_named(preset), gpus=2, sharding=sharding_named(sharding))
    nothing = Policy(percent=0, embeddings=False)
    without = table.estimate(nothing, training)
    for row in (0, 9, 33, len(SMALL.scores) - 1):
        pinned = replace(nothing, pins=(SMALL.scores.layers[row],))
        found = table.estimate(pinned, training)
        added = found.gradients + found.optimizer - without.gradients - without.optimizer
        assert table.of_layer(row, training) == pytest.approx(added) and added > 0


def test_what_a_layer_costs_with_adapters_by_hand() -> None:
    table, tiers = table_of(LLAMA), Tiers(high_rank=16)
    row = next(i for i, name in enumerate(LLAMA.scores.layers) if name.endswith("up_proj"))
    adapter = 16 * (14336 + 4096) * (4 + 8)
    for name in ("lora", "qlora"):
        assert table.of_layer(row, Training(preset=preset_named(name), tiers=tiers)) == adapter
    whole = 14336 * 4096 * (2 + 4)
    assert table.of_layer(row, Training(preset=preset_named("hybrid"), tiers=tiers)) == whole
    norms = table_of(SMALL)
    assert norms.of_layer(len(SMALL.scores) - 1, Training(preset=preset_named("lora"))) == 0


@pytest.mark.parametrize("preset", ["bf16", "8bit", "fp32"])
@pytest.mark.parametrize("embeddings", [True, False])
def test_names_take_what_the_policy_that_selects_them_takes(preset: str, embeddings: bool) -> None:
    table, training = table_of(SMALL), Training(preset=preset_named(preset), checkpointing=False)
    for percent in (0, 13, 50, 100):
        policy = Policy(percent=percent, embeddings=embeddings)
        names = named(table.selection, policy)
        assert table.of_names(names, training) == table.estimate(policy, training)
    everything = table.of_names(table.sizes.index, training)
    assert everything.trained == SMALL.total_parameters
    assert everything.blocks_back == everything.blocks == 8


@pytest.mark.parametrize(
    ("gpu", "device", "dtype", "half"),
    [(True, "auto", "auto", True), (True, "cuda:1", "auto", True), (True, "cpu", "auto", False),
     (False, "auto", "auto", False), (True, "auto", "float32", False),
     (False, "cpu", "bfloat16", True)],
)  # fmt: skip
def test_weights_are_in_bfloat16_on_a_gpu_or_where_it_is_asked_for(
    gpu: bool, device: str, dtype: str, half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spectrum_tui.core.memory.presets.has_nvidia_gpu", lambda: gpu)
    assert is_half(device, dtype) == half
