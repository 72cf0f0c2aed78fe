"""Random schedules: leaders that are killed after any call or write, deposed ones whose last call comes late,
descriptions that are late, nodes that come and go. In the end there is exactly one ENI for each node and
network, nothing is leaked, and nothing of others was touched."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from ipagent.controller.model.actions import Attach, Call, Create, Delete, Detach
from ipagent.controller.model.condition import TRUE
from ipagent.controller.model.ec2_snapshot import ATTACHED, CLUSTER_TAG
from ipagent.controller.model.node_attachment import READY
from tests.ipagent.controller.leader import Leader
from tests.ipagent.controller.world import LABELS, ZONES, World, adopting, network

pytestmark = pytest.mark.pure

SEEDS = int(os.environ.get("MULTUS_ENI_NETWORK_SCHEDULES", "25"))
"""Schedules; `make soak` runs 200."""


class Killed(BaseException):
    """The process ends here, and what the call did is done."""


class Chaos:
    """A world, whoever leads in it, and the accidents."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.world = World(delay=self.random.choice([0.0, 1.0, 3.0]))
        self.world.lag = lambda: self.random.choice([0.0, 0.0, 2.0, 8.0]) if self.wild else 0.0
        self.wild = True
        self.late: list[Call] = []
        self.theirs = [
            self.world.add_eni(),
            self.world.add_eni(**{CLUSTER_TAG: "test", "multus-eni.io/network": "oam"}),
        ]
        self.lent = self.world.add_eni(Zone=ZONES[0], multus="out")
        self.world.add_network(network("oam", source_dest_check=False))
        self.world.add_network(network("sig"))
        self.world.add_network(adopting("out"))
        self.numbers = iter(range(1000))
        for _ in range(2):
            self._join()
        self.elect()

    def elect(self) -> None:
        """Let a replica lead that remembers nothing."""
        self.leader = Leader(self.world, before=self._maybe_kill, between=self._maybe_kill)

    def turn(self) -> None:
        """Let something happen, and the leader decide."""
        if self.random.random() < 0.15:
            self.random.choice(
                [self._join, self._leave, self._terminate, self._relabel, self._grab, self._pods, self._late]
            )()
        try:
            self.leader.turn()
        except Killed:
            self.elect()
        self.world.advance(self.random.choice([0.0, 0.1, 1.0, 5.0, 30.0]))
        self.check_always()

    def check_always(self) -> None:
        """Check what must hold at every moment."""
        attached = Counter(
            eni.key for eni in self.world.enis.values() if eni.instance and CLUSTER_TAG in eni.tags
        )
        assert not [key for key, count in attached.items() if count > 1]
        assert [self.world.enis.get(eni.id) for eni in self.theirs] == self.theirs

    def calm(self) -> None:
        """Let no more accidents happen, and everything settle."""
        self.wild = False
        self._late()
        self.world.pods.clear()
        for instance in list(self.world.instances):
            if not any(node.instance == instance for node in self.world.nodes.values()):
                self.world.terminate(instance)
        self.elect()
        self.leader.run(1500)

    def _maybe_kill(self, what: object) -> None:
        if self.wild and self.random.random() < 0.08:
            if isinstance(what, Create | Attach | Detach | Delete) and self.random.random() < 0.5:
                # A deposed leader makes the same call once more, much later. No tag says later whose an
                # adopted ENI is: there the Lease has to hold.
                self.late += [what] if not what.owner.endswith(".out") else []
            raise Killed

    def _late(self) -> None:
        while self.late:
            self.world.execute(self.late.pop())

    def _join(self) -> None:
        if len(self.world.nodes) < 4:
            self.world.add_node(f"n{next(self.numbers) % 5}", self.random.choice(ZONES))

    def _leave(self) -> None:
        if self.world.nodes:
            del self.world.nodes[self.random.choice(sorted(self.world.nodes))]

    def _terminate(self) -> None:
        if self.world.nodes:
            node = self.world.nodes.pop(self.random.choice(sorted(self.world.nodes)))
            self.world.terminate(node.instance)

    def _relabel(self) -> None:
        for name, node in self.world.nodes.items():
            labels = {} if node.labels.get("node-group") and self.random.random() < 0.5 else dict(LABELS)
            kept = {key: value for key, value in node.labels.items() if key not in LABELS}
            self.world.nodes[name] = replace(node, labels={**kept, **labels})

    def _grab(self) -> None:
        for node in self.world.nodes.values():
            held = sum(eni.instance == node.instance for eni in self.world.enis.values())
            if held < self.world.limit - 3:
                self.world.grab_index(node.instance)

    def _pods(self) -> None:
        self.world.pods = {
            eni.mac: ("ns/pod",) for eni in self.world.enis.values() if self.random.random() < 0.3
        }


@pytest.mark.no_cover
@pytest.mark.parametrize("seed", range(SEEDS))
def test_whoever_is_killed_each_node_has_one_eni_of_each_network(seed: int) -> None:
    chaos = Chaos(seed)
    for _ in range(150):
        chaos.turn()
    chaos.calm()
    world = chaos.world
    selected = {name: node for name, node in world.nodes.items() if node.labels.get("node-group")}
    wanted = sorted((node.uid, each) for node in selected.values() for each in ("oam", "sig"))
    made = [eni for eni in world.enis.values() if eni.tags.get(CLUSTER_TAG) == "prod"]
    assert sorted(eni.key for eni in made) == wanted
    instances = {node.uid: node.instance for node in selected.values()}
    assert all(eni.state == ATTACHED and eni.instance == instances[eni.key[0]] for eni in made)
    assert {name for name in world.attachments if not name.endswith(".out")} == {
        f"{name}.{each}" for name in selected for each in ("oam", "sig")
    }
    ready = {name for name, each in world.attachments.items() if each.status.conditions[READY].status == TRUE}
    assert {name for name in world.attachments if not name.endswith(".out")} <= ready
    in_zone = [node for node in selected.values() if node.zone == ZONES[0]]
    assert chaos.lent.id in world.enis
    assert bool(world.enis[chaos.lent.id].instance) == bool(in_zone)
    assert all(not node.tainted for node in selected.values())
