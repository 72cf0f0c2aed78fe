"""`make cluster`, what docs/try-it.md and try-networks.md have users type, and `make cluster-down`."""

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

WALKS = {"try-it.md": 9, "try-networks.md": 8}
"""The pages, and how many blocks each has to type."""


@pytest.fixture
def host(parts: Parts, tmp_path: Path) -> Iterator[Host]:  # noqa: ARG001 - without them there is no cluster
    with host_in(tmp_path) as found:
        yield found


def blocks(page: str) -> list[str]:
    """Return what a page has a user type."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(found) == WALKS[page]
    return found


def typed(host: Host, commands: list[str]) -> str:
    """Type commands into one shell; returns what they say."""
    shell = ["bash", "-euxo", "pipefail", "-c", "\n".join(commands)]
    done = host.run(*shell, check=False, timeout=1200)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_walks_in_the_docs_work_and_leave_the_machine_as_it_was(host: Host) -> None:
    before = host.state()
    up = host.cluster("up")
    assert "The cluster is up, with the release multus-eni-injector" in up.stdout
    cluster = host.found()
    first, second = map(blocks, WALKS)
    said = typed(host, first)
    # What the text says comes of it: addresses of three pods, one that moves, faults, a node that is back.
    assert re.search(r"n[12]  eth1  .* 10\.10\.1\.8[012]", said)
    moved = [line for line in said.splitlines() if "10.10.1.90" in line and "eth1  eni-" in line]
    assert len({line.split()[0] for line in moved}) == len(moved) == 1
    assert "RequestLimitExceeded" in said
    assert "PrivateIpAddressLimitExceeded" in said
    # The walk ends as soon as the node that was killed is back; the other one may have been waiting for it.
    host.nodes_ready()

    # The shell has what the first block gives it.
    said = typed(host, [first[0], *second])
    # ENIs with a prefix each, and none at the end; pods without EC2; pods that wait; an Elastic IP.
    assert re.search(r"^nodenetwork\S+/oam +2 +2 +128 ", said, re.MULTILINE)
    prefixed = re.findall(r"^n[12]  oam   eni-\w+  10\.10\.2\.\d+ 10\.10\.2\.\d+/28$", said, re.MULTILINE)
    assert len(set(prefixed)) == 2
    assert "  oam  " not in said[said.index('nodenetwork.multus-eni.io "oam" deleted') :]
    assert re.search(r"^\[\]$", said, re.MULTILINE)
    assert "Insufficient multus-eni.io/oam" in said
    assert re.search(r" 10\.10\.1\.8[012]=198\.51\.100\.1", said)

    host.cluster("down")
    assert host.changes_since(before) == []
    assert processes_of(cluster.name) == []
    assert cluster.name not in cgroups.names()
    assert list(host.folder.iterdir()) == []
