"""Calls to EC2 for the prefixes of ENIs, and for single addresses in their place.

Thread: those of the executor, several at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipagent.controller.ec2 import responses
from ipagent.controller.model.actions import AssignPrefixes, UnassignPrefix
from ipagent.controller.model.prefixes import Family, address_of, family, is_single, single
from ipagent.controller.reconcile.ec2_answers import Answer, Done, Prefixes

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client


def assign_or_unassign(client: EC2Client, call: AssignPrefixes | UnassignPrefix) -> Answer:
    """Assign or unassign prefixes; raises what botocore raises, KeyError and ValueError."""
    if isinstance(call, AssignPrefixes):
        return Prefixes(_assign(client, call))
    _unassign(client, call)
    return Done()


def _assign(client: EC2Client, call: AssignPrefixes) -> tuple[str, ...]:
    given: dict[str, Any] = {"NetworkInterfaceId": call.eni}
    if call.family is Family.IPV4:
        given["SecondaryPrivateIpAddressCount" if call.single else "Ipv4PrefixCount"] = call.count
        made = client.assign_private_ip_addresses(**given)
        blocks = responses.read_prefixes(made.get("AssignedIpv4Prefixes", []), ())
        addresses = [each.get("PrivateIpAddress", "") for each in made["AssignedPrivateIpAddresses"]]
    else:
        given["Ipv6AddressCount" if call.single else "Ipv6PrefixCount"] = call.count
        assigned = client.assign_ipv6_addresses(**given)
        listed: Any = [{"Ipv6Prefix": each} for each in assigned.get("AssignedIpv6Prefixes", [])]
        blocks = responses.read_prefixes((), listed)
        addresses = assigned["AssignedIpv6Addresses"]
    return (*blocks, *map(single, addresses))


def _unassign(client: EC2Client, call: UnassignPrefix) -> None:
    lone = is_single(call.prefix)
    what = [address_of(call.prefix) if lone else call.prefix]
    given: dict[str, Any] = {"NetworkInterfaceId": call.eni}
    if family(call.prefix) is Family.IPV4:
        given["PrivateIpAddresses" if lone else "Ipv4Prefixes"] = what
        client.unassign_private_ip_addresses(**given)
    else:
        given["Ipv6Addresses" if lone else "Ipv6Prefixes"] = what
        client.unassign_ipv6_addresses(**given)
