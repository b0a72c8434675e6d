"""A scan on real nodes: the bytes of one process, whatever ends or comes meanwhile."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("ray")

from spectrum_tui.cli.main import main
from spectrum_tui.core.errors import InputError, ScanError
from spectrum_tui.core.events import LayerDone, LayerFailed, LayerRescored, ScanEnded, ScanEvent
from spectrum_tui.core.journal.journal import read_journal
from spectrum_tui.core.requests import ResultReady
from spectrum_tui.core.scanning import ray_cluster, ray_connection
from spectrum_tui.core.scanning.cluster_nodes import Lost, StoppedError
from spectrum_tui.core.scanning.cluster_task import Reference, WorkOrder
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.settings import Settings
from tests.checkpoints import experts, llama, save, spoil
from tests.cluster.conftest import NODE, orders_in_work
from tests.scans import failures_of, journal_of, resumed, scores_of

LIMIT = 60
Capture = pytest.CaptureFixture[str]


def nothing(event: object, count: int) -> None:
    """What is done beside a scan where nothing is."""


def scanned(
    folder: Path,
    cluster: Any = None,
    beside: Callable[[object, int], None] = nothing,
    cancelled: Callable[[], bool] = lambda: False,
    **named: Any,
) -> tuple[list[ScanEvent], bytes]:
    """(events, the file of scores); `beside` is called with each event and how many layers are
    done."""
    where = {"cluster": cluster.address} if cluster else {"device": "cpu"}
    out = folder.parent / ("cluster" if cluster else "alone")
    settings = Settings(model=str(folder), output_dir=str(out), **where, **named)
    events: list[ScanEvent] = []
    data = b""
    for event in run_scan(settings, cancelled=cancelled):
        if isinstance(event, ResultReady):
            data = Path(event.path).read_bytes()
            continue
        events.append(event)
        beside(event, sum(isinstance(one, LayerDone) for one in events))
    return events, data


def lines_of(folder: Path) -> int:
    return len(journal_of(folder).read_bytes().splitlines())


def one_process(folder: Path, **named: Any) -> tuple[list[ScanEvent], bytes]:
    """The same in this process alone; nothing of it is kept."""
    found = scanned(folder, **named)
    journal_of(folder).unlink()
    return found


def notes_of(events: list[ScanEvent]) -> tuple[str, ...]:
    assert isinstance(events[-1], ScanEnded)
    return events[-1].notes


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """A model of 9 matrices that take a core half a second each at the most."""
    return save(tmp_path / "slow", llama(1, hidden=1024, vocabulary=2048))


def test_the_bytes_of_one_process(two_nodes: Any, tmp_path: Path, capfd: Capture) -> None:
    bad = "model.layers.0.mlp.up_proj"
    folder = save(tmp_path / "m", spoil({**llama(2), **experts(2)}, bad, float("nan")))
    alone, expected = one_process(folder)
    capfd.readouterr()
    events, data = scanned(folder, two_nodes)
    assert data == expected
    assert failures_of(events) == failures_of(alone)
    assert list(failures_of(events)) == [bad]
    assert lines_of(folder) == len(read_journal(journal_of(folder)))
    assert notes_of(events) == ()
    assert capfd.readouterr() == ("", "")


def test_fast_scores_are_settled(two_nodes: Any, tmp_path: Path) -> None:
    tensors = llama(2, hidden=64)
    name = "model.layers.{}.mlp.up_proj.weight"
    tensors[name.format(1)] = tensors[name.format(0)].clone()
    folder = save(tmp_path / "m", tensors)
    exact = scores_of(one_process(folder, precision="exact")[0])
    events, _ = scanned(folder, two_nodes, precision="fast")
    again = {e.done.layer: e.done.snr for e in events if isinstance(e, LayerRescored)}
    assert again
    assert again == {layer: exact[layer] for layer in again}


def test_a_node_is_killed_and_another_joins(two_nodes: Any, slow: Path, capfd: Capture) -> None:
    _, expected = one_process(slow)
    done: list[int] = []

    def beside(event: object, count: int) -> None:
        if isinstance(event, LayerDone) and not done:
            done.append(count)
            two_nodes.remove_node(two_nodes.worker_nodes.copy().pop(), allow_graceful=False)
            two_nodes.add_node(**NODE)

    capfd.readouterr()
    events, data = scanned(slow, two_nodes, beside)
    assert data == expected
    assert lines_of(slow) == 9 == len(read_journal(journal_of(slow)))
    assert capfd.readouterr() == ("", "")
    assert all(note.endswith("had ended.") for note in notes_of(events))


def test_a_process_is_killed(two_nodes: Any, slow: Path, capfd: Capture) -> None:
    _, expected = one_process(slow)
    killed: list[int] = []

    def beside(event: object, count: int) -> None:
        if isinstance(event, LayerDone) and not killed:
            killed.extend(orders_in_work(two_nodes))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    capfd.readouterr()
    events, data = scanned(slow, two_nodes, beside)
    assert data == expected
    assert killed
    assert lines_of(slow) == 9 == len(read_journal(journal_of(slow)))
    assert "given out again" in notes_of(events)[0]
    assert capfd.readouterr() == ("", "")


def test_a_driver_that_is_killed_is_resumed(two_nodes: Any, slow: Path) -> None:
    _, expected = one_process(slow)
    command = (sys.executable, "-m", "spectrum_tui", "scan", str(slow), "--cluster")
    driver = subprocess.Popen(
        [*command, two_nodes.address],
        cwd=slow.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    end = time.monotonic() + LIMIT
    while not read_journal(journal_of(slow)) and time.monotonic() < end:
        time.sleep(0.02)
    driver.kill()
    driver.communicate()
    kept = len(read_journal(journal_of(slow)))
    assert 0 < kept < 9
    events, data = scanned(slow, two_nodes)
    assert data == expected
    assert len(resumed(events)) == kept
    assert lines_of(slow) == 9


def test_cancelled_what_is_in_work_is_kept(two_nodes: Any, slow: Path) -> None:
    done: list[int] = []

    def beside(event: object, count: int) -> None:
        if isinstance(event, LayerDone | LayerFailed):
            done.append(count)

    events, _ = scanned(slow, two_nodes, beside, cancelled=lambda: bool(done))
    assert isinstance(events[-1], ScanEnded)
    assert events[-1].reason == "stopped"
    assert 0 < events[-1].done == lines_of(slow) < 9


def test_an_address_where_nothing_answers(tmp_path: Path, capsys: Capture) -> None:
    folder = save(tmp_path / "m", llama(1))
    assert main(["scan", str(folder), "--cluster", "ray://127.0.0.1:1"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("spectrum-tui: No cluster answers at ray://127.0.0.1:1 (Connection refu")


def made_ray(through: list[str], **more: Any) -> SimpleNamespace:
    """What a driver asks Ray for, on 127.0.0.1; it goes `through` the last of these nodes."""
    outside = SimpleNamespace(is_connected=lambda: False)
    return SimpleNamespace(
        util=SimpleNamespace(client=SimpleNamespace(ray=outside)),
        get_runtime_context=lambda: SimpleNamespace(
            gcs_address="127.0.0.1:1", get_node_id=lambda: through[-1]
        ),
        remote=lambda **_: (
            lambda function: SimpleNamespace(
                options=lambda **_: SimpleNamespace(remote=lambda *_: object())
            )
        ),
        **more,
    )


def told(id: str, *, alive: bool, host: str = "127.0.0.1") -> dict[str, Any]:
    """A node as Ray tells of it."""
    resources = {"CPU": 1.0, "memory": 2.0**34} if alive else {}
    return {"NodeID": id, "Alive": alive, "NodeManagerAddress": host, "Resources": resources}


def test_the_node_that_a_driver_goes_through_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """It connects through another one of its machine, and every order goes out again; without
    such a node that ends the scan."""
    one, two, elsewhere = ("a" * 56, "b" * 56, "c" * 56)
    through = [one]
    listed = [told(one, alive=True), told(two, alive=True)]
    ray = made_ray(through, nodes=lambda: listed, shutdown=lambda: None)
    connected: list[str] = []

    def connect(_: Any, address: str) -> None:
        connected.append(address)
        through.append(two)

    monkeypatch.setattr(ray_cluster, "connect", connect)
    monkeypatch.setattr(ray_cluster.RayCluster, "_hears", lambda self: True)
    cluster = ray_cluster.RayCluster(ray, "auto")
    assert [node.id for node in cluster.nodes()] == [one, two]
    order = WorkOrder(names=("x",), device="cpu", precision="exact")
    given = [cluster.start(node, Reference(), order, 0, 1) for node in cluster.nodes()]
    listed[0] = told(one, alive=False)
    assert [node.id for node in cluster.nodes()] == [two]
    assert connected == ["127.0.0.1:1"]
    answers = cluster.finished(given, 0.0)
    assert [ref for ref, _ in answers] == given
    assert all(isinstance(answer, Lost) and answer.with_node for _, answer in answers)
    listed[:] = [told(two, alive=False), told(elsewhere, alive=True, host="10.0.0.2")]
    with pytest.raises(ScanError, match="the node that it went through has ended"):
        cluster.nodes()
    assert len(connected) == 1


def test_a_head_that_is_gone_ends_the_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be silent for a while: nodes work on without it."""
    cluster = ray_cluster.RayCluster(made_ray(["a"]))
    assert cluster.nodes() == []
    assert not cluster.lost
    monkeypatch.setattr(ray_cluster, "_PATIENCE", 0.01)
    time.sleep(0.02)
    with pytest.raises(ScanError, match="cannot be reached any more"):
        cluster.nodes()
    assert cluster.lost


