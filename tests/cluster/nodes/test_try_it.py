"""`make cluster`, the walk of docs/try-it.md and `make cluster-down`, as a user types them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.nodes import cgroups
from tests.cluster.nodes.host import Host, host_in, processes_of
from tests.cluster.nodes.parts import Parts
from tests.cluster.nodes.sandbox import ROOT

pytestmark = pytest.mark.cluster

WALK = ROOT / "docs" / "try-it.md"


@pytest.fixture
def host(parts: Parts, tmp_path: Path) -> Iterator[Host]:  # noqa: ARG001 - without them there is no cluster
    with host_in(tmp_path) as found:
        yield found


def test_the_walk_in_the_docs_works_and_leaves_the_machine_as_it_was(host: Host) -> None:
    before = host.state()
    blocks = re.findall(r"^```sh\n(.*?)^```$", WALK.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 9
    up = host.cluster("up")
    assert "The cluster is up, with the release multus-eni-injector" in up.stdout
    cluster = host.found()
    walk = ["bash", "-euxo", "pipefail", "-c", "\n".join(blocks)]
    done = host.run(*walk, check=False, timeout=1200)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    # What the text says comes of it: addresses of three pods, one that moves, faults, a node that is back.
    assert re.search(r"n[12]  eth1  .* 10\.10\.1\.8[012]", done.stdout)
    moved = [line for line in done.stdout.splitlines() if "10.10.1.90" in line and "eth1  eni-" in line]
    assert len({line.split()[0] for line in moved}) == len(moved) == 1
    assert "RequestLimitExceeded" in done.stdout
    assert "PrivateIpAddressLimitExceeded" in done.stdout
    # The walk ends as soon as the node that was killed is back; the other one may have been waiting for it.
    host.nodes_ready()

    host.cluster("down")
    assert host.state() == before
    assert processes_of(cluster.name) == []
    assert cluster.name not in cgroups.names()
    assert list(host.folder.iterdir()) == []
