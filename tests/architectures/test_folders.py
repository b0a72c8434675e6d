"""Folders as `from_pretrained` of the installed transformers reads them: it is the judge of what
loads, under which names, and what would start from random values."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from spectrum_tui.core.checkpoint.headers import read_checkpoint, read_config
from spectrum_tui.core.checkpoint.shards import INDEX_FILE, SINGLE_FILE, shard_names
from spectrum_tui.core.errors import CheckpointError, InputError
from spectrum_tui.core.model.inspection import Inspection, inspect_model, with_exact_names
from spectrum_tui.core.naming.plan import plan_parameters
from spectrum_tui.core.settings import Settings
from tests.architectures.compare import load_as_a_trainer, same
from tests.architectures.conftest import TinyModels
from tests.architectures.layouts import Tensors, rewrite
from tests.architectures.tiny import TEXT
from tests.commands import Capture, refused

pytestmark = pytest.mark.usefixtures("in_empty_folder")


def exact(folder: Path, model_class: str = "") -> Inspection:
    return with_exact_names(inspect_model(str(folder)), Settings(model_class=model_class))


def refusal(folder: Path, model_class: str = "") -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        exact(folder, model_class)
    assert caught.value.field == "model"
    return caught.value


# -- names that a wrapper left ---------------------------------------------------------------

LAYER = re.compile(r"(layers\.\d+\.)")
WRAPPED: dict[str, tuple[str, Callable[[str], str]]] = {
    "_orig_mod.": ("torch.compile", lambda n: f"_orig_mod.{n}"),
    "module.": ("DistributedDataParallel or DeepSpeed", lambda n: f"module.{n}"),
    "base_model.model.": ("PEFT", lambda n: f"base_model.model.{n}"),
    "_fsdp_wrapped_module.": (
        "FSDP",
        lambda n: "_fsdp_wrapped_module." + LAYER.sub(r"\1_fsdp_wrapped_module.", n),
    ),
    "module._orig_mod.": (
        "DistributedDataParallel or DeepSpeed and torch.compile",
        lambda n: f"module._orig_mod.{n}",
    ),
    "policy.net.": ("a model that holds this one", lambda n: f"policy.net.{n}"),
}


@pytest.mark.parametrize("part", WRAPPED)
def test_the_names_of_a_wrapper(part: str, tiny: TinyModels, tmp_path: Path) -> None:
    """Refused with the cause, and with a command whose model is the one that was wrapped."""
    by, wrap = WRAPPED[part]
    source = tiny.folder("llama")
    folder = rewrite(source, tmp_path / "m", lambda t: {wrap(name): v for name, v in t.items()})
    _, info = load_as_a_trainer(folder, "AutoModelForCausalLM")
    assert len(info["missing_keys"]) == len(load_file(folder / SINGLE_FILE)) == 21
    error = refusal(folder)
    assert f"was saved from inside {by}: {part} is in the names of its tensors" in error.message
    assert "would start LlamaForCausalLM from random values" in error.message
    python, option, code = shlex.split(error.hint.removeprefix("Save it without: "))
    assert (python, option) == ("python", "-c")
    exec(code, {})  # noqa: S102 - as the user would
    model, info = load_as_a_trainer(Path.cwd() / "m-unwrapped", "AutoModelForCausalLM")
    assert not info["missing_keys"] and not info["unexpected_keys"]
    stored = load_file(source / SINGLE_FILE)
    assert all(same(stored[name], value) for name, value in model.named_parameters())
    found = exact(Path("m-unwrapped"))
    names = [name for name, _ in model.named_parameters()]
    assert [p.name for p in found.model.parameters] == names


def test_a_wrapper_in_several_files(tiny: TinyModels, tmp_path: Path) -> None:
    folder = tmp_path / "it's a model"
    folder.mkdir()
    tensors = load_file(tiny.folder("llama") / SINGLE_FILE)
    (folder / "config.json").write_bytes((tiny.folder("llama") / "config.json").read_bytes())
    where: dict[str, str] = {}
    for i in range(3):
        file = f"model-{i + 1:05d}-of-00003.safetensors"
        part = {f"_orig_mod.{n}": t for n, t in list(tensors.items())[i::3]}
        save_file(part, folder / file, {"format": "pt"})
        where |= dict.fromkeys(part, file)
    (folder / INDEX_FILE).write_text(json.dumps({"metadata": {}, "weight_map": where}))
    code = shlex.split(refusal(folder).hint.removeprefix("Save it without: "))[2]
    exec(code, {})  # noqa: S102
    assert exact(Path("it's a model-unwrapped")).summary.tensors == 21


def test_adapters_that_are_not_merged(tiny: TinyModels, tmp_path: Path) -> None:
    def with_adapters(tensors: Tensors) -> Tensors:
        name = "base_model.model.model.layers.0.self_attn.q_proj"
        wrapped = {f"base_model.model.{n}": t for n, t in tensors.items()}
        wrapped[f"{name}.base_layer.weight"] = wrapped.pop(f"{name}.weight")
        return wrapped | {f"{name}.lora_A.default.weight": torch.ones(2, 32)}

    error = refusal(rewrite(tiny.folder("llama"), tmp_path / "m", with_adapters))
    assert "was saved from inside PEFT" in error.message
    assert (
        error.hint == "Merge the adapters first: model.merge_and_unload().save_pretrained(folder)."
    )


def test_the_names_of_a_wrapper_around_an_unknown_model(tiny: TinyModels, tmp_path: Path) -> None:
    change = lambda t: {f"module.{name}": v for name, v in t.items()}  # noqa: E731
    folder = rewrite(tiny.folder("llama"), tmp_path / "m", change, {"model_type": "no-such"})
    unknown, note = exact(folder).summary.notes
    assert "no-such" in unknown
    assert note.startswith("module. is in the names, as inside DistributedDataParallel")


def test_a_wrapper_is_found_without_transformers_rules(
    tiny: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names are matched by their ends then, which sees more than from_pretrained does."""
    from spectrum_tui.core.naming import plan

    monkeypatch.setattr(plan, "distrust", lambda: "switched off")
    change = lambda t: {f"_orig_mod.{name}": v for name, v in t.items()}  # noqa: E731
    folder = rewrite(tiny.folder("mixtral"), tmp_path / "m", change)
    assert "torch.compile" in refusal(folder).message


