"""Capacity: how many addresses a node has for the pods of a network, as an extended resource.

The scheduler subtracts what pods request. So the capacity is what is left of the ENI's limit without the
primary address, without what is on the ENI and belongs to no pod that requests it (pods from before,
addresses that were assigned by hand or leaked), and without the reserve.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ipagent.controller.model.ec2_snapshot import Eni, Limits
from ipagent.controller.model.node import Node
from ipagent.controller.model.node_attachment import Attachment, AttachmentStatus, PodUsage
from ipagent.controller.model.node_network import NodeNetwork
from ipagent.controller.model.prefixes import IPV4_SIZE, Ipam, address_of, is_single
from ipagent.controller.model.writes import PatchResources
from ipagent.controller.reconcile.node_network_status import stands_by
from ipagent.controller.reconcile.plan_draft import Draft, Pair
from ipagent.node_network_api import RESOURCE_PREFIX

CONFIRM = 1.0
"""Seconds after which EC2 has to show once more that an address is there which no pod has: at the end of a
pod its address goes first, and what was described before still has it."""
LEAST_PACE, LONGEST_PACE = 5.0, 300.0
"""Seconds between two looks at such an address: whoever assigned it may take it back."""


@dataclass(frozen=True, slots=True)
class FamilyLimit:
    """IPv4 or IPv6 on one ENI; `taken` addresses of its limit are not for pods that request them."""

    limit: int
    taken: int = 0

    @property
    def left(self) -> int:
        """Addresses for pods that request them."""
        return max(0, self.limit - self.taken)


def capacity(families: Iterable[FamilyLimit], reserve: int, requested: int) -> int:
    """Return the addresses that pods may request: the smaller family counts.

    Never less than pods request already: a kubelet that starts again admits its pods again, and ends those
    for which the node has no room (pkg/kubelet/lifecycle, predicateAdmitHandler).
    """
    return max(requested, min(family.left for family in families) - reserve, 0)


def record_capacity(draft: Draft, pair: Pair) -> None:
    """Complete the status of a NodeAttachment by its capacity; where that is not known it stays."""
    attachment, status = pair.attachment, draft.statuses[pair.attachment.name]
    if not pair.network.counts_pods or stands_by(status):
        # One that stands by has no address for pods: what it had before it lost its ENI counts no more.
        return
    found = _counted(draft, pair, status)
    if found is None:
        old = attachment.status
        draft.statuses[attachment.name] = replace(status, capacity=old.capacity, requested=old.requested)
    else:
        usage, number = found
        draft.statuses[attachment.name] = replace(status, capacity=number, requested=usage.requested)


def left_capacity(attachment: Attachment) -> AttachmentStatus:
    """Return the status of one whose network this release can't read, with what its pods request by now.

    It is not written: an apply drops the fields of a later release, which this one does not know.
    """
    status, usage = attachment.status, attachment.usage
    if status.capacity is None or usage is None or usage.mac != status.mac:
        return status
    return replace(status, capacity=max(status.capacity, usage.requested), requested=usage.requested)


def _counted(draft: Draft, pair: Pair, status: AttachmentStatus) -> tuple[PodUsage, int | None] | None:
    """Return what pods use, and the capacity as far as it is certain; None without the one or the ENI.

    Of prefixes, a pod whose address is used before its network-status names it counts twice until then, as
    used and as requested: host-local's files name sandboxes, so nothing tells before whether it requests one.
    """
    attachment = pair.attachment
    eni = draft.state.ec2.enis.get(status.eni)
    limits = draft.state.ec2.limits.get(pair.node.type)
    usage = attachment.usage
    if limits is None or not limits.ipv4 or eni is None or eni.instance != attachment.instance:
        return None
    if usage is None or usage.mac != status.mac or draft.state.ec2.read_at is None:
        return None
    reserve = pair.network.reserve
    if pair.network.prefixes is not None:
        # What is free of prefixes is counted already, by the node's report on its CNI configuration.
        if status.pool_free is None:
            return None
        held = _of_pool(eni, status, usage.addresses)
        if pair.network.prefixes.ipam is Ipam.HOST_LOCAL and attachment.pool is not None:
            others = _of_pool(eni, status, usage.others)
            # The node reports what is used and whose it is one after the other: what is named and not used
            # yet counts as free. What is used and not named may be of a pod that requests none or is gone.
            held = max(0, min(held, attachment.pool.used_ipv4 - others))
        return usage, capacity((FamilyLimit(status.pool_free + held),), reserve, usage.requested)
    strangers, certain = _strangers(draft, eni, usage)
    found = capacity(_families(eni, limits, usage, strangers), reserve, usage.requested)
    if certain:
        return usage, found
    # No more is promised before EC2 has shown whose the rest is.
    before = attachment.status.capacity
    return usage, None if before is None else max(usage.requested, min(found, before))


def _of_pool(eni: Eni, status: AttachmentStatus, addresses: Iterable[str]) -> int:
    """Return how many of these are IPv4 addresses of the ENI's prefixes."""
    blocks = {_block(prefix.partition("/")[0]) for prefix in eni.prefixes if ":" not in prefix}
    singles = {address_of(each.prefix) for each in status.prefixes if is_single(each.prefix)}
    ipv4 = [address for address in addresses if ":" not in address]
    return sum(1 for address in ipv4 if address in singles or _block(address) in blocks)


