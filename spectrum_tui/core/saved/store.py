"""Score files: written in the reference tool's format, read back from it and from its kin.

The flat `{layer: {"snr", "type"}}` file is what other tools read. What is richer (shapes, bias
names, provenance, failures) lies in the program's cache: see `details`.
A file of another metric has that metric's values where the reference's has the SNR.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from spectrum_tui.core import json_text
from spectrum_tui.core.checkpoint.identity import same_contents
from spectrum_tui.core.disk import read_text
from spectrum_tui.core.errors import OutputError, ResultsError, reason_of
from spectrum_tui.core.experts import is_fused
from spectrum_tui.core.files import OutputFiles, is_file, slug, write_text
from spectrum_tui.core.gc_pause import without_collections
from spectrum_tui.core.layer_types import (
    Group,
    group_of,
    is_input_embedding,
    is_output_head,
    is_task_head,
    layer_type,
)
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.results.results import (
    EmbeddingParameter,
    Generation,
    MetricColumn,
    Provenance,
    Result,
    Scores,
    int_array,
)
from spectrum_tui.core.saved.details import keep, kept
from spectrum_tui.core.settings import ALL_METRICS, DATA_METRICS, METRIC
from spectrum_tui.core.text import safe

Row = tuple[str, str, float]
"""(layer, type, score)."""


def save_scores(
    result: Result, output_dir: Path, *, tell: Callable[[str], object] = lambda note: None
) -> OutputFiles:
    """Write the flat and the sorted score file; raises OutputError, leaving old files whole.

    `tell` is called with a sentence where the details could not be kept beside them, and where
    scores of other weights are replaced, whose files have the same names.
    """
    files = files_of(result, output_dir)
    text = flat_text(result)
    if replaced := _replaced(files, result, text):
        tell(replaced)
    write_text(files.scores, text)
    write_text(files.sorted_scores, sorted_text(result))
    result = _with_known(result, text)
    try:
        keep(result, text)
    except OutputError as exc:
        tell(f"The score files will open without sizes. {exc}")
    return files


def _replaced(files: OutputFiles, result: Result, text: str) -> str:
    """Return what to say where a file is there of scores of other weights, or of types of these
    that the result has not; empty otherwise."""
    try:
        before = _read(files.scores) if is_file(files.scores) else text
    except ResultsError:
        return ""
    if before == text:
        return ""
    earlier, name = kept(before, files.slug, files.scores), files.scores.name
    if earlier is None or not earlier.checkpoint:
        return f"{name} held scores that are not known as those of these weights: it is replaced."
    if same_contents(earlier.checkpoint, result.checkpoint):
        return _left_out(name, earlier.scores, result.scores)
    return (
        f"{name} held the scores of other weights of that name: it is replaced. Their next scan "
        "starts from what was computed of them; another --output-dir keeps both files."
    )


def _left_out(name: str, earlier: Scores, now: Scores) -> str:
    """Return what to say where a file of the same weights had types that are not written now."""
    gone = [one for one in earlier.type_names if one not in now.type_names]
    if not gone:
        return ""
    listed = ", ".join(safe(one) for one in gone[:3]) + (", …" if len(gone) > 3 else "")
    types = counted(len(gone), "more type", "more types")
    return (
        f"{name} held {types} ({listed}), not asked for now: left out of it. "
        "Their scores are kept: a scan with them writes them again, and computes none."
    )


def _with_known(result: Result, text: str) -> Result:
    """Return the result with the metrics of data that a probe of these very scores has left: a
    scan that gives them again knows none."""
    earlier, scores = kept(text, slug(result.provenance.model), Path()), result.scores
    known: Mapping[str, MetricColumn] = {}
    if earlier is not None and same_contents(earlier.checkpoint, result.checkpoint):
        known = earlier.scores.metrics if earlier.scores.layers == scores.layers else {}
    lacking = {n: known[n] for n in DATA_METRICS if n in known and n not in scores.metrics}
    return replace(result, scores=replace(scores, metrics={**scores.metrics, **lacking}))


def add_details(path: Path, result: Result) -> None:
    """Keep what is known more of the scores in a file, which stays as it is; raises ResultsError
    where it cannot be read, OutputError where nothing can be kept."""
    keep(result, _read(path))


def files_of(result: Result, folder: Path) -> OutputFiles:
    """Return what the files of a result are called in a folder."""
    return OutputFiles(folder, slug(result.provenance.model), result.scores.metric)


def flat_text(result: Result) -> str:
    """`{layer: {"snr", "type"}}` as the reference writes it; failed layers are left out."""
    rows = {layer: {"snr": score, "type": kind} for layer, kind, score in _scored(result.scores)}
    return json.dumps(rows, indent=4)


def sorted_text(result: Result) -> str:
    """`{type: {layer: snr}}`, highest first, ties in file order."""
    types: dict[str, dict[str, float]] = {}
    for layer, kind, score in sorted(_scored(result.scores), key=lambda row: -row[2]):
        types.setdefault(kind, {})[layer] = score
    in_order = {name: types[name] for name in result.scores.type_names if name in types}
    return json.dumps(in_order, indent=4)


def load_result(path: Path) -> Result:
    """Read a score file of this program or of another; raises ResultsError."""
    with without_collections():
        return _load_result(path)


def _load_result(path: Path) -> Result:
    text = _read(path)
    model, _ = _model_and_metric(path.stem)
    return kept(text, model, path) or _imported(parse_rows(text, path.name), path)


def keep_details(result: Result, path: Path) -> None:
    """Keep everything of a result for the next time that the file is read, where the cache can be
    written."""
    with contextlib.suppress(OutputError, ResultsError):
        keep(result, _read(path))


def parse_rows(text: str, name: str) -> list[Row]:
    """Return the rows of a flat or a sorted score file, in file order; NaN and Infinity allowed."""
    if not text.strip():
        raise ResultsError(
            f"{name} is blank: it holds no scores.", "Scan the model to make new ones."
        )
    try:
        rows = list(_rows(json_text.load(text)))
    except json_text.NotJSONError as exc:
        fault = exc.fault
        raise ResultsError(f"{name} {fault.problem}.", fault.hint) from None
    except json_text.WRONG_SHAPE:
        raise ResultsError(
            f"{name} is not a score file.",
            'It should map each layer to its "snr" and "type", or each type to its layers.',
        ) from None
    if not rows:
        raise ResultsError(f"{name} holds no layer.", "Scan the model to make new scores.")
    return rows


def _rows(data: Mapping[str, Any]) -> Iterator[Row]:
    for key, value in data.items():
        if "snr" in value and not isinstance(value["snr"], dict):
            yield key, str(value.get("type") or layer_type(key)), _number(value["snr"])
        else:
            for layer, score in value.items():
                yield layer, key, _number(score)


def _number(value: object) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(value)
    return float(value)


def _scored(scores: Scores) -> Iterator[Row]:
    names = scores.type_names
    values = scores.values.tolist()
    for row, (layer, type_id) in enumerate(zip(scores.layers, scores.type_ids, strict=True)):
        if row not in scores.problems and not math.isnan(values[row]):
            yield layer, names[type_id], values[row]


def _read(path: Path) -> str:
    try:
        # With the line ends of a text file: the details are found by them.
        return read_text(path)
    except UnicodeDecodeError:
        raise ResultsError(
            f"{path.name} is not UTF-8 text, which JSON must be.", "Give a scores .json."
        ) from None
    except IsADirectoryError:
        raise ResultsError(
            f"{safe(str(path))} is a folder.",
            "Give a score file in it; spectrum-tui FOLDER opens a model or a training run.",
        ) from None
    except OSError as exc:
        raise ResultsError(
            f"{path} cannot be read ({reason_of(exc)}).", "Check the path."
        ) from None


def _imported(rows: list[Row], path: Path) -> Result:
    """Return a result from rows alone: no sizes, names and head by the reference's conventions."""
    layers = [layer for layer, _, _ in rows]
    type_names = list(dict.fromkeys(kind for _, kind, _ in rows))
    position = {name: i for i, name in enumerate(type_names)}
    unknown = np.zeros(len(rows), np.int64)
    model, metric = _model_and_metric(path.stem)
    scores = Scores(
        layers=layers,
        type_names=type_names,
        type_ids=int_array([position[kind] for _, kind, _ in rows]),
        rows=unknown,
        columns=unknown,
        numel=unknown,
        parameters=[(weight_name(layer),) for layer in layers],
        metrics={metric: MetricColumn(np.array([score for _, _, score in rows], np.float64))},
        metric=metric,
    )
    embeddings, guessed = _assumed_embeddings(layers)
    origin = Provenance(model=model, generation=generation(rows))
    return Result(
        scores=scores,
        embeddings=embeddings,
        provenance=origin,
        total_parameters=0,
        planned=len(rows),
        skipped=(),
        source=str(path),
        embeddings_are_guessed=guessed,
    )


