"""What is read from a file is of the types that the code says, or it is not believed."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from typing_extensions import TypeAliasType, TypeVar

from spectrum_tui.core.conforming import conforms
from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.files import cache_dir, read_kept, write_kept
from spectrum_tui.core.model.inspection import inspect_model
from spectrum_tui.core.model.kept_plans import _FORM, KeptModel
from spectrum_tui.core.recipes.spectrum import SpectrumYaml
from spectrum_tui.core.requests import ModelSummary
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.saved.details import DETAILS
from spectrum_tui.core.saved.kept_spectra import spectra_of
from spectrum_tui.core.saved.store import load_result, save_scores
from tests import made
from tests.checkpoints import llama, save


@dataclass(frozen=True)
class Point:
    x: float
    tags: tuple[str, ...]
    kind: Literal["a", "b"] = "a"
    values: npt.NDArray[np.float64] | None = None


_Of = TypeVar("_Of", bound=np.generic)
_Array = TypeAliasType("_Array", np.ndarray[Any, np.dtype[_Of]], type_params=(_Of,))
"""An array as numpy from 2.5 on names it where Python has `type` statements."""


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (1, int, True),
        (True, int, False),
        (1, float, False),
        ("x", str, True),
        (None, str, False),
        (None, str | None, True),
        ("x", str | None, True),
        (3, str | None, False),
        ([1, 2], list[int], True),
        ([], list[int], True),
        ([1, "2"], list[int], False),
        ((1, 2), list[int], False),
        ((1, "a"), tuple[int, str], True),
        ((1, "a", 2), tuple[int, str], False),
        ((), tuple[int, ...], True),
        (np.zeros(2), _Array[np.float64], True),
        ([0.0], _Array[np.float64], False),
        (((1, "a"), (2, "b")), tuple[tuple[int, str], ...], True),
        (((1, "a"), (2, 3)), tuple[tuple[int, str], ...], False),
        (((1, "a"), (2,)), tuple[tuple[int, str], ...], False),
        (((1, "a"), "xy"), tuple[tuple[int, str], ...], False),
        ({"a": [1]}, dict[str, list[int]], True),
        ({"a": [1]}, Mapping[str, list[int]], True),
        ({"a": [None]}, dict[str, list[int]], False),
        ({1: [1]}, dict[str, list[int]], False),
        ("a", Literal["a", "b"], True),
        ("c", Literal["a", "b"], False),
        (["a"], Literal["a", "b"], False),
        (Point(1.0, ("t",)), Point, True),
        (Point(1.0, ("t",), values=np.zeros(2)), Point, True),
        (Point(1.0, (3,)), Point, False),  # type: ignore[arg-type]
        (Point(1, ("t",)), Point, False),
        (Point(1.0, ("t",), "c"), Point, False),  # type: ignore[arg-type]
        ([Point(1.0, ()), Point(2.0, ("t",))], list[Point], True),
        ([Point(1.0, ()), None], list[Point], False),
    ],
)
def test_conforms(value: object, kind: Any, expected: bool) -> None:
    assert conforms(value, kind) is expected


ODD: list[Any] = [
    None,
    True,
    -1,
    10**6,
    2**70,
    1.5,
    float("nan"),
    float("inf"),
    "",
    "x\x1b[2J",
    [],
    {},
    [[]],
    {"kind": "ModelSummary"},
    {"kind": []},
    [1, 2, 3],
    [["a", 1.0]],
]


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a JSON tree."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in list(items):
        yield node, key
        if isinstance(value, dict | list):
            yield from places(value)


def changed(data: Any, rng: random.Random) -> Any:
    """The same with one value replaced, or gone."""
    container, key = rng.choice(list(places(data)))
    if isinstance(container, dict) and rng.random() < 0.1:
        del container[key]
    else:
        container[key] = rng.choice(ODD)
    return data


def test_details_of_wrong_values_are_not_believed(tmp_path: Path) -> None:
    """With a right checksum, as another version might have written them."""
    files = save_scores(made.result(layers=3, bias=True, failed={1: "is all zero"}), tmp_path)
    (path,) = (cache_dir() / "results").iterdir()
    text = read_kept(path, DETAILS)
    assert text is not None
    rng = random.Random(3)
    refused = 0
    for _ in range(150):
        write_kept(path, DETAILS, json.dumps(changed(json.loads(text), rng)))
        result = load_result(files.scores)
        refused += not result.scores.has_shapes
        mask = Selection(result).trained(Policy(percent=50))
        assert len(mask) == len(result.scores)
        spectra_of(result, 0)
        with contextlib.suppress(SelectionError):  # names that no file can hold
            assert SpectrumYaml(Selection(result)).text(Policy(percent=100))
    assert refused > 75


def test_a_plan_of_wrong_values_is_made_anew(tmp_path: Path) -> None:
    inspection = inspect_model(str(save(tmp_path, llama(1))))
    right = KeptModel(inspection).summary()
    (path,) = (cache_dir() / "plans").iterdir()
    text = read_kept(path, _FORM)
    assert text is not None
    rng = random.Random(4)
    anew = 0
    for _ in range(40):
        first, second = map(json.loads, text.splitlines())
        if rng.random() < 0.5:
            first = changed(first, rng)
        else:
            second = changed(second, rng)
        write_kept(path, _FORM, f"{json.dumps(first)}\n{json.dumps(second)}\n")
        found = KeptModel(inspection).summary()
        assert conforms(found, ModelSummary)
        anew += found == right
    assert anew > 20
    for odd in ("", "\n", "{}\n", "[]\n[]\n", "{}\n[]\n{}\n", f"{'[' * 90_000}\n[]\n"):
        write_kept(path, _FORM, odd)
        assert KeptModel(inspection).summary() == right
