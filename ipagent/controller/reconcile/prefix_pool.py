"""Pool of an ENI: the prefixes and addresses that its node hands out, and their use. Input of decisions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ipagent.controller.model.actions import prefix_key
from ipagent.controller.model.ec2_snapshot import Eni, Limits, Refusal
from ipagent.controller.model.node_attachment import Attachment
from ipagent.controller.model.node_network import NodeNetwork
from ipagent.controller.model.prefixes import (
    IPV4_SIZE,
    Family,
    Fragmentation,
    PrefixSpec,
    PrefixState,
    PrefixStatus,
    PrefixUse,
    family,
    in_order,
    is_single,
    size,
)
from ipagent.controller.reconcile.ec2_answers import SETTLE
from ipagent.controller.reconcile.plan_draft import Draft
from ipagent.controller.reconcile.prefix_records import held

RETRY_SECONDS = 600.0
"""After these a subnet that had no whole prefix left is asked for one again."""
LOOK_AGAIN = 10.0


@dataclass(slots=True)
class PrefixPool:
    """The prefixes of one ENI, single addresses among them."""

    draft: Draft
    attachment: Attachment
    network: NodeNetwork
    eni: Eni
    spec: PrefixSpec
    states: dict[str, PrefixState] = field(default_factory=dict)
    """Those that are recorded, in order, and what becomes of them."""

    @property
    def name(self) -> str:
        """The NodeAttachment's."""
        return self.attachment.name

    @property
    def key(self) -> str:
        """That of the calls."""
        return prefix_key(self.name)

    @property
    def limits(self) -> Limits:
        """What the instance type allows; zeros where that is not known."""
        node = self.draft.state.nodes.get(self.attachment.node)
        found = self.draft.state.ec2.limits.get(node.type) if node else None
        return found or Limits(0)

    def of(self, wanted: Family, *states: PrefixState) -> list[str]:
        """Return the recorded ones of a family that are in one of these states, single addresses included."""
        return [p for p in self.states if family(p) is wanted and self.states[p] in states]

    def blocks(self, wanted: Family, *states: PrefixState) -> list[str]:
        """Return those that are no single addresses."""
        return [each for each in self.of(wanted, *states) if not is_single(each)]

    def singles(self, wanted: Family, *states: PrefixState) -> list[str]:
        """Return the single addresses."""
        return [each for each in self.of(wanted, *states) if is_single(each)]

    def least(self, wanted: Family) -> int:
        """Return how many prefixes the network wants at least."""
        return self.spec.ipv4 if wanted is Family.IPV4 else self.spec.ipv6

    def use(self, prefix: str) -> PrefixUse | None:
        """Return what the node reports of a prefix."""
        return self.attachment.pool.prefixes.get(prefix) if self.attachment.pool else None

    def used(self, prefix: str) -> int:
        """Return how many pods have addresses of a prefix, as far as is known."""
        found = self.use(prefix)
        return found.used if found else 0

    @property
    def requested(self) -> int:
        """How many addresses the node's pods request, also those that have none yet; 0 if not reported."""
        usage = self.attachment.usage
        return usage.requested if usage is not None and usage.mac == self.eni.mac else 0

    def free(self, wanted: Family) -> int:
        """Return the addresses that are left for other pods; below zero if bound pods request more."""
        active = self.of(wanted, PrefixState.ACTIVE)
        return sum(map(size, active)) - max(sum(map(self.used, active)), self.requested)

    def reported(self, wanted: Family) -> bool:
        """Return whether the node has reported on all that it is to hand out, and that is something."""
        active, pool = self.of(wanted, PrefixState.ACTIVE), self.attachment.pool
        return bool(active) and pool is not None and all(p in pool.prefixes for p in active)

    def empty_since(self, prefix: str, *, offered: bool) -> float | None:
        """Return since when the node has reported that no pod has an address of it; None if one has."""
        found = self.use(prefix)
        if found is None or found.used or found.offered is not offered:
            return None
        key = (self.name, prefix, offered)
        self.draft.prefix_marks.empty.add(key)
        return self.draft.state.ec2.prefixes.empty.get(key, self.draft.now)

    def fragmentation(self, wanted: Family) -> Fragmentation | None:
        """Return that the subnet had no whole prefix left, as long as it is not to be asked for one again."""
        found = self.draft.state.ec2.prefixes.fragmented.get((self.name, wanted.value))
        return found if found is not None and self.draft.now < found.at + RETRY_SECONDS else None

    def single_only(self, wanted: Family) -> bool:
        """Return whether the subnet has not even one prefix left."""
        found = self.fragmentation(wanted)
        return found is not None and found.count == 1

    def refusal(self) -> Refusal | None:
        """Return EC2's last refusal."""
        return self.draft.refusal(self.key)

    def most(self, wanted: Family) -> int:
        """Return how many addresses the network's pods may have on the node."""
        return IPV4_SIZE * max(1 if wanted is Family.IPV6 else 0, self.spec.max_ipv4)

    def slots(self, wanted: Family) -> int | None:
        """Return how many more prefixes or addresses the ENI takes; None where that is not known."""
        if wanted is Family.IPV4:
            return self.limits.ipv4 - self.eni.ipv4 if self.limits.ipv4 else None
        taken = sum(family(each) is Family.IPV6 for each in held(self.eni))
        return self.limits.ipv6 - taken if self.limits.ipv6 else None


def present(found: PrefixPool, recorded: tuple[PrefixStatus, ...]) -> Iterator[tuple[str, PrefixState]]:
    """Return the prefixes that the ENI has.

    What the record and EC2 say differently counts as the record has it, until EC2 has said so for a minute:
    descriptions may be late, and an address that is not on the ENI must not be handed out. A single address
    that is not recorded is a pod's, unless EC2 has assigned it at our own call.
    """
    memory, eni = found.draft.state.ec2.prefixes, found.eni
    states = {each.prefix: each.state for each in recorded}
    on_eni, taken = held(eni), memory.taken.get(eni.id, {})
    own = memory.singles.get(eni.id, frozenset())
    for prefix in in_order({*states, *eni.prefixes, *own}):
        shown = prefix in on_eni
        if prefix in states and prefix in own:
            found.draft.prefix_marks.recorded.add((eni.id, prefix))
        if prefix in states and (shown or not _settled(found, prefix)):
            if prefix not in taken:
                yield prefix, states[prefix]
        elif prefix not in states and shown and (_known(found, prefix) or _settled(found, prefix)):
            yield prefix, PrefixState.ACTIVE


def _known(found: PrefixPool, prefix: str) -> bool:
    """Return whether EC2 has assigned it at our own call."""
    memory, eni = found.draft.state.ec2.prefixes, found.eni.id
    return prefix in memory.given.get(eni, {}) or prefix in memory.singles.get(eni, frozenset())


def _settled(found: PrefixPool, prefix: str) -> bool:
    """Return whether EC2 has differed from the record for so long that it is right."""
    draft, key = found.draft, (found.name, prefix)
    draft.prefix_marks.differing.add(key)
    draft.describe_eni(found.eni.id, LOOK_AGAIN)
    return seen_since(draft, found.eni.id, draft.state.ec2.prefixes.differing.get(key))


def seen_since(draft: Draft, eni: str, since: float | None) -> bool:
    """Return whether EC2 has shown the ENI so long after that time that the answer includes what was done."""
    return since is not None and draft.state.ec2.seen.get(eni, since) - since >= SETTLE
