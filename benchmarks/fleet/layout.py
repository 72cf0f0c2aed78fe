"""The fleet: its nodes with their ENIs, the pods and their addresses, and all of it as a world of the double.

Each node has three secondary ENIs in three subnets, as the public samples' nodes have; pods have one Multus
network, on the first of them. A node with more pods than an ENI carries addresses has more ENIs. In a fleet
of prefixes the first ENI has as many /28 prefixes as its pods need. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

REGION = "us-east-2"
ZONE = f"{REGION}a"
TYPE = "m5.24xlarge"
NETWORK = "oam"
"""The node network of the first secondary ENIs, with the backend central."""
NETWORK_TAG = {"multus": NETWORK}
PER_ENI = 50
"""Addresses of one ENI, the primary among them: the most that EC2 allows (m5.24xlarge)."""
SECONDARIES = 3
PER_PREFIX = 16
ROLE = "node"
KEY = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
VPC = "vpc-0f1ee700000000000"
FLOATING_RANGE = "10.11.190.0/24"
FLOATING = tuple(f"10.11.190.{number}" for number in range(1, 11))
"""Addresses that no pod has by Multus, in the subnet of the first secondary ENIs."""
_NO_MANAGE = {"node.k8s.amazonaws.com/no_manage": "true"}


@dataclass(frozen=True, slots=True)
class Eni:
    """A secondary ENI, in the subnet with this number."""

    id: str
    mac: str
    subnet: int
    primary: str
    prefixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FleetNode:
    """A node; `host` is the loopback address that stands for the node's."""

    name: str
    number: int
    instance_id: str
    host: str
    enis: tuple[Eni, ...]
    type: str = TYPE


@dataclass(frozen=True, slots=True)
class FleetPod:
    """A pod with one address on one of its node's ENIs."""

    name: str
    node: FleetNode
    address: str
    eni: Eni


@dataclass(frozen=True, slots=True)
class Fleet:
    """Nodes, and the pods in the order in which they are scheduled: one node after the other."""

    nodes: tuple[FleetNode, ...]
    pods: tuple[FleetPod, ...]


def make_fleet(name: str, nodes: int, pods: int, *, delegated: bool = False) -> Fleet:
    """Lay out a fleet; the pods are spread evenly, and with `delegated` their addresses lie in prefixes.

    Raises ValueError where a number is out of range.
    """
    if not 0 < nodes <= 200 or not nodes <= pods <= 10_000:
        raise ValueError(f"no fleet has {nodes} nodes and {pods} pods: 1 to 200 nodes, at least a pod each")
    each = -(-pods // nodes)
    if delegated:
        prefixes = -(-each // PER_PREFIX)
        if prefixes >= PER_ENI:
            raise ValueError(f"no ENI has the {prefixes} prefixes that {each} pods of a node need")
        made = tuple(_node(name, number, 1, prefixes) for number in range(1, nodes + 1))
        return Fleet(made, tuple(_pod_in_prefix(made, number) for number in range(pods)))
    used = -(-each // (PER_ENI - 1))
    made = tuple(_node(name, number, used) for number in range(1, nodes + 1))
    return Fleet(made, tuple(_pod(made, number, used) for number in range(pods)))


def _node(name: str, number: int, used: int, prefixes: int = 0) -> FleetNode:
    subnets = [1] * used + list(range(2, 2 + SECONDARIES - used))
    blocks = range((number - 1) * prefixes, number * prefixes)
    enis = tuple(
        Eni(
            id=f"eni-0f1ee7{number:05x}{device:06x}",
            mac=f"02:f1:ee:{number:02x}:00:{device:02x}",
            subnet=subnet,
            # The end of the subnet's range: pods have the beginning.
            primary=f"10.1{subnet}.{200 + device}.{number}",
            prefixes=tuple(map(_prefix, blocks)) if device == 1 else (),
        )
        for device, subnet in enumerate(subnets, 1)
    )
    return FleetNode(f"{name}-{number:02}", number, f"i-0f1ee700000{number:06x}", f"127.0.1.{number}", enis)


def _pod(nodes: tuple[FleetNode, ...], number: int, used: int) -> FleetPod:
    node = nodes[number % len(nodes)]
    place = number // len(nodes)
    address = f"10.11.{number // 200}.{number % 200 + 10}"
    return FleetPod(f"pod-{number:05}", node, address, node.enis[place % used])


def _prefix(block: int) -> str:
    # The first addresses of a subnet are EC2's own.
    return f"10.11.{1 + block // PER_PREFIX}.{block % PER_PREFIX * PER_PREFIX}/28"


def _pod_in_prefix(nodes: tuple[FleetNode, ...], number: int) -> FleetPod:
    node, place = nodes[number % len(nodes)], number // len(nodes)
    eni = node.enis[0]
    address = ip_network(eni.prefixes[place // PER_PREFIX])[place % PER_PREFIX]
    return FleetPod(f"pod-{number:05}", node, str(address), eni)


def world(fleet: Fleet, *, central: bool = False) -> dict[str, Any]:
    """Make the world file (tests/doubles/config/world_file.py), with EC2's request limits in force.

    With `central` the key is the controller's, and nodes have no right to EC2.
    """
    subnets = {0, *(eni.subnet for node in fleet.nodes for eni in node.enis)}
    return {
        "region": REGION,
        "account": "123456789012",
        "throttling": "ec2",
        "access_keys": [{"id": KEY[0], "secret": KEY[1], "actions": _OF_CONTROLLER if central else _ACTIONS}],
        "roles": [{"name": ROLE, "actions": [] if central else _ACTIONS}],
        "subnets": [
            {"id": subnet_id(number), "vpc": VPC, "cidr": subnet_cidr(number), "az": ZONE}
            for number in sorted(subnets)
        ],
        "instances": [_instance(node) for node in fleet.nodes],
    }


# Those of examples/iam.
_ACTIONS = [
    "AssignPrivateIpAddresses",
    "UnassignPrivateIpAddresses",
    "DescribeNetworkInterfaces",
    "DescribeSubnets",
]
_OF_CONTROLLER = [*_ACTIONS, "DescribeInstanceTypes"]


def _instance(node: FleetNode) -> dict[str, Any]:
    primary = {
        "id": f"eni-0f1ee7{node.number:05x}000000",
        "mac": f"02:f1:ee:{node.number:02x}:00:00",
        "device": 0,
        "subnet": subnet_id(0),
        "primary": f"10.10.200.{node.number}",
    }
    secondaries = [
        {
            "id": eni.id,
            "mac": eni.mac,
            "device": device,
            "subnet": subnet_id(eni.subnet),
            "primary": eni.primary,
            "tags": {**_NO_MANAGE, **NETWORK_TAG} if device == 1 else _NO_MANAGE,
            "ipv4_prefixes": list(eni.prefixes),
        }
        for device, eni in enumerate(node.enis, 1)
    ]
    return {
        "id": node.instance_id,
        "type": node.type,
        "hop_limit": 2,
        "host_addresses": [node.host],
        "sources": [f"{node.host}/32"],
        "role": ROLE,
        "interfaces": [primary, *secondaries],
    }


def subnet_id(number: int) -> str:
    """Return the id of the subnet with this number; 0 is the nodes' own."""
    return f"subnet-0f1ee7000000{number:05x}"


def subnet_cidr(number: int) -> str:
    """Return its range."""
    return f"10.1{number}.0.0/16"
