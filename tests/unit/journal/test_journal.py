"""The journal: an entry is what was written, or it is passed over."""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spectrum_tui.core.errors import OutputError
from spectrum_tui.core.files import checksum
from spectrum_tui.core.journal import journal
from spectrum_tui.core.journal.journal import Entry, Journal, parse_line, read_journal, sealed
from spectrum_tui.core.journal.spectra import KeptSpectrum, SpectraReader, spectra_path
from spectrum_tui.core.scoring.metrics import ONE_DIMENSIONAL, every_metric
from spectrum_tui.core.settings import METRICS

ENTRIES = [
    Entry(
        layer=f"model.layers.{i}.mlp.up_proj",
        metrics={name: i + k / 3 for k, name in enumerate(METRICS)},
        seconds=0.25,
        error=1e-7 * i,
    )
    for i in range(4)
]


def fields(entry: Entry = ENTRIES[1]) -> dict[str, Any]:
    data = asdict(entry)
    del data["file"]
    return data


def written(path: Path) -> Path:
    with Journal(path) as journal:
        for entry in ENTRIES:
            journal.append(entry)
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "scans" / "j.jsonl")
    found = read_journal(path)
    assert found.keys() == {entry.layer for entry in ENTRIES}
    for entry in ENTRIES:
        back = found[entry.layer]
        assert (back.error, back.metrics) == (entry.error, entry.metrics)


def test_a_line_is_json_that_anybody_can_read(tmp_path: Path) -> None:
    lines = written(tmp_path / "j.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["layer"] for line in lines] == [entry.layer for entry in ENTRIES]


def test_no_flipped_bit_is_taken_for_a_score(tmp_path: Path) -> None:
    """Every one of 4,000 flips costs the entry that it is in, or two where it joins them."""
    path = written(tmp_path / "j.jsonl")
    whole, right = path.read_bytes(), read_journal(path)
    rng = random.Random(1)
    with path.open("r+b", buffering=0) as file:
        for _ in range(4000):
            at, flip = rng.randrange(len(whole)), 1 << rng.randrange(8)
            os.pwrite(file.fileno(), bytes([whole[at] ^ flip]), at)
            found = read_journal(path)
            assert found.items() <= right.items()
            assert len(found) >= len(ENTRIES) - 2
            os.pwrite(file.fileno(), whole[at : at + 1], at)


@pytest.mark.parametrize("length", range(0, 400, 13))
def test_a_journal_cut_anywhere_loses_one_entry_at_most(length: int, tmp_path: Path) -> None:
    path = written(tmp_path / "j.jsonl")
    whole, right = path.read_bytes(), read_journal(path)
    path.write_bytes(whole[: len(whole) - length])
    kept = read_journal(path)
    assert kept.items() <= right.items()
    with Journal(path) as journal:
        journal.append(ENTRIES[-1])
    assert read_journal(path).items() >= kept.items()
    assert ENTRIES[-1].layer in read_journal(path)


WRONG: list[tuple[str, Any]] = [
    ("layer", 3),
    ("layer", ["x"]),
    ("layer", None),
    ("score", 3),
    ("score", {}),
    ("seconds", "1"),
    ("seconds", None),
    ("rule", 1),
    ("error", -1.0),
    ("error", math.nan),
    ("error", math.inf),
    ("error", True),
    ("metrics", []),
    ("metrics", {"spectrum": "high"}),
    ("metrics", {"spectrum": 1}),
    ("metrics", {"calibrated": 1.0}),
    ("spectrum", 0.5),
    ("spectrum", True),
    ("spectrum", None),
    ("file", "../../etc/passwd"),
    ("ranges", None),
    ("ranges", ["x"]),
    ("unmarked", 1),
    ("of_a_future_version", 1),
]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=repr)
def test_fields_of_wrong_types_or_of_another_version_are_no_entry(name: str, value: object) -> None:
    assert parse_line(sealed(fields())) is not None
    found = parse_line(sealed({**fields(), name: value}))
    assert found is None or name == "file"  # which file it is, is not asked of it


