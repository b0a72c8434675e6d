"""The record of this machine's score files: what it keeps, skips, forgets and never costs."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from spectrum_tui.core.errors import OutputError
from spectrum_tui.core.files import cache_dir, read_kept, write_kept
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.saved import library
from spectrum_tui.core.saved.store import save_scores
from tests import made

HOSTILE = "a\x1b[2J[red]\u202eb\n"


def files() -> list[Path]:
    return sorted((cache_dir() / "library").glob("*.json"))


def saved(folder: Path, result: Result | None = None) -> Path:
    result = made.result() if result is None else result
    path = save_scores(result, folder).scores
    library.record(result, path)
    return path


def test_a_file_is_kept_with_what_it_holds(tmp_path: Path) -> None:
    result = made.result(planned=100, failed={3: "holds NaN or Inf"})
    origin = replace(result.provenance, revision="abc", device="cuda:0", precision="fast")
    before = time.time()
    path = saved(tmp_path, replace(result, provenance=origin))
    (entry,) = library.entries()
    assert before <= entry.used <= time.time()
    assert asdict(entry) | {"used": 0.0} == {
        "path": str(path),
        "model": "made/llama",
        "used": 0.0,
        "layers": 84,
        "planned": 100,
        "failed": 1,
        "metric": "spectrum",
        "revision": "abc",
        "finished": origin.finished,
        "device": "cuda:0",
        "precision": "fast",
        "note": "",
    }
    assert entry.layers_text == "84 of 100"
    assert entry.folder == str(tmp_path)
    assert replace(entry, path=str(tmp_path / "other.json")).folder == str(tmp_path)
    assert not entry.is_gone


def test_scores_of_another_tool_say_less(tmp_path: Path) -> None:
    saved(tmp_path, made.result(sizes=False))
    (entry,) = library.entries()
    assert (entry.finished, entry.device, entry.precision) == ("", "", "")
    assert entry.layers_text == "84"


def test_the_last_used_is_first_and_stands_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter((10.0, 20.0, 30.0))
    monkeypatch.setattr(library, "time", SimpleNamespace(time=lambda: next(clock)))
    result = made.result()
    first, second = saved(tmp_path / "a", result), saved(tmp_path / "b", result)
    assert [entry.path for entry in library.entries()] == [str(second), str(first)]
    monkeypatch.chdir(tmp_path)
    library.record(result, Path("b/../a") / first.relative_to(tmp_path / "a"))
    assert [(entry.path, entry.used) for entry in library.entries()] == [
        (str(first), 30.0),
        (str(second), 20.0),
    ]


def test_a_note_stays_when_the_file_is_used_again(tmp_path: Path) -> None:
    path = saved(tmp_path)
    noted = library.annotate(library.entries()[0], "  before\n the  merge " + "x" * 500)
    assert noted.note.startswith("before the merge xxx")
    assert len(noted.note) == library.LONGEST_NOTE
    library.record(made.result(layers=3), path)
    (entry,) = library.entries()
    assert (entry.note, entry.layers) == (noted.note, 21)


def test_only_the_entry_is_removed(tmp_path: Path) -> None:
    path = saved(tmp_path)
    (entry,) = library.entries()
    library.remove(entry)
    assert library.entries() == []
    assert path.is_file()
    library.remove(entry)  # another process was faster


def test_a_file_that_is_gone_is_told_and_not_the_last(tmp_path: Path) -> None:
    kept, gone = saved(tmp_path / "a"), saved(tmp_path / "b")
    gone.unlink()
    assert [entry.is_gone for entry in library.entries()] == [True, False]
    last = library.last_there()
    assert last is not None
    assert last.path == str(kept)
    kept.unlink()
    assert library.last_there() is None


def test_a_pipe_and_a_missing_file_are_not_recorded(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "missing", "\0"):
        library.record(made.result(), tmp_path / name)
    assert files() == []


DAMAGES: dict[str, Callable[[str], str]] = {
    "cut": lambda text: text[: len(text) // 2],
    "changed": lambda text: text.replace("made/llama", "made/lamas"),
    "empty": lambda text: "",
    "binary": lambda text: "\x00\x01",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_costs_itself_alone(tmp_path: Path, damage: str) -> None:
    saved(tmp_path / "a")
    (damaged,) = files()
    whole = saved(tmp_path / "b")
    damaged.write_text(DAMAGES[damage](damaged.read_text()))
    assert [entry.path for entry in library.entries()] == [str(whole)]


WRONG = (
    {"layers": "84"},
    {"used": 1},
    {"used": -1.0},
    {"used": 1e300},
    {"used": float("nan")},
    {"note": None},
    {"path": ["x"]},
)


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_values_of_another_type_are_no_entry(tmp_path: Path, wrong: dict[str, object]) -> None:
    saved(tmp_path)
    (place,) = files()
    form = place.read_bytes().split(b"\n")[0].decode().removeprefix("spectrum-tui ")[:-9]
    data = json.loads(read_kept(place, form) or "")
    write_kept(place, form, json.dumps({**data, "of a later version": 1}))
    assert len(library.entries()) == 1
    for text in (json.dumps({**data, **wrong}), json.dumps([data]), "[" * 10_000):
        write_kept(place, form, text)
        assert library.entries() == []


def test_foreign_files_and_a_missing_folder_are_skipped(tmp_path: Path) -> None:
    assert library.entries() == []
    saved(tmp_path)
    folder = cache_dir() / "library"
    (folder / "x.json").mkdir()
    os.mkfifo(folder / "y.json")
    (folder / "z.txt").write_text("no entry")
    assert len(library.entries()) == 1


def test_a_cache_that_cannot_be_written_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_scores(made.result(), tmp_path).scores
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("SPECTRUM_TUI_CACHE", str(tmp_path / "a file"))
    library.record(made.result(), path)
    assert library.entries() == []
    with pytest.raises(OutputError):
        library.annotate(entry_of(path), "a note")


def entry_of(path: Path) -> library.Entry:
    return library.Entry(
        path=str(path), model="m", used=1.0, layers=1, planned=1, failed=0, metric="spectrum"
    )


def test_hostile_names_come_back_exactly(tmp_path: Path) -> None:
    result = made.result(model=HOSTILE)
    path = tmp_path / "\udcff\x1b.json"
    path.write_text("{}")
    library.record(result, path)
    (entry,) = library.entries()
    assert (entry.model, entry.path) == (HOSTILE, str(path))


def test_the_oldest_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "MOST_ENTRIES", 3)
    monkeypatch.setattr(library, "_SLACK", 2)
    result = made.result(layers=1)
    for number in range(6):
        path = tmp_path / f"{number}.json"
        path.write_text("{}")
        library.record(result, path)
        for place in files():
            os.utime(place, (place.stat().st_mtime - 10,) * 2)
    assert [Path(entry.path).stem for entry in library.entries()] == ["5", "4", "3"]


def test_what_a_search_finds(tmp_path: Path) -> None:
    entry = replace(entry_of(tmp_path / "Scores.json"), model="org/Model", note="The best")
    assert all(entry.contains(text) for text in ("", "org/m", "BEST", "scores.JSON"))
    assert not entry.contains("other")


def record_many(folder: Path, first: int) -> None:
    result = made.result(layers=1)
    for number in range(first, first + 20):
        library.record(result, folder / f"{number}.json")
        library.record(result, folder / "shared.json")


def test_processes_do_not_lose_each_others_entries(tmp_path: Path) -> None:
    for name in ("shared", *range(60)):
        (tmp_path / f"{name}.json").write_text("{}")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=record_many, args=(tmp_path, n)) for n in (0, 20, 40)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    found = {Path(entry.path).stem for entry in library.entries()}
    assert found == {"shared", *map(str, range(60))}
