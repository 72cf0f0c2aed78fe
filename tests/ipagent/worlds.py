"""Worlds for the agent: a node of four ENIs, two of them in one subnet, and a second node beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.doubles import Doubles

REGION = "eu-central-1"
KEY = "AKIAIOSFODNN7EXAMPLE"
READER = "AKIAI44QH8DHBEXAMPLE"
SECRET = "a-secret-of-the-tests"

VPC = "vpc-0a000000000000001"
NODE_CIDR, POD_CIDR, OTHER_CIDR = "10.10.0.0/24", "10.10.1.0/24", "10.10.2.0/24"
POD_CIDR6, OTHER_CIDR6 = "2001:db8:1::/64", "2001:db8:2::/64"
IPV6 = {POD_CIDR: POD_CIDR6, OTHER_CIDR: OTHER_CIDR6}
"""The Multus subnets' IPv6 ranges; the node's own subnet has none."""
SUBNETS = {
    NODE_CIDR: "subnet-0a000000000000000",
    POD_CIDR: "subnet-0a000000000000001",
    OTHER_CIDR: "subnet-0a000000000000002",
}

ENI_0, MAC_0 = "eni-0a000000000000000", "02:aa:00:00:00:00"
ENI_1, MAC_1 = "eni-0a000000000000001", "02:aa:00:00:00:01"
ENI_2, MAC_2 = "eni-0a000000000000002", "02:aa:00:00:00:02"
TWIN, MAC_TWIN = "eni-0a000000000000003", "02:aa:00:00:00:03"
NEIGHBOUR_0 = "eni-0b000000000000000"
NEIGHBOUR = "eni-0b000000000000001"
NEIGHBOUR_PRIMARY, NEIGHBOUR_SECONDARY = "10.10.1.20", "10.10.1.50"
NEIGHBOUR_MAC, NEIGHBOUR_INSTANCE = "02:bb:00:00:00:01", "i-0b000000000000001"
NEIGHBOUR_IPV6 = "2001:db8:1::50"

FULL = [f"10.10.1.{last}" for last in range(100, 105)]
"""As many secondary addresses as an ENI of a t3.medium takes beside its primary."""
FULL_IPV6 = [f"2001:db8:1::{last:x}" for last in range(0x100, 0x106)]
"""As many IPv6 addresses as an ENI of a t3.medium takes."""


def world(
    *,
    secondaries: list[str] | None = None,
    ipv6: bool = False,
    ipv6s: list[str] | None = None,
    imds_delay_ms: int = 0,
    **node: Any,
) -> dict[str, Any]:
    """Return the world; `secondaries` and `ipv6s` are ENI_1's, `node` are keys of the first instance.

    With `ipv6` the Multus subnets have their IPv6 ranges, and the neighbour an IPv6 address.
    """
    ranges = IPV6 if ipv6 or ipv6s else {}
    return {
        "region": REGION,
        "account": "123456789012",
        "imds_delay_ms": imds_delay_ms,
        "access_keys": [
            {"id": KEY, "secret": SECRET},
            {"id": READER, "secret": SECRET, "actions": ["Describe*"]},
        ],
        "roles": [{"name": "node", "actions": ["*"]}],
        "subnets": [
            {"id": identifier, "vpc": VPC, "cidr": cidr, "az": "eu-central-1a"}
            | ({"ipv6_cidr": ranges[cidr]} if cidr in ranges else {})
            for cidr, identifier in SUBNETS.items()
        ],
        "instances": [
            {
                "id": "i-0a000000000000001",
                "type": "t3.medium",
                "hop_limit": 2,
                "sources": ["10.10.0.16/28", "127.0.0.1/32"],
                "host_addresses": ["10.10.0.10", "169.254.169.254"],
                "interfaces": [
                    _eni(ENI_0, MAC_0, 0, NODE_CIDR, "10.10.0.10"),
                    _eni(
                        ENI_1,
                        MAC_1,
                        1,
                        POD_CIDR,
                        "10.10.1.10",
                        secondaries=secondaries or [],
                        ipv6s=ipv6s or [],
                    ),
                    _eni(ENI_2, MAC_2, 2, OTHER_CIDR, "10.10.2.10"),
                    _eni(TWIN, MAC_TWIN, 3, POD_CIDR, "10.10.1.11"),
                ],
            }
            | node,
            {
                "id": NEIGHBOUR_INSTANCE,
                "type": "t3.medium",
                "sources": ["10.10.0.32/28"],
                "interfaces": [
                    _eni(NEIGHBOUR_0, "02:bb:00:00:00:00", 0, NODE_CIDR, "10.10.0.11"),
                    _eni(
                        NEIGHBOUR,
                        NEIGHBOUR_MAC,
                        1,
                        POD_CIDR,
                        NEIGHBOUR_PRIMARY,
                        secondaries=[NEIGHBOUR_SECONDARY],
                        description="pods of node b",
                        ipv6s=[NEIGHBOUR_IPV6] if ranges else [],
                    ),
                ],
            },
        ],
    }


def _eni(identifier: str, mac: str, device: int, cidr: str, primary: str, **more: Any) -> dict[str, Any]:
    place = {"device": device, "subnet": SUBNETS[cidr], "primary": primary}
    return {"id": identifier, "mac": mac} | place | more


def tagged(world: dict[str, Any], *enis: str) -> dict[str, Any]:
    """Keep the VPC CNI off these ENIs of the first instance, by default off all but device 0."""
    for eni in world["instances"][0]["interfaces"]:
        if eni["id"] in (enis or (ENI_1, ENI_2, TWIN)):
            eni["tags"] = {"node.k8s.amazonaws.com/no_manage": "true"}
    return world


def environment(doubles: Doubles) -> dict[str, str]:
    """Return the variables by which an agent reaches the double, with the key that its worlds know."""
    return {
        "AWS_ENDPOINT_URL_EC2": doubles.ec2_url,
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": doubles.imds_url,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }
