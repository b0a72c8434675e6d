"""Scans of quantised checkpoints: the scores are those of the weights that they stand for.

Values come from the formats as they are typed again in numpy, scores from numpy's SVD.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spectrum_tui.cli import downloading, scan_model
from spectrum_tui.cli.main import main
from spectrum_tui.core.errors import CheckpointError
from spectrum_tui.core.model.inspection import Inspection, inspect_model, with_exact_names
from spectrum_tui.core.saved.store import load_result
from tests import oracle
from tests import quantisers as q
from tests.architectures.conftest import TinyModels
from tests.architectures.layouts import Tensors, rewrite
from tests.checkpoints import config_for, llama, save
from tests.commands import FLAT, Capture, refused

BLOCK = 20
"""Divides neither 32 nor 96: the last blocks are cut short."""
LAYER = "model.layers.1.mlp.down_proj"
INSTEAD = "Scan the full-precision model that it was made from."


pytestmark = pytest.mark.usefixtures("in_empty_folder")


def config(method: str, **settings: Any) -> dict[str, Any]:
    entry = {"quant_method": method, **settings}
    return {**config_for(llama(2)), "dtype": "bfloat16", "quantization_config": entry}


def stored_as(made: q.Made, layer: str = LAYER) -> Tensors:
    """A Llama with the weight of one layer as it was made."""
    tensors = llama(2)
    del tensors[f"{layer}.weight"]
    return tensors | {f"{layer}.{leaf}": tensor for leaf, tensor in made.stored.items()}


def score_of_layer(folder: Path, layer: str = LAYER) -> float:
    scores = load_result(Path(FLAT.format(folder.name))).scores
    return float(scores.values[scores.layers.index(layer)])


def snr_of(values: q.Floats, dtype: torch.dtype = torch.bfloat16) -> float:
    """The score of values in the type that the model is loaded in."""
    return oracle.snr(q.rounded(values, dtype).double().numpy())


def test_fp8_blocks_with_ragged_ends(tmp_path: Path, capsys: Capture) -> None:
    tensors, wanted = llama(2), {}
    for seed, name in enumerate([n for n in tensors if n.endswith("proj.weight")]):
        rows, columns = tensors[name].shape
        tensors[name] = q.fp8(seed, rows, columns)
        scales = q.scales(seed, -(-rows // BLOCK), -(-columns // BLOCK))
        tensors[f"{name}_scale_inv"] = scales
        wanted[name] = q.blockwise(tensors[name], scales, (BLOCK, BLOCK))
    folder = save(tmp_path / "m", tensors, config=config("fp8", weight_block_size=[BLOCK] * 2))
    assert main(["scan", str(folder)]) == 0
    assert "note" not in capsys.readouterr().err  # it is what is trained: nothing to warn of
    assert len(wanted) == 14
    for name, values in wanted.items():
        layer = name.removesuffix(".weight")
        assert oracle.close(score_of_layer(folder, layer), snr_of(values)), name
    recipe = next(Path.cwd().glob("*.yaml")).read_text()
    assert "scale" not in recipe


def mxfp4(experts: int, rows: int, columns: int, seed: int) -> tuple[Tensors, q.Floats]:
    """Blocks and scales of [experts, rows, columns], and the float32 values."""
    rng = np.random.default_rng(seed)
    packed = rng.integers(0, 256, (experts, rows, columns // 32, 16), np.uint8)
    power = rng.integers(112, 124, (experts, rows, columns // 32), np.uint8)
    values = q.fp4_bytes(packed.reshape(-1, 16)).reshape(experts, rows, columns // 32, 32)
    scaled = values * np.exp2(power.astype(np.float32) - 127)[..., None]
    stored = {"_blocks": torch.from_numpy(packed), "_scales": torch.from_numpy(power)}
    return stored, scaled.reshape(experts, rows, columns).astype(np.float32)


def test_mxfp4_experts(tiny: TinyModels, tmp_path: Path, capsys: Capture) -> None:
    wanted: dict[str, list[q.Floats]] = {}

    def pack(tensors: Tensors) -> Tensors:
        made = {name: tensor.bfloat16() for name, tensor in tensors.items()}
        for seed, name in enumerate(tensors):
            if not name.endswith(("gate_up_proj", "down_proj")):
                continue
            experts, inputs, outputs = made.pop(name).shape
            stored, values = mxfp4(experts, outputs, inputs, seed)
            made |= {f"{name}{end}": tensor for end, tensor in stored.items()}
            halves = [v[i::2] for v in values for i in (0, 1)]
            wanted[name] = halves if name.endswith("gate_up_proj") else list(values)
        return made

    entry = {"dtype": "bfloat16", "quantization_config": {"quant_method": "mxfp4"}}
    folder = rewrite(tiny.folder("gpt_oss"), tmp_path / "m", pack, entry)
    assert main(["scan", str(folder)]) == 0
    assert "note" not in capsys.readouterr().err
    assert len(wanted) == 4
    for name, matrices in wanted.items():
        mean = float(np.mean([snr_of(np.ascontiguousarray(m)) for m in matrices]))
        assert oracle.close(score_of_layer(folder, name), mean), name


def test_bitsandbytes_says_that_it_is_rounded(tmp_path: Path, capsys: Capture) -> None:
    made = q.bnb_4bit(q.random(3, 32, 96), "nf4")
    entry = config("bitsandbytes", load_in_4bit=True)
    folder = save(tmp_path / "m", stored_as(made), config=entry)
    assert main(["scan", str(folder)]) == 0
    (note,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("note: ")]
    assert "4-bit bitsandbytes" in note and "rounded weights" in note
    assert inspect_model(str(folder)).summary.notes == (note.removeprefix("note: "),)
    assert oracle.close(score_of_layer(folder), snr_of(made.values))


def test_compressed_tensors_say_so_too(tmp_path: Path, capsys: Capture) -> None:
    made = q.compressed_pack(4, 32, 96, 16)
    scheme = {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "group_size": 16}}}
    entry = config("compressed-tensors", format="pack-quantized", config_groups=scheme)
    folder = save(tmp_path / "m", stored_as(made), config=entry)
    assert main(["scan", str(folder)]) == 0
    assert "rounded weights" in capsys.readouterr().err
    assert oracle.close(score_of_layer(folder), snr_of(made.values))


def gptq() -> q.Made:
    return q.gptq(5, 96, 32, 32, 4, v2=False, act_order=False)


def gptq_folder(folder: Path) -> Path:
    entry = {**config("gptq", bits=4, group_size=32), "dtype": "float16"}
    return save(folder, stored_as(gptq()), config=entry)


def test_gptq_needs_the_flag(tmp_path: Path, capsys: Capture) -> None:
    folder = gptq_folder(tmp_path / "m")
    message = refused(capsys, "scan", str(folder))
    assert "4-bit GPTQ" in message
    assert message.endswith(INSTEAD)


def test_gptq_with_the_flag_has_a_banner(tmp_path: Path, capsys: Capture) -> None:
    folder = gptq_folder(tmp_path / "m")
    assert main(["scan", str(folder), "--allow-gptq"]) == 0
    notes = [x for x in capsys.readouterr().err.splitlines() if x.startswith("note: ")]
    assert any("4-bit GPTQ" in note and "rounded weights" in note for note in notes)
    assert oracle.close(score_of_layer(folder), snr_of(gptq().values, torch.float16))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "awq": ({"bits": 4, "group_size": 32}, "AWQ"),
    "hqq": ({}, "HQQ"),
    "aqlm": ({}, "AQLM"),
    "of-our-own": ({}, "of-our-own"),
}


@pytest.mark.parametrize("method", REFUSED)
def test_what_is_not_decoded_is_refused_by_the_headers(
    method: str, tmp_path: Path, capsys: Capture
) -> None:
    settings, word = REFUSED[method]
    folder = save(tmp_path / "m", stored_as(gptq()), config=config(method, **settings))
    message = refused(capsys, "scan", str(folder))
    assert word in message and message.endswith(INSTEAD)
    assert message == refused(capsys, "scan", str(folder), "--allow-gptq")
    with pytest.raises(CheckpointError) as preview:
        inspect_model(str(folder))
    assert message == f"spectrum-tui: {preview.value}"
    assert preview.value.field == "model"


def test_a_weight_that_lost_its_scales(tmp_path: Path, capsys: Capture) -> None:
    tensors = llama(2)
    tensors[f"{LAYER}.weight"] = q.fp8(1, 32, 96)
    folder = save(tmp_path / "m", tensors, config=config("fp8", weight_block_size=[16, 16]))
    message = refused(capsys, "scan", str(folder))
    assert f"{LAYER}.weight is stored as FP8 without its scales" in message


def test_scales_that_do_not_fit(tmp_path: Path, capsys: Capture) -> None:
    tensors = llama(2)
    tensors[f"{LAYER}.weight"] = q.fp8(1, 32, 96)
    tensors[f"{LAYER}.weight_scale_inv"] = q.scales(1, 5, 7)
    folder = save(tmp_path / "m", tensors, config=config("fp8", weight_block_size=[16, 16]))
    assert "do not fit" in refused(capsys, "scan", str(folder))


@pytest.mark.parametrize(
    ("options", "word"), [([], "GPTQ"), (["--allow-gptq", "--model-class", "Nonsense"], "Nonsense")]
)
def test_refused_before_the_download_not_after(
    options: list[str],
    word: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    local = inspect_model(str(gptq_folder(tmp_path / "m")))
    remote = replace(local, summary=replace(local.summary, folder="", origin="hub"))

    def no_download(inspection: Inspection, **_: object) -> Inspection:
        raise AssertionError("downloaded")

    monkeypatch.setattr(scan_model, "inspect_model", lambda *_, **__: remote)
    monkeypatch.setattr(downloading, "fetch", no_download)
    assert word in refused(capsys, "scan", "org/name", *options)


def test_a_config_left_over_from_before_it_was_decoded(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", llama(2), config=config("awq", bits=4))
    exact = with_exact_names(inspect_model(str(folder)))
    assert exact.summary.notes == ()
    assert json.loads((folder / "config.json").read_text())["quantization_config"]
