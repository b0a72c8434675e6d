"""The folder of a proof: every row in a file of its own, and what they come to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from spectrum_tui.core import disk, json_text
from spectrum_tui.core.errors import OutputError, ResultsError, reason_of
from spectrum_tui.core.files import checksum, is_file, is_folder, write_text
from spectrum_tui.core.proof.proof import Proof, proof_of, proof_text
from spectrum_tui.core.proof.rows import Outcome, outcome_data, outcome_of
from spectrum_tui.core.saved.steps import holds_model
from spectrum_tui.core.text import printable_json, safe

PROOF, TABLE, PLOT = "proof.json", "proof.md", "proof.svg"
_ROW = 1
"""Version of the form of a row's file."""


def row_path(folder: Path, key: str) -> Path:
    """Return where the outcome of a job lies."""
    return folder / "rows" / f"{key}.json"


def keep_row(folder: Path, key: str, outcome: Outcome) -> None:
    """Write the outcome of a job in one step; raises OutputError."""
    data = outcome_data(outcome)
    sealed = {"version": _ROW, "key": key, "checksum": _checksum(data), "outcome": data}
    write_text(row_path(folder, key), printable_json(sealed, one_line=True) + "\n")


def kept_row(folder: Path, key: str) -> tuple[Outcome | None, str]:
    """Return the outcome of a job that is kept, None without one; and what is wrong with the file,
    "" where nothing is. A damaged row counts as not run."""
    path = row_path(folder, key)
    try:
        data = json_text.load(disk.read_regular(path))
        if data["key"] != key or data["checksum"] != _checksum(data["outcome"]):
            raise ValueError("damaged")
        return outcome_of(data["outcome"]), ""
    except FileNotFoundError:
        return None, ""
    except OSError as exc:
        why = f"cannot be read ({reason_of(exc)})"
    except json_text.WRONG_SHAPE:
        why = "is damaged"
    return None, safe(f"The row {path.name} {why}: it counts as not run.")


def _checksum(data: Any) -> str:
    return checksum(json.dumps(data, sort_keys=True).encode())


def read_proof(path: Path) -> Proof:
    """Return the proof in a file, or in the folder that holds it; raises ResultsError."""
    path = path / PROOF if is_folder(path) else path
    name = safe(str(path))
    try:
        return proof_of(json_text.load(disk.read_regular(path)))
    except OSError as exc:
        raise ResultsError(
            f"{name} cannot be read: {reason_of(exc)}.", "Give the proof.json that prove wrote."
        ) from None
    except json_text.NotJSONError as exc:
        raise ResultsError(f"{name} {exc.fault.problem}.", exc.fault.hint) from None
    except ValueError:
        raise ResultsError(
            f"{name} is not a proof of this version.",
            "Give the proof.json that prove wrote; the same command makes it anew of its rows.",
        ) from None


def is_proof(folder: Path) -> bool:
    """Return whether a folder holds a proof, and no model."""
    return is_file(folder / PROOF) and not holds_model(folder)


def check_folder(folder: Path, model: str) -> None:
    """Raise OutputError where writing a proof of this model would replace something else: the
    proof of another model, a proof.json that is none, or a table or plot without one."""
    if not (folder / PROOF).exists():
        found = [name for name in (TABLE, PLOT) if (folder / name).exists()]
        if found and not (folder / "rows").exists():
            raise OutputError(
                f"{folder / found[0]} is there already, and no proof beside it.",
                "It is not replaced: move it away, or give another folder: -o FOLDER.",
                field="output_dir",
            )
        return
    try:
        other = read_proof(folder).model
    except ResultsError as exc:
        raise OutputError(
            exc.message, "It is not replaced: move it away, or give another folder: -o FOLDER."
        ) from None
    if other != model:
        raise OutputError(
            f"{folder} holds a proof of {other}, not of {model}.",
            "It is not replaced: give another folder: -o FOLDER.",
            field="output_dir",
        )


def write_proof(folder: Path, proof: Proof, table: str, plot: str) -> Path:
    """Write the table, the plot, and last proof.json, whose path is returned; raises OutputError,
    also for what `check_folder` refuses."""
    check_folder(folder, proof.model)
    write_text(folder / TABLE, table)
    write_text(folder / PLOT, plot)
    write_text(folder / PROOF, proof_text(proof))
    return folder / PROOF
