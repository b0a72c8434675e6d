"""Data files as what TRL trains on: every layout of columns that is known, by the same rules as
everywhere in this program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from spectrum_tui.core.dataset.columns import MOST_BAD, BlankError, Layout, known_columns, layout_of
from spectrum_tui.core.errors import DataError
from spectrum_tui.core.numbers import part_of

READERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}
"""Which reader of the package `datasets` takes a file."""
PREFERENCES = ("prompt", "chosen", "rejected")
"""The columns of DPO; the prompt may stand within the other two."""
_PROBLEM = "_problem"
_NEEDS_ROWS = "Name a file with at least one example."


def load_data(place: str, task: str) -> Any:
    """Return the data set of a file, of all files in a folder, or of one that datasets saved, with
    TRL's columns for the task; raises DataError."""
    loaded = load_rows(place)
    if not len(loaded):
        raise DataError(f"{place} has no rows.", _NEEDS_ROWS)
    return _preferences(place, loaded) if task == "dpo" else _examples(place, loaded)


def load_rows(place: str) -> Any:
    """Return a data set with the columns that its files have; raises DataError."""
    from datasets import load_dataset, load_from_disk
    from datasets.exceptions import DatasetsError

    try:
        path = Path(place)
        if (path / "state.json").is_file():
            return load_from_disk(place)
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        files = [file for file in files if file.suffix in READERS and file.is_file()]
        readers = {READERS[file.suffix] for file in files}
        if len(readers) == 1:
            names = [str(file) for file in files]
            return load_dataset(readers.pop(), data_files=names, split="train")
    except StopIteration:  # datasets looks at the first row of JSON lines
        raise DataError(f"{place} has no rows.", _NEEDS_ROWS) from None
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        raise DataError(f"{place} cannot be read: {_cause(error)}.", "Name another file.") from None
    raise DataError(
        f"{place} must be a file, or hold files of one kind.", f"Kinds: {', '.join(READERS)}."
    )


def _cause(error: BaseException) -> str:
    """Return what is at the bottom of an error: datasets wraps them."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}".rstrip(".: ")


# -- sft ---------------------------------------------------------------------------------------


def _examples(place: str, loaded: Any) -> Any:
    layout = layout_of(dict.fromkeys(loaded.column_names))
    if layout is None:
        columns = ", ".join(loaded.column_names[:10])
        raise DataError(
            f"{place} has none of the columns that are read, but {columns}.",
            f"Rename yours to {known_columns()}.",
        )
    return _without_bad(place, loaded.map(_converter(layout), remove_columns=loaded.column_names))


def _converter(layout: Layout) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Return what makes a row of TRL of one of a file, or says why it is none."""

    def converted(row: Mapping[str, Any]) -> dict[str, Any]:
        try:
            example = layout.example(row)
        except BlankError:
            return {**_EMPTY[layout.form], _PROBLEM: "blank"}
        except ValueError as error:
            return {**_EMPTY[layout.form], _PROBLEM: str(error)}
        turns = [{"role": turn.role, "content": turn.content} for turn in example.messages]
        every = {
            "text": example.text,
            "prompt": example.prompt,
            "completion": example.completion,
            "messages": turns,
        }
        return {**{name: every[name] for name in _EMPTY[layout.form]}, _PROBLEM: ""}

    return converted


_EMPTY: dict[str, dict[str, Any]] = {
    "text": {"text": ""},
    "messages": {"messages": []},
    "prompt": {"prompt": "", "completion": ""},
    "question": {"prompt": "", "completion": ""},
}


def _without_bad(place: str, rows: Any) -> Any:
    """Return the rows that are examples; raises DataError where more than 1 % are none."""
    problems = rows[_PROBLEM]
    bad = [problem for problem in problems if problem and problem != "blank"]
    if len(bad) > MOST_BAD * len(problems):
        raise DataError(
            f"In {place}, {part_of(len(bad), len(problems), 'row')} cannot be read, the first: "
            f"{bad[0]}.",
            "Correct or remove them.",
        )
    kept = rows.filter(lambda problem: not problem, input_columns=[_PROBLEM])
    if not len(kept):
        raise DataError(f"There is no example in {place}: all is blank.", "Name a file with text.")
    return kept.remove_columns(_PROBLEM)


# -- dpo ---------------------------------------------------------------------------------------


def _preferences(place: str, loaded: Any) -> Any:
    columns = loaded.column_names
    if not set(PREFERENCES[1:]) <= set(columns):
        raise DataError(
            f"{place} has no preferences, but {', '.join(columns[:10])}.",
            f"The columns of dpo are {', '.join(PREFERENCES)}.",
        )
    return loaded.select_columns([name for name in PREFERENCES if name in columns])
