"""Whether a call that a node agent asks for may be made. The node is not trusted.

The node's ENI is the one that this controller has recorded and that EC2 shows; the id in a request is only
compared with it. Which addresses may be taken from other ENIs is decided as the node agent decides it
(`ipagent.assign.holders`); whether the pod may have them is the node agent's decision.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network

from ipagent.assign.addresses import IPAddress, IPNetwork
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.holders import NO_MANAGE, held_elsewhere, holder_of, why_immovable
from ipagent.assign.topology import EniDetails, is_primary
from ipagent.call_relay import ASSIGNS, UNASSIGNS, Action, RelayCall
from ipagent.controller.model.ec2_snapshot import (
    ATTACHED,
    ATTACHING,
    CLUSTER_TAG,
    DETACHING,
    NODE_UID_TAG,
    Eni,
)
from ipagent.controller.model.node_attachment import Attachment
from ipagent.controller.model.state import State


def own_interface(cluster: State, attachment: Attachment) -> Eni | Failure | None:
    """Return the ENI of a NodeAttachment, why it has none, or None as long as that is not known."""
    recorded = attachment.status.eni
    if not recorded:
        return _no_eni(f"NodeAttachment {attachment.name} has no ENI")
    eni = cluster.ec2.enis.get(recorded)
    if eni is None:
        missed = recorded in cluster.ec2.missed
        return _no_eni(f"EC2 does not show {recorded}") if missed else None
    if eni.state == DETACHING or (eni.instance and eni.instance != attachment.instance):
        return _no_eni(f"{eni.id} is not attached to {attachment.instance} any more")
    if eni.state not in (ATTACHED, ATTACHING):
        return None
    if why := _why_not_for_pods(cluster, attachment, eni):
        return Failure(Fault.FOREIGN_ENI, f"{eni.id} {why}")
    return eni


def _why_not_for_pods(cluster: State, attachment: Attachment, eni: Eni) -> str:
    """Say why an ENI must not be given addresses, whatever the object says; empty if it may."""
    if is_primary(eni.card, eni.device):
        return "is the interface that its instance was launched with"
    if eni.managed:
        return "belongs to an AWS service"
    if not eni.no_manage:
        return f"lacks the tag {NO_MANAGE}=true, which keeps the VPC CNI off it"
    ours = (cluster.cluster, attachment.node_uid, attachment.network)
    # An adopted one has no such tag.
    if NODE_UID_TAG in eni.tags and (eni.tags.get(CLUSTER_TAG), *eni.key) != ours:
        return f"was created for another node or network than NodeAttachment {attachment.name}"
    return ""


def refusal(
    cluster: State, attachment: Attachment, eni: Eni, call: RelayCall, allowed: tuple[IPNetwork, ...] = ()
) -> Failure | None:
    """Return why a call is not made on a NodeAttachment's own ENI; None if nothing speaks against it.

    Outside of `allowed` no pod gets an address; empty: no limit.
    """
    if call.eni != eni.id and call.action is not Action.UNASSIGN_IPV6:
        return _no_eni(f"{call.eni} is not the ENI of NodeAttachment {attachment.name}, which is {eni.id}")
    ranges = _ranges(cluster, attachment, eni)
    outside = [each for each in call.addresses if _lies_outside(each, ranges)]
    if outside:
        return Failure(
            Fault.REFUSED, f"{outside[0]} is not in the ranges of {eni.subnet}, the subnet of {eni.id}"
        )
    takes = call.action in ASSIGNS or (call.action in UNASSIGNS and call.eni != eni.id)
    if allowed and takes and (barred := [each for each in call.addresses if not _within(each, allowed)]):
        listed = ", ".join(map(str, allowed))
        return Failure(Fault.REFUSED, f"{barred[0]} lies outside the allowed CIDRs {listed}")
    if call.action in UNASSIGNS and call.eni == eni.id:
        return _not_released(attachment, eni, call.addresses)
    return None


def _not_released(attachment: Attachment, eni: Eni, addresses: Iterable[IPAddress]) -> Failure | None:
    # Single addresses of a fragmented subnet are recorded with the prefixes.
    pool = {*eni.prefixes, *(each.prefix for each in attachment.status.prefixes)}
    delegated = [ip_network(each) for each in sorted(pool)]
    for address in addresses:
        if str(address) == eni.address:
            return Failure(Fault.REFUSED, f"{address} is the primary address of {eni.id}")
        if any(address in prefix for prefix in delegated):
            return Failure(Fault.REFUSED, f"{address} lies in a prefix of {eni.id}, which pods may use")
    return None


def _ranges(cluster: State, attachment: Attachment, eni: Eni) -> tuple[IPNetwork, ...]:
    """Return the ranges of the ENI's subnet, none as long as they are not known: EC2 knows them."""
    found = cluster.ec2.resolved.get(attachment.network)
    shown = (each.cidrs for each in (found.subnets if found else ()) if each.id == eni.subnet)
    recorded = attachment.status.cidrs if attachment.status.subnet == eni.subnet else ()
    return tuple(map(ip_network, next(shown, recorded)))


def _lies_outside(address: IPAddress, ranges: tuple[IPNetwork, ...]) -> bool:
    family = [each for each in ranges if each.version == address.version]
    return bool(family) and not _within(address, family)


def _within(address: IPAddress, ranges: Iterable[IPNetwork]) -> bool:
    return any(address in each for each in ranges)


def why_not_taken(
    address: IPAddress, eni_id: str, enis: Iterable[EniDetails], *, off: str = ""
) -> Failure | None:
    """Return why an address must not be taken from the ENI that holds it; None if it may, or nobody holds it.

    `eni_id` is the ENI that is to have it; with `off` it is to be taken off that ENI alone.
    """
    known = tuple(enis)
    if off:
        holder = next((each for each in known if each.eni_id == off and each.holds(address)), None)
        if holder is None:
            return Failure(Fault.NOT_HELD, f"{address} is not assigned to interface {off}")
    else:
        holder = holder_of(address, eni_id, known)
    if holder is None or holder.eni_id == eni_id:
        return None
    if why_immovable(address, holder):
        return held_elsewhere(address, holder)
    if not holder.no_manage:
        text = (
            f"{address} is held by {holder.eni_id}, which lacks the tag {NO_MANAGE}=true: it is not for pods"
        )
        return Failure(Fault.HELD_ELSEWHERE, text, final=True)
    return None


def _no_eni(text: str) -> Failure:
    return Failure(Fault.NO_ENI, text)
