"""`merge`: values against numpy, what is kept of a stopped merge, folders that it leaves alone."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from spectrum_tui.cli.main import main
from spectrum_tui.core import disk
from spectrum_tui.core.adapters import writing
from spectrum_tui.core.files import write_pieces
from tests import quantised
from tests.architectures.tiny import ARCHITECTURES
from tests.checkpoints import Tensors, config_for, llama, save, spoil
from tests.commands import Capture, refused
from tests.peft_folders import PREFIX, config, pair, pairs, save_adapter
from tests.unit.test_every_failure import FaultyOs

pytestmark = pytest.mark.usefixtures("in_empty_folder")

Q = "model.layers.0.self_attn.q_proj"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save(tmp_path / "models" / "base", llama(2, dtype=torch.float32), shards=3)


@pytest.fixture
def adapter(tmp_path: Path, base: Path) -> Path:
    return save_adapter(tmp_path / "adapter", pairs(tensors_in(base)), config(base))


def tensors_in(folder: Path) -> Tensors:
    """All tensors of a model, by the safetensors library."""
    found: Tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found


def merged_by_numpy(base: Tensors, adapter: Tensors, scale: float) -> dict[str, Any]:
    made = {name: tensor.double().numpy() for name, tensor in base.items()}
    for name, down in adapter.items():
        if name.endswith(".lora_A.weight"):
            up = adapter[name.replace("lora_A", "lora_B")].double().numpy()
            weight = name.removeprefix(PREFIX).replace(".lora_A", "")
            made[weight] = made[weight] + scale * up @ down.double().numpy()
    return made


def test_values_and_files(base: Path, adapter: Path, capsys: Capture) -> None:
    (base / "tokenizer.json").write_text("{}")
    (base / "vocab.json").write_text('{"base": 1}')
    (adapter / "vocab.json").write_text('{"adapter": 1}')
    (base / "README.md").write_text("not taken over")
    assert main(["merge", str(adapter), "-o", "out/merged"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{Path('out/merged')}\n"
    assert "3 files written and read back" in err
    before, after = tensors_in(base), tensors_in(Path("out/merged"))
    expected = merged_by_numpy(before, load_file(adapter / "adapter_model.safetensors"), 2.0)
    assert list(after) == list(before)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert len(changed) == 6
    for name, values in expected.items():
        np.testing.assert_allclose(after[name].numpy(), values, rtol=0, atol=1e-6)
    files = {path.name for path in Path("out/merged").iterdir()}
    shards = {path.name for path in base.glob("*.safetensors")}
    beside = {"config.json", "tokenizer.json", "vocab.json", "model.safetensors.index.json"}
    assert files == shards | beside | {"spectrum_merge.json"}
    assert (Path("out/merged") / "vocab.json").read_text() == '{"adapter": 1}'
    index = json.loads((Path("out/merged") / "model.safetensors.index.json").read_text())
    assert (
        index["weight_map"]
        == json.loads((base / "model.safetensors.index.json").read_text())["weight_map"]
    )
    assert [path.name for path in Path("out").iterdir()] == ["merged"]


def test_the_same_command_again_checks_what_is_there(
    base: Path, adapter: Path, capsys: Capture
) -> None:
    assert main(["merge", str(adapter), "-o", "m"]) == 0
    times = {path: path.stat().st_mtime_ns for path in Path("m").iterdir()}
    assert main(["merge", str(adapter), "-o", "m"]) == 0
    assert "there already" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in Path("m").iterdir()} == times
    shard = next(Path("m").glob("*.safetensors"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    assert "its files have changed" in refused(capsys, "merge", str(adapter), "-o", "m")


def test_a_merge_is_of_the_very_files(base: Path, adapter: Path, capsys: Capture) -> None:
    """A change of a large base between the samples of it would not be told later."""
    assert main(["merge", str(adapter), "-o", "m"]) == 0
    capsys.readouterr()
    os.utime(next(base.glob("*.safetensors")), (1, 1))
    assert "holds something else" in refused(capsys, "merge", str(adapter), "-o", "m")


class Killed(BaseException):
    """As sudden as a signal."""


def test_a_stopped_merge_goes_on(
    base: Path, adapter: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished files are not written again, unless they no longer hold what was computed."""
    names: list[str] = []

    def stopping(path: Path, pieces: Any) -> None:
        names.append(path.name)
        if len(names) == 3:
            raise Killed
        write_pieces(path, pieces)

    def noting(path: Path, pieces: Any) -> None:
        names.append(path.name)
        write_pieces(path, pieces)

    monkeypatch.setattr(writing, "write_pieces", stopping)
    with pytest.raises(Killed):
        main(["merge", str(adapter), "-o", "m"])
    assert not Path("m").exists()
    first, second = (Path("m.unfinished") / name for name in names[:2])
    # What a kill -9 leaves, and a file that was changed after it was finished.
    (Path("m.unfinished") / ".x.0123456789ab.part").write_bytes(b"half")
    second.write_bytes(second.read_bytes()[:-1] + b"!")
    kept = first.stat().st_ino
    names.clear()
    monkeypatch.setattr(writing, "write_pieces", noting)
    assert main(["merge", str(adapter), "-o", "m"]) == 0
    assert "1 file of an earlier start kept" in capsys.readouterr().err
    assert first.name not in names and second.name in names
    assert (Path("m") / first.name).stat().st_ino == kept
    assert not list(Path("m").glob(".*")) and not Path("m.unfinished").exists()
    assert main(["merge", str(adapter), "-o", "whole"]) == 0
    for path in Path("whole").iterdir():
        assert path.read_bytes() == (Path("m") / path.name).read_bytes()


