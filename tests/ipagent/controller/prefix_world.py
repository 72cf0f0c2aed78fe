"""Nodes with networks of prefixes: `links` writes the configuration and reports, pods come and go."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from ipaddress import ip_address, ip_network

from ipagent.controller.model.actions import Call, UnassignPrefix
from ipagent.controller.model.node_attachment import PREFIXES_READY
from ipagent.controller.model.prefixes import PoolReport, PrefixState, PrefixUse
from ipagent.controller.reconcile.ec2_answers import Answer
from ipagent.controller.reconcile.prefix_records import held
from tests.ipagent.controller.leader import Leader
from tests.ipagent.controller.world import World

OAM = "n1.oam"
"""The NodeAttachment of most tests."""


@dataclass
class PrefixWorld(World):
    """By NodeAttachment: the IPv4 prefixes in the node's file, and the addresses that pods have."""

    files: dict[str, tuple[str, ...]] = field(default_factory=dict)
    used: dict[str, set[str]] = field(default_factory=dict)
    cut_off: list[str] = field(default_factory=list)
    """Addresses of pods whose prefix was taken away, or was not on the ENI when they were handed out."""
    refused_pods: int = 0

    def execute(self, call: Call) -> Answer:
        """Make a call, and see whether it cuts off a pod."""
        if isinstance(call, UnassignPrefix):
            self.cut_off += [
                each for each in self.used.get(call.owner, ()) if each in addresses_of(call.prefix)
            ]
        return super().execute(call)

    def write_files(self) -> None:
        """Write the configurations as the NodeAttachments say."""
        for name, attachment in self.attachments.items():
            active = [each.prefix for each in attachment.status.prefixes if each.state is PrefixState.ACTIVE]
            self.files[name] = tuple(active) if attachment.cni is not None else ()

    def report(self) -> None:
        """Report how many pods have addresses of each prefix."""
        for name, attachment in list(self.attachments.items()):
            offered, used = self.files.get(name, ()), self.used.get(name, set())
            known = {*offered, *(each.prefix for each in attachment.status.prefixes)}
            uses = {
                prefix: PrefixUse(sum(each in addresses_of(prefix) for each in used), prefix in offered)
                for prefix in known
            }
            pool = PoolReport("99-multus-eni-oam.conflist" if offered else "", "", uses)
            self.attachments[name] = replace(attachment, pool=pool)

    def begin_pod(self, name: str, seconds: float) -> None:
        """Begin a pod's sandbox: its configuration is read now, and its address reserved so much later."""
        file = self.files.get(name, ())

        def reserve() -> None:
            self.start_pod(name, file)

        self.due.append((self.now + seconds, reserve))

    def start_pod(self, name: str, file: tuple[str, ...] | None = None) -> bool:
        """Hand out an address on a node as host-local does; false if there is none."""
        used = self.used.setdefault(name, set())
        for prefix in self.files.get(name, ()) if file is None else file:
            free = [each for each in addresses_of(prefix) if each not in used]
            if free:
                used.add(free[0])
                eni = self.enis.get(self.attachments[name].status.eni)
                if eni is None or prefix not in held(eni):
                    self.cut_off.append(free[0])
                return True
        self.refused_pods += 1
        return False

    def end_pod(self, name: str, which: float = 0.99) -> None:
        """End a pod of a node: by default the one with the highest address."""
        if self.used.get(name):
            ordered = sorted(self.used[name], key=ip_address)
            self.used[name].remove(ordered[int(which * len(ordered))])

    def prefixes(self, name: str) -> frozenset[str]:
        """Return the prefixes that the ENI of a NodeAttachment has."""
        return self.enis[self.attachments[name].status.eni].prefixes

    def singles(self, name: str) -> frozenset[str]:
        """Return the secondary addresses that it has."""
        return self.enis[self.attachments[name].status.eni].addresses


@cache
def addresses_of(prefix: str) -> frozenset[str]:
    """Return all addresses of an IPv4 prefix; of an IPv6 one none is handed out here."""
    found = ip_network(prefix)
    return frozenset(map(str, found)) if found.version == 4 else frozenset()


def settle(world: PrefixWorld, leader: Leader, turns: int = 10, pause: float = 1.0) -> None:
    """Let the node write its file and report, `pause` seconds apart, and the controller decide."""
    for _ in range(turns):
        leader.run(pause)
        world.write_files()
        world.report()
    leader.run(pause)


def condition(world: PrefixWorld, kind: str = PREFIXES_READY) -> tuple[str, str]:
    """Return status and reason of a condition of OAM."""
    found = world.attachments[OAM].status.conditions[kind]
    return found.status, found.reason
