"""Interfaces as the plugins of the field make them: what becomes of their addresses with each backend.

A case has the networks annotation, the pod's interfaces in the kernel, and the network-status that Multus
writes. The annotation is read by the webhook's own reader, the rest by both agents'.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.agent_settings import Mode
from common.exit_codes import ExitCode
from common.pod_keys import NETWORKS
from ipagent.assign.addresses import Link, LinkAddress, Snapshot
from ipagent.assign.topology import Topology
from ipagent.direct import init
from ipagent.network_status_origin import NETWORK_STATUS
from ipagent.node.model.claim import Claim
from ipagent.node.model.grants import NOTHING
from ipagent.node.model.pod import read_pod
from ipagent.node.reconcile.desired import ClaimView, PodDesired, desired_for
from tests.ipagent.fakes import ENI_0, ENI_1, ENI_2, FakeCloud, FakeSource, Lines, Time, agent, ip
from webhook.multus.networks import expected_interfaces, parse_networks

pytestmark = pytest.mark.pure

CASES = sorted((Path(__file__).parents[1] / "cases" / "interfaces").glob("*.yaml"))
MACS = {eni.id: eni.mac for eni in (ENI_0, ENI_1, ENI_2)}


@dataclass(frozen=True)
class Case:
    """A pod, and what is expected of its addresses: the ENI of each, or how the agent ends."""

    expected: tuple[str, ...]
    held: tuple[tuple[Link, str], ...]
    links: tuple[Link, ...]
    obj: dict[str, Any]
    enis: dict[str, str]
    exit: int
    says: str
    warns: str


def read(file: Path) -> Case:
    given: dict[str, Any] = yaml.load(file.read_text(encoding="utf-8"), yaml.CSafeLoader)
    networks = parse_networks(given["networks"], "apps")
    assert not networks.refusal, networks
    held: list[tuple[Link, str]] = []
    links = []
    for each in given["kernel"]:
        mac = MACS.get(each["mac"], each["mac"])
        link = Link(each["index"], each["name"], mac, local=each.get("made") == "here")
        links.append(link)
        held += [(link, address) for address in each.get("holds", ())]
    status = [{**each, "mac": MACS.get(each["mac"], each["mac"])} for each in given["status"]]
    default = {"name": "aws-cni", "interface": "eth0", "ips": ["10.10.0.21"], "default": True}
    expected = given["expected"]
    return Case(
        expected_interfaces(networks),
        tuple(held),
        tuple(links),
        made(given["networks"], [default, *status]),
        expected.get("enis", {}),
        expected.get("exit", ExitCode.OK),
        expected.get("says", ""),
        expected.get("warns", ""),
    )


def made(networks: str, status: list[dict[str, Any]]) -> dict[str, Any]:
    """Make the pod as the API server has it, with a network-status that Multus has written."""
    annotations = {NETWORKS: networks, NETWORK_STATUS: json.dumps(status)}
    fields: dict[str, Any] = {"f:metadata": {"f:annotations": {f"f:{NETWORK_STATUS}": {}}}}
    metadata = {
        "namespace": "apps",
        "name": "a",
        "uid": "u-1",
        "annotations": annotations,
        "managedFields": [{"manager": "multus", "subresource": "status", "fieldsV1": fields}],
    }
    return {"metadata": metadata, "spec": {}, "status": {"phase": "Pending"}}


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_the_agent_of_the_pod_assigns_them_or_says_why_not(file: Path) -> None:
    case, lines = read(file), Lines()
    cloud = FakeCloud(Time())
    source = FakeSource(*case.held, links=case.links)
    names: dict[str, Any] = {"interfaces": case.expected, "guessed_interfaces": case.expected}
    runs = agent(source, cloud, lines, timeout=60, **names)
    report = init.run(runs, cloud.time.now + 60, cloud.time.timing)
    assert report.exit_code == case.exit, report.message
    assert case.says in report.message
    on = {
        str(each): eni
        for eni, held in cloud.secondaries.items()
        for each in (*held, cloud.primaries[eni])
        if str(each) in case.enis
    }
    assert on == case.enis
    assert {str(each) for held in cloud.secondaries.values() for each in held} <= case.enis.keys()
    assert case.warns in "".join(line["message"] for line in lines.of("eni-by-subnet"))


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
@pytest.mark.parametrize("claims", [False, True], ids=["watched", "claimed"])
def test_the_node_agent_does_likewise(file: Path, claims: bool) -> None:
    case = read(file)
    pod = read_pod(case.obj)
    entries = tuple(LinkAddress(link.index, ip(address)) for link, address in case.held)
    claim = Claim(pod.key, Mode.SIDECAR, Snapshot(case.links, entries)) if claims else None
    stated = None if claim is None else ClaimView(claim)
    found = desired_for(pod, stated, NOTHING, Topology((ENI_0, ENI_1, ENI_2)))
    assert {str(each.holding.address): each.eni.id for each in found.placements} == case.enis
    assert found.error is None
    assert case.says in text(found)
    assert case.warns in "".join(each.warning for each in found.placements)


def text(found: PodDesired) -> str:
    return " ".join(each.text for each in (*found.unplaced, *found.problems))