def test_an_unfinished_merge_of_another_adapter_is_begun_anew(
    base: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(writing, "_write_beside", stop)
        main(["merge", str(adapter), "-o", "m"])
    changed = config(base, lora_alpha=4)
    (adapter / "adapter_config.json").write_text(json.dumps(changed))
    assert main(["merge", str(adapter), "-o", "m"]) == 0
    expected = merged_by_numpy(
        tensors_in(base), load_file(adapter / "adapter_model.safetensors"), 1.0
    )
    for name, tensor in tensors_in(Path("m")).items():
        np.testing.assert_allclose(tensor.numpy(), expected[name], rtol=0, atol=1e-6)


def test_two_merges_at_once(
    base: Path, adapter: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second would take what the first is writing for what a killed one has left."""
    real, said = writing._write_beside, list[str]()

    def another(*arguments: Any) -> None:
        said.append(refused(capsys, "merge", str(adapter), "-o", "m"))
        real(*arguments)

    monkeypatch.setattr(writing, "_write_beside", another)
    assert main(["merge", str(adapter), "-o", "m"]) == 0
    assert "Another process is merging into m.unfinished. Wait until it ends" in said[0]
    assert not Path("m.unfinished").exists()


def stop(*_: object) -> None:
    raise Killed


def test_a_full_disk_is_one_line(
    base: Path, adapter: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = [0]
    real = os.write

    class Full:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def write(self, handle: int, data: Any) -> int:
            written[0] += len(data)
            if written[0] > 60_000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(handle, data)

    with monkeypatch.context() as patch:
        patch.setattr(disk, "os", Full())
        assert main(["merge", str(adapter), "-o", "m"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "No space left on device. Free some space" in said
    assert not Path("m").exists() and not list(Path("m.unfinished").glob(".*"))
    assert main(["merge", str(adapter), "-o", "m"]) == 0
    assert "earlier start kept" in capsys.readouterr().err


def test_a_disk_that_lies_is_noticed(
    base: Path, adapter: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "read_from_disk", lambda path, piece: iter([b"something else"]))
    assert main(["merge", str(adapter), "-o", "m"]) == 2
    assert "does not hold what was written to it" in capsys.readouterr().err
    assert not Path("m").exists()


# -- single experts, tables, types ---------------------------------------------------------------


def test_rows_that_were_added_to_the_vocabulary(
    tmp_path: Path, base: Path, capsys: Capture
) -> None:
    wide = torch.ones(70, 32)
    head = torch.full((70, 32), 2.0)
    tensors = {
        f"{PREFIX}model.embed_tokens.weight": wide,
        f"{PREFIX}lm_head.weight": head,
        **pairs(tensors_in(base)),
    }
    save_adapter(tmp_path / "a", tensors, config(base))
    assert main(["merge", str(tmp_path / "a"), "-o", "m"]) == 0
    assert "note: the embeddings have 70 rows" in capsys.readouterr().err
    found = tensors_in(Path("m"))
    assert torch.equal(found["model.embed_tokens.weight"], wide)
    assert torch.equal(found["lm_head.weight"], head)
    assert json.loads(Path("m/config.json").read_text())["vocab_size"] == 70


def test_an_adapter_of_a_model_without_its_head(tmp_path: Path, base: Path) -> None:
    """FEATURE_EXTRACTION: names begin at `layers`."""
    tensors = {n.replace("model.layers", "layers"): t for n, t in pairs(tensors_in(base)).items()}
    assert all(name.startswith(f"{PREFIX}layers") for name in tensors)
    save_adapter(tmp_path / "a", tensors, config(base))
    assert main(["merge", str(tmp_path / "a"), "-o", "m"]) == 0
    expected = merged_by_numpy(tensors_in(base), pairs(tensors_in(base)), 2.0)
    for name, tensor in tensors_in(Path("m")).items():
        np.testing.assert_allclose(tensor.numpy(), expected[name], rtol=0, atol=1e-6)


def test_an_older_adapter_of_single_experts(tmp_path: Path) -> None:
    """Before transformers 5 each expert was a module of its own; the files still hold them so."""
    torch.manual_seed(0)
    ARCHITECTURES["qwen3_moe"].build().save_pretrained(tmp_path / "moe")
    before = tensors_in(tmp_path / "moe")
    ends = ("experts.1.gate_proj", "experts.1.up_proj", "experts.3.down_proj", "self_attn.q_proj")
    tensors = pairs(before, ends)
    save_adapter(tmp_path / "a", tensors, config(tmp_path / "moe"))
    assert main(["merge", str(tmp_path / "a"), "-o", "m"]) == 0
    after, expected = tensors_in(Path("m")), merged_by_numpy(before, tensors, 2.0)
    assert after.keys() == before.keys()
    for name, tensor in after.items():
        np.testing.assert_allclose(tensor.numpy(), expected[name], rtol=0, atol=1e-6)
    assert sum(not torch.equal(before[name], after[name]) for name in before) == 8


def test_a_quantised_base(tmp_path: Path, capsys: Capture) -> None:
    """Refused, or decoded and merged into that: what is left is a plain model in bfloat16."""
    plain = llama(1)
    name = f"{Q}.weight"
    fp8 = plain[name].to(torch.float8_e4m3fn)
    scale = torch.full((2, 2), 0.5)
    stored = {**plain, name: fp8, f"{name}_scale_inv": scale}
    entry = quantised.config("fp8", weight_block_size=[16, 16], activation_scheme="dynamic")
    base = save(tmp_path / "fp8", stored, config={**config_for(plain), **entry})
    folder = save_adapter(tmp_path / "a", pairs(plain, ("q_proj",)), config(base))
    line = refused(capsys, "merge", str(folder), "-o", "m")
    assert "is quantised (fp8)" in line and "--into MODEL, or --dequantise" in line
    assert main(["merge", str(folder), "-o", "m", "--dequantise"]) == 0
    after = tensors_in(Path("m"))
    assert after.keys() == plain.keys()
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
    decoded = {**plain, name: fp8.float() * 0.5}
    expected = merged_by_numpy(decoded, pairs(plain, ("q_proj",)), 2.0)
    np.testing.assert_allclose(after[name].float().numpy(), expected[name], rtol=2**-7, atol=1e-6)
    assert "quantization_config" not in json.loads(Path("m/config.json").read_text())


# -- every access to the disk ---------------------------------------------------------------------


def test_any_access_to_the_disk_fails_once(
    base: Path, adapter: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there is whole, or has no name yet and is gone on with."""

    def merged(faulty: FaultyOs, folder: str) -> int:
        with monkeypatch.context() as patch:
            patch.setattr(disk, "os", faulty)
            return main(["merge", str(adapter), "-o", folder])

    whole = FaultyOs()
    assert merged(whole, "whole") == 0
    right = {path.name: path.read_bytes() for path in Path("whole").iterdir()}
    capsys.readouterr()
    ends = set()
    for number in range(1, len(whole.calls) + 1, 7):
        faulty, folder = FaultyOs(number), f"m{number}"
        code = merged(faulty, folder)
        said = capsys.readouterr().err
        where = f"call {number}: {faulty.failed}: {said}"
        assert code in (0, 2) and "Traceback" not in said, where
        assert Path(folder).exists() == (code == 0), where
        ends.add(code)
        assert code == 0 or merged(FaultyOs(), folder) == 0, where
        found = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
        assert found == right, where
    assert ends >= {2}


# -- bad input -----------------------------------------------------------------------------------


def said_of(capsys: Capture, tmp_path: Path, base: Path, tensors: Tensors, **fields: Any) -> str:
    save_adapter(tmp_path / "bad", tensors, config(base, **fields))
    return refused(capsys, "merge", str(tmp_path / "bad"), "-o", "m")


def test_an_adapter_of_another_base(tmp_path: Path, base: Path, capsys: Capture) -> None:
    other = pairs(llama(3))
    assert "not of this base, which has no model.layers.2" in said_of(capsys, tmp_path, base, other)
    wide = pairs(llama(2, hidden=64))
    line = said_of(capsys, tmp_path, base, wide)
    assert "not of this base" in line and "--into MODEL" in line
    whole = {f"{PREFIX}model.norm.weight": torch.ones(16)}
    assert "[16] of model.norm.weight, which has [32]" in said_of(capsys, tmp_path, base, whole)


def test_ranks_that_are_not_those_of_the_tensors(
    tmp_path: Path, base: Path, capsys: Capture
) -> None:
    tensors = pairs(tensors_in(base))
    assert "has rank 4; its configuration says 8" in said_of(capsys, tmp_path, base, tensors, r=8)
    half = {n: t for n, t in tensors.items() if "lora_A" in n or "down_proj" in n}
    assert "only one of its two matrices" in said_of(capsys, tmp_path, base, half)
    empty = {n: t[:0] if "lora_A" in n else t[:, :0] for n, t in tensors.items()}
    assert "matrix of shape [0, " in said_of(capsys, tmp_path, base, empty)
    flat = {n: t.reshape(-1) for n, t in tensors.items()}
    assert "was not saved whole" in said_of(capsys, tmp_path, base, flat)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"peft_type": "IA3"}, "of the type IA3, which is not known. Known is LORA"),
        ({"peft_type": None}, "of no type"),
        ({"r": 0}, "r of the adapter's configuration is 0"),
        ({"r": "4"}, "is '4'"),
        ({"lora_alpha": float("nan")}, "lora_alpha"),
        ({"rank_pattern": {"q_proj": -1}}, "rank_pattern"),
        ({"rank_pattern": ["q_proj"]}, "rank_pattern"),
        ({"alpha_pattern": {"(a+)+$": 3}}, "cannot be tried"),
        ({"alpha_pattern": {"(": 3}}, "cannot be tried"),
        ({"init_lora_weights": "pissa_niter_4"}, "path_initial_model_for_weight_conversion"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens, which is not merged"),
        ({"trainable_token_indices": "all"}, "trainable_token_indices"),
        ({"base_model_name_or_path": None}, "does not name its base"),
        ({"base_model_name_or_path": "./nothing"}, "base that the adapter names cannot be read"),
    ],
    ids=str,
)
def test_configurations(
    fields: dict[str, Any], words: str, tmp_path: Path, base: Path, capsys: Capture
) -> None:
    assert words in said_of(capsys, tmp_path, base, pairs(tensors_in(base)), **fields)


