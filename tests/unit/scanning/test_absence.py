"""Files that are out of reach in the middle of a scan: it waits, or stops; no layer fails by it."""

from __future__ import annotations

import errno
import io
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import pytest

from spectrum_tui.core import disk
from spectrum_tui.core.checkpoint import file_state, mounts, sources
from spectrum_tui.core.checkpoint.file_state import FileState
from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.checkpoint.sources import rest_answers
from spectrum_tui.core.errors import OutOfReachError
from spectrum_tui.core.events import LayerFailed, ScanEnded, ScanEvent, ScanNote
from spectrum_tui.core.model.inspection import inspect_model, with_exact_names
from spectrum_tui.core.platforms import Mount
from spectrum_tui.core.requests import ResultReady
from spectrum_tui.core.scanning import absence
from spectrum_tui.core.scanning.absence import Absence
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.settings import Settings
from tests.checkpoints import llama, save
from tests.streamed import scores

Events = list[ScanEvent | ResultReady]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absence, "FIRST_WAIT", 0.005)
    monkeypatch.setattr(absence, "MOST_WAIT", 0.01)
    monkeypatch.setattr(absence, "TOLD_AFTER", 0.0)


class Failing:
    """Reads of values that fail from the third to the `last` one; `count` are those made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int, last: int = 10**9) -> None:
        self.count = 0
        real = sources._filled

        def filled(file: io.FileIO, buffer: memoryview, offset: int) -> bool:
            self.count += 1
            if 3 <= self.count <= last:
                raise OSError(number, os.strerror(number))
            return real(file, buffer, offset)

        monkeypatch.setattr(sources, "_filled", filled)
        monkeypatch.setattr(mounts, "mount_of", lambda device: Mount("fuse", "hf-mount"))


def scanned(tmp_path: Path, cancelled: Callable[[], bool] = lambda: False) -> Events:
    folder = tmp_path / "model"
    if not folder.exists():
        save(folder, llama(2))
    settings = Settings(model=str(folder), device="cpu", output_dir=str(tmp_path / "out"))
    return list(run_scan(settings, cancelled=cancelled))


def end_of(events: Events) -> ScanEnded:
    (ended,) = [event for event in events if isinstance(event, ScanEnded)]
    assert not [event for event in events if isinstance(event, LayerFailed)]
    return ended


@pytest.mark.parametrize("number", [errno.EIO, errno.ETIMEDOUT, errno.EAGAIN])
def test_a_network_that_comes_back_is_waited_for(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Failing(monkeypatch, number, last=12)
    events = scanned(tmp_path)
    assert end_of(events).reason == "finished"
    notes = [event.text for event in events if isinstance(event, ScanNote)]
    assert notes[0].startswith(f"model.safetensors is out of reach ({os.strerror(number)}).")
    assert notes[-1] == "The files can be read again."


def test_a_network_that_stays_away_stops_the_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(absence, "GIVE_UP", 0.02)
        Failing(patch, errno.EIO)
        ended = end_of(scanned(tmp_path))
    assert ended.reason == "stopped"
    assert "goes on from there" in ended.notes[-1] and "out of reach" in ended.notes[-1]
    assert scores(scanned(tmp_path))  # nothing of it is kept as a failure


@pytest.mark.parametrize("number", [errno.ENOTCONN, errno.ESTALE])
def test_a_mount_that_is_gone_is_not_waited_for(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Failing(monkeypatch, number)
    assert end_of(scanned(tmp_path)).reason == "stopped"


def test_a_stop_ends_the_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absence, "MOST_WAIT", 100.0)
    monkeypatch.setattr(absence, "FIRST_WAIT", 100.0)
    reads = Failing(monkeypatch, errno.EIO)
    begin = time.monotonic()
    ended = end_of(scanned(tmp_path, cancelled=lambda: reads.count > 2))
    assert ended.reason == "stopped" and time.monotonic() - begin < 50


def test_a_look_at_values_before_the_scan_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a tied head that is stored twice has the same values."""
    tensors = llama(1)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    folder = save(tmp_path, tensors, config={"tie_word_embeddings": True})
    monkeypatch.setattr(mounts, "WAITS", (0.0,))
    real, reads = sources._filled, list[int]()

    def filled(file: io.FileIO, buffer: memoryview, offset: int) -> bool:
        reads.append(offset)
        if len(reads) == 1:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return real(file, buffer, offset)

    monkeypatch.setattr(sources, "_filled", filled)
    found = inspect_model(str(folder))
    first = len(reads)
    assert first > 1
    reads.clear()
    assert with_exact_names(found).summary.types == found.summary.types
    assert len(reads) > 1


def failed_in(events: Events) -> list[str]:
    return [event.reason for event in events if isinstance(event, LayerFailed)]


