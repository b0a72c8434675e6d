"""A scan on a cluster whose nodes are in this process: who does what, and what is lost.

`tests/cluster` has Ray, and real processes.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from spectrum_tui.cli.main import main
from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.checkpoint.identity import Identity
from spectrum_tui.core.errors import InputError, ModelChangedError, ScanError
from spectrum_tui.core.events import (
    Fetched,
    LayerRescored,
    LayerStarted,
    NodesChanged,
    ScanEnded,
    ScanEvent,
    ScanNote,
    ScanStarted,
)
from spectrum_tui.core.hub import outage
from spectrum_tui.core.journal.journal import read_journal
from spectrum_tui.core.option_values import parse_cluster
from spectrum_tui.core.requests import ResultReady
from spectrum_tui.core.results.results import read_notes
from spectrum_tui.core.scanning import cluster, cluster_nodes, cluster_task
from spectrum_tui.core.scanning.chunks import Item, Pile
from spectrum_tui.core.scanning.cluster_nodes import Lost, Node
from spectrum_tui.core.scanning.cluster_task import Answer, Reference, WorkOrder, carry_out
from spectrum_tui.core.scanning.layers import memory_need
from spectrum_tui.core.scanning.ray_connection import unanswered
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.settings import Settings
from tests.checkpoints import experts, llama, save, spoil
from tests.commands import Capture
from tests.fake_hub import FakeHub
from tests.scans import failures_of, journal_of, layers_of, scores_of
from tests.streamed import REPO, stream_from

MATRICES = 2 * 7 + 2
ONE = Node(id="a", host="one", cores=1, gpus=0, memory=2**34)
TWO = Node(id="b", host="two", cores=2, gpus=0, memory=2**34)
GPUS = Node(id="g", host="gpus", cores=4, gpus=2, memory=2**34)
CRASHED, GONE = Lost("it was killed", with_node=False), Lost("it is gone", with_node=True)

Act = Callable[[Node, WorkOrder], Answer | Lost | None]


@dataclass
class Nodes:
    """A cluster whose nodes carry an order out when it is asked for, unless `act` says how it
    ends."""

    found: list[Node]
    act: Act = lambda node, order: None
    started: dict[object, tuple[Node, Reference, WorkOrder]] = field(default_factory=dict)
    orders: list[tuple[str, WorkOrder]] = field(default_factory=list)
    most: Counter[str] = field(default_factory=Counter)
    forgotten: int = 0
    references: list[Reference] = field(default_factory=list)

    def nodes(self) -> list[Node]:
        return self.found

    def start(
        self, node: Node, reference: Reference, order: WorkOrder, gpus: int, memory: int
    ) -> object:
        handle = object()
        self.references.append(reference)
        self.started[handle] = (node, reference, order)
        self.orders.append((node.host, order))
        in_work = Counter(node.host for node, _, _ in self.started.values())
        self.most |= in_work
        return handle

    def finished(
        self, started: Sequence[object], seconds: float
    ) -> list[tuple[object, Answer | Lost]]:
        handle = started[0]
        node, reference, order = self.started.pop(handle)
        return [(handle, self.act(node, order) or carry_out(reference, order))]

    def forget(self, started: Sequence[object]) -> None:
        self.forgotten += len(started)

    def on_cpu(self, node: Node, order: WorkOrder) -> Answer:
        """Carry an order for a GPU out on the CPU, as it is for one here."""
        return carry_out(self.references[-1], replace(order, device="cpu"))

    @property
    def given(self) -> Counter[str]:
        """How often each matrix was given out."""
        return Counter(name for _, order in self.orders for name in order.names)


class Silent(Nodes):
    """A cluster that never says what becomes of the orders of TWO, which is gone once nothing else
    is in work, unless it `stays`."""

    def __init__(self, found: list[Node], *, stays: bool = False) -> None:
        super().__init__(found)
        self.stays, self.lost = stays, 0

    def finished(
        self, started: Sequence[object], seconds: float
    ) -> list[tuple[object, Answer | Lost]]:
        heard = [handle for handle in started if self.started[handle][0] is not TWO]
        if not heard and not self.stays:
            self.found, self.lost = [ONE], len(started)
        return super().finished(heard, seconds) if heard else []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(tmp_path / "m", llama(2))


def scanned(
    nodes: Nodes, folder: Path, monkeypatch: pytest.MonkeyPatch, **named: Any
) -> list[ScanEvent]:
    """The events of a scan on these nodes."""

    cancelled = named.pop("cancelled", lambda: False)
    monkeypatch.setattr(cluster, "opened", lambda plan, cancelled: nullcontext(nodes))
    monkeypatch.setattr(cluster, "_LOOK", 0.0)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    named = {"model": str(folder), "output_dir": str(folder.parent / "out"), **named}
    settings = Settings(**{"cluster": "auto", **named})
    events = run_scan(settings, cancelled=cancelled)
    return [event for event in events if not isinstance(event, ResultReady)]


def alone(folder: Path, **named: Any) -> dict[str, float]:
    """The scores of a scan in this process, of which nothing is kept."""
    out = str(folder.parent / "alone")
    *events, _ = run_scan(Settings(model=str(folder), device="cpu", output_dir=out, **named))
    journal_of(folder).unlink()
    return scores_of(events)  # type: ignore[arg-type]


def notes_of(events: list[ScanEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, ScanNote)]


def changes_of(events: list[ScanEvent]) -> list[NodesChanged]:
    return [event for event in events if isinstance(event, NodesChanged)]


def end_of(events: list[ScanEvent]) -> ScanEnded:
    assert isinstance(events[-1], ScanEnded)
    return events[-1]


@pytest.mark.parametrize("made", [llama(2), {**llama(1), **experts(1)}], ids=["llama", "experts"])
def test_the_scores_are_those_of_one_process(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path / "m", made)
    one = alone(folder)
    nodes = Nodes([ONE, TWO])
    events = scanned(nodes, folder, monkeypatch)
    assert scores_of(events) == one
    files = [tmp_path / out / "model_snr_results/snr_results_m.json" for out in ("alone", "out")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert set(nodes.given.values()) == {1}
    assert nodes.most == {"one": 1, "two": 1}
    assert {(host, order.at_once) for host, order in nodes.orders} == {("one", 1), ("two", 2)}
    lines = journal_of(folder).read_bytes().splitlines()
    assert len(lines) == len(nodes.given) == len(read_journal(journal_of(folder)))
    start = events[0]
    assert isinstance(start, ScanStarted)
    assert (start.device, start.batch_size) == ("2 nodes (3 cores)", 3)
    assert end_of(events).notes == ()
    told = [event.cost for event in events if isinstance(event, LayerStarted)]
    assert len(told) == sum(min(order.at_once, len(order.names)) for _, order in nodes.orders)
    assert sum(told) == pytest.approx(start.cost)


@pytest.mark.parametrize("lost", [CRASHED, GONE])
def test_what_a_process_or_a_node_had_goes_to_another(
    lost: Lost, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = alone(folder)
    died: list[WorkOrder] = []

    def act(node: Node, order: WorkOrder) -> Lost | None:
        if node is not TWO or len(died) == 2:
            return None
        died.append(order)
        if lost.with_node and len(died) == 2:
            nodes.found.remove(TWO)
        return lost

    nodes = Nodes([ONE, TWO], act)
    events = scanned(nodes, folder, monkeypatch)
    again = {name for order in died for name in order.names}
    assert scores_of(events) == one
    assert {name for name, count in nodes.given.items() if count > 1} == again
    assert len(journal_of(folder).read_bytes().splitlines()) == MATRICES
    assert end_of(events).notes[0].startswith(f"{len(again)} matrices were given out again")


def test_a_matrix_that_takes_every_process_down_has_no_score(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many went with it: those have theirs."""
    bad = "model.layers.1.mlp.up_proj"
    nodes = Nodes([TWO], lambda node, order: CRASHED if bad in order.names else None)
    events = scanned(nodes, folder, monkeypatch)
    assert failures_of(events) == {bad: "its process ended 3 times: it was killed"}
    assert len(scores_of(events)) == MATRICES - 1
    assert end_of(events).failed == 1