def test_values_that_are_no_numbers(tmp_path: Path, base: Path, capsys: Capture) -> None:
    """Found while it is written: the folder does not get its name."""
    tensors = pairs(tensors_in(base))
    tensors[f"{PREFIX}{Q}.lora_B.weight"][3, 1] = torch.nan
    save_adapter(tmp_path / "bad", tensors, config(base))
    assert main(["merge", str(tmp_path / "bad"), "-o", "m"]) == 2
    assert f"The merge has NaN in {Q}.weight." in capsys.readouterr().err.splitlines()[-1]
    assert not Path("m").exists()
    whole = {f"{PREFIX}lm_head.weight": torch.full((64, 32), torch.inf)}
    save_adapter(tmp_path / "bad", whole, config(base))
    assert main(["merge", str(tmp_path / "bad"), "-o", "w"]) == 2
    assert "The adapter has infinite values in lm_head.weight." in capsys.readouterr().err
    save_adapter(tmp_path / "bad", pairs(tensors_in(base)), config(base))
    spoilt = save(tmp_path / "spoilt", spoil(tensors_in(base), Q, torch.nan))
    assert main(["merge", str(tmp_path / "bad"), "--into", str(spoilt), "-o", "s"]) == 2
    assert f"NaN in {Q}.weight" in capsys.readouterr().err
    numbers = {n: t.to(torch.int32) for n, t in pairs(tensors_in(base)).items()}
    assert "stored as I32" in said_of(capsys, tmp_path, base, numbers)


