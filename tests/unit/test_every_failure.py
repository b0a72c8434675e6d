"""Each access to the disk fails once, as SQLite tests itself: the first of a scan, the second, all.

Every access of ours to the output and to the cache is a call of `os` in `core/disk.py`,
`core/file_locks.py` or `core/platforms.py`: here they are counted, and one of them is refused.
Whichever it is, nothing
that was finished is lost, no half file is left, and what is said is one line.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from spectrum_tui.cli.main import main
from spectrum_tui.core import disk, file_locks, platforms
from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.events import LayerDone, ScanEvent
from spectrum_tui.core.files import cache_dir
from spectrum_tui.core.journal.journal import journal_path, read_journal
from spectrum_tui.core.saved.store import load_result
from spectrum_tui.worker.progress import ScanProgress
from tests.checkpoints import llama, save
from tests.commands import FLAT, RECIPE, Capture
from tests.scans import spy_on_scores

CALLS = (
    "fchmod",
    "fstat",
    "fsync",
    "ftruncate",
    "listdir",
    "lseek",
    "lstat",
    "mkdir",
    "open",
    "read",
    "readlink",
    "replace",
    "stat",
    "unlink",
    "write",
)
OUT = (FLAT.format("m"), "snr_results_m_sorted.json", RECIPE.format("m", 50))


@dataclass
class FaultyOs:
    """The module `os`, of which the call number `fails` is refused, and with `on` all after it."""

    fails: int = 0
    on: bool = False
    calls: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._counted(name, real) if name in CALLS else real

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.calls.append(name)
            count = len(self.calls)
            if self.fails and (count == self.fails or (self.on and count > self.fails)):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(*arguments)

        return call

    @property
    def failed(self) -> str:
        """The name of the call that was refused, "" where it was never reached."""
        return self.calls[self.fails - 1] if 0 < self.fails <= len(self.calls) else ""


@dataclass
class Ran:
    """One run of the command line."""

    code: int
    said: list[str]
    done: set[str]
    faulty: FaultyOs


class Place:
    """A model with three matrices to scan, and folders that are new for each run."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, capsys: Capture) -> None:
        self.model = save(folder / "m", llama(3))
        self._folder, self._patch, self._capsys = folder, patch, capsys
        self._count = 0
        self.anew()

    def anew(self) -> None:
        self._count += 1
        self.out = self._folder / f"out-{self._count}"
        self._patch.setenv("SPECTRUM_TUI_CACHE", str(self._folder / f"cache-{self._count}"))

    def scan(self, faulty: FaultyOs) -> Ran:
        for part in self.parts():
            part.unlink()
        done: set[str] = set()
        real = ScanProgress.feed

        def feed(progress: ScanProgress, event: ScanEvent) -> None:
            if isinstance(event, LayerDone):
                done.add(event.layer)
            real(progress, event)

        arguments = [
            "scan",
            str(self.model),
            "--types",
            "mlp.up_proj",
            "--output-dir",
            str(self.out),
        ]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ScanProgress, "feed", feed)
            patch.setattr(disk, "os", faulty)
            patch.setattr(platforms, "os", faulty)
            patch.setattr(file_locks, "os", faulty)
            code = main([*arguments, "--output-dir", str(self.out)])
        return Ran(code, self._capsys.readouterr().err.splitlines(), done, faulty)

    def files(self) -> dict[str, bytes]:
        return {name: (self.out / name).read_bytes() for name in OUT if (self.out / name).exists()}

    def kept(self) -> set[str]:
        return set(read_journal(journal_path(read_checkpoint(self.model).fingerprint)))

    def parts(self) -> list[Path]:
        """What is left of files that were not written to their end."""
        return [*self.out.rglob("*.part"), *cache_dir().rglob("*.part")]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Generator[Place]:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield Place(tmp_path, monkeypatch, capsys)
    assert list(temporary.iterdir()) == []


def check(ran: Ran, place: Place, right: dict[str, bytes]) -> None:
    """What must hold after a run in which something was refused."""
    where = f"call {ran.faulty.fails}: {ran.faulty.failed}: {ran.said}"
    last = ran.said[-1]
    failed = [line for line in ran.said if line.startswith("failed: ")]
    if failed:  # a matrix that could not be read
        assert len(failed) == 1, where
        assert failed[0].endswith("(Input/output error)."), where
        assert ran.code in (1, 2), where
    elif ran.code == 0:
        assert place.files() == right, where
        assert load_result(place.out / OUT[0]).scores.layers, where
    else:
        assert ran.code == 2, where
        assert last.startswith("spectrum-tui: "), where
        assert "Input/output error" in last, where
        assert last.count("spectrum-tui: ") == 1, where
        assert place.files().items() <= right.items(), where
    assert not any("Traceback" in line for line in ran.said), where
    is_kept = not any("starts over" in line for line in ran.said)
    assert not is_kept or ran.done <= place.kept(), where
    assert ran.faulty.failed == "unlink" or not place.parts(), where


def test_any_single_access_fails(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = place.scan(FaultyOs())
    assert whole.code == 0
    right, layers = place.files(), whole.done
    assert right.keys() == set(OUT)
    assert {"open", "read", "write", "fsync", "replace", "mkdir"} <= set(whole.faulty.calls)
    computed = spy_on_scores(monkeypatch)
    ends = set()
    for number in range(1, len(whole.faulty.calls) + 1):
        place.anew()
        ran = place.scan(FaultyOs(number))
        check(ran, place, right)
        ends.add(ran.code)
        if ran.code:
            kept = place.kept()
            computed.clear()
            again = place.scan(FaultyOs())
            assert (again.code, place.files(), again.done) == (0, right, layers), number
            assert len(computed) == len(layers - kept), number
    assert {0, 2} <= ends


def test_a_disk_that_fails_from_some_access_on(place: Place) -> None:
    whole = place.scan(FaultyOs())
    right = place.files()
    for number in range(1, len(whole.faulty.calls) + 1, 5):
        place.anew()
        ran = place.scan(FaultyOs(number, on=True))
        if ran.code == 0:
            assert place.files() == right
        assert ran.said
        assert not any("Traceback" in line for line in ran.said)
        assert place.files().items() <= right.items()
        assert ran.done <= place.kept() or any("starts over" in line for line in ran.said)


def test_a_scan_that_resumes_and_cannot_read_computes_again(place: Place) -> None:
    """The cache of an earlier scan is read with a fault in each place."""
    place.scan(FaultyOs())
    right = place.files()
    whole = place.scan(FaultyOs())
    for number in range(1, len(whole.faulty.calls) + 1, 2):
        ran = place.scan(FaultyOs(number))
        check(ran, place, right)