# -- models that would start from random values ----------------------------------------------


def missing_share(model: Any, missing: set[str]) -> float:
    """The share of the elements or of the matrices that the loader did not find."""
    weights = dict(model.named_parameters())
    elements = sum(w.numel() for n, w in weights.items() if n in missing)
    matrices = [n in missing for n, w in weights.items() if w.ndim > 1]
    whole = sum(w.numel() for w in weights.values())
    return max(float(elements / whole), sum(matrices) / len(matrices))


@pytest.mark.parametrize("kept", range(0, 22, 3))
@pytest.mark.parametrize("name", ["llama", "olmo2"])
def test_most_of_the_model_is_random(
    name: str, kept: int, tiny: TinyModels, tmp_path: Path
) -> None:
    """Refused exactly where from_pretrained leaves most of it to chance."""

    def first(tensors: Tensors) -> Tensors:
        named = sorted(tensors.items(), key=lambda item: item[0][::-1])
        return dict(named[:kept]) | {"other.weight": torch.ones(8, 8)}

    folder = rewrite(tiny.folder(name), tmp_path / "m", first)
    model, info = load_as_a_trainer(folder, "AutoModelForCausalLM")
    share = missing_share(model, set(info["missing_keys"]))
    if share > 0.5:
        error = refusal(folder)
        assert f"does not hold a {type(model).__name__}: {len(info['missing_keys'])} of" in str(
            error
        )
        assert f"({share:.0%})" in error.message
    else:
        assert (len(exact(folder).summary.notes) > 0) == (share > 0)


def test_it_is_said_in_one_line_with_exit_code_2(
    tiny: TinyModels, tmp_path: Path, capsys: Capture
) -> None:
    config = json.loads((tiny.folder("opt") / "config.json").read_text())
    folder = rewrite(tiny.folder("llama"), tmp_path / "m", config=config)
    line = refused(capsys, "scan", str(folder))
    assert "does not hold a OPTForCausalLM" in line and "is stored" in line


def test_random_is_judged_by_the_class_that_is_meant(tiny: TinyModels, tmp_path: Path) -> None:
    """The vision tower alone, under the configuration of the model that it was part of."""

    def tower(tensors: Tensors) -> Tensors:
        return {n: t for n, t in tensors.items() if n.startswith("vision_model.")}

    folder = rewrite(tiny.folder("clip"), tmp_path / "m", tower)
    model, info = load_as_a_trainer(folder, "CLIPModel")
    assert missing_share(model, set(info["missing_keys"])) > 0.5
    assert "does not hold a CLIPModel" in refusal(folder).message
    _, info = load_as_a_trainer(folder, "CLIPVisionModel")
    assert not info["missing_keys"]
    assert exact(folder, "CLIPVisionModel").summary.model_class == "CLIPVisionModel"


