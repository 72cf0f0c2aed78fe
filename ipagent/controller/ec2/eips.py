"""The calls about Elastic IPs, by botocore. Raises what botocore raises; the caller translates it.

Thread: those of the executor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from ipagent.assign.holders import NO_MANAGE
from ipagent.controller.model.eip_calls import (
    Addresses,
    Associate,
    Associated,
    DescribeAddresses,
    DescribeHolders,
    Disassociate,
    EipCall,
    Holders,
    TagEip,
    UntagEip,
)
from ipagent.controller.model.eips import ElasticIp
from ipagent.controller.model.network import Tags
from ipagent.controller.reconcile.answers import Answer, Done

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ec2.type_defs import AddressTypeDef, NetworkInterfaceTypeDef


def make(client: EC2Client, call: EipCall) -> Answer:
    """Make a call."""
    match call:
        case DescribeAddresses():
            return Addresses(tuple(map(_eip, client.describe_addresses()["Addresses"])))
        case DescribeHolders():
            return _holders(client, call)
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


def _holders(client: EC2Client, call: DescribeHolders) -> Holders:
    """Find secondary addresses on ENIs for pods: the primary ENI and untagged ones are the VPC CNI's."""
    filters: Any = [
        {"Name": "addresses.private-ip-address", "Values": list(call.addresses)},
        {"Name": "attachment.instance-id", "Values": list(call.instances)},
        {"Name": f"tag:{NO_MANAGE}", "Values": ["true"]},
    ]
    asked = frozenset(call.addresses)
    enis: dict[str, tuple[str, str]] = {}
    more: dict[str, Any] = {"MaxResults": 1000}
    while True:
        found = client.describe_network_interfaces(Filters=filters, **more)
        for shown in found["NetworkInterfaces"]:
            enis |= dict.fromkeys(_secondaries(shown) & asked, _place(shown))
        if not found.get("NextToken"):
            return Holders(enis)
        more["NextToken"] = found["NextToken"]


def _secondaries(shown: NetworkInterfaceTypeDef) -> frozenset[str]:
    attachment = shown.get("Attachment") or {}
    first = attachment.get("DeviceIndex") == 0 and not attachment.get("NetworkCardIndex")
    if first or shown.get("RequesterManaged"):
        return frozenset()
    addresses = shown.get("PrivateIpAddresses", [])
    return frozenset(each.get("PrivateIpAddress", "") for each in addresses if not each.get("Primary"))


def _place(shown: NetworkInterfaceTypeDef) -> tuple[str, str]:
    return shown.get("NetworkInterfaceId", ""), (shown.get("Attachment") or {}).get("InstanceId", "")


def _eip(shown: AddressTypeDef) -> ElasticIp:
    return ElasticIp(
        id=shown.get("AllocationId", ""),
        public=shown.get("PublicIp", ""),
        tags={tag.get("Key", ""): tag.get("Value", "") for tag in shown.get("Tags", [])},
        association=shown.get("AssociationId", ""),
        eni=shown.get("NetworkInterfaceId", ""),
        private=shown.get("PrivateIpAddress", ""),
    )


def _tags(tags: Tags) -> Any:
    return [{"Key": key, "Value": value} for key, value in tags]