def test_folders_that_are_no_adapter(tmp_path: Path, base: Path, capsys: Capture) -> None:
    assert "There is no folder nothing" in refused(capsys, "merge", "nothing", "-o", "m")
    assert "No adapter is given" in refused(capsys, "merge", "", "-o", "m")
    assert "holds no adapter" in refused(capsys, "merge", str(base), "-o", "m")
    run = tmp_path / "run"
    save_adapter(run / "checkpoint-8", pairs(tensors_in(base)), config(base))
    assert f"There is one in {run / 'checkpoint-8'}" in refused(
        capsys, "merge", str(run), "-o", "m"
    )
    weights = run / "checkpoint-8" / "adapter_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    assert "adapter_model.bin, which can run code" in refused(
        capsys, "merge", str(weights.parent), "-o", "m"
    )
    weights.with_suffix(".bin").unlink()
    assert "holds no adapter_model.safetensors" in refused(
        capsys, "merge", str(weights.parent), "-o", "m"
    )
    save_file({}, weights)
    assert "holds no tensor" in refused(capsys, "merge", str(weights.parent), "-o", "m")
    weights.write_bytes(b"not one")
    assert "not a safetensors file" in refused(capsys, "merge", str(weights.parent), "-o", "m")


def test_output_folders(base: Path, adapter: Path, capsys: Capture) -> None:
    taken = Path("taken")
    taken.mkdir()
    (taken / "notes.txt").write_text("mine")
    assert "holds something else" in refused(capsys, "merge", str(adapter), "-o", "taken")
    assert "holds something else" in refused(capsys, "merge", str(adapter), "-o", str(base))
    Path("file").write_text("")
    assert "holds something else" in refused(capsys, "merge", str(adapter), "-o", "file")
    assert "-o needs a folder" in refused(capsys, "merge", str(adapter), "-o", " ")
    assert "no new folder" in refused(capsys, "merge", str(adapter), "-o", "/")
    assert "required: -o/--output" in refused(capsys, "merge", str(adapter))
    Path("x.unfinished").mkdir()
    (Path("x.unfinished") / "mine").write_text("")
    assert "is no unfinished merge" in refused(capsys, "merge", str(adapter), "-o", "x")
    Path("empty").mkdir()
    assert main(["merge", str(adapter), "-o", "empty"]) == 0
    assert Path("empty/config.json").is_file()


def test_two_adapters_of_one_parameter(tmp_path: Path, base: Path, capsys: Capture) -> None:
    weight = tensors_in(base)[f"{Q}.weight"]
    both = pair(Q, weight) | pair(Q.removeprefix("model."), weight)
    assert "Two adapters" in said_of(capsys, tmp_path, base, both)


def test_a_setting_that_is_not_known_is_refused_where_it_is_set(
    base: Path, adapter: Path, capsys: Capture
) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(config(base, use_tomorrow=True)))
    said = refused(capsys, "merge", str(adapter), "-o", "m")
    assert "setting 'use_tomorrow', which is not known here" in said
    path.write_text(json.dumps(config(base, use_tomorrow=False)))
    assert main(["merge", str(adapter), "-o", "m"]) == 0
