"""Score files: written in the reference tool's format, read back from it and from its kin.

The flat `{layer: {"snr", "type"}}` file is what other tools read. What is richer (shapes, bias
names, provenance, failures) lies in the program's cache under the hash of the flat file's
content, so that it is found wherever the file was moved, and never for a file that was edited.
A file of another metric has that metric's values where the reference's has the SNR.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from spectrum_tui.core import json_text
from spectrum_tui.core.conforming import conforms
from spectrum_tui.core.disk import read_text
from spectrum_tui.core.errors import OutputError, ResultsError, reason_of
from spectrum_tui.core.experts import is_fused
from spectrum_tui.core.files import (
    OutputFiles,
    cache_dir,
    checksum,
    newest_first,
    read_kept,
    slug,
    write_kept,
    write_text,
)
from spectrum_tui.core.gc_pause import without_collections
from spectrum_tui.core.layer_types import (
    Group,
    group_of,
    is_input_embedding,
    is_output_head,
    is_task_head,
    layer_type,
)
from spectrum_tui.core.results.results import (
    EmbeddingParameter,
    FloatArray,
    Generation,
    IntArray,
    MetricColumn,
    Parameter,
    Parts,
    Provenance,
    Result,
    Scores,
    int_array,
)
from spectrum_tui.core.saved.kept_spectra import completed
from spectrum_tui.core.settings import ALL_METRICS, DATA_METRICS, METRIC
from spectrum_tui.core.wire import form_of

DETAILS = f"results {form_of(Scores, Result, Provenance, EmbeddingParameter, Parameter)}"
"""What the details of a score file are kept as."""
TWOFOLD_DETAILS = "results 2db93a39"
"""Details that are read as well: the column that ranks is in them twice, its name among the
provenance."""

Row = tuple[str, str, float]
"""(layer, type, score)."""


def save_scores(
    result: Result, output_dir: Path, *, tell: Callable[[str], object] = lambda note: None
) -> OutputFiles:
    """Write the flat and the sorted score file; raises OutputError, leaving old files whole.

    `tell` is called with a sentence where the details could not be kept beside them.
    """
    files = files_of(result, output_dir)
    text = flat_text(result)
    write_text(files.scores, text)
    write_text(files.sorted_scores, sorted_text(result))
    result = _with_known(result, text)
    try:
        _keep(result, text)
    except OutputError as exc:
        tell(f"The score files will open without sizes. {exc}")
    return files


def _with_known(result: Result, text: str) -> Result:
    """Return the result with the metrics of data that a probe of these very scores has left: a
    scan that gives them again knows none."""
    earlier, scores = _kept(text, slug(result.provenance.model), Path()), result.scores
    known: Mapping[str, MetricColumn] = {}
    if earlier is not None and earlier.checkpoint == result.checkpoint:
        known = earlier.scores.metrics if earlier.scores.layers == scores.layers else {}
    lacking = {n: known[n] for n in DATA_METRICS if n in known and n not in scores.metrics}
    return replace(result, scores=replace(scores, metrics={**scores.metrics, **lacking}))


def add_details(path: Path, result: Result) -> None:
    """Keep what is known more of the scores in a file, which stays as it is; raises ResultsError
    where it cannot be read, OutputError where nothing can be kept."""
    _keep(result, _read(path))


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
    return _kept(text, model, path) or _imported(parse_rows(text, path.name), path)


def details_text(result: Result) -> str:
    """Everything of a result as one line of JSON, to cross from one process to another."""
    return json.dumps(_details(result))


def keep_details(result: Result, path: Path) -> None:
    """Keep everything of a result for the next time that the file is read, where the cache can be
    written."""
    with contextlib.suppress(OutputError, ResultsError):
        _keep(result, _read(path))


def from_details_text(text: str, path: Path) -> Result:
    """Return the result that `details_text` wrote of the scores in `path`; raises ValueError."""
    try:
        return completed(_from_details(json.loads(text), path))
    except json_text.WRONG_SHAPE:
        raise ValueError("not the details of scores") from None


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
    except OSError as exc:
        raise ResultsError(
            f"{path} cannot be read ({reason_of(exc)}).", "Check the path."
        ) from None


def _keep(result: Result, text: str) -> None:
    """Keep everything of a result whose file holds this text; raises OutputError."""
    places = _places(text, slug(result.provenance.model))
    write_kept(next(places), DETAILS, details_text(result))


def _kept(text: str, model: str, path: Path) -> Result | None:
    """Return the result that a file of this text and this model's slug is of, else any of the
    text; None where none is kept, or of another version: the scores still open."""
    for place in _places(text, model):
        with contextlib.suppress(ValueError):
            kept = read_kept(place, DETAILS) or read_kept(place, TWOFOLD_DETAILS)
            return from_details_text(kept or "", path)
    return None


def _places(text: str, model: str) -> Iterator[Path]:
    """Yield where the details of scores are kept: copies of a model have the same scores and
    another name. Then those of other names, the last written first: a file may be renamed."""
    digest = hashlib.sha256(text.strip().encode("utf-8", "surrogatepass")).hexdigest()[:40]
    folder = cache_dir() / "results"
    yield folder / f"{digest}-{checksum(model.encode('utf-8', 'surrogatepass'))}.json"
    yield from newest_first(folder.glob(f"{digest}*.json"))


def _details(result: Result) -> dict[str, Any]:
    scores = result.scores
    return {
        "layers": scores.layers,
        "type_names": scores.type_names,
        "type_ids": scores.type_ids.tolist(),
        "rows": scores.rows.tolist(),
        "columns": scores.columns.tolist(),
        "numel": scores.numel.tolist(),
        "parameters": scores.parameters,
        "problems": list(scores.problems.items()),
        "metric": scores.metric,
        "metrics": {name: _column_data(column) for name, column in scores.metrics.items()},
        "head": [asdict(h) for h in result.embeddings],
        "provenance": asdict(result.provenance),
        "total_parameters": result.total_parameters,
        "planned": result.planned,
        "skipped": result.skipped,
        "model_parameters": [[p.name, p.shape, p.module] for p in result.parameters],
        "checkpoint": result.checkpoint,
    }


def _column_data(column: MetricColumn) -> dict[str, Any]:
    return {"values": column.values.tolist(), "parts": list(column.parts.items())}


def _column(data: Mapping[str, Any]) -> MetricColumn:
    return MetricColumn(_floats(data["values"]), _parts(data["parts"]))


def _parts(items: list[Any]) -> Parts:
    return {row: tuple((label, value) for label, value in parts) for row, parts in items}


def _from_details(data: dict[str, Any], path: Path) -> Result:
    origin = data["provenance"]
    if "snr" in data:  # TWOFOLD_DETAILS
        data["metric"] = origin.pop("metric")
        data["metrics"][data["metric"]] = {"values": data["snr"], "parts": data["parts"]}
    scores = Scores(
        layers=data["layers"],
        type_names=data["type_names"],
        type_ids=int_array(data["type_ids"]),
        rows=int_array(data["rows"]),
        columns=int_array(data["columns"]),
        numel=int_array(data["numel"]),
        parameters=[tuple(names) for names in data["parameters"]],
        metrics={name: _column(column) for name, column in data["metrics"].items()},
        metric=data["metric"],
        problems=dict(data["problems"]),
    )
    origin["generation"] = Generation(origin["generation"])
    origin["notes"] = tuple(origin.get("notes", ()))
    result = Result(
        scores=scores,
        embeddings=tuple(
            EmbeddingParameter(**h | {"tied": tuple(h["tied"])}) for h in data["head"]
        ),
        provenance=Provenance(**origin),
        total_parameters=data["total_parameters"],
        planned=data["planned"],
        skipped=tuple((name, reason) for name, reason in data["skipped"]),
        source=str(path),
        parameters=tuple(Parameter(n, tuple(s), m) for n, s, m in data["model_parameters"]),
        checkpoint=data["checkpoint"],
    )
    if not conforms(result, Result) or not _is_whole(scores):
        raise ValueError("not the details of scores")
    return result


def _is_whole(scores: Scores) -> bool:
    """Return whether the columns are of one length, and what they point to is there."""
    columns: list[FloatArray | IntArray] = [
        scores.type_ids,
        scores.rows,
        scores.columns,
        scores.numel,
    ]
    columns += [column.values for column in scores.metrics.values()]
    rows = range(len(scores))
    places: list[Mapping[int, object]] = [scores.problems]
    places += [column.parts for column in scores.metrics.values()]
    return (
        scores.metric in scores.metrics
        and {len(scores.parameters), *map(len, columns)} == {len(scores)}
        and all(column.ndim == 1 for column in columns)
        and all(0 <= kind < len(scores.type_names) for kind in scores.type_ids.tolist())
        and all(row in rows for place in places for row in place)
    )


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
        metrics={metric: MetricColumn(_floats([score for _, _, score in rows]))},
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
    metric."""
    model = stem.removeprefix("snr_results_").removesuffix("_sorted")
    for metric in ALL_METRICS[1:]:
        if model.endswith(f"_{metric}"):
            return model.removesuffix(f"_{metric}"), metric
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


def _floats(values: list[float]) -> FloatArray:
    return np.asarray(values, dtype=np.float64)