# -- classes that config.json is not of --------------------------------------------------------


def mllama(folder: Path) -> Path:
    """A tiny Llama 3.2 Vision."""
    from transformers import MllamaConfig, MllamaForConditionalGeneration

    rope = {"rope_type": "default", "rope_theta": 10_000.0}
    text = {**TEXT, "cross_attention_layers": [1], "rope_parameters": rope}
    vision = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_global_layers": 1, "attention_heads": 4, "image_size": 32, "patch_size": 8,
        "vision_output_dim": 96, "intermediate_layers_indices": [0, 1],
        "supported_aspect_ratios": [[1, 1]],
    }  # fmt: skip
    config = MllamaConfig(text_config=text, vision_config=vision)
    MllamaForConditionalGeneration(config).save_pretrained(folder, save_original_format=True)
    return folder


CLASSES = (
    ("mllama", "MllamaForCausalLM"),
    ("llama4", "Llama4ForCausalLM"),
    ("llama4", "Llama4VisionModel"),
    ("llama4", "Llama4TextModel"),
    ("gemma3", "Gemma3ForCausalLM"),
    ("clip", "CLIPVisionModel"),
    ("whisper", "WhisperForCausalLM"),
    ("llama", "MistralForCausalLM"),
    ("llama", "Qwen2ForCausalLM"),
    ("llama", "BertForMaskedLM"),
    ("mixtral", "MistralForCausalLM"),
    ("mistral3", "MistralForCausalLM"),
)


@pytest.mark.parametrize(("name", "model_class"), CLASSES)
def test_a_class_is_taken_when_it_lacks_nothing(
    name: str, model_class: str, tiny: TinyModels, tmp_path: Path
) -> None:
    folder = mllama(tmp_path / "m") if name == "mllama" else tiny.folder(name)
    model, info = load_as_a_trainer(folder, model_class)
    weights = dict(model.named_parameters())
    missing = [key for key in info["missing_keys"] if key in weights]
    checkpoint = read_checkpoint(folder)
    if missing:
        with pytest.raises(InputError) as caught:
            plan_parameters(checkpoint, model_class=model_class)
        words = f"which lacks {len(missing)} of its {len(weights)} parameters"
        assert words in caught.value.message and caught.value.field == "model_class"
        return
    plan = plan_parameters(checkpoint, model_class=model_class)
    assert (plan.model_class, plan.missing) == (model_class, ())
    assert [p.name for p in plan.parameters] == list(weights)
    assert all(same(plan.values[p.name].read(), weights[p.name]) for p in plan.parameters)


# -- what lies beside the weights, and where they lie --------------------------------------------


def test_an_adapter_beside_the_weights(tiny: TinyModels, tmp_path: Path) -> None:
    """tests/training shows what PEFT makes of such a folder."""
    folder = rewrite(tiny.folder("llama"), tmp_path / "m")
    assert exact(folder).summary.notes == ()
    (folder / "adapter_config.json").write_text("{}")
    for found in (inspect_model(str(folder)), exact(folder)):
        (note,) = found.summary.notes
        assert "q_proj.base_layer.weight" in note
        assert "move adapter_config.json out of the folder" in note


def test_shards_in_a_folder_below(tiny: TinyModels, tmp_path: Path) -> None:
    folder = rewrite(tiny.folder("llama"), tmp_path / "m")
    (folder / "shards").mkdir()
    (folder / SINGLE_FILE).rename(folder / "shards" / "x.safetensors")
    where = dict.fromkeys(load_file(folder / "shards" / "x.safetensors"), "shards/x.safetensors")
    (folder / INDEX_FILE).write_text(json.dumps({"metadata": {}, "weight_map": where}))
    model, info = load_as_a_trainer(folder, "AutoModelForCausalLM")
    assert not info["missing_keys"]
    names = [name for name, _ in model.named_parameters()]
    assert [p.name for p in exact(folder).model.parameters] == names


def test_two_models_in_one_folder_are_refused_by_both(tiny: TinyModels, tmp_path: Path) -> None:
    folder = rewrite(tiny.folder("llama"), tmp_path / "m")
    (folder / SINGLE_FILE).rename(folder / "b.safetensors")
    (folder / "a.safetensors").write_bytes((folder / "b.safetensors").read_bytes())
    with pytest.raises(OSError, match=r"no file named model\.safetensors"):
        load_as_a_trainer(folder, "AutoModelForCausalLM")
    assert "a.safetensors and b.safetensors" in refusal(folder).message
    (folder / "a.safetensors").unlink()  # one of them can be read, but not by from_pretrained
    (note,) = exact(folder).summary.notes
    assert note.startswith(f"from_pretrained finds neither model.safetensors nor {INDEX_FILE}")


