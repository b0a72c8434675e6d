"""A folder on a real FUSE mount that fetches what is read, as hf-mount does; needs fusepy, libfuse2
and the right to mount."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

try:
    pytest.importorskip("fuse")
except OSError:  # fusepy without libfuse
    pytest.skip("needs libfuse", allow_module_level=True)

from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.events import LayerFailed, MatrixDone, ScanEnded, ScanEvent
from spectrum_tui.core.model.inspection import inspect_model
from spectrum_tui.core.requests import ResultReady
from spectrum_tui.core.scanning import absence
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.settings import Settings
from tests.checkpoints import llama, save
from tests.cloud import hf_mount
from tests.streamed import scores

UNMOUNT = shutil.which("fusermount3") or shutil.which("fusermount")
pytestmark = pytest.mark.skipif(
    not (UNMOUNT and os.access("/dev/fuse", os.W_OK)), reason="needs /dev/fuse and fusermount"
)


class Mount:
    """A folder that is mounted from another one."""

    def __init__(self, source: Path, place: Path) -> None:
        self.source, self.place, self.control = source, place, place.with_suffix(".control")
        place.mkdir()
        self.fails(0)
        self.begin()

    def begin(self, seconds: float = 0.01) -> None:
        """Mount it, and wait until it is."""
        arguments = map(str, (hf_mount.__file__, self.source, self.place, self.control, seconds))
        self._server = subprocess.Popen([sys.executable, *arguments])
        end = time.monotonic() + 20
        while not self.place.is_mount():
            if self._server.poll() is not None:
                pytest.skip("may not mount here")
            assert time.monotonic() < end
            time.sleep(0.02)

    def fails(self, number: int) -> None:
        """Have every read fail with this error, or none."""
        self.control.write_text(str(number or ""))

    def fetched(self) -> int:
        """Bytes that were fetched since it was mounted."""
        found = json.loads(self.control.with_suffix(".json").read_text())
        return int(found["fetched"])

    def kill(self) -> None:
        """End its server, with the mount left behind."""
        self._server.kill()
        self._server.wait(10)

    def end(self) -> None:
        """Unmount it."""
        assert UNMOUNT
        subprocess.run([UNMOUNT, "-uz", str(self.place)], check=False, capture_output=True)
        self.kill()


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    mounted = Mount(save(tmp_path / "source", llama(2), shards=2), tmp_path / "mount")
    yield mounted
    mounted.end()


def settings(mount: Mount, tmp_path: Path) -> Settings:
    return Settings(model=str(mount.place), device="cpu", output_dir=str(tmp_path / "out"))


def end_of(events: list[ScanEvent | ResultReady]) -> ScanEnded:
    (ended,) = [event for event in events if isinstance(event, ScanEnded)]
    assert not [event for event in events if isinstance(event, LayerFailed)]
    return ended


def test_its_scores_are_those_of_the_files_and_found_once_mounted_again(
    mount: Mount, tmp_path: Path
) -> None:
    summary = inspect_model(str(mount.place)).summary
    assert summary.mounted and not summary.scored
    found = scores(list(run_scan(settings(mount, tmp_path))))
    local = Settings(model=str(mount.source), device="cpu", output_dir=str(tmp_path / "local"))
    assert found == scores(list(run_scan(local))) and found
    mount.end()
    mount.begin()
    assert sum(inspect_model(str(mount.place)).summary.scored.values()) == len(found)
    os.utime(next(mount.source.glob("*.safetensors")), (1, 1))
    mount.end()
    mount.begin()
    assert not inspect_model(str(mount.place)).summary.scored


def test_a_look_fetches_little(mount: Mount) -> None:
    """Of 100 MB in 400 tensors; samples everywhere would fetch all of it."""
    tensors = {f"layer.{i}.weight": torch.zeros(256, 256) for i in range(400)}
    for file in mount.source.iterdir():
        file.unlink()
    save(mount.source, tensors, shards=2)
    size = sum(file.stat().st_size for file in mount.source.iterdir())
    assert len(read_checkpoint(mount.place).tensors) == 400
    assert mount.fetched() < size / 50


def test_a_network_that_comes_back_is_waited_for(
    mount: Mount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(absence, "MOST_WAIT", 0.05)
    found = inspect_model(str(mount.place))
    mount.fails(errno.EIO)
    back = threading.Timer(0.5, mount.fails, (0,))
    back.start()
    assert end_of(list(run_scan(settings(mount, tmp_path), found))).reason == "finished"


def test_a_server_that_ends_stops_the_scan(mount: Mount, tmp_path: Path) -> None:
    events = []
    for event in run_scan(settings(mount, tmp_path)):
        events.append(event)
        if isinstance(event, MatrixDone) or type(event).__name__ == "LayerStarted":
            mount.kill()
    ended = end_of(events)
    assert ended.reason == "stopped"
    assert "Transport endpoint is not connected" in ended.notes[-1]
    mount.end()
    mount.begin()
    assert end_of(list(run_scan(settings(mount, tmp_path)))).reason == "finished"
