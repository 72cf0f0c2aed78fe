"""The calls that node agents ask for, by botocore. Raises what botocore raises; the caller translates it.

Thread: those of the executor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ipagent.assign.addresses import sort_key
from ipagent.aws.describe_enis import details
from ipagent.aws.ec2_calls import (
    HOLDER_FILTERS,
    assign_addresses,
    assigned_addresses,
    unassign_addresses,
)
from ipagent.controller.model.relay_calls import (
    AddressCall,
    AssignAddresses,
    Assigned,
    DescribeAttached,
    DescribeSubnetHolders,
    Interfaces,
    LookUpHolders,
    UnassignAddresses,
)
from ipagent.controller.reconcile.ec2_answers import Answer, Done

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ec2.type_defs import NetworkInterfaceTypeDef

Filters = list[dict[str, Any]]
Listed = Callable[[Filters], Iterable["NetworkInterfaceTypeDef"]]


def assign_or_unassign(client: EC2Client, call: AssignAddresses | UnassignAddresses) -> Answer:
    """Change what an ENI has."""
    if isinstance(call, UnassignAddresses):
        unassign_addresses(client, call.eni, call.addresses)
        return Done()
    return Assigned(
        assigned_addresses(assign_addresses(client, call.eni, call.addresses, reassign=call.reassign))
    )


def describe(
    interfaces: Listed, call: DescribeAttached | LookUpHolders | DescribeSubnetHolders
) -> Interfaces:
    """Find ENIs; `interfaces` asks EC2 by filters, page by page."""
    match call:
        case DescribeAttached():
            # By filter: among explicit ids a single one that is gone would fail the whole call.
            found = interfaces([_filter("network-interface-id", call.enis)])
        case LookUpHolders():
            addresses = sorted({address for _, address in call.places}, key=sort_key)
            subnets = sorted({subnet for subnet, _ in call.places})
            by_address = _filter(HOLDER_FILTERS[call.version], map(str, addresses))
            found = interfaces([_filter("subnet-id", subnets), by_address])
        case DescribeSubnetHolders():
            asked = call.addresses
            listed = map(details, interfaces([_filter("subnet-id", (call.subnet,))]))
            return Interfaces(tuple(eni for eni in listed if any(map(eni.holds, asked))))
    return Interfaces(tuple(map(details, found)))


def call_text(call: AddressCall) -> str:
    """Return the action and what it is about, for messages."""
    (action,) = call.actions
    match call:
        case AssignAddresses() | UnassignAddresses():
            return f"{action} on {call.eni}"
        case DescribeAttached():
            return f"{action} by network-interface-id"
        case LookUpHolders():
            return f"{action} by {HOLDER_FILTERS[call.version]}"
        case DescribeSubnetHolders():
            return f"{action} by subnet-id"


def _filter(name: str, values: Iterable[str]) -> dict[str, Any]:
    return {"Name": name, "Values": list(values)}