def test_what_one_node_lost_another_one_scores(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node with a fault of its own fails no matrix, however often it is the first to be free."""
    nodes = Nodes([ONE, TWO], lambda node, order: CRASHED if node is TWO else None)
    events = scanned(nodes, folder, monkeypatch)
    assert failures_of(events) == {}
    assert notes_of(events) == ["two takes no part: it lost 4 orders (it was killed)"]


def test_a_matrix_that_two_nodes_lose_costs_none_of_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = "lm_head"
    nodes = Nodes([ONE, TWO], lambda node, order: CRASHED if bad in order.names else None)
    events = scanned(nodes, folder, monkeypatch)
    assert list(failures_of(events)) == [bad]
    assert notes_of(events) == []
    tried = [host for host, order in nodes.orders if bad in order.names]
    assert len(tried) == 4  # at first among others
    assert tried[0] != tried[1]


def test_scores_have_the_time_of_the_driver(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By which those of a scan with --fresh are known from older ones."""

    def act(node: Node, order: WorkOrder) -> Answer:
        answer = carry_out(nodes.references[-1], order)
        old = [(replace(entry, made=1.0), spectrum) for entry, spectrum in answer.scores]
        return replace(answer, scores=tuple(old))

    begin = time.time()
    nodes = Nodes([ONE], act)
    scanned(nodes, folder, monkeypatch)
    assert min(entry.made for entry in read_journal(journal_of(folder)).values()) >= begin


def test_a_failed_matrix_is_told_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = "model.layers.0.mlp.up_proj"
    folder = save(tmp_path / "m", spoil(llama(2), bad, float("nan")))
    events = scanned(Nodes([ONE]), folder, monkeypatch)
    assert list(failures_of(events)) == [bad]
    assert "NaN" in failures_of(events)[bad]


def test_a_node_that_joins_late_takes_part(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def act(node: Node, order: WorkOrder) -> None:
        if len(nodes.orders) == 3:
            nodes.found.append(TWO)

    nodes = Nodes([ONE], act)
    events = scanned(nodes, folder, monkeypatch)
    assert len(scores_of(events)) >= MATRICES
    assert {host for host, _ in nodes.orders[:3]} == {"one"}
    assert "two" in {host for host, _ in nodes.orders[3:]}
    assert changes_of(events) == [
        NodesChanged("2 nodes (3 cores)", 3, "1 node of the cluster is there now (two).")
    ]
    assert set(nodes.given.values()) == {1}


def test_a_node_that_is_gone_gives_back_its_orders_whatever_is_said_of_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the last ones, when nothing is left to give out; whoever shows the nodes follows."""
    one = alone(folder)
    silent = Silent([ONE, TWO])
    events = scanned(silent, folder, monkeypatch)
    assert scores_of(events) == one
    again = {name for name, count in silent.given.items() if count > 1}
    assert again == {name for host, order in silent.orders if host == "two" for name in order.names}
    assert silent.forgotten == silent.lost == 1
    assert changes_of(events) == [
        NodesChanged("1 node (1 core)", 1, "1 node of the cluster is lost (two).")
    ]
    assert end_of(events).notes[0].startswith(f"{len(again)} matrices were given out again")
    assert len(journal_of(folder).read_bytes().splitlines()) == MATRICES


def test_a_stopped_scan_does_not_wait_for_ever(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_GRACE", 0.0)
    silent = Silent([ONE, TWO], stays=True)
    events = scanned(silent, folder, monkeypatch, cancelled=lambda: len(silent.orders) > 5)
    assert end_of(events).reason == "stopped"
    assert end_of(events).done == len(journal_of(folder).read_bytes().splitlines()) > 0
    assert silent.forgotten == 1
    assert end_of(events).notes == (
        "2 matrices were given up: 0 s after the stop there was no answer yet.",
    )


def test_without_a_node_the_scan_waits_and_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = Nodes([])
    looks = iter([[], [], [], [ONE]])
    monkeypatch.setattr(nodes, "nodes", lambda: next(looks, [ONE]))
    events = scanned(nodes, folder, monkeypatch)
    assert notes_of(events) == ["No node of the cluster can compute yet: the scan waits for one."]
    assert end_of(events).reason == "finished"


def test_a_node_that_cannot_see_the_model_takes_no_part(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(node: Node, order: WorkOrder) -> Answer | None:
        if node is ONE:
            return None
        return carry_out(Reference(folder="/nowhere/m"), order)

    nodes = Nodes([ONE, TWO], act)
    events = scanned(nodes, folder, monkeypatch)
    assert len(notes_of(events)) == 1
    assert notes_of(events)[0].startswith("two takes no part: There is no folder /nowhere/m there.")
    assert changes_of(events) == [NodesChanged("1 node (1 core)", 1)]
    assert end_of(events).reason == "finished"
    assert end_of(events).notes == ()
    with pytest.raises(ScanError, match=r"can take part\. two takes no part"):
        scanned(Nodes([TWO], act), folder, monkeypatch, since=time.time())


def test_a_node_that_loses_everything_takes_no_part(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = Nodes([ONE, TWO], lambda node, order: GONE if node is TWO else None)
    events = scanned(nodes, folder, monkeypatch)
    assert end_of(events).reason == "finished"
    assert notes_of(events) == ["two takes no part: it lost 4 orders (it is gone)"]


def test_files_that_change_on_a_node_end_the_scan(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = {"kind": "ModelChangedError", "message": "x has changed.", "hint": "", "field": ""}
    nodes = Nodes(
        [ONE, TWO], lambda node, order: Answer(changed=changed) if len(nodes.orders) > 4 else None
    )
    with pytest.raises(ModelChangedError, match="x has changed"):
        scanned(nodes, folder, monkeypatch)
    assert nodes.forgotten > 0


def test_cancelled_what_is_in_work_is_finished(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = Nodes([TWO])
    events = scanned(nodes, folder, monkeypatch, cancelled=lambda: len(nodes.orders) > 4)
    assert end_of(events).reason == "stopped"
    given = len(nodes.given)
    assert len(journal_of(folder).read_bytes().splitlines()) == given < MATRICES
    again = Nodes([TWO])
    assert len(scores_of(scanned(again, folder, monkeypatch))) == MATRICES
    assert len(again.given) == MATRICES - given


def test_the_order_of_fast_scores_is_settled_on_the_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = llama(2, hidden=64)
    close = [f"model.layers.{i}.mlp.up_proj" for i in range(2)]
    tensors[f"{close[1]}.weight"] = tensors[f"{close[0]}.weight"].clone()
    folder = save(tmp_path / "m", tensors)
    exact = alone(folder, precision="exact")
    nodes = Nodes([ONE, TWO])
    events = scanned(nodes, folder, monkeypatch, precision="fast")
    again = {e.done.layer: e.done.snr for e in events if isinstance(e, LayerRescored)}
    assert again == {layer: exact[layer] for layer in again}
    assert again.keys() >= set(close)
    assert {order.precision for _, order in nodes.orders} == {"fast", "exact"}


def test_nodes_read_a_model_of_the_hub_straight_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver has its headers, and nobody downloads it."""
    folder = save(tmp_path / "m", {**llama(2), **experts(2)}, shards=2)
    one = alone(folder)
    with FakeHub({}) as hub:
        stream_from(folder, hub, tmp_path, monkeypatch)
        nodes = Nodes([ONE, TWO])
        events = scanned(nodes, Path(REPO), monkeypatch, output_dir=str(tmp_path / "out"))
        with pytest.raises(InputError, match="--cluster and --download are given"):
            scanned(nodes, Path(REPO), monkeypatch, download=True)
    assert scores_of(events) == one
    assert notes_of(events) == ["The nodes read values over the network as needed."]
    told = [event for event in events if isinstance(event, Fetched)]
    assert [one.done for one in told] == sorted(one.done for one in told)
    stored = read_checkpoint(folder)
    matrices = sum(one.nbytes for one in stored.tensors if len(one.shape) > 1)
    assert (told[-1].done, told[-1].total) == (matrices, 0)
    assert 0 < told[-1].speed <= matrices
    assert [note[:34] for note in end_of(events).notes] == ["Values were read in ranges at comm"]
    assert not list((tmp_path / "hub-cache").rglob("*.safetensors"))


def test_nodes_that_read_files_without_marks_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path / "m", llama(1))
    with FakeHub({}) as hub:
        stream_from(folder, hub, tmp_path, monkeypatch)
        hub.web_marks = ()
        address = f"{hub.url}/web/{REPO}".replace("127.0.0.1", "localhost")
        out = str(tmp_path / "out")
        events = scanned(Nodes([ONE]), folder, monkeypatch, model=address, output_dir=out)
    assert end_of(events).notes == read_notes(address, unmarked=True)


class TestPlaces:
    def places(self, *nodes: Node, **named: Any) -> list[tuple[str, int, int, int]]:
        """(host, processes, the cores of each, matrices at once in each)."""
        plan = cluster_nodes.ClusterPlan(address="auto", reference=Reference(), **named)
        found = cluster_nodes.members(plan, nodes)
        return [(one.node.host, one.places, one.threads, one.at_once) for one in found]

    def test_a_matrix_for_each_core_and_four_on_a_gpu(self) -> None:
        found = self.places(ONE, TWO, GPUS, replace(TWO, cores=40))
        assert found == [("one", 1, 1, 1), ("two", 1, 2, 2), ("gpus", 2, 1, 4), ("two", 3, 13, 13)]

    def test_a_batch_size_is_for_each_node_or_gpu(self) -> None:
        found = self.places(replace(TWO, cores=40), GPUS, batch_size=1)
        assert found == [("two", 1, 40, 1), ("gpus", 2, 1, 1)]

    def test_a_device_that_is_asked_for(self) -> None:
        assert self.places(TWO, GPUS, device="cpu") == [("two", 1, 2, 2), ("gpus", 1, 4, 4)]
        assert self.places(TWO, GPUS, device="cuda") == [("gpus", 2, 1, 4)]
        with pytest.raises(InputError, match="no device 'cuda:1'"):
            cluster_nodes.check_device("cuda:1")

    def test_what_computes_in_words(self) -> None:
        plan = cluster_nodes.ClusterPlan(address="auto", reference=Reference())
        assert cluster_nodes.device_text(cluster_nodes.members(plan, [TWO, GPUS])) == (
            "2 nodes (2 cores, 2 GPUs)"
        )
        assert "without nodes" in cluster_nodes.device_text([])

    def test_a_node_takes_what_its_memory_holds(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """At least one matrix: it says itself what it lacks."""
        need = max(memory_need(layer) for layer in layers_of(read_checkpoint(folder)))
        for room, at_once in ((3.5 * need, 3), (0.0, 1)):
            small = replace(TWO, cores=8, memory=int(cluster_nodes.BASE + room))
            nodes = Nodes([small])
            scanned(nodes, folder, monkeypatch, since=time.time(), types=("mlp.up_proj",))
            assert {order.at_once for _, order in nodes.orders} == {at_once}

    def test_a_process_on_a_gpu_has_several_matrices_at_once(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = alone(folder)
        nodes = Nodes([GPUS])
        nodes.act = nodes.on_cpu
        events = scanned(nodes, folder, monkeypatch)
        assert scores_of(events) == one
        assert {(order.device, order.at_once) for _, order in nodes.orders} == {("cuda:0", 4)}
        start = events[0]
        assert isinstance(start, ScanStarted)
        assert (start.device, start.batch_size) == ("1 node (2 GPUs)", 8)
        assert nodes.most == {"gpus": 2}

    def test_few_matrices_share_the_cores_of_a_node(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        nodes = Nodes([replace(TWO, cores=8)])
        events = scanned(nodes, folder, monkeypatch, types=("mlp.up_proj",))
        assert len(scores_of(events)) == 2
        assert [(order.threads, len(order.names)) for _, order in nodes.orders] == [(8, 2)]


class TestPile:
    def items(self, *costs: float) -> list[Item]:
        return [Item(str(i), cost, 0) for i, cost in enumerate(costs)]

    def test_one_while_the_speed_is_unknown_and_the_costliest_first(self) -> None:
        pile = Pile(self.items(1, 5, 3))
        assert [pile.take(0.0, 4)[0].cost for _ in range(3)] == [5, 3, 1]
        assert len(pile) == pile.cost == 0

    def test_a_matrix_for_each_thread_and_no_more_than_a_share(self) -> None:
        pile = Pile(self.items(*[1.0] * 10))
        assert len(pile.take(0.0, 2, at_once=3)) == 3
        assert len(pile.take(0.0, 2, at_once=16)) == 4

    def test_ten_seconds_of_work_then_less(self) -> None:
        pile = Pile(self.items(*[1.0] * 1000))
        sizes = []
        while len(pile):
            sizes.append(len(pile.take(0.5, 4)))
        assert sizes[0] == 20
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[-4:] == [1, 1, 1, 1]
        assert sum(sizes) == 1000

    def test_what_took_a_process_down_goes_alone(self) -> None:
        pile = Pile(self.items(*[1.0] * 8))
        taken = pile.take(1.0, 1)
        pile.put_back([replace(item, alone=True) for item in taken])
        assert [len(pile.take(1.0, 1)) for _ in taken] == [1] * len(taken)


class TestReference:
    def answer(self, folder: Path, **named: str) -> str:
        good = Reference(folder=str(folder), identity=Identity(sampled="f" * 64))
        order = WorkOrder(names=("model.layers.0.mlp.up_proj",), device="cpu", precision="exact")
        refused = carry_out(replace(good, **named), order).refused  # type: ignore[arg-type]
        assert refused is not None
        return refused["message"]

    def test_another_model_at_the_same_place_is_refused(self, folder: Path) -> None:
        assert "holds other weights there" in self.answer(folder)

    def test_another_version_is_refused(self, folder: Path) -> None:
        assert "is installed there" in self.answer(folder, version="0.0")

    def test_a_model_that_is_nowhere(self, folder: Path) -> None:
        assert "There is no folder /x there" in self.answer(Path("/x"))


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("AUTO ", "auto"),
        ("local", "local"),
        ("none", ""),
        ("", ""),
        ("10.0.0.1:6379", "10.0.0.1:6379"),
        ("ray://head.example:10001", "ray://head.example:10001"),
        ("[::1]:6379", "[::1]:6379"),
    ],
)
def test_an_address(typed: str, address: str) -> None:
    assert parse_cluster(typed) == address


@pytest.mark.parametrize(
    "typed", ["head", "http://h:1", "h:", "h:port", "h:1 x", "ray://h", "\x1b:1"]
)
def test_no_address(typed: str) -> None:
    with pytest.raises(InputError, match="is no address of a cluster"):
        parse_cluster(typed)


def test_without_ray_a_line_says_how_to_install_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    for command in (["scan"], []):  # the app says so as well, before its first screen
        assert main([*command, str(folder), "--cluster", "auto"]) == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert last == (
            "spectrum-tui: --cluster needs Ray, which is not installed. "
            "pip install 'spectrum-tui[cluster]'"
        )


def test_nodes_that_wait_for_the_network_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they cannot read is given out again until they can; what they have scored is kept."""
    folder = save(tmp_path / "m", llama(2))
    monkeypatch.setattr(outage, "TOLD_AFTER", 0.0)
    monkeypatch.setattr(cluster_task, "_WAITS_FOR", 0.0)
    orders = 0
    with FakeHub({}) as hub:
        stream_from(folder, hub, tmp_path, monkeypatch)

        def cut_off(node: Node, order: WorkOrder) -> None:
            nonlocal orders
            orders += 1
            hub.failures = {"model.safetensors": [503] * 10**6} if 1 < orders < 4 else {}

        nodes = Nodes([ONE], act=cut_off)
        out = str(tmp_path / "out")
        events = scanned(nodes, Path(REPO), monkeypatch, output_dir=out)
    told = [event.waited for event in events if isinstance(event, Fetched)]
    reason = "localhost reports an error of its own (HTTP 503)."
    assert [waited for waited in dict.fromkeys(told) if waited] == [reason]
    assert told[0] == told[-1] == ""
    assert scores_of(events) == alone(folder)
    assert max(nodes.given.values()) > 1


def test_the_network_is_waited_for_where_nobody_gets_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = {ONE: 2, TWO: 1}

    def offline(node: Node, order: WorkOrder) -> Answer | None:
        left[node] -= 1
        return Answer(waits="Cannot reach hub.") if left[node] >= 0 else None

    events = scanned(Nodes([ONE, TWO], act=offline), folder, monkeypatch)
    told = [event.waited for event in events if isinstance(event, Fetched)]
    assert "Cannot reach hub." in told
    assert scores_of(events) == alone(folder)


def test_a_cluster_of_one_scan_ends_with_a_word(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That takes Ray up to 6 s, after the last matrix and before the end."""
    said = "The cluster that was started for this scan is ended now."
    events = scanned(Nodes([ONE]), folder, monkeypatch, cluster="local")
    assert notes_of(events) == [said] and isinstance(events[-2], ScanNote)
    assert not notes_of(scanned(Nodes([ONE]), folder, monkeypatch))


def test_a_machine_without_a_cluster_is_told_of_our_options() -> None:
    """Ray's own words name an option that is none of ours."""
    said = "Could not find any running Ray instance. Please specify the `--address` flag."
    error = unanswered("auto", ConnectionError(said))
    assert error.message == "This machine is in no Ray cluster."
    assert "ray start --address HOST:6379" in error.hint
    assert "(Other)" in unanswered("auto", ConnectionError("Other.")).message