@pytest.mark.parametrize("batch", [1, 2])
def test_a_part_that_can_never_be_read_fails_alone(
    batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mount is not away where the rest of the file can be read; nor is anything said of it."""
    save(tmp_path / "model", llama(2))
    tensors = read_checkpoint(tmp_path / "model").tensors
    bad = next(tensor for tensor in tensors if tensor.name.endswith("0.mlp.up_proj.weight"))
    real, tries = sources._filled, list[int]()

    def filled(file: io.FileIO, buffer: memoryview, offset: int) -> bool:
        if bad.start <= offset < bad.end:
            tries.append(offset)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(file, buffer, offset)

    monkeypatch.setattr(sources, "_filled", filled)
    monkeypatch.setattr(mounts, "mount_of", lambda device: Mount("fuse", "hf-mount"))
    settings = Settings(
        model=str(tmp_path / "model"),
        device="cpu",
        output_dir=str(tmp_path / "out"),
        batch_size=batch,
    )
    events: Events = list(run_scan(settings))
    (reason,) = failed_in(events)
    assert reason == (
        "model.safetensors is out of reach (Input/output error), though the rest of the file can "
        "be read."
    )
    assert len(tries) == absence.TRIES
    assert not [event for event in events if isinstance(event, ScanNote)]
    (ended,) = [event for event in events if isinstance(event, ScanEnded)]
    assert ended.reason == "finished" and ended.failed == 1


def test_a_file_of_which_little_can_be_read_is_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "x"
    file.write_bytes(bytes(1000))
    assert rest_answers(str(file), 10, 500)
    assert not rest_answers(str(file), 0, 1000)
    assert not rest_answers(str(tmp_path / "none"), 0, 1)
    real, number = sources._filled, iter(range(100))

    def filled(file: io.FileIO, buffer: memoryview, offset: int) -> bool:
        assert not 10 <= offset < 500
        if next(number) % 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(file, buffer, offset)

    monkeypatch.setattr(sources, "_filled", filled)
    assert not rest_answers(str(file), 10, 500)


@pytest.mark.parametrize("cancels", [False, True])
def test_the_last_look_at_the_files_waits_too(
    cancels: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[None] = []
    real = file_state.check_unchanged

    def check(files: Mapping[str, FileState | None]) -> None:
        looks.append(None)
        if cancels or len(looks) < 4:
            raise OutOfReachError("x is out of reach.", passes=True)
        real(files)

    monkeypatch.setattr(absence, "check_unchanged", check)
    events = scanned(tmp_path, cancelled=lambda: cancels and len(looks) > 1)
    assert end_of(events).reason == ("stopped" if cancels else "finished")
    notes = [event.text for event in events if isinstance(event, ScanNote)]
    assert notes[0].startswith("x is out of reach. It is waited for")
    assert cancels or notes[1:] == ["The files can be read again."]


def test_what_is_unmounted_in_mid_scan_stops_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = disk.open_regular
    reads: list[Path] = []

    def opened(path: Path) -> BinaryIO:
        reads.append(path)
        if len(reads) == 3:
            path.parent.rename(tmp_path / "elsewhere")
        return real(path)

    monkeypatch.setattr(sources, "open_regular", opened)
    ended = end_of(scanned(tmp_path))
    assert ended.reason == "stopped"
    assert "is empty or gone" in ended.notes[-1]


def test_a_mount_that_goes_once_all_is_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the files are still the same cannot be said any more."""
    save(tmp_path / "model", llama(1))
    settings = Settings(
        model=str(tmp_path / "model"), device="cpu", output_dir=str(tmp_path / "out")
    )
    events: Events = []
    for event in run_scan(settings):
        events.append(event)
        if getattr(event, "layer", "") and (tmp_path / "model").exists():
            shutil.move(tmp_path / "model", tmp_path / "moved")
    assert end_of(events).reason == "stopped"


def test_a_file_that_must_be_asked_for_again_is_not_too_short() -> None:
    """Python has None for EAGAIN."""

    class Busy(io.RawIOBase):
        def seek(self, *_: int) -> int:
            return 0

        def readinto(self, buffer: object) -> None:
            return None

    with pytest.raises(BlockingIOError):
        sources._filled(Busy(), memoryview(bytearray(1)), 0)  # type: ignore[arg-type]


def test_one_line_tells_of_an_absence_and_one_of_its_end() -> None:
    said: list[str] = []
    away = Absence(threading.Event().wait, said.append)
    error = OutOfReachError("It is away.", passes=True)
    away.over()
    for _ in range(3):
        away.wait(error)
    away.over()
    away.over()
    assert said == [
        "It is away. It is waited for, 10 min 00 s at most.",
        "The files can be read again.",
    ]


def test_a_short_absence_is_not_worth_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absence, "TOLD_AFTER", 100.0)
    said: list[str] = []
    away = Absence(threading.Event().wait, said.append)
    error = OutOfReachError("It is away.", passes=True)
    away.wait(error)
    away.over()
    assert not said
