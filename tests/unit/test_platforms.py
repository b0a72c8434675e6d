"""What other systems lack and forbid: calls are taken away, names are looked at as they would."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

import spectrum_tui
from spectrum_tui.cli.main import main
from spectrum_tui.core import disk, files, platforms
from spectrum_tui.core.checkpoint.shards import leads_below
from spectrum_tui.core.files import OutputFiles, slug
from spectrum_tui.core.journal.lock import ScanLock
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.recipes.writing import drafted
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.saved.store import flat_text, load_result, save_scores
from spectrum_tui.core.settings import METRICS
from tests import made
from tests.bare_system import sitecustomize as bare
from tests.checkpoints import llama, save
from tests.commands import Capture
from tests.made import TEXT_KINDS

SOURCE = Path(spectrum_tui.__file__).parent


# -- what is missing ----------------------------------------------------------------------------

_BARE = """
import queue, sys
from pathlib import Path
from spectrum_tui.cli.main import main
from spectrum_tui.core import platforms
from spectrum_tui.core.scoring import svd
from spectrum_tui.core.settings import Settings
from spectrum_tui.worker.client import ScanRunner, WorkerSaid
from spectrum_tui.core.requests import ResultReady

model, out = sys.argv[1:]
computed = []
real = svd.singular_values
svd.singular_values = lambda *arguments: computed.append(1) or real(*arguments)
asked = ["scan", model, "--device", "cpu", "--output-dir", f"{out}/headless"]
for types in (["--types", "mlp.up_proj"], []):
    computed.clear()
    assert main([*asked, *types]) == 0
    print(len(computed))
assert platforms.terminal_settings() == {}
assert platforms.known_free() is None
assert platforms.half_of_memory() == 4 * 2**30

answers = queue.SimpleQueue()
runner = ScanRunner(answers.put)
runner.scan(Settings(model=model, device="cpu", output_dir=f"{out}/worker"))
while True:
    said = answers.get(timeout=100)
    assert isinstance(said, WorkerSaid), said
    if isinstance(said.answer, ResultReady):
        break
assert runner.progress.snapshot().memory == 0
worker = runner._worker
runner.close()
assert worker.pid is None
print(worker._process.returncode)
"""


def test_a_scan_its_resume_and_the_worker_need_nothing_that_another_system_lacks(
    tmp_path: Path,
) -> None:
    model = save(tmp_path / "m", llama(2))
    assert main(["scan", str(model), "--device", "cpu", "--output-dir", str(tmp_path / "out")]) == 0
    environment = {
        **os.environ,
        "SPECTRUM_TUI_CACHE": str(tmp_path / "bare"),
        "PYTHONPATH": os.pathsep.join((str(Path(bare.__file__).parent), str(SOURCE.parent))),
    }
    run = subprocess.run(
        [sys.executable, "-c", _BARE, str(model), str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    printed = [line for line in run.stdout.splitlines() if not line.startswith(str(tmp_path))]
    wanted = contents(tmp_path / "out")
    assert len(wanted) == 3
    layers = len(json.loads(wanted["model_snr_results/snr_results_m.json"]))
    assert printed == ["2", str(layers - 2), "-15"]  # computed, computed, how the worker ended
    assert contents(tmp_path / "headless") == wanted
    del wanted["snr_results_m_unfrozenparameters_50percent.yaml"]
    assert contents(tmp_path / "worker") == wanted


def contents(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_only_one_module_calls_what_another_system_lacks() -> None:
    names = "|".join(bare.CALLS + bare.OTHERS)
    calls = rf"\bos\.({names})\b|\bsignal\.({'|'.join(bare.SIGNALS)})\b"
    imports = rf"^\s*(import|from) ({'|'.join(bare.MODULES)})\b"
    pattern = re.compile(rf"{calls}|{imports}|\bstart_new_session\b|[\"']/(proc|sys)/", re.M)
    found = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if pattern.search(path.read_text())
    }
    assert found == {"core/platforms.py"}


def test_free_memory_is_the_least_of_machine_and_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9000000 kB\nMemFree: 10 kB\nMemAvailable: 5000000 kB\n")
    assert platforms._available(meminfo) == 5_000_000 * 1024
    assert platforms._available(tmp_path / "none") is None
    for name, text in (
        ("memory.max", "1000000\n"),
        ("memory.current", "700000\n"),
        ("memory.stat", "anon 1\ninactive_file 200000\n"),
    ):
        (tmp_path / name).write_text(text)
    assert platforms._cgroup_left(tmp_path) == 500_000
    (tmp_path / "memory.max").write_text("max\n")
    assert platforms._cgroup_left(tmp_path) is None
    monkeypatch.setattr(platforms, "_available", lambda path: 7_000)
    monkeypatch.setattr(platforms, "_cgroup_left", lambda path: 6_000)
    assert platforms.known_free() == 6_000
    monkeypatch.setattr(platforms, "_cgroup_left", lambda path: None)
    assert platforms.known_free() == 7_000
    monkeypatch.setattr(platforms, "_available", lambda path: None)
    assert platforms.known_free() is None
    assert platforms.half_of_memory() > 2**20


def test_the_memory_that_windows_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    class Status(ctypes.Structure):
        """MEMORYSTATUSEX, as the system's headers have it."""

        _fields_ = (
            ("dwLength", ctypes.c_uint32),
            ("dwMemoryLoad", ctypes.c_uint32),
            ("ullTotalPhys", ctypes.c_uint64),
            ("ullAvailPhys", ctypes.c_uint64),
            ("ullTotalPageFile", ctypes.c_uint64),
            ("ullAvailPageFile", ctypes.c_uint64),
            ("ullTotalVirtual", ctypes.c_uint64),
            ("ullAvailVirtual", ctypes.c_uint64),
            ("ullAvailExtendedVirtual", ctypes.c_uint64),
        )

    def fill(reference: Any) -> int:
        status = ctypes.cast(reference, ctypes.POINTER(Status)).contents
        assert status.dwLength == ctypes.sizeof(Status)
        status.ullTotalPhys, status.ullAvailPhys = 16 * 2**30, 5 * 2**30
        return 1

    kernel = SimpleNamespace(GlobalMemoryStatusEx=fill)
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    assert platforms._free_on_windows() == 5 * 2**30
    kernel.GlobalMemoryStatusEx = lambda reference: 0
    assert platforms._free_on_windows() is None


