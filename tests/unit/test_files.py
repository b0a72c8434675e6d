"""Files are written whole or not at all, under names that are never paths."""

from __future__ import annotations

import errno
import os
import random
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest import MonkeyPatch

from spectrum_tui.core.errors import OutputError
from spectrum_tui.core.files import (
    OutputFiles,
    append_text,
    cache_dir,
    check_writable,
    newest_first,
    read_kept,
    slug,
    write_kept,
    write_text,
)
from spectrum_tui.core.journal.journal import Entry, Journal
from spectrum_tui.core.scoring.metrics import ONE_DIMENSIONAL


def left_over(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.name.endswith(".part"))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("Qwen/Qwen2_5-7B", "Qwen-Qwen2-5-7B"),
        ("meta-llama/Meta-Llama-3-8B", "meta-llama-Meta-Llama-3-8B"),
        ("gpt2", "gpt2"),
        ("/data/my_model", "my-model"),
        ("/data/my_model/", "my-model"),
        ("demo", "demo"),
        ("/", "model"),
    ],
)
def test_slug(model: str, expected: str) -> None:
    assert slug(model) == expected


def test_slug_of_a_relative_folder(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    (tmp_path / "a" / "my_model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "my_model")
    assert slug(".") == slug("../my_model") == "my-model"
    assert slug("..") == "a"
    monkeypatch.chdir(tmp_path)
    assert slug("a/my_model") == "my-model"  # a folder, not the id of a repository


NASTY = [
    "../../etc/passwd",
    "..",
    ".",
    "/..",
    "a/../../b",
    "..\\..\\b",
    "C:\\x",
    "a\0b",
    "~nobody-of-this-name/x",
    "~",
    "\n",
    "...",
    "a\x1b[31m",
    "-",
    "a" * 300 + "/b",
    "\udcff",
]


@pytest.mark.parametrize("model", NASTY, ids=repr)
def test_slug_is_never_a_path(model: str, tmp_path: Path) -> None:
    name = slug(model)
    assert name
    assert name.isprintable()
    assert name not in (".", "..")
    assert not set("/\\\0\n") & set(name)
    folder = tmp_path / "out"
    files = OutputFiles(folder, name)
    for path in (files.scores, files.sorted_scores, files.ending("_7percent.yaml")):
        assert Path(os.path.normpath(path)).is_relative_to(folder)


def test_slug_of_any_text_is_a_file_name() -> None:
    rng = random.Random(4)
    for _ in range(500):
        text = "".join(rng.choice("./\\_~a \n\0é\u2028-") for _ in range(rng.randrange(8)))
        name = slug(text)
        assert name.strip(".-"), text
        assert not set("/\\\0\n") & set(name), text


def test_names_are_those_of_the_reference_tool(tmp_path: Path) -> None:
    files = OutputFiles(tmp_path, slug("Qwen/Qwen2_5-7B"))
    assert files.scores == tmp_path / "model_snr_results/snr_results_Qwen-Qwen2-5-7B.json"
    assert files.sorted_scores == tmp_path / "snr_results_Qwen-Qwen2-5-7B_sorted.json"
    recipe = files.ending("_unfrozenparameters_25percent.yaml")
    assert recipe == tmp_path / "snr_results_Qwen-Qwen2-5-7B_unfrozenparameters_25percent.yaml"


def test_write_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "x.yaml"
    write_text(path, "old")
    write_text(path, "new – ∞\n")
    assert path.read_bytes() == "new – ∞\n".encode()
    assert [p.name for p in path.parent.iterdir()] == ["x.yaml"]


def test_others_may_read_what_the_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "x", "text")
        assert os.umask(0o027) == 0o027  # left as it was
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


@pytest.mark.parametrize("step", ["open", "fstat", "fchmod", "write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(
    step: str, tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    path = tmp_path / "x.json"
    write_text(path, "old")
    path.chmod(0o666)  # more than a umask gives: it takes a fchmod

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(f"os.{step}", full)
    with pytest.raises(OutputError, match="No space left") as caught:
        write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert left_over(tmp_path) == []
    assert caught.value.hint
    assert caught.value.field == "output_dir"


def test_an_interrupt_in_the_middle_leaves_the_old_file(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    path = tmp_path / "x.json"
    write_text(path, "old")

    def interrupt(handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert left_over(tmp_path) == []


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """The system itself refuses to let a file grow: writes come up short, then fail."""
    path = tmp_path / "x.json"
    path.write_text("old")
    code = """
import resource, sys
from pathlib import Path
from spectrum_tui.core.errors import OutputError
from spectrum_tui.core.files import write_text
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_text(Path(sys.argv[1]), "x" * 100_000)
except OutputError as exc:
    print(exc)
"""
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert "Cannot write" in run.stdout
    assert "kept" not in run.stdout
    assert path.read_text() == "old"
    assert left_over(tmp_path) == []


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(OutputError):
        check_writable(tmp_path / "out")
    for path in (tmp_path / "out" / "x", tmp_path):
        with pytest.raises(OutputError):
            write_text(path, "text")
    assert (tmp_path / "out").read_text() == "in the way"
    assert left_over(tmp_path) == []


def test_a_name_too_long_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="File name too long"):
        write_text(tmp_path / ("x" * 300), "text")
    assert left_over(tmp_path) == []


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert [p.name for p in target.parent.iterdir()] == ["target"]


def owners(monkeypatch: MonkeyPatch, foreign: set[Path]) -> None:
    """Have these files belong to somebody else."""
    real = os.lstat

    def lstat(path: Path) -> os.stat_result:
        found = real(path)
        if Path(path) in foreign:
            return os.stat_result((*found[:4], found.st_uid + 4711, *found[5:]))
        return found

    monkeypatch.setattr("spectrum_tui.core.disk.os.lstat", lstat)


@pytest.mark.parametrize("write", [write_text, append_text])
@pytest.mark.parametrize("foreign", ["link", "target", "between"])
def test_a_link_to_what_is_not_the_users_own_is_replaced(
    foreign: str, write: Callable[[Path, str], None], tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    target, between, link = tmp_path / "target", tmp_path / "between", tmp_path / "link"
    target.write_text("old")
    between.symlink_to("target")
    link.symlink_to("between")
    owners(monkeypatch, {tmp_path / foreign})
    write(link, "new")
    assert target.read_text() == "old"
    assert not link.is_symlink()
    assert link.read_text() == "new"


def test_a_link_that_leads_nowhere_makes_no_file_there(tmp_path: Path) -> None:
    for write in (write_text, append_text):
        link = tmp_path / write.__name__
        link.symlink_to(tmp_path / "planted")
        write(link, "new")
        assert not link.is_symlink()
        assert link.read_text() == "new"
        assert not (tmp_path / "planted").exists()


def test_a_chain_of_own_links_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    target = tmp_path / "a" / "target"
    target.write_text("old\n")
    (tmp_path / "a" / "first").symlink_to("target")
    (tmp_path / "link").symlink_to("a/first")
    append_text(tmp_path / "link", "more")
    assert target.read_text() == "old\nmore"
    write_text(tmp_path / "link", "new")
    assert target.read_text() == "new"
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(OutputError, match="symbolic links"):
        write_text(tmp_path / "circle", "new")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400, 0o666, 0o755])
def test_a_file_keeps_its_mode(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("old")
    path.chmod(mode)
    write_text(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == mode
    (tmp_path / "link").symlink_to(path)
    write_text(tmp_path / "link", "newer")
    assert path.read_text() == "newer"
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_file_is_never_open_to_more_than_the_old_one(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    path.chmod(0o600)
    seen: list[int] = []
    real = os.write

    def write(handle: int, data: bytes) -> int:
        seen.append(stat.S_IMODE(os.fstat(handle).st_mode))
        return real(handle, data)

    monkeypatch.setattr("os.write", write)
    write_text(path, "new")
    assert seen == [0o600]


def test_the_cache_is_the_users_alone(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    """Whatever the umask is."""
    cache = tmp_path / "new" / "cache"
    monkeypatch.setenv("SPECTRUM_TUI_CACHE", str(cache))
    before = os.umask(0)
    try:
        write_kept(cache / "results" / "a.json", "form", "text")
        write_text(cache / "stopped" / "b.json", "text")
        with Journal(cache / "scans" / "c.jsonl") as journal:
            journal.append(Entry(layer="x", metrics=ONE_DIMENSIONAL))
    finally:
        os.umask(before)
    for path in (tmp_path / "new").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert sum(path.is_file() for path in cache.rglob("*")) == 4


def test_what_is_kept_is_read_back_under_its_form_alone(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert read_kept(path, "plan 1") is None
    for text in ("", "text", "two\nlines\n", "é∞\x85"):
        write_kept(path, "plan 1", text)
        assert read_kept(path, "plan 1") == text
        assert read_kept(path, "plan 2") is None
        data = path.read_bytes()
        for at in range(len(data)):
            path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
            assert read_kept(path, "plan 1") is None
        path.write_bytes(data + b"\n")
        assert read_kept(path, "plan 1") is None


def test_a_device_is_written_to_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text(pipe, "text")  # as `-o /dev/stdout` or `-o /dev/null`
        assert stat.S_ISFIFO(pipe.stat().st_mode)
        assert os.read(reader, 100) == b"text"
    finally:
        os.close(reader)


def test_check_writable_leaves_nothing(tmp_path: Path) -> None:
    check_writable(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_cache_folder_can_be_set(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setenv("SPECTRUM_TUI_CACHE", str(tmp_path / "here"))
    assert cache_dir() == tmp_path / "here"
    monkeypatch.delenv("SPECTRUM_TUI_CACHE")
    assert cache_dir().name == "spectrum-tui"


def test_newest_first_passes_over_what_is_no_file(tmp_path: Path) -> None:
    for i, name in enumerate(("old", "new")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (i, i))
    (tmp_path / "nowhere").symlink_to("nothing")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    found = [path.name for path in newest_first([tmp_path / "gone", *tmp_path.iterdir()])]
    assert found == ["new", "old"]


def test_a_recipe_is_read_where_the_system_has_less(tmp_path: Path) -> None:
    """Training scripts run where there are no locks of this kind, and fewer ways to open a file."""
    path = tmp_path / "x.yaml"
    path.write_text("unfrozen_parameters:\n- a.weight\n")
    code = """
import os, sys
from pathlib import Path
sys.modules["fcntl"] = None
for name in ("O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "set_blocking", "geteuid"):
    delattr(os, name)
from spectrum_tui.core.trainers.recipe_text import names_in_file
print(names_in_file(Path(sys.argv[1])))
"""
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert run.stdout == "('a.weight',)\n"
