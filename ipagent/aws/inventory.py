"""EC2 as the node agent reads it: all that is attached to one instance, and the ranges of subnets."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_network

from ipagent.assign.selection import IPNetwork
from ipagent.aws.ec2 import Ec2Client
from ipagent.aws.eni import EniDetails, details


class Inventory(Ec2Client):
    """Ec2Client with more to read; every method raises Ec2Error only."""

    def attached(self, instance_id: str) -> tuple[EniDetails, ...]:
        """Describe the ENIs of an instance, by one call."""
        return tuple(map(details, self._described([("attachment.instance-id", [instance_id])])))

    def subnet_cidrs(self, subnet_ids: Collection[str]) -> dict[str, tuple[IPNetwork, ...]]:
        """DescribeSubnets: the ranges of both families; a subnet that EC2 does not know is left out."""
        answer = self._asked(
            "DescribeSubnets",
            lambda: self._client.describe_subnets(
                Filters=[{"Name": "subnet-id", "Values": sorted(subnet_ids)}]
            ),
        )
        found = {}
        for subnet in answer["Subnets"]:
            associations = subnet.get("Ipv6CidrBlockAssociationSet", [])
            blocks = [
                subnet["CidrBlock"],
                *(
                    entry["Ipv6CidrBlock"]
                    for entry in associations
                    if entry.get("Ipv6CidrBlockState", {}).get("State") == "associated"
                ),
            ]
            found[subnet["SubnetId"]] = tuple(map(ip_network, blocks))
        return found