@pytest.fixture
def windows_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """`msvcrt.locking` by a lock of Linux on the same byte, which belongs to the open file."""

    def locking(handle: int, mode: int, count: int) -> None:
        assert mode == msvcrt.LK_NBLCK
        assert os.lseek(handle, 0, os.SEEK_CUR) > os.fstat(handle).st_size
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(13, "Permission denied") from None

    msvcrt = SimpleNamespace(locking=locking, LK_NBLCK=2)
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)


@pytest.mark.usefixtures("windows_locks")
def test_a_lock_on_a_byte_keeps_the_second_scan_out(tmp_path: Path) -> None:
    with ScanLock(tmp_path / "x.jsonl") as first, ScanLock(tmp_path / "x.jsonl") as second:
        assert first.take()
        assert not second.take()
        assert second.holder().startswith(f"process {os.getpid()}, since ")
    with ScanLock(tmp_path / "x.jsonl") as third:
        assert third.take()


def test_where_there_are_no_locks_nobody_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with ScanLock(tmp_path / "x.jsonl") as first, ScanLock(tmp_path / "x.jsonl") as second:
        assert first.take()
        assert second.take()


# -- what is forbidden in names -----------------------------------------------------------------

RESERVED = ("CON", "NUL", "AUX", "PRN", "COM1", "LPT9", "nul", "Con", "CON.model", "NUL.")
ENDS = ("model.", "model ", "model. .", " model", "...", ". .", "m\u00f6del", "a.b.")


@pytest.fixture(scope="module")
def endings() -> set[str]:
    """What the names of recipes end with."""
    choice = Choice(
        selection=Selection(made.with_parameters(made.result())), policy=Policy(percent=50)
    )
    return {file.ending for kind in TEXT_KINDS for file in drafted(kind, choice)}


def names_of(name: str, endings: set[str]) -> Iterator[str]:
    """Every file that is written of a model of this name, in every metric."""
    for metric in METRICS:
        out = OutputFiles(Path(), slug(name), metric)
        yield out.scores.name
        yield out.sorted_scores.name
        yield from (out.ending(ending).name for ending in endings)


@pytest.mark.parametrize("name", [*RESERVED, *ENDS, *(f"org/{name}" for name in RESERVED + ENDS)])
def test_a_file_of_any_model_can_be_made_on_windows(name: str, endings: set[str]) -> None:
    assert len(endings) >= 7
    for file in names_of(name, endings):
        assert not PureWindowsPath(file).is_reserved(), file
        assert PureWindowsPath(file).name == file
        assert not re.search(r'[<>:"/\\|?*\x00-\x1f]|[. ]$', file), file


