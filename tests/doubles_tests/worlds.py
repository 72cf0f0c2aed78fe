"""A world for the tests: two nodes, three subnets, one of them without a free address."""

from __future__ import annotations

from typing import Any

REGION = "eu-central-1"
ACCOUNT = "123456789012"

ADMIN = "AKIAIOSFODNN7EXAMPLE"
NOBODY = "AKIANOBODYNOBODY0001"
READER = "AKIAI44QH8DHBEXAMPLE"
SECRET = "a-secret-of-the-tests"

NODE_SUBNET = "subnet-0a000000000000001"
POD_SUBNET = "subnet-0a000000000000002"
CROWDED_SUBNET = "subnet-0a000000000000003"
VPC = "vpc-0a000000000000001"

NODE_A = "i-0a000000000000001"
NODE_B = "i-0b000000000000001"

A0 = "eni-0a000000000000000"
A1 = "eni-0a000000000000001"
A_FULL = "eni-0a000000000000002"
B0 = "eni-0b000000000000000"
B1 = "eni-0b000000000000001"
B_CROWDED = "eni-0b000000000000002"
SPARE = "eni-0c000000000000000"
GONE = "eni-0f000000000000000"

A1_MAC = "02:aa:00:00:00:01"

# Programs on node A come from its own address or over a hop, programs on node B over a hop.
HOST_A = "127.0.0.1"
POD_A = "127.0.1.1"
POD_B = "127.0.2.1"
STRANGER = "127.0.3.1"


def world(**changes: Any) -> dict[str, Any]:
    """Return the world as a mapping that the caller may change; `changes` are keys of its top level."""
    return {
        "region": REGION,
        "account": ACCOUNT,
        "access_keys": [
            {"id": ADMIN, "secret": SECRET},
            {"id": NOBODY, "secret": SECRET, "actions": []},
            {"id": READER, "secret": SECRET, "actions": ["Describe*"]},
        ],
        "roles": [{"name": "node", "actions": ["Describe*", "AssignPrivateIpAddresses"]}],
        "subnets": [
            {"id": NODE_SUBNET, "vpc": VPC, "cidr": "10.0.0.0/24", "az": "eu-central-1a"},
            {
                "id": POD_SUBNET,
                "vpc": VPC,
                "cidr": "10.0.1.0/24",
                "ipv6_cidr": "2001:db8:1::/64",
                "az": "eu-central-1a",
                "tags": {"Name": "pods"},
            },
            {"id": CROWDED_SUBNET, "vpc": VPC, "cidr": "10.0.2.0/28", "az": "eu-central-1a"},
        ],
        "instances": [node_a(), node_b()],
    } | changes


def node_a(**changes: Any) -> dict[str, Any]:
    """Node A is a t3.medium (six addresses an interface) with a role and a hop limit of one."""
    return {
        "id": NODE_A,
        "type": "t3.medium",
        "hop_limit": 1,
        "http_tokens": "required",
        "host_addresses": [HOST_A],
        "sources": ["127.0.1.0/24"],
        "role": "node",
        "tags": {"Name": "node-a"},
        "interfaces": [
            interface(A0, "02:aa:00:00:00:00", 0, NODE_SUBNET, "10.0.0.10"),
            interface(
                A1, A1_MAC, 1, POD_SUBNET, "10.0.1.10", tags={"node.k8s.amazonaws.com/no_manage": "true"}
            ),
            interface(
                A_FULL,
                "02:aa:00:00:00:02",
                2,
                CROWDED_SUBNET,
                "10.0.2.4",
                secondaries=[f"10.0.2.{last}" for last in range(5, 10)],
                network_card=1,
            ),
        ],
    } | changes


def node_b(**changes: Any) -> dict[str, Any]:
    """Node B is an m5.large (ten addresses an interface) without a role, where IMDSv1 is enough."""
    return {
        "id": NODE_B,
        "type": "m5.large",
        "hop_limit": 2,
        "http_tokens": "optional",
        "sources": ["127.0.2.0/24"],
        "interfaces": [
            interface(B0, "02:bb:00:00:00:00", 0, NODE_SUBNET, "10.0.0.20"),
            interface(
                B1,
                "02:bb:00:00:00:01",
                1,
                POD_SUBNET,
                "10.0.1.20",
                secondaries=["10.0.1.50"],
                ipv6s=["2001:db8:1::20", "2001:db8:1::50"],
            ),
            interface(
                B_CROWDED,
                "02:bb:00:00:00:02",
                2,
                CROWDED_SUBNET,
                "10.0.2.10",
                secondaries=[f"10.0.2.{last}" for last in range(11, 15)],
            ),
        ],
    } | changes


def interface(
    identifier: str, mac: str, device: int, subnet: str, primary: str, **more: Any
) -> dict[str, Any]:
    """Return one interface of a world file."""
    return {"id": identifier, "mac": mac, "device": device, "subnet": subnet, "primary": primary} | more


def spare(**changes: Any) -> dict[str, Any]:
    """Return an interface that is attached nowhere."""
    return {
        "id": SPARE,
        "mac": "02:cc:00:00:00:00",
        "subnet": POD_SUBNET,
        "primary": "10.0.1.30",
    } | changes
