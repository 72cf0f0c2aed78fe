"""Subnet and security groups that a network's terms find."""

from __future__ import annotations

from dataclasses import dataclass

from ipagent.controller.model.actions import Resolve
from ipagent.controller.model.condition import Condition, no, unknown, yes
from ipagent.controller.model.ec2_snapshot import Resolved
from ipagent.controller.model.node_network import NodeNetwork, Source, Term
from ipagent.controller.reconcile.plan_draft import Draft

AGAIN = 60.0
"""Seconds after which terms that have found too little are asked for again."""
FRESH = 300.0
"""Seconds for which what was found is good enough to create an ENI; it is asked for after half of them."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an ENI is created."""

    subnet: str
    groups: tuple[str, ...]


def resolve(draft: Draft, network: NodeNetwork, max_age: float) -> Resolved | None:
    """Return what the terms have found; ask if they have not been, are others now, or were so long ago."""
    found = _found(draft, network)
    if found is None or draft.now - found.at >= max_age:
        draft.call(Resolve(network.name, network.subnets, network.groups))
    return found


def _found(draft: Draft, network: NodeNetwork) -> Resolved | None:
    """Return what the network's present terms have found."""
    found = draft.state.ec2.resolved.get(network.name)
    return found if found is not None and found.terms == network.terms else None


def place(draft: Draft, network: NodeNetwork, zone: str) -> Place | Condition:
    """Return the subnet and the groups for an ENI of a zone, or the condition that says what is missing."""
    found = resolve(draft, network, FRESH / 2)
    if found is None or draft.now - found.at >= FRESH:
        return _resolving(draft, network)
    condition = problem(network, found, zone)
    if condition is not None:
        draft.decide_by(found.at + AGAIN)
        resolve(draft, network, AGAIN)
        return condition
    (subnet,) = (each for each in found.subnets if each.zone == zone)
    groups = tuple(sorted(each.id for each in found.groups if each.vpc == subnet.vpc))
    return Place(subnet.id, groups)


def groups_in(draft: Draft, network: NodeNetwork, vpc: str) -> tuple[str, ...]:
    """Return the groups of a VPC that the terms have found; empty as long as they have not been asked for."""
    found = _found(draft, network)
    return () if found is None else tuple(sorted(each.id for each in found.groups if each.vpc == vpc))


def subnet_in(draft: Draft, network: NodeNetwork, zone: str) -> str:
    """Return the one subnet of a zone that the terms have found, empty if that is not known or not one."""
    found = _found(draft, network)
    subnets = [each.id for each in found.subnets if each.zone == zone] if found else []
    return subnets[0] if len(subnets) == 1 else ""


def problem(network: NodeNetwork, found: Resolved, zone: str) -> Condition | None:
    """Return what is wrong with what was found for a zone."""
    subnets = [each for each in found.subnets if each.zone == zone]
    if not subnets:
        asked = _texts(network.subnets)
        return no(
            "NoSubnetInZone",
            f"subnetSelectorTerms ({asked}) find no subnet in {zone}: tag one, or name its id",
        )
    if len(subnets) > 1:
        ids = ", ".join(sorted(each.id for each in subnets))
        return no(
            "SeveralSubnetsInZone",
            f"subnetSelectorTerms find {ids} in {zone}: make the terms narrower, so that one is left",
        )
    if not any(each.vpc == subnets[0].vpc for each in found.groups):
        return no(
            "NoSecurityGroup",
            f"securityGroupSelectorTerms ({_texts(network.groups)}) find none in {subnets[0].vpc}: tag one",
        )
    default = [each.id for each in found.groups if each.name == "default"]
    if default:
        return no(
            "DefaultSecurityGroup",
            f"securityGroupSelectorTerms find {default[0]}, a VPC's default group: name one of your own",
        )
    return None


def resolved_condition(draft: Draft, network: NodeNetwork, zones: set[str]) -> Condition:
    """Return the condition Resolved of a network whose nodes are in these zones."""
    if network.unknown:
        return unknown("UnknownValue", "subnets are not looked up: see the condition Accepted")
    if network.source is Source.ADOPT:
        return yes("Adopt", "ENIs that exist are adopted")
    found = _found(draft, network)
    if found is None:
        return _resolving(draft, network)
    problems = (problem(network, found, zone) for zone in sorted(zones))
    what = next((each for each in problems if each is not None), None)
    if not found.subnets:
        what = no("NoSubnet", f"subnetSelectorTerms ({_texts(network.subnets)}) find no subnet: tag one")
    if what is not None and zones:
        # Also where every node has its ENI from before, and nobody asks.
        resolve(draft, network, FRESH)
        draft.decide_by(found.at + FRESH)
    return what or yes("Found")


def _resolving(draft: Draft, network: NodeNetwork) -> Condition:
    what = "the subnets and security groups are being looked up"
    return draft.lookup_condition(f"resolve {network.name}", "Resolving", what)


def _texts(terms: tuple[Term, ...]) -> str:
    return " or ".join(map(str, terms))
