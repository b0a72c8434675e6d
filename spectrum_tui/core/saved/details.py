"""Everything of a result in the program's cache, beside the flat file that other tools read.

Under the hash of that file's content and the slug of its model, so that it is found wherever the
file was moved, and never for one that was edited.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from spectrum_tui.core import json_text
from spectrum_tui.core.conforming import conforms
from spectrum_tui.core.files import cache_dir, checksum, newest_first, read_kept, slug, write_kept
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
from spectrum_tui.core.wire import form_of

DETAILS = f"results {form_of(Scores, Result, Provenance, EmbeddingParameter, Parameter)}"
"""What the details of a score file are kept as."""
TWOFOLD_DETAILS = "results 2db93a39"
"""Details that are read as well: the column that ranks is in them twice, its name among the
provenance."""


def keep(result: Result, text: str) -> None:
    """Keep everything of a result whose file holds this text; raises OutputError."""
    places = _places(text, slug(result.provenance.model))
    write_kept(next(places), DETAILS, details_text(result))


def kept(text: str, model: str, path: Path) -> Result | None:
    """Return the result that a file of this text and this model's slug is of, else any of the
    text; None where none is kept, or of another version: the scores still open."""
    for place in _places(text, model):
        with contextlib.suppress(ValueError):
            text_kept = read_kept(place, DETAILS) or read_kept(place, TWOFOLD_DETAILS)
            return from_details_text(text_kept or "", path)
    return None


def _places(text: str, model: str) -> Iterator[Path]:
    """Yield where the details of scores are kept: copies of a model have the same scores and
    another name. Then those of other names, the last written first: a file may be renamed."""
    digest = hashlib.sha256(text.strip().encode("utf-8", "surrogatepass")).hexdigest()[:40]
    folder = cache_dir() / "results"
    yield folder / f"{digest}-{checksum(model.encode('utf-8', 'surrogatepass'))}.json"
    yield from newest_first(folder.glob(f"{digest}*.json"))


def details_text(result: Result) -> str:
    """Everything of a result as one line of JSON, to cross from one process to another."""
    return json.dumps(_details(result))


def from_details_text(text: str, path: Path) -> Result:
    """Return the result that `details_text` wrote of the scores in `path`; raises ValueError."""
    try:
        return completed(_from_details(json.loads(text), path))
    except json_text.WRONG_SHAPE:
        raise ValueError("not the details of scores") from None


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


def _floats(values: list[float]) -> FloatArray:
    return np.asarray(values, dtype=np.float64)