def _block(address: str) -> tuple[str, int]:
    """Return what all addresses of a /28 have in common."""
    network, _, last = address.rpartition(".")
    return network, int(last) // IPV4_SIZE


def _strangers(draft: Draft, eni: Eni, usage: PodUsage) -> tuple[frozenset[str], bool]:
    """Return the addresses on an ENI that belong to no pod which requests them, and whether these are all."""
    ec2, found, certain = draft.state.ec2, set(usage.others), True
    seen = ec2.seen.get(eni.id, float("-inf"))
    for address in eni.addresses - usage.addresses - usage.others:
        draft.unheld.add((eni.id, address))
        since = ec2.unheld.get((eni.id, address), draft.now)
        if seen >= since + CONFIRM:
            found.add(address)
            draft.describe_eni(eni.id, min(LONGEST_PACE, max(LEAST_PACE, (draft.now - since) / 2)))
        else:
            certain = False
            draft.describe_eni(eni.id, max(0.0, since + CONFIRM - seen))
    return frozenset(found), certain


def _families(eni: Eni, limits: Limits, usage: PodUsage, strangers: frozenset[str]) -> Sequence[FamilyLimit]:
    secondaries = sum(1 for address in eni.addresses if ":" not in address)
    # The primary address, and prefixes, which have a slot each.
    fixed = eni.ipv4 - secondaries
    ipv6 = sum(1 for address in strangers if ":" in address)
    families = [FamilyLimit(limits.ipv4, fixed + len(strangers) - ipv6)]
    # Where neither pods nor the ENI have IPv6, its limit does not count.
    if limits.ipv6 and any(":" in address for address in (*eni.addresses, *usage.addresses, *usage.others)):
        families.append(FamilyLimit(limits.ipv6, ipv6))
    return families


def advertise(draft: Draft, node: Node, networks: Sequence[NodeNetwork]) -> None:
    """Write what the node's capacity lacks of these networks, and take away what no network has there.

    A node whose kubelet has reset its resources gets them back at once, since its change is watched.
    """
    wanted: dict[str, int | None] = {
        RESOURCE_PREFIX + network.name: _capacity(draft, node, network)
        for network in networks
        if network.advertise
    }
    resources: dict[str, str | None] = {
        key: str(number)
        for key, number in wanted.items()
        if number is not None and node.advertised.get(key) != (str(number), str(number))
    }
    resources |= dict.fromkeys(key for key in node.advertised if key not in wanted)
    if resources:
        draft.writes.append(PatchResources(node.name, node.version, resources))


def _capacity(draft: Draft, node: Node, network: NodeNetwork) -> int | None:
    status = draft.status_of(node, network.name)
    return None if status is None else status.capacity
