"""The calls about Elastic IPs, by botocore. Raises what botocore raises; the caller translates it.

Thread: those of the executor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from ipagent.controller.ec2 import responses
from ipagent.controller.model.eip_calls import (
    Addresses,
    Associate,
    Associated,
    DescribeAddresses,
    DescribeHolders,
    Disassociate,
    EipChange,
    Holders,
    TagEip,
    UntagEip,
)
from ipagent.controller.model.eips import ElasticIp
from ipagent.controller.model.node_network import Tags
from ipagent.controller.reconcile.ec2_answers import Answer, Done

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ec2.type_defs import AddressTypeDef, NetworkInterfaceTypeDef


def execute(client: EC2Client, call: DescribeAddresses | EipChange) -> Answer:
    """Make a call."""
    match call:
        case DescribeAddresses():
            return Addresses(tuple(map(_eip, client.describe_addresses()["Addresses"])))
        case Associate():
            made = client.associate_address(
                AllocationId=call.eip,
                NetworkInterfaceId=call.eni,
                PrivateIpAddress=call.private,
                AllowReassociation=call.move,
            )
            return Associated(made["AssociationId"])
        case Disassociate():
            client.disassociate_address(AssociationId=call.association)
        case TagEip():
            client.create_tags(Resources=[call.eip], Tags=_tags(call.tags))
        case UntagEip():
            client.delete_tags(Resources=[call.eip], Tags=_tags(call.tags))
        case _:
            assert_never(call)
    return Done()


def read_holders(call: DescribeHolders, interfaces: Iterable[NetworkInterfaceTypeDef]) -> Holders:
    """Find the addresses among the secondary ones of ENIs for pods: the primary ENI is the VPC CNI's."""
    asked = frozenset(call.addresses)
    enis: dict[str, tuple[str, str]] = {}
    for shown in interfaces:
        enis |= dict.fromkeys(_for_pods(shown) & asked, _place(shown))
    return Holders(enis)


def _for_pods(shown: NetworkInterfaceTypeDef) -> frozenset[str]:
    attachment = shown.get("Attachment") or {}
    first = attachment.get("DeviceIndex") == 0 and not attachment.get("NetworkCardIndex")
    return frozenset() if first or shown.get("RequesterManaged") else responses.read_secondaries(shown)


def _place(shown: NetworkInterfaceTypeDef) -> tuple[str, str]:
    return shown.get("NetworkInterfaceId", ""), (shown.get("Attachment") or {}).get("InstanceId", "")


def _eip(shown: AddressTypeDef) -> ElasticIp:
    return ElasticIp(
        id=shown.get("AllocationId", ""),
        public=shown.get("PublicIp", ""),
        tags=responses.read_tags(shown.get("Tags", [])),
        association=shown.get("AssociationId", ""),
        eni=shown.get("NetworkInterfaceId", ""),
        private=shown.get("PrivateIpAddress", ""),
    )


def _tags(tags: Tags) -> Any:
    return [{"Key": key, "Value": value} for key, value in tags]