def test_a_config_that_names_its_weights(tiny: TinyModels, tmp_path: Path) -> None:
    named = {"transformers_weights": "other.safetensors"}
    folder = rewrite(tiny.folder("llama"), tmp_path / "m", config=named)
    zeros = {n: torch.zeros_like(t) for n, t in load_file(folder / SINGLE_FILE).items()}
    save_file(zeros, folder / "other.safetensors", {"format": "pt"})
    model, _ = load_as_a_trainer(folder, "AutoModelForCausalLM")
    assert not any(value.any() for value in model.parameters())
    assert "names other.safetensors as its weights" in refusal(folder).message
    rewrite(folder, folder, config={"transformers_weights": SINGLE_FILE})
    assert exact(folder).summary.tensors == 21


def test_what_macos_keeps_beside_the_files(tiny: TinyModels, tmp_path: Path) -> None:
    folder = rewrite(tiny.folder("llama"), tmp_path / "m")
    (folder / "._model.safetensors").write_bytes(b"\0\x05\x16\x07")
    (folder / "._config.json").write_bytes(b"\0\x05\x16\x07")
    _, info = load_as_a_trainer(folder, "AutoModelForCausalLM")
    assert not info["missing_keys"]
    assert exact(folder).summary.shards == 1


# -- configurations and indexes: transformers' readers as the judges -------------------------------

QUICK = settings(
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
FILES = st.sampled_from(["a.safetensors", "b.safetensors", "c/d.safetensors", "../x", "/x", "c//d"])
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.text(max_size=3), FILES
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
INDEXES = st.one_of(
    st.dictionaries(st.text(max_size=3), FILES, max_size=3).map(lambda m: {"weight_map": m}),
    st.dictionaries(st.text(max_size=3), VALUES, max_size=3).map(lambda m: {"weight_map": m}),
    VALUES,
)
EDITS = st.sampled_from(["", "bom", "utf-16", "comma", "cut", "\xff", " \n"])


def as_bytes(value: object, edit: str) -> bytes:
    text = json.dumps(value, indent=1)
    if edit == "comma":
        text = re.sub(r"(\n *[}\]])", r",\1", text, count=1)
    edits = {
        "bom": text.encode("utf-8-sig"),
        "utf-16": text.encode("utf-16"),
        "cut": text[: len(text) // 2].encode(),
        "\xff": text.encode().replace(b'"', b'"\xff', 1),
    }
    return edits.get(edit, (text + edit if edit == " \n" else text).encode())


@settings(QUICK)
@given(VALUES, EDITS)
def test_a_config_is_taken_as_transformers_takes_it(
    tmp_path: Path, value: object, edit: str
) -> None:
    (tmp_path / "config.json").write_bytes(as_bytes(value, edit))
    try:
        wanted = transformers.PreTrainedConfig._dict_from_json_file(tmp_path / "config.json")
    except (ValueError, UnicodeDecodeError):
        with pytest.raises(CheckpointError, match=r"config\.json "):
            read_config(tmp_path)
        return
    found = read_config(tmp_path)
    assert repr(found) == repr(wanted if isinstance(wanted, dict) else {})


@settings(QUICK)
@given(INDEXES, EDITS)
def test_an_index_is_taken_as_transformers_takes_it(tmp_path: Path, value: Any, edit: str) -> None:
    from transformers.utils.hub import get_checkpoint_shard_files

    (tmp_path / "c").mkdir(exist_ok=True)
    for name in ("a.safetensors", "b.safetensors", "c/d.safetensors"):
        (tmp_path / name).touch()
    if isinstance(value, dict):
        value = value | {"metadata": {}}
    (tmp_path / INDEX_FILE).write_bytes(as_bytes(value, edit))
    try:
        paths, _ = get_checkpoint_shard_files(str(tmp_path), str(tmp_path / INDEX_FILE))
        wanted = [Path(path).relative_to(tmp_path).as_posix() for path in paths]
        usable = bool(wanted) and all((tmp_path / name).is_file() for name in wanted)
        inside = all(Path(path).resolve().is_relative_to(tmp_path) for path in paths)
    except (ValueError, TypeError, KeyError, AttributeError):
        usable = inside = False
    if usable and inside and not any("//" in name for name in map(str, paths)):
        assert shard_names(tmp_path) == wanted
    else:
        with pytest.raises(CheckpointError, match=re.escape(INDEX_FILE)):
            shard_names(tmp_path)
