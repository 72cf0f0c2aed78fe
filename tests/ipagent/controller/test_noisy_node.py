"""A node that reports something else all the time: what it costs, and that nobody else waits for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

import pytest

from ipagent.controller.kube.events import OF_A_SUBJECT
from ipagent.controller.kube.wakes import TURNS
from ipagent.controller.kube.write_budget import STATUSES
from ipagent.controller.model.condition import TRUE
from ipagent.controller.model.node_attachment import READY, Attachment, LinkStatus, PodUsage
from ipagent.controller.model.prefixes import CniSpec, Family, PoolReport, PrefixSpec, PrefixUse
from tests.ipagent.controller.loop_rig import LoopRig
from tests.ipagent.controller.prefix_world import PrefixWorld
from tests.ipagent.controller.world import network

pytestmark = [pytest.mark.pure, pytest.mark.no_cover]

SECONDS = 300.0
LOUD, QUIET = "n1", "n2"


@dataclass
class NoisyWorld(PrefixWorld):
    """The node LOUD reports what `lie` makes of its NodeAttachments."""

    random: Random = field(default_factory=lambda: Random(1))
    lie: Callable[[Random, Attachment], Attachment] | None = None

    def report(self) -> None:
        """Report as links do, but for the node that lies."""
        super().report()
        if self.lie is not None:
            for name, each in self.attachments.items():
                if each.node == LOUD:
                    self.attachments[name] = self.lie(self.random, each)


def flap(random: Random, attachment: Attachment) -> Attachment:
    link = attachment.reported or LinkStatus(attachment.status.mac)
    up = random.random() < 0.5
    return replace(attachment, reported=replace(link, up=up, message="" if up else f"down {random.random()}"))


def lose_the_interface(random: Random, attachment: Attachment) -> Attachment:
    mac = random.choice([attachment.status.mac, "02:00:00:00:99:99"])
    return replace(attachment, reported=LinkStatus(mac, random.choice(["", "oam"]), up=True, mtu=9001))


def fill_and_empty_prefixes(random: Random, attachment: Attachment) -> Attachment:
    uses = {
        each.prefix: PrefixUse(random.choice([0, 3, 16]), random.random() < 0.9)
        for each in attachment.status.prefixes
    }
    return replace(attachment, pool=PoolReport("f", random.choice(["", "no folder"]), uses))


def change_usage(random: Random, attachment: Attachment) -> Attachment:
    addresses = frozenset(f"10.10.0.{random.randrange(20)}" for _ in range(random.randrange(9)))
    mine, others = set(addresses), {each for each in addresses if random.random() < 0.3}
    usage = PodUsage(attachment.status.mac, random.randrange(9), frozenset(mine - others), frozenset(others))
    return replace(attachment, usage=usage)


def everything(random: Random, attachment: Attachment) -> Attachment:
    for lie in (flap, lose_the_interface, fill_and_empty_prefixes, change_usage):
        if random.random() < 0.5:
            attachment = lie(random, attachment)
    return attachment


def ready(rig: LoopRig, node: str) -> bool:
    found = [
        each.status.conditions.get(READY) for each in rig.world.attachments.values() if each.node == node
    ]
    return len(found) == 2 and all(each is not None and each.status == TRUE for each in found)


@pytest.mark.parametrize("lie", [flap, lose_the_interface, fill_and_empty_prefixes, change_usage, everything])
def test_a_node_that_never_rests_costs_what_its_budget_allows(
    lie: Callable[[Random, Attachment], Attachment],
) -> None:
    world = NoisyWorld(delay=1.0)
    world.add_network(network("oam", prefixes=PrefixSpec(1, 0, 4, CniSpec((Family.IPV4,)))))
    world.add_network(network("sig"))
    rig = LoopRig(world)
    for node in (LOUD, QUIET):
        world.add_node(node)
    rig.run(60, until=lambda: ready(rig, LOUD) and ready(rig, QUIET))
    rig.run(30)
    rig.api.writes.clear()
    world.calls.clear()
    turns = rig.turns
    world.lie = lie
    rig.run(SECONDS / 2)
    # After its budget it is heard every two seconds, together with what its and its networks' writes wait
    # for. EC2's answers come on top.
    assert rig.turns - turns <= TURNS.burst + TURNS.refill * SECONDS / 2 + 2 * sum(world.calls.values()) + 40
    world.add_node("n3")
    joined = world.now
    rig.run(SECONDS / 2, until=lambda: ready(rig, "n3"))
    assert world.now - joined < 15
    rig.run(SECONDS - (world.now - joined) - SECONDS / 2)

    allowed = STATUSES.burst + STATUSES.refill * SECONDS + 1
    loud = {path: count for path, count in rig.api.writes.items() if "/events" not in path}
    assert sum(count for path, count in loud.items() if f"/{LOUD}" in path) <= allowed
    for name in ("oam", "sig"):
        assert sum(count for path, count in loud.items() if path.endswith(f"/{name}/status")) <= allowed
    events = sum(count for path, count in rig.api.writes.items() if f"/events/{LOUD}" in path)
    assert events <= OF_A_SUBJECT.burst + 1
    # Nothing of the quiet node changes.
    assert not [path for path in loud if f"/{QUIET}" in path]
    # n3 costs about ten; the prefixes of a node that says it is full grow to the most that it may have.
    assert sum(world.calls.values()) <= 100

    world.lie = None
    for name, each in world.attachments.items():
        if each.node == LOUD:
            link = LinkStatus(each.status.mac, each.link.name, up=True, mtu=9001)
            world.attachments[name] = replace(each, reported=link, usage=None)
    rig.run(10)
    assert ready(rig, LOUD)
