"""`make cluster` beyond docs/try-it.md: a second start, commands without a cluster, a killed owner."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.nodes import cgroups
from tests.cluster.nodes.conftest import parts  # noqa: F401 - a fixture
from tests.cluster.nodes.host import Host, host_in, processes_of
from tests.cluster.nodes.images import BUSYBOX
from tests.cluster.nodes.parts import Parts
from tests.cluster.waiting import wait_for

pytestmark = pytest.mark.cluster


@pytest.fixture
def host(
    parts: Parts,  # noqa: ARG001, F811 - without them there is no cluster
    tmp_path: Path,
) -> Iterator[Host]:
    with host_in(tmp_path) as found:
        yield found


def test_a_second_start_finds_the_cluster_of_the_first(host: Host) -> None:
    before = host.state()
    up = host.cluster("up")
    assert "The cluster is up, with the release multus-eni-injector" in up.stdout
    cluster = host.found()
    assert host.changes_since(before) == []

    again = host.cluster("up")
    assert (again.stdout, again.stderr) == (up.stdout, "")
    assert host.found() == cluster
    host.nodes_ready()
    assert "n2  eth1  eni-0a020000000000001  10.10.1.12" in host.cluster("enis").stdout
    # Helm waits until a Deployment is available, which may be before all of its replicas are.
    pods = ("get", "pods", "--all-namespaces")
    wait_for(
        lambda: host.kubectl(cluster, *pods).count("1/1     Running") == 3, "three pods of the release", 120
    )

    host.cluster("down")
    status = host.cluster("status", check=False)
    assert (status.returncode, status.stderr) == (
        1,
        "cluster: no cluster is up: `make cluster` starts one\n",
    )


def test_what_does_not_exist_is_named(host: Host) -> None:
    done = host.cluster("enis", check=False)
    assert (done.returncode, done.stderr) == (1, "cluster: no cluster is up: `make cluster` starts one\n")
    assert host.cluster("down").stderr == ""


def test_the_end_of_a_killed_cluster_is_complete_and_the_next_start_cleans_up(host: Host) -> None:
    before = host.state()
    host.cluster("up", "--no-chart")
    cluster = host.found()
    for node in cluster.nodes:
        overrides = {"spec": {"nodeName": node, "terminationGracePeriodSeconds": 1}}
        host.kubectl(
            cluster,
            *("run", f"on-{node}", f"--image={BUSYBOX}", f"--overrides={json.dumps(overrides)}"),
            *("--", "sleep", "3600"),
        )
        host.kubectl(cluster, "wait", "--for=condition=Ready", f"pod/on-{node}", "--timeout=120s")
    assert any("sleep\x003600" in line for line in processes_of(cluster.name))

    os.kill(cluster.owner, signal.SIGKILL)
    wait_for(lambda: not processes_of(cluster.name), "end of all processes", 60)
    assert host.changes_since(before) == []
    assert host.cluster("status", check=False).returncode == 1
    # Cgroups and files can't go by themselves.
    assert cluster.name in cgroups.names()
    assert Path(cluster.folder).exists()

    host.cluster("up", "--no-chart")
    assert cluster.name not in cgroups.names()
    assert not Path(cluster.folder).exists()
    assert host.found().name != cluster.name
