"""A Ray cluster of two nodes with a core each, and a head that computes nothing, in processes of
this machine: started once for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_HEALTH = {"health_check_period_ms": 500, "health_check_failure_threshold": 2}
"""A node that is gone is noticed after 1 s instead of 12."""
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}


@pytest.fixture(scope="session")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The cluster; its nodes keep what they know of models in a folder of their own."""
    pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("SPECTRUM_TUI_CACHE", str(tmp_path_factory.mktemp("nodes")))
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        from ray.cluster_utils import Cluster

        cluster = Cluster(
            initialize_head=True, head_node_args={**NODE, "num_cpus": 0, "_system_config": _HEALTH}
        )
        try:
            for _ in range(2):
                cluster.add_node(**NODE)
            yield cluster
        finally:
            cluster.shutdown()


@pytest.fixture
def two_nodes(machines: Any) -> Any:
    """The cluster, with the nodes that a test before took away."""
    while len(machines.worker_nodes) < 2:
        machines.add_node(**NODE)
    return machines


def orders_in_work(cluster: Any) -> list[int]:
    """The processes that carry out an order on one of its nodes."""
    raylets = {
        info.process.pid for node in cluster.worker_nodes for info in node.all_processes["raylet"]
    }
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            title = (place / "cmdline").read_bytes()
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent in raylets and title.startswith(b"ray::carry_out"):
            found.append(int(place.name))
    return [pid for pid in found if pid != os.getpid()]
