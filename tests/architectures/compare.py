"""A plan against the model that a trainer loads: `from_pretrained` is the only judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from spectrum_tui.core.naming.parameters import ParameterPlan, RuntimeParameter
from spectrum_tui.core.stored_types import as_torch


def load_as_a_trainer(folder: Path, model_class: str) -> tuple[Any, dict[str, Any]]:
    """The model, and what the loader says was missing and unexpected."""
    loaded = getattr(transformers, model_class).from_pretrained(folder, output_loading_info=True)
    return loaded[0], loaded[1]


def matched(plan: ParameterPlan, wanted: dict[str, torch.Tensor], missing: set[str]) -> list[str]:
    """The names of parameters whose shape and values are the trainer's."""
    return [
        parameter.name
        for parameter in plan.parameters
        if parameter.shape == tuple(wanted[parameter.name].shape)
        and (
            parameter.name in missing
            or same(plan.values[parameter.name].read(), wanted[parameter.name])
        )
    ]


def check_modules(plan: ParameterPlan, model: Any) -> None:
    """Assert that each parameter is said to belong to the kind of module that it does."""
    for parameter in plan.parameters:
        owner = model.get_submodule(parameter.name.rpartition(".")[0])
        bases = {base.__name__ for base in type(owner).__mro__}
        expected = [name for name in ("Linear", "Conv1D", "Embedding") if name in bases]
        assert parameter.module == ("".join(expected).lower() or "other"), parameter.name


def same(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Whether values are equal in the trainer's type."""
    return torch.equal(ours.to(theirs.dtype), theirs.detach())


def check_experts(plan: ParameterPlan, wanted: dict[str, torch.Tensor]) -> int:
    """Assert that every expert reads alone and is the trainer's slice; how many there are."""
    fused = [p for p in plan.parameters if p.experts and p.sources]
    for parameter in fused:
        assert plan.values[parameter.name].can_read_expert(), parameter.name
        for expert in range(parameter.experts):
            slice_ = plan.values[parameter.name].read_expert(expert)
            assert same(slice_, wanted[parameter.name][expert]), (parameter.name, expert)
    return sum(parameter.experts for parameter in fused)


def expected_matrices(parameter: RuntimeParameter, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """{label: matrix} of what is to be scored, cut from the trainer's own weight."""
    if not parameter.experts:
        return {"": weight.reshape(weight.shape[0], -1)}
    if parameter.gate_up is None:
        return {f"expert {i}": expert for i, expert in enumerate(weight)}
    halves = [(i, parameter.gate_up.cut(expert)) for i, expert in enumerate(weight)]
    return {
        f"expert {i} {n}": h for i, cut in halves for n, h in zip(("gate", "up"), cut, strict=True)
    }


def check_matrices(plan: ParameterPlan, wanted: dict[str, torch.Tensor]) -> None:
    """Assert that the matrices are the trainer's weights, whole or in two pieces."""
    for parameter in plan.parameters:
        refs = plan.matrices(parameter)
        if not refs:
            assert parameter.unscored, parameter.name
            continue
        expected = expected_matrices(parameter, wanted[parameter.name].detach())
        assert [ref.label for ref in refs] == list(expected)
        for ref in refs:
            found, weight = as_torch(ref.read()), expected[ref.label]
            assert found.shape == (ref.rows, ref.columns)
            turned = found.shape != weight.shape
            assert same(found.T if turned else found, weight), (parameter.name, ref.label)
            pieces = [ref.values.read_rows(0, 1), ref.values.read_rows(1, ref.rows)]
            assert torch.equal(torch.cat([as_torch(piece) for piece in pieces]), found)
