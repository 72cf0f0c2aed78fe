"""Node agents' calls by `ipagent controller` as processes on a real API server, against the strict EC2."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from common.kube.client import Client
from ipagent.assign.addresses import parse_address
from ipagent.assign.ec2_error_codes import Fault
from ipagent.call_relay import Action, RelayAnswer, RelayCall, RelayRequests
from ipagent.call_relay_status import NODE_RELAY_MANAGER, read_answers, requests_body
from ipagent.node_network_api import ATTACHMENTS
from tests import doubles
from tests.chart.conftest import Cluster
from tests.chart.network_rig import ATTACHMENT, NETWORK, NODE, OWN, client_with, token_of
from tests.chart.test_controller_process import (
    NODES,
    ZONE,
    Replicas,
    account,  # noqa: F401 - a fixture
    identifier,
    links,  # noqa: F401 - a fixture
    ours,
    replicas,  # noqa: F401 - a fixture
)
from tests.chart.test_networks import api, manifest  # noqa: F401 - api is a fixture
from tests.cluster.api import Api
from tests.cluster.waiting import wait_for
from tests.doubles import Doubles

pytestmark = pytest.mark.cluster

EACH = 6
"""Addresses that each node's agent asks for in a burst, one in a call."""


@dataclass
class NodeAgent:
    """Writes what one node wants, and reads what is answered."""

    client: Client
    api: Api
    node: str
    session: str = "s1"
    calls: dict[int, RelayCall] = field(default_factory=dict)
    serial: int = 0

    @property
    def name(self) -> str:
        """Its NodeAttachment's."""
        return f"{self.node}.oam"

    def ask(self, *wanted: tuple[Action, tuple[str, ...], bool]) -> list[int]:
        """Apply requests; returns their ids."""
        eni = self.api.get(ATTACHMENT, self.name)["status"]["eni"]
        calls = []
        for action, texts, reassign in wanted:
            self.serial += 1
            calls.append(RelayCall(self.serial, action, eni, tuple(map(parse_address, texts)), reassign))
        requests = RelayRequests(self.session, time.time(), tuple(calls))
        self.client.apply(
            f"{ATTACHMENTS}/{self.name}/status",
            "ask for calls",
            requests_body(self.name, requests),
            manager=NODE_RELAY_MANAGER,
            force=True,
        )
        return [call.id for call in calls]

    def answers(self, ids: list[int]) -> list[RelayAnswer] | None:
        """Return the answers, None as long as one is lacking."""
        found = read_answers(self.api.get(ATTACHMENT, self.name).get("status") or {}).of(self.session)
        return [found[each] for each in ids] if all(each in found for each in ids) else None

    def call(self, action: Action, *texts: str, reassign: bool = False) -> RelayAnswer:
        """Ask for one call, and wait for its answer."""
        return self.wait(self.ask((action, texts, reassign)))[0]

    def wait(self, ids: list[int]) -> list[RelayAnswer]:
        """Wait for the answers."""
        return wait_for(lambda: self.answers(ids), f"the answers for {self.node}", 60)


@pytest.fixture
def agents(
    cluster: Cluster,
    api: Api,  # noqa: F811 - the fixture
    replicas: Replicas,  # noqa: F811
    links: None,  # noqa: ARG001, F811
    tmp_path: Path,
) -> Iterator[list[NodeAgent]]:
    """Node agents of nodes whose ENI is attached, by a controller that answers them."""
    client = client_with(cluster, token_of(cluster, OWN), tmp_path)
    names = [f"r{number}" for number in range(NODES)]
    for number, name in enumerate(names):
        labels = {"node-group": "multus", "topology.kubernetes.io/zone": ZONE}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
        api.create({**node, "spec": {"providerID": f"aws:///{ZONE}/{identifier('i', number)}"}})
    api.create(manifest("oam"))
    replicas.more = ("--relay",)
    replicas.start()
    replicas.start()
    found = [NodeAgent(client, api, name) for name in names]

    def attached() -> bool:
        listed = {each["metadata"]["name"]: each.get("status") or {} for each in api.list(ATTACHMENT)}
        return all(listed.get(agent.name, {}).get("attachment") for agent in found)

    wait_for(attached, "an ENI for each node", 60)
    yield found
    api.delete(NETWORK, "oam")
    wait_for(lambda: not api.list(NETWORK), "the end of the network", 120)
    for name in names:
        api.delete(NODE, name)
    client.close()


def secondaries(account: Doubles, agent: NodeAgent) -> set[str]:  # noqa: F811
    return {
        str(each)
        for eni in ours(account)
        if eni.tags["multus-eni.io/node"] == agent.node
        for each in eni.secondaries
    }


def test_node_agents_are_answered_whichever_leader_dies(
    agents: list[NodeAgent],
    account: Doubles,  # noqa: F811 - the fixture
    replicas: Replicas,  # noqa: F811
    api: Api,  # noqa: F811
) -> None:
    first, second, *_ = agents
    status = api.get(ATTACHMENT, first.name)["status"]
    assert status["cidrs"] == ["10.10.1.0/24"]
    assert first.call(Action.ASSIGN_IPV4, "10.10.1.50").failure is None
    (shown,) = first.call(Action.DESCRIBE).interfaces
    assert (shown.eni_id, shown.no_manage) == (status["eni"], True)
    assert [str(each) for each in shown.secondaries] == ["10.10.1.50"]
    # The controller's own status is untouched by the answers.
    after = api.get(ATTACHMENT, first.name)["status"]
    assert {key: after[key] for key in status if key not in ("slots", "conditions", "link")} == {
        key: status[key] for key in status if key not in ("slots", "conditions", "link")
    }
    held = second.call(Action.ASSIGN_IPV4, "10.10.1.50")
    assert held.failure is not None
    assert held.failure.fault is Fault.HELD_ELSEWHERE
    assert [eni.eni_id for eni in held.interfaces] == [status["eni"]]
    assert second.call(Action.ASSIGN_IPV4, "10.10.1.50", reassign=True).failure is None
    assert (secondaries(account, first), secondaries(account, second)) == (set(), {"10.10.1.50"})
    primary = first.call(Action.UNASSIGN_IPV4, status["address"])
    assert primary.failure is not None
    assert primary.failure.fault is Fault.REFUSED
    # Bursts, in which the leader dies after the effect of a call, and before it.
    for round_, effect in enumerate((True, False)):
        leader = wait_for(replicas.leader, "a leader")
        account.put_faults(doubles.Fault("mutating", kill_pid=leader.pid, effect=effect, times=1))
        texts = {
            agent.node: [f"10.10.1.{100 + 30 * number + EACH * round_ + each}" for each in range(EACH)]
            for number, agent in enumerate(agents)
        }
        ids = {
            agent.node: agent.ask(*((Action.ASSIGN_IPV4, (text,), False) for text in texts[agent.node]))
            for agent in agents
        }
        replicas.replace(leader)
        for agent in agents:
            answers = agent.wait(ids[agent.node])
            assert [each.failure for each in answers] == [None] * EACH
            assert secondaries(account, agent) >= set(texts[agent.node])
