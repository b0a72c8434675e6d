"""From a scan to a trainer: the recipe unfreezes exactly what was selected, in every model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.model.inspection import Inspection, inspect_model, with_exact_names
from spectrum_tui.core.recipes.spectrum import SpectrumYaml
from spectrum_tui.core.requests import ResultReady
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.saved.store import load_result
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.settings import Settings
from tests import oracle
from tests.architectures.compare import load_as_a_trainer
from tests.architectures.conftest import TinyModels
from tests.architectures.test_experts import FUSED
from tests.architectures.tiny import ARCHITECTURES
from tests.architectures.trainers import (
    after_dashes,
    embeddings,
    inside,
    of_freeze_except,
    trainable,
)

CASES = [(name, "published") for name in ARCHITECTURES]
CASES += [(name, layout) for name in FUSED for layout in ("transformers-4", "fused")]
PERCENTAGES = (34, 50, 75, 100)


def scanned(folder: Path, output: Path, *, everything: bool = True) -> Result:
    """The result of a scan of all types, or of those that start chosen, read back from disk."""
    return scan_of(with_exact_names(inspect_model(str(folder))), output, everything=everything)


def scan_of(inspection: Inspection, output: Path, *, everything: bool) -> Result:
    """`scanned`, of a model that is known already."""
    types = tuple(t.name for t in inspection.summary.types) if everything else ()
    folder = inspection.summary.folder
    request = Settings(model=folder, types=types, device="cpu", output_dir=str(output))
    *_, ready = run_scan(request, inspection)
    assert isinstance(ready, ResultReady) and ready.complete
    return load_result(Path(ready.path))


def scanned_once(tiny: TinyModels, inspection: Inspection, output: Path) -> Result:
    """The result of a scan of all types, which is made for the first test that looks at it."""
    folder = inspection.summary.folder
    if folder not in tiny.results:
        tiny.results[folder] = scan_of(inspection, output, everything=True)
    return tiny.results[folder]


def intended(result: Result, percent: float, parameters: set[str]) -> set[str]:
    """What the best of each type are, bias included, by the rule typed again."""
    scores = result.scores
    types: dict[str, dict[str, float]] = {}
    for layer, type_id, snr in zip(scores.layers, scores.type_ids, scores.values, strict=True):
        types.setdefault(scores.type_names[type_id], {})[layer] = float(snr)
    layers = {layer for of_type in types.values() for layer in oracle.selected(of_type, percent)}
    return parameters_of(layers, parameters)


def parameters_of(layers: set[str], parameters: set[str]) -> set[str]:
    """The parameters of these layers, biases included."""
    names = {f"{layer}{end}" for layer in layers for end in ("", ".weight", ".bias", "_bias")}
    return names & parameters


def added(model: Any) -> set[str]:
    """What the class adds to its base model, and the pooler before a classifier."""
    names = {name for name, _ in model.named_parameters()}
    base = {name for name in names if name.startswith(f"{model.base_model_prefix}.")}
    return (names - base if base else set()) | {name for name in names if ".pooler." in name}


def of_the_same_modules(heads: set[str], names: set[str]) -> set[str]:
    """Heads with their biases: a head that is off does not train at all."""
    modules = {one.rpartition(".")[0] for one in heads}
    return {name for name in names if name.rpartition(".")[0] in modules}


def recipe(result: Result, percent: int, *, with_embeddings: bool) -> str:
    """The text of the file, empty where there is nothing to write."""
    try:
        return SpectrumYaml(Selection(result)).text(
            Policy(percent=percent, embeddings=with_embeddings)
        )
    except SelectionError as exc:
        if "smallest percentage" in exc.message + exc.hint:
            return ""
        raise


def readers(model: Any, text: str, *, strictest: bool) -> dict[str, set[str]]:
    """What trains by the least careful reader, and by the strictest, which takes 0.1 s to make
    sure that no optimizer has the model; `test_trainers` has all the others."""
    found = {"substring": trainable(model, after_dashes(text), inside)}
    if strictest:
        found["freeze_except"] = of_freeze_except(model, text)
    return found


@pytest.mark.parametrize(("name", "layout"), CASES)
def test_a_recipe_trains_what_was_selected(
    name: str,
    layout: str,
    tiny: TinyModels,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    folder = tiny.folder(name, layout)
    model, _ = load_as_a_trainer(folder, ARCHITECTURES[name].model)
    names = {name for name, _ in model.named_parameters()}
    inspection = with_exact_names(inspect_model(str(folder)))
    tried, right = 0, 0
    chosen = scan_of(inspection, tmp_path / "out", everything=False)
    for result in (chosen, scanned_once(tiny, inspection, tmp_path / "out")):
        assert set(result.names) == names
        heads = {one.name for one in result.embeddings}
        assert heads == embeddings(model) | added(model)
        for percent in PERCENTAGES:
            best = intended(result, percent, names)
            for with_embeddings in (True, False):
                wanted = (
                    best | heads if with_embeddings else best - of_the_same_modules(heads, names)
                )
                text = recipe(result, percent, with_embeddings=with_embeddings)
                if not text:
                    continue
                for how, trains in readers(model, text, strictest=percent == 50).items():
                    tried += 1
                    right += trains == wanted
                    assert trains == wanted, (how, percent, with_embeddings, trains ^ wanted)
    record_property("trained", (name, layout, len(names), tried, right))
    assert tried
