"""Which ENI a NodeAttachment has, or may adopt, and where it is attached."""

from __future__ import annotations

from ipagent.assign.topology import is_primary
from ipagent.controller.model.ec2_snapshot import AVAILABLE, Eni, Limits
from ipagent.controller.model.node import Node
from ipagent.controller.model.node_attachment import Attachment
from ipagent.controller.model.node_network import NodeNetwork
from ipagent.controller.reconcile.ec2_error_conditions import Kind, remedy
from ipagent.controller.reconcile.plan_draft import Draft, Pair

MAX_INDEX = 32
"""Device indexes that are looked through: no instance type has more interfaces on one network card."""


def created(draft: Draft, attachment: Attachment) -> Eni | None:
    """Return the ENI that was created for it; of several the attached one, then the recorded one."""
    found = list(draft.ours.get((attachment.node_uid, attachment.network), ()))
    recorded = draft.state.ec2.enis.get(attachment.status.eni)
    if recorded is not None and recorded not in found:
        found.append(recorded)
    return min(
        found,
        key=lambda eni: (eni.instance != attachment.instance, eni.id != attachment.status.eni, eni.id),
        default=None,
    )


def adopted(draft: Draft, pair: Pair) -> Eni | None:
    """Return the ENI that is adopted: one that is attached already, the recorded one, or a free one.

    An ENI that another NodeAttachment has is not free. Without the tag `no_manage` the VPC CNI takes it, and
    few agents give it addresses: the node's own one, whose tag has gone, is not replaced by another one
    nevertheless, since pods use it.
    """
    attachment = pair.attachment
    fitting = [
        eni
        for eni in candidates(draft, pair.network, pair.node)
        if eni.id not in draft.needed and (eni.no_manage or eni.id == attachment.status.eni)
    ]
    here = [eni for eni in fitting if eni.instance == attachment.instance]
    free = [
        eni
        for eni in fitting
        if eni.state == AVAILABLE
        and eni.no_manage
        and draft.promised.get(eni.id, attachment.name) == attachment.name
    ]
    return min(
        here or free,
        key=lambda eni: (eni.id != attachment.status.eni, eni.id),
        default=None,
    )


def candidates(draft: Draft, network: NodeNetwork, node: Node) -> list[Eni]:
    """Return the ENIs of the node's zone with the tags that the network asks for; a primary ENI is none."""
    wanted = network.tags_of_interface(node.zone).items()
    return [
        eni
        for eni in draft.state.ec2.enis.values()
        if eni.zone == node.zone
        and not eni.managed
        and not is_primary(eni.card, eni.device)
        and wanted <= eni.tags.items()
    ]


def free_slot(draft: Draft, pair: Pair) -> tuple[int, int] | str:
    """Return network card and device index for an ENI, or why there is none.

    The card is sent always: without it EC2 refuses on types with several cards.
    """
    network, instance = pair.network, pair.attachment.instance
    card = network.network_card
    here = draft.on.get(instance, ())
    taken = {(eni.card, eni.device) for eni in here}
    taken |= {(each, device) for where, each, device in draft.slots if where == instance}
    if full := _full(draft.state.ec2.limits.get(pair.node.type), pair.node.type, card, taken):
        others = sum(1 for eni in here if eni.tags.get("node.k8s.amazonaws.com/instance_id"))
        text = f"{full}; {others} of them are the VPC CNI's" if others else full
        return f"{text}: {remedy(Kind.NO_SLOT)}"
    if not _has_card(draft.state.ec2.limits.get(pair.node.type), card):
        return (
            f"{pair.node.type} has no network card {card}: change placement.networkCard, or use another type"
        )
    if network.device_index is not None:
        if (card, network.device_index) in taken:
            return (
                f"device index {network.device_index} of network card {card}, as placement asks, is taken: "
                "leave placement.deviceIndex out, or choose another one"
            )
        return card, network.device_index
    first = 1 if card == 0 else 0
    return card, next(index for index in range(first, MAX_INDEX) if (card, index) not in taken)


def _has_card(limits: Limits | None, card: int) -> bool:
    return limits is None or not limits.by_card or card in limits.by_card


def _full(limits: Limits | None, kind: str, card: int, taken: set[tuple[int, int | None]]) -> str:
    if limits is None or not limits.interfaces:
        return ""
    if len(taken) >= limits.interfaces:
        return f"all {limits.interfaces} interfaces that {kind} allows are taken"
    on_card = sum(1 for each, _ in taken if each == card)
    room = limits.by_card.get(card, limits.interfaces)
    if on_card >= room:
        return f"all {room} interfaces that {kind} allows on network card {card} are taken"
    return ""
