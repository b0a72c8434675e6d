"""The worker process as the app sees it: answers, progress, deaths, and no process left behind."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spectrum_tui.core.events import ScanEnded
from spectrum_tui.core.files import cache_dir
from spectrum_tui.core.requests import (
    Downloaded,
    Failed,
    Inspected,
    Ready,
    ResultReady,
    Sized,
    Suggestions,
)
from spectrum_tui.core.settings import Settings
from spectrum_tui.worker.client import ScanRunner, WorkerDied, WorkerSaid
from spectrum_tui.worker.process import describe_exit
from tests.ui.worker_control import Control, wait_for


@pytest.fixture
def control(tmp_path: Path) -> Control:
    return Control(tmp_path)


class Desk:
    """A runner, and everything that it posted."""

    def __init__(self, command: list[str]) -> None:
        self.posted: list[Any] = []
        self.runner = ScanRunner(self.posted.append, command)

    def answers(self, kind: type) -> list[Any]:
        said = [m.answer for m in self.posted if isinstance(m, WorkerSaid)]
        return [answer for answer in said if isinstance(answer, kind)]

    def deaths(self) -> list[WorkerDied]:
        return [m for m in self.posted if isinstance(m, WorkerDied)]

    def wait(self, kind: type, count: int = 1) -> Any:
        wait_for(lambda: len(self.answers(kind)) >= count)
        return self.answers(kind)[count - 1]

    def wait_phase(self, phase: str) -> None:
        wait_for(lambda: self.runner.progress.snapshot().phase == phase)


@pytest.fixture
def desk(control: Control) -> Iterator[Desk]:
    desk = Desk(control.command)
    yield desk
    desk.runner.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def request(tmp_path: Path) -> Settings:
    return Settings(model="good", types=("mlp.down_proj",), output_dir=str(tmp_path / "out"))


def test_start_is_idempotent_and_ready_comes_by_itself(desk: Desk) -> None:
    desk.runner.start()
    desk.runner.start()
    assert desk.wait(Ready).devices == ("cpu", "fake:0")
    assert len(desk.answers(Ready)) == 1


def test_inspection_and_suggestions(desk: Desk, control: Control) -> None:
    desk.runner.suggest(Settings(output_dir="/out"))
    desk.runner.inspect(Settings(model="good", revision="v1"))
    assert desk.wait(Suggestions).models == ("good", "org/remote")
    assert desk.wait(Inspected).summary.model == "good"
    (suggested,) = control.requests("suggest")
    assert (suggested.number, suggested.settings) == (0, Settings(output_dir="/out"))
    assert control.requests("inspect")[0].settings.revision == "v1"


def test_a_failure_says_what_it_belongs_to(desk: Desk) -> None:
    desk.runner.inspect(Settings(model="nothing"))
    failed = desk.wait(Failed)
    assert (failed.error["field"], failed.error["message"]) == (
        "model",
        "There is no model nothing.",
    )
    assert [m.task for m in desk.posted if m.answer is failed] == ["inspect"]


def test_only_the_newest_inspection_is_answered(desk: Desk) -> None:
    desk.runner.start()
    desk.wait(Ready)
    desk.runner.inspect(Settings(model="good"))
    newest = desk.runner.inspect(Settings(model="a[/b][red]"))
    assert desk.wait(Inspected).request == newest
    desk.runner.suggest(Settings())  # answered in order: nothing else is on its way
    desk.wait(Suggestions)
    assert len(desk.answers(Inspected)) == 1


def test_lines_that_are_no_messages_are_ignored(desk: Desk, control: Control) -> None:
    desk.runner.start()
    desk.wait(Ready)
    control.tell("junk")
    desk.runner.inspect(Settings(model="good"))
    assert desk.wait(Inspected)
    assert not desk.deaths()


def test_a_scan_feeds_the_progress_and_ends_with_its_result(
    desk: Desk, control: Control, tmp_path: Path
) -> None:
    desk.runner.scan(request(tmp_path))
    assert desk.runner.progress.snapshot().phase == "starting"
    desk.wait_phase("running")
    control.tell("work 0", "work 1", "layer 0", "bad 1", "work 2")
    wait_for(lambda: desk.runner.progress.snapshot().failed == 1)
    wait_for(lambda: desk.runner.progress.snapshot().in_work)
    view = desk.runner.progress.snapshot()
    assert (view.done, view.layers, view.device) == (1, 6, "cpu")
    assert [work.layer for work in view.in_work] == ["model.layers.2.mlp.down_proj"]
    wait_for(lambda: desk.runner.progress.snapshot().memory > 1_000_000)
    control.tell("finish")
    result = desk.wait(ResultReady)
    assert result.complete and Path(result.path).is_file()
    assert desk.wait(ScanEnded).reason == "finished"
    assert control.requests("scan")[0].settings == request(tmp_path)


def test_stop_keeps_what_is_there(desk: Desk, control: Control, tmp_path: Path) -> None:
    desk.runner.scan(request(tmp_path))
    desk.wait_phase("running")
    control.tell("layer 0")
    wait_for(lambda: desk.runner.progress.snapshot().done == 1)
    desk.runner.stop()
    desk.wait_phase("stopped")
    assert desk.wait(ResultReady).complete is False


def test_forced_stop_kills_the_process_and_another_is_ready(desk: Desk, tmp_path: Path) -> None:
    desk.runner.start()
    desk.wait(Ready)
    desk.runner.scan(request(tmp_path))
    desk.wait_phase("running")
    pid = desk.runner.pid
    assert pid is not None
    desk.runner.force_stop()
    assert desk.runner.progress.snapshot().phase == "stopped"
    desk.wait(Ready, 2)
    wait_for(lambda: not alive(pid))
    assert not desk.deaths()


def test_a_killed_worker_is_reported_once_and_replaced(
    desk: Desk, control: Control, tmp_path: Path
) -> None:
    desk.runner.scan(request(tmp_path))
    desk.wait_phase("running")
    control.tell("layer 0", "die SIGKILL")
    wait_for(desk.deaths)
    (death,) = desk.deaths()
    assert death.reason == "was killed (SIGKILL; out of memory?)"
    assert death.lost == {"scan"}
    assert Path(death.log).parent == cache_dir() / "logs"
    view = desk.runner.progress.snapshot()
    assert view.phase == "died"
    assert view.reason == "The scan process was killed (SIGKILL; out of memory?)."
    desk.runner.inspect(Settings(model="good"))
    assert desk.wait(Inspected)
    assert len(desk.deaths()) == 1


def test_a_worker_that_ends_while_idle_loses_nothing(desk: Desk, control: Control) -> None:
    desk.runner.start()
    desk.wait(Ready)
    control.tell("exit 3")
    wait_for(desk.deaths)
    assert desk.deaths()[0].reason == "ended with exit code 3"
    assert not desk.deaths()[0].lost
    assert desk.runner.progress.snapshot().phase == "idle"


def test_a_worker_that_cannot_start_is_reported() -> None:
    desk = Desk(["/no/such/program"])
    desk.runner.inspect(Settings(model="good"))
    wait_for(desk.deaths)
    assert desk.deaths()[0].reason == "could not be started: No such file or directory"
    assert desk.deaths()[0].lost == {"inspect"}
    desk.runner.close()


def test_the_scores_of_a_dead_worker_can_be_collected(
    desk: Desk, control: Control, tmp_path: Path
) -> None:
    """A scan that is stopped as soon as it starts: it writes what the journal has."""
    desk.runner.collect(request(tmp_path))
    desk.wait_phase("stopped")
    assert len(control.requests("scan")) == len(control.requests("stop")) == 1
    desk.runner.scan(request(tmp_path))
    desk.wait_phase("running")
    assert len(control.requests("stop")) == 1


def test_download_progress_is_polled_and_the_end_is_posted(desk: Desk, control: Control) -> None:
    number = desk.runner.fetch(Settings(model="org/remote"))
    wait_for(lambda: control.requests("download"))
    control.tell("progress 500 2000")
    wait_for(lambda: desk.runner.download is not None)
    assert desk.runner.download is not None
    assert (desk.runner.download.done, desk.runner.download.total) == (500, 2000)
    assert len(desk.posted) == len(desk.answers(Ready))
    control.tell("downloaded")
    downloaded = desk.wait(Downloaded)
    assert downloaded.request == number and downloaded.summary.is_local


def test_a_scan_that_downloaded_its_model_is_still_lost_with_the_worker(
    desk: Desk, control: Control, tmp_path: Path
) -> None:
    """Its exact names come between the download and the scan, and are not the end of it."""
    desk.runner.scan(replace(request(tmp_path), model="org/remote"))
    wait_for(lambda: control.requests("scan"))
    control.tell("downloaded")
    desk.wait_phase("running")
    control.tell("die SIGKILL")
    desk.wait_phase("died")
    assert [death.lost for death in desk.deaths()] == [{"scan"}]


def test_a_cancelled_download_ends_its_process(desk: Desk, control: Control) -> None:
    desk.runner.start()
    desk.wait(Ready)
    desk.runner.fetch(Settings(model="org/remote"))
    wait_for(lambda: control.requests("download"))
    pid = desk.runner.pid
    assert pid is not None
    desk.runner.cancel_download()
    wait_for(lambda: not alive(pid))
    desk.wait(Ready, 2)
    assert desk.runner.download is None and not desk.deaths()


def test_cancelling_nothing_leaves_the_worker_alone(desk: Desk) -> None:
    desk.runner.start()
    desk.wait(Ready)
    pid = desk.runner.pid
    desk.runner.cancel_download()
    assert desk.runner.pid == pid


@pytest.mark.parametrize("way", ["close", "kill"])
def test_nothing_is_left_behind(desk: Desk, way: str) -> None:
    desk.runner.start()
    desk.wait(Ready)
    pid = desk.runner.pid
    assert pid is not None and os.getsid(pid) == pid != os.getsid(0)
    getattr(desk.runner, way)()
    wait_for(lambda: not alive(pid))
    desk.runner.inspect(Settings(model="good"))
    assert desk.runner.pid is None and not desk.deaths()


def test_closing_before_the_process_has_started(control: Control) -> None:
    desk = Desk(control.command)
    desk.runner.start()
    desk.runner.close()
    assert desk.runner.pid is None


def test_a_worker_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    stubborn = tmp_path / "stubborn.py"
    stubborn.write_text(
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"open({str(tmp_path / 'up')!r}, 'w').close()\n"
        "while True: time.sleep(1)\n"
    )
    desk = Desk([sys.executable, str(stubborn)])
    desk.runner.start()
    wait_for((tmp_path / "up").exists)
    wait_for(lambda: desk.runner.pid is not None)  # it may be up before its number is noted
    pid = desk.runner.pid
    assert pid is not None
    desk.runner.close()
    wait_for(lambda: not alive(pid))


def test_what_the_worker_prints_goes_to_a_log_and_old_logs_are_pruned(
    desk: Desk, control: Control
) -> None:
    folder = cache_dir() / "logs"
    folder.mkdir(parents=True)
    for i in range(20):
        (folder / f"worker-20200101-0000{i:02}-1.log").touch()
    desk.runner.start()
    desk.wait(Ready)
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 10
    assert names[-1].endswith(f"-{os.getpid()}.log")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (-signal.SIGKILL, "was killed (SIGKILL; out of memory?)"),
        (-signal.SIGSEGV, "was killed (SIGSEGV)"),
        (-250, "was killed (signal 250)"),
        (1, "ended with exit code 1"),
    ],
)
def test_exit_codes_in_words(code: int, text: str) -> None:
    assert describe_exit(code) == text


def test_sizes_are_found_for_several_files_at_a_time(desk: Desk) -> None:
    for name in ("a.json", "b.json"):
        desk.runner.sizes(Path(name), Settings())
    desk.wait(Sized, 2)
    assert [answer.scores for answer in desk.answers(Sized)] == ["a.json", "b.json"]