def _model_and_metric(stem: str) -> tuple[str, str]:
    """Return what a score file's name says: a slug holds no `_`, so what follows one is the
    metric, before the step of a training."""
    whole = stem.removeprefix("snr_results_").removesuffix("_sorted")
    model, of_a_step, step = whole.rpartition("-step-")
    if not of_a_step:
        model, step = step, ""
    for metric in ALL_METRICS[1:]:
        if model.endswith(f"_{metric}"):
            return model.removesuffix(f"_{metric}") + of_a_step + step, metric
    model = whole
    return model, METRIC


def weight_name(layer: str) -> str:
    """Return the weight of a module path; a name that already is a parameter's stays.

    >>> weight_name("model.layers.1.mlp.down_proj")
    'model.layers.1.mlp.down_proj.weight'
    """
    if layer.endswith((".weight", ".bias")) or is_fused(layer):
        return layer
    return f"{layer}.weight"


def _assumed_embeddings(layers: list[str]) -> tuple[tuple[EmbeddingParameter, ...], bool]:
    """Embeddings and head among the layers, else the two names that the reference writes."""
    inputs = [layer for layer in layers if is_input_embedding(layer)]
    task = [layer for layer in layers if is_task_head(layer)]
    outputs = [*(layer for layer in layers if is_output_head(layer)), *task]
    guessed = not task and (not inputs or not outputs)
    if any(layer.startswith("model.layers.") for layer in layers):
        inputs = inputs or ["model.embed_tokens"]
        outputs = outputs or ["lm_head"]
    heads = [EmbeddingParameter(weight_name(x), 0, task=x in task) for x in (*inputs, *outputs)]
    return tuple(heads), guessed and bool(heads)


def generation(rows: list[Row]) -> Generation:
    """By which rule a file was made, told by its norms: Infinity or 1.0 for every one."""
    norms = {score for _, kind, score in rows if group_of(kind) is Group.NORMS}
    if norms == {math.inf}:
        return Generation.BEFORE_2025_04
    return Generation.CURRENT if norms == {1.0} else Generation.UNKNOWN