def test_a_line_that_is_cut_ends_the_scan_of_a_driver_outside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray's own call would come back after minutes."""
    over = threading.Event()
    outside = made_ray(["a"], nodes=lambda: over.wait(LIMIT))
    outside.util.client.ray.is_connected = lambda: True
    monkeypatch.setattr(ray_cluster, "_PATIENCE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as there:
        port = there.getsockname()[1]
        cluster = ray_cluster.RayCluster(outside, f"ray://127.0.0.1:{port}")
        answer = threading.Timer(0.2, over.set)
        answer.start()
        with suppress(TypeError):  # what it answers then is no list of nodes
            cluster.nodes()
        assert not cluster.lost
    over.clear()
    with pytest.raises(ScanError, match="cannot be reached any more"):
        while True:
            cluster.nodes()
    assert cluster.lost
    over.set()


LATE = "RuntimeError: Starting it failed"


@pytest.mark.parametrize(("failing", "tries"), [(0, 1), (2, 3), (9, 3)])
def test_a_driver_outside_tries_again(
    failing: int, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def init(address: str, **_: Any) -> None:
        tried.append(address)
        if len(tried) <= failing:
            raise ConnectionAbortedError(f"It failed:\nTraceback (most recent call last):\n {LATE}")

    monkeypatch.setattr(ray_connection, "_check_answers", lambda address: None)
    ray = SimpleNamespace(init=init, shutdown=lambda: None)
    if failing < 3:
        ray_connection.connect(ray, "ray://head:10001")
    else:
        with pytest.raises(InputError, match=f"answers at ray://head:10001 .{LATE}"):
            ray_connection.connect(ray, "ray://head:10001")
    assert tried == ["ray://head:10001"] * tries


@pytest.mark.parametrize("own", ["", "60"])
def test_processes_of_a_cluster_of_one_scan_do_not_look_for_it_long(
    own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, told = "RAY_gcs_rpc_server_reconnect_timeout_s", list[str]()
    monkeypatch.setenv(name, own)
    if not own:
        monkeypatch.delenv(name)
    ray = SimpleNamespace(init=lambda **_: told.append(os.environ[name]))
    ray_connection.connect(ray, "local")
    assert told == [own or "5"]


@pytest.mark.parametrize("stopped", [False, True])
def test_what_listens_without_an_answer(stopped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left behind; where it comes at last, the connection is let go."""
    answers, told = threading.Event(), threading.Event()
    ray = SimpleNamespace(init=lambda **_: answers.wait(10), shutdown=told.set)
    monkeypatch.setattr(ray_connection, "_check_answers", lambda address: None)
    monkeypatch.setattr(ray_connection, "_LIMIT", 60.0 if stopped else 0.1)
    monkeypatch.setattr(ray_connection, "_under_way", [])
    expected = StoppedError if stopped else InputError
    with pytest.raises(expected, match=None if stopped else "answers at it:1 .no answer in 0 s"):
        ray_connection.connect(ray, "it:1", lambda: stopped)
    with pytest.raises(InputError, match="still under way"):
        ray_connection.connect(ray, "it:1")
    answers.set()
    assert told.wait(5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_connects_is_heeded_aloud(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    stopped = threading.Event()

    def handler(*_: object) -> None:
        os.write(2, b"ours")
        stopped.set()

    def init(**_: object) -> None:
        os.kill(os.getpid(), number)
        os.write(2, b"Ray's")
        stopped.wait(10)

    before = signal.signal(number, handler)
    monkeypatch.setattr(ray_connection, "_check_answers", lambda address: None)
    try:
        with suppress(StoppedError):
            ray_connection.connect(SimpleNamespace(init=init), "it:1", stopped.is_set)
        assert signal.getsignal(number) is handler and stopped.is_set()
    finally:
        signal.signal(number, before)
    assert capfd.readouterr().err.replace("Ray's", "") == "ours"


def test_what_ray_tells_in_several_lines() -> None:
    told = "Version mismatch: The cluster was started with:\n    Ray: 2.60.0\n    Python: 3.11.7\n"
    assert ray_connection.line_of(RuntimeError(told)) == (
        "Version mismatch: The cluster was started with: Ray: 2.60.0 Python: 3.11.7"
    )
    assert ray_connection.line_of(RuntimeError("It is gone.\n See the log.")) == "It is gone"
    assert ray_connection.line_of(TimeoutError()) == "TimeoutError"


class UnknownError(Exception):
    """What gRPC raises has no kind that says it."""


def test_a_head_that_has_ended_ends_the_scan_of_a_driver_outside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether its calls raise or hang, and though its address still answers."""
    over = threading.Event()

    def fails() -> None:
        raise UnknownError("Socket closed")

    monkeypatch.setattr(ray_cluster, "_PATIENCE", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as there:
        address = f"ray://127.0.0.1:{there.getsockname()[1]}"
        for nodes, why in ((fails, "Socket closed"), (over.wait, "it answers no more")):
            outside = made_ray(["a"], nodes=nodes)
            outside.util.client.ray.is_connected = lambda: True
            cluster = ray_cluster.RayCluster(outside, address)
            with pytest.raises(ScanError, match=f"cannot be reached any more .{why}"):
                cluster.nodes()
            assert cluster.lost
    over.set()


def test_a_connection_that_is_lost_is_let_go_before_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the app, where one process scans again."""
    told: list[str] = []
    inside = made_ray(
        ["a"], is_initialized=lambda: told == ["connected"], shutdown=lambda: told.append("let go")
    )
    monkeypatch.setattr(ray_cluster, "imported_ray", lambda: inside)
    monkeypatch.setattr(
        ray_cluster, "connect", lambda ray, address, cancelled: told.append("connected")
    )
    monkeypatch.setattr(atexit, "register", lambda function: None)
    with ray_cluster.connected("auto") as cluster:
        cluster.lost = True
    assert told == ["connected"]
    with ray_cluster.connected("auto"):
        assert told == ["connected", "let go", "connected"]
    assert told[3:] == ["let go"]