def test_the_files_of_a_model_differ_by_more_than_case(endings: set[str]) -> None:
    found = list(names_of("Org/Model", endings))
    assert len({file.casefold() for file in found}) == len(set(found))


class Windows(PureWindowsPath):
    """A path as Windows reads it, of nothing that exists."""

    def expanduser(self) -> Windows:
        return self

    def resolve(self) -> Windows:
        return self

    def is_dir(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("C:\\models\\my_model", "my-model"),
        ("C:\\models\\my_model\\", "my-model"),
        ("c:/models/Llama-3", "Llama-3"),
        ("\\\\server\\share\\models\\llama", "llama"),
        (".\\models\\llama", "llama"),
        ("C:\\", "model"),
        ("org/name", "org-name"),
        ("models\\llama", "models-llama"),
    ],
)
def test_a_folder_of_windows_is_called_by_its_last_part(
    typed: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "Path", Windows)
    assert slug(typed) == expected


@pytest.mark.parametrize("name", ["C:x.safetensors", "c:/x.safetensors", "\\\\a\\b", "..\\x"])
def test_no_index_leads_out_of_its_folder_on_windows(name: str) -> None:
    folder = PureWindowsPath("D:/models/m")
    assert not (folder / name).is_relative_to(folder) or ".." in (folder / name).parts
    assert not leads_below(name)
    assert leads_below("sub/model.safetensors")


@pytest.mark.parametrize("folder", ["C:\\Users\\me\\new_out", "out\\table", "CON", "out. "])
def test_an_output_folder_is_written_as_it_was_typed(
    folder: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here they are names of single folders; a backslash in them begins no escape anywhere."""
    monkeypatch.chdir(tmp_path)
    scores = save_scores(replace(made.result(layers=2)), Path(folder)).scores
    assert scores.is_file()
    target = str(Path(folder) / "recipe.py")
    assert main(["export", str(scores), "--as", "trl", "-o", target]) == 0
    assert capsys.readouterr().err == f"wrote {target}\n"
    assert Path(target).is_file()


READERS: dict[str, Callable[[str], object]] = {
    ".json": json.loads,
    ".py": lambda text: compile(text, "recipe.py", "exec"),
    ".yaml": yaml.safe_load,
    ".txt": str.splitlines,
}


def test_a_model_whose_path_looks_like_escapes_breaks_no_recipe() -> None:
    plain = made.with_parameters(made.result())
    origin = replace(plain.provenance, model="C:\\new\\users\\x41\\N{m}")
    choice = Choice(
        selection=Selection(replace(plain, provenance=origin)), policy=Policy(percent=50)
    )
    written = [file for kind in TEXT_KINDS for file in drafted(kind, choice)]
    assert {Path(file.ending).suffix for file in written} == READERS.keys()
    for file in written:
        assert READERS[Path(file.ending).suffix](file.text) is not None


def test_two_models_in_one_file_keep_the_details_of_the_last(tmp_path: Path) -> None:
    """As `Org/M` and `org/m` are on a disk that does not tell them apart."""
    results = [
        replace(one, provenance=replace(one.provenance, model=model))
        for one, model in ((made.result(layers=2), "Org/M"), (made.result(layers=3), "org/m"))
    ]
    first, second = (save_scores(result, tmp_path).scores for result in results)
    assert first.name.casefold() == second.name.casefold()
    first.write_text(flat_text(results[1]))
    back = load_result(first)
    assert (back.provenance.model, len(back.scores)) == ("org/m", len(results[1].scores))
    assert back.scores.has_shapes


def test_a_file_is_read_at_its_end_by_seeking(tmp_path: Path) -> None:
    file = disk.GrowingFile(tmp_path / "x")
    assert file.last_byte() == b""
    assert [file.append(b"ab"), file.append(b"c")] == [0, 2]
    assert file.last_byte() == b"c"
    assert file.append(b"d") == 3
    file.close()
    assert (tmp_path / "x").read_bytes() == b"abcd"


def test_a_thread_that_computes_takes_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for system in ("linux", "win32"):
        monkeypatch.setattr(sys, "platform", system)
        begin = platforms.thread_seconds()
        while platforms.thread_seconds() <= begin:
            sum(range(1000))
