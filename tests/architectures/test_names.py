"""The plan has what a trainer has: names, order, shapes and values of `from_pretrained`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.naming.plan import plan_parameters
from tests.architectures.compare import (
    check_experts,
    check_matrices,
    check_modules,
    load_as_a_trainer,
    matched,
)
from tests.architectures.conftest import TinyModels
from tests.architectures.layouts import LAYOUTS
from tests.architectures.tiny import ARCHITECTURES

CASES = [(name, layout) for name in ARCHITECTURES for layout in LAYOUTS]


@pytest.mark.parametrize(("name", "layout"), CASES)
def test_the_plan_is_the_trainers_model(
    name: str, layout: str, tiny: TinyModels, record_property: Callable[[str, object], None]
) -> None:
    folder = tiny.folder(name, layout)
    model, info = load_as_a_trainer(folder, ARCHITECTURES[name].model)
    wanted = dict(model.named_parameters())
    for shards in (1, 3):
        plan = plan_parameters(read_checkpoint(tiny.folder(name, layout, shards)))
        assert (plan.naming, plan.banner, plan.mismatched) == ("transformers", "", ())
        assert plan.model_class == type(model).__name__
        assert [p.name for p in plan.parameters] == list(wanted)
        missing = set(info["missing_keys"])
        assert set(plan.missing) == missing - {name for name, _ in model.named_buffers()}
        assert set(plan.unexpected) == set(info["unexpected_keys"]) - set(plan.ignored)
        names = matched(plan, wanted, missing)
        slices = check_experts(plan, wanted)
    record_property("matched", (name, layout, len(wanted), len(names), slices))
    assert names == list(wanted)
    check_matrices(plan, wanted)
    check_modules(plan, model)
