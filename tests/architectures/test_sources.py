"""The pieces below a plan: stored sources, the loader's renaming, matching by suffix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from spectrum_tui.core.checkpoint.headers import Tensor, read_checkpoint
from spectrum_tui.core.errors import CheckpointError
from spectrum_tui.core.naming.mapping import match_sources
from spectrum_tui.core.naming.parameters import StoredSource, Window, plain_source
from spectrum_tui.core.naming.transformers_api import Renamer
from spectrum_tui.core.stored_types import Array, numpy_dtype
from tests.checkpoints import equal, save


def scaled(parts: Sequence[Array]) -> Array:
    """Values times a scale for each row."""
    values, scales = parts
    return values * scales.reshape(-1, *[1] * (values.ndim - 1))


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, Tensor]:
    tensors = {
        "w": torch.arange(60.0).view(5, 4, 3),
        "s": torch.arange(1.0, 6.0),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(7.0),
    }
    return {t.name: t for t in read_checkpoint(save(tmp_path / "m", tensors)).tensors}


@pytest.mark.parametrize("aligned", [True, False])
def test_a_decoded_source_reads_any_part(parts: dict[str, Tensor], aligned: bool) -> None:
    source = StoredSource(
        name="w",
        shape=(5, 4, 3),
        dtype="F32",
        parts=(parts["w"], parts["s"]),
        decode=scaled,
        row_aligned=aligned,
    )
    whole = torch.arange(60.0).view(5, 4, 3) * torch.arange(1.0, 6.0).view(5, 1, 1)
    assert equal(source.read(), whole)
    assert equal(source.read_rows(1, 3), whole[1:3])
    for first, count in ((0, 60), (5, 1), (11, 14), (36, 24), (59, 1), (0, 0)):
        assert equal(source.read_elements(first, count), whole.reshape(-1)[first:][:count])
    assert equal(Window(source, 4, 3).read_rows(1, 3), whole.reshape(-1, 3)[5:7])
    assert source.nbytes == 65 * 4


def test_only_the_rows_that_are_needed_are_decoded(parts: dict[str, Tensor]) -> None:
    seen: list[tuple[int, ...]] = []

    def watched(tensors: Sequence[Array]) -> Array:
        seen.append(tensors[0].shape)
        return scaled(tensors)

    source = StoredSource(
        name="w", shape=(5, 4, 3), dtype="F32", parts=(parts["w"], parts["s"]), decode=watched
    )
    source.read_elements(13, 10)
    assert seen == [(1, 4, 3)]


def test_nothing_and_one_value(parts: dict[str, Tensor]) -> None:
    assert plain_source(parts["empty"]).read().shape == (0, 3)
    assert plain_source(parts["scalar"]).read().item() == 7.0


def test_a_type_that_nobody_reads_is_an_error_of_the_model() -> None:
    with pytest.raises(CheckpointError, match="F6_E2M3"):
        numpy_dtype("F6_E2M3")


def test_a_name_that_is_right_already_is_not_renamed_away() -> None:
    from transformers.core_model_loading import WeightRenaming

    state = {"old.weight": torch.empty(0), "base.new.bias": torch.empty(0)}
    renamer = Renamer([WeightRenaming("old", "new")], "base", state)
    assert renamer.rename("old.weight") == ("old.weight", "")
    assert renamer.rename("old.bias") == ("base.new.bias", "")
    assert renamer.rename("old.nothing") == ("", "")


def matched(stored: dict[str, tuple[int, ...]], wanted: dict[str, tuple[int, ...]]) -> set[str]:
    """ "stored > parameter" of every match by suffix."""
    state = {name: torch.empty(shape, device="meta") for name, shape in wanted.items()}
    model = SimpleNamespace(state_dict=lambda: state, base_model_prefix="model")
    sources = [
        StoredSource(name=name, shape=shape, dtype="F32", parts=())
        for name, shape in stored.items()
    ]
    found = match_sources(model, sources)
    return {f"{group.sources[0].name} > {group.target}" for group in found.groups}


@pytest.mark.parametrize(
    ("stored", "wanted", "found"),
    [
        ({"a.0.q.weight": (2, 3)}, {"b.c.0.q.weight": (2, 3)}, {"a.0.q.weight > b.c.0.q.weight"}),
        ({"a.0.q.weight": (2, 3)}, {"b.c.0.q.weight": (3, 2)}, set()),
        ({"a.q.weight": (2,)}, {"b.q.weight": (2,)}, set()),
        ({"x.0.q.weight": (2,)}, {"a.0.q.weight": (2,), "b.0.q.weight": (2,)}, set()),
        ({"q.weight": (2,)}, {"model.q.weight": (2,)}, {"q.weight > model.q.weight"}),
        ({"model.q.weight": (2,)}, {"q.weight": (2,)}, {"model.q.weight > q.weight"}),
        (
            {"x.0.q.weight": (2,), "a.0.q.weight": (2,)},
            {"a.0.q.weight": (2,), "b.0.q.weight": (2,)},
            {"a.0.q.weight > a.0.q.weight", "x.0.q.weight > b.0.q.weight"},
        ),
    ],
)
def test_suffixes(
    stored: dict[str, tuple[int, ...]], wanted: dict[str, tuple[int, ...]], found: set[str]
) -> None:
    assert matched(stored, wanted) == found