@pytest.mark.parametrize("value", ["1", None, 1, True, math.nan, -1.0, [1.0]], ids=repr)
def test_a_score_is_a_float_that_can_be_ranked(value: object) -> None:
    metrics = {**fields()["metrics"], "spectrum": value}
    assert parse_line(sealed({**fields(), "metrics": metrics})) is None
    apart = {**fields(), "metrics": {}, "score": {"snr": value}}
    assert parse_line(sealed(apart)) is None


def test_infinity_is_a_score() -> None:
    metrics = {**fields()["metrics"], "spectrum": math.inf}
    entry = parse_line(sealed({**fields(), "metrics": metrics}))
    assert entry is not None
    assert entry.metrics["spectrum"] == math.inf


WITH_THE_SNR_APART = (
    b'{"layer": "model.layers.0.mlp.up_proj", "score": {"snr": 0.4444444444444444, "largest": 9.0,'
    b' "sigma": 1.4825796886582654, "threshold": 2.965159377316531, "signal": 2}, "seconds": 0.25,'
    b' "rule": "spectrum-2", "error": 0.0, "metrics": {"spectrum": 0.4444444444444444, "calibrated"'
    b': 0.8526315789473683, "stable_rank": 1.1728395061728396, "effective_rank": 2.937542574735415}'
    b', "spectrum": -1, "checksum": "42c0564b"}'
)


def test_a_line_with_the_snr_apart_is_the_same_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = json.loads(WITH_THE_SNR_APART)
    monkeypatch.setattr(journal, "_EVERY", data["metrics"].keys())  # none came after that line
    path = tmp_path / "j.jsonl"
    path.write_bytes(WITH_THE_SNR_APART + b"\n")
    every = every_metric(np.array([9.0, 3.0, 2.0, 1.0, 0.0]), 5, 5)
    metrics = {name: every[name] for name in data["metrics"]}
    entry = Entry(layer="model.layers.0.mlp.up_proj", metrics=metrics, seconds=0.25, file="j.jsonl")
    assert read_journal(path) == {entry.layer: entry}
    del data["checksum"], data["metrics"]
    alone = parse_line(sealed(data))
    assert alone is not None
    assert alone.metrics == {"spectrum": 0.4444444444444444}


def raw(text: str) -> bytes:
    """A line with the right checksum over any text."""
    body = b'{"layer": ' + text.encode()
    return body + b', "checksum": "' + checksum(body).encode() + b'"}'


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "9" * 5000, "1e999", '{"a":' * 50_000, '"\\ud800"', "\x00", ""],
    ids=["deep", "digits", "huge", "deep objects", "surrogate", "nul", "empty"],
)
def test_absurd_values_are_no_entry(text: str) -> None:
    assert parse_line(raw(text)) is None


def test_entries_without_a_checksum_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text(json.dumps(fields()) + "\n")
    assert read_journal(path) == {}


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def foreign_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


@pytest.mark.parametrize("place", [folder, pipe, foreign_link, link_to_itself])
@pytest.mark.parametrize("suffix", [".jsonl", ".spectra"])
def test_what_is_no_file_is_read_as_none_and_refused_for_writing(
    suffix: str, place: Callable[[Path], None], tmp_path: Path
) -> None:
    path = written(tmp_path / "j.jsonl")
    place(path.with_suffix(suffix))
    assert len(read_journal(path)) == (0 if suffix == ".jsonl" else len(ENTRIES))
    with pytest.raises(OutputError, match=r"Cannot write .*j\.") as caught, Journal(path):
        pass
    assert "SPECTRUM_TUI_CACHE" in caught.value.hint


def test_the_most_exact_score_counts_whichever_journal_it_is_in(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    for rank, error in enumerate((1e-5, 0.0, 1e-6)):
        with Journal(tmp_path / (f"x.rank{rank}.jsonl" if rank else "x.jsonl")) as journal:
            kept = KeptSpectrum(np.full(2, float(rank)), 2, 3)
            metrics = {**ONE_DIMENSIONAL, "spectrum": float(rank)}
            entry = Entry(layer="layer", metrics=metrics, error=error)
            journal.append(entry, kept)
    best = read_journal(path)["layer"]
    assert best.metrics["spectrum"] == 1.0
    with SpectraReader(spectra_path(path.with_name(best.file))) as reader:
        spectrum = reader.read("layer", best.spectrum)
    assert spectrum is not None
    assert spectrum.values.tolist() == [1.0, 1.0]  # its own, not that of another journal
