"""Tied weights are one parameter, under the name that the trainer's model has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.naming import assemble
from spectrum_tui.core.naming.plan import plan_parameters
from tests.architectures.compare import load_as_a_trainer, matched
from tests.architectures.conftest import TinyModels
from tests.architectures.layouts import Tensors, rewrite

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def _only_the_head(tensors: Tensors) -> Tensors:
    rest = {name: tensor for name, tensor in tensors.items() if name != EMBEDDING}
    return rest | {HEAD: tensors[EMBEDDING]}


def _last_value_differs(tensors: Tensors) -> Tensors:
    head = tensors[EMBEDDING].clone()
    head[-1, -1] += 1
    return tensors | {HEAD: head}


def _other_shape(tensors: Tensors) -> Tensors:
    return tensors | {HEAD: tensors[EMBEDDING][:-3]}


def _compared(folder: Path, model_class: str = "LlamaForCausalLM") -> tuple[list[str], list[str]]:
    """Assert that the plan is the trainer's model; (names, aliases of the embeddings)."""
    model, info = load_as_a_trainer(folder, model_class)
    wanted = dict(model.named_parameters())
    plan = plan_parameters(read_checkpoint(folder))
    assert [p.name for p in plan.parameters] == list(wanted)
    assert matched(plan, wanted, set(info["missing_keys"])) == list(wanted)
    return list(wanted), list(plan.by_name[EMBEDDING].aliases)


def test_stored_once(tiny: TinyModels) -> None:
    names, aliases = _compared(tiny.folder("llama_tied"))
    assert HEAD not in names
    assert aliases == [HEAD]


def test_stored_twice_and_equal(tiny: TinyModels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assemble, "BLOCK", 1000)
    names, aliases = _compared(tiny.folder("llama_tied", "published"))
    assert HEAD not in names
    assert aliases == [HEAD]


def test_only_the_head_stored(tiny: TinyModels, tmp_path: Path) -> None:
    folder = rewrite(tiny.folder("llama_tied"), tmp_path / "m", _only_the_head)
    names, aliases = _compared(folder)
    assert HEAD not in names
    assert aliases == [HEAD]


def test_stored_twice_in_two_types(tiny: TinyModels, tmp_path: Path) -> None:
    def rounded_and_wide(tensors: Tensors) -> Tensors:
        table = tensors[EMBEDDING].bfloat16()
        return tensors | {EMBEDDING: table, HEAD: table.float()}

    names, aliases = _compared(rewrite(tiny.folder("llama_tied"), tmp_path / "m", rounded_and_wide))
    assert HEAD not in names
    assert aliases == [HEAD]


@pytest.mark.parametrize("block", [100, 2**22])
def test_stored_twice_and_different(
    block: int, tiny: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assemble, "BLOCK", block)
    folder = rewrite(tiny.folder("llama_tied"), tmp_path / "m", _last_value_differs)
    names, aliases = _compared(folder)
    assert names[-1] == HEAD
    assert aliases == []


def test_stored_twice_in_two_shapes(tiny: TinyModels, tmp_path: Path) -> None:
    folder = rewrite(tiny.folder("llama_tied"), tmp_path / "m", _other_shape)
    plan = plan_parameters(read_checkpoint(folder))
    assert [name for name, *_ in plan.mismatched] == [HEAD]


def test_files_that_are_not_here_are_tied_as_configured(tiny: TinyModels, tmp_path: Path) -> None:
    folder = rewrite(tiny.folder("llama_tied"), tmp_path / "m", _last_value_differs)
    checkpoint = read_checkpoint(folder)
    (folder / "model.safetensors").rename(tmp_path / "elsewhere")
    remote = tuple(replace(tensor, state=None) for tensor in checkpoint.tensors)
    plan = plan_parameters(replace(checkpoint, tensors=remote))
    assert plan.by_name[EMBEDDING].aliases == (HEAD,)


def test_several_names_of_one(tiny: TinyModels) -> None:
    plan = plan_parameters(read_checkpoint(tiny.folder("t5", "published")))
    assert set(plan.by_name["shared.weight"].aliases) >= {
        "encoder.embed_tokens.weight",
        "decoder.embed_tokens.weight",
    }
