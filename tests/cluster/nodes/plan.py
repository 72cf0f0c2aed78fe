"""Who has which address, MAC and identifier in a cluster, and the world of the doubles that fits. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

REGION = "eu-central-1"
ZONE = "eu-central-1a"
ACCOUNT = "123456789012"
VPC = "vpc-0a000000000000001"
CLUSTER = "prod"
"""The cluster's name in tags."""
ROLE = "node"
NO_MANAGE = {"node.k8s.amazonaws.com/no_manage": "true"}
"""The tag by which the VPC CNI leaves an interface alone (its README, "ENI tags related to allocation")."""

IMDS = "169.254.169.254"
GATEWAY = "10.60.0.1"
"""The address of the API server and of EC2, and the nodes' way to each other's pods."""
API_PORT = 6443
EC2_PORT = 8080
API_SERVICE = "10.96.0.1"
"""The address of the Service `kubernetes`, the first one of the range of Services."""
DNS_SERVICE = "10.96.0.10"


@dataclass(frozen=True, slots=True)
class Subnet:
    """A subnet of the VPC and the bridge that stands for it; the bridge has the router's addresses."""

    id: str
    bridge: str
    cidr: str
    router: str
    ipv6_cidr: str = ""
    ipv6_router: str = ""


PRIMARY = Subnet("subnet-0a000000000000000", "nodes", "10.60.0.0/24", f"{GATEWAY}/24")
SECONDARY = tuple(
    Subnet(
        id=f"subnet-0a00000000000000{number}",
        bridge=f"subnet{number}",
        cidr=f"10.10.{number}.0/24",
        router=f"10.10.{number}.1/24",
        ipv6_cidr=f"2001:db8:10:{number}::/64",
        ipv6_router=f"2001:db8:10:{number}::1/64",
    )
    for number in (1, 2)
)
"""The subnets of the pods' second interfaces; `examples/` uses the first."""
SUBNETS = (PRIMARY, *SECONDARY)


@dataclass(frozen=True, slots=True)
class Eni:
    """An elastic network interface; in its node it is `eth` and the device number."""

    id: str
    device: int
    mac: str
    subnet: Subnet
    address: str

    @property
    def interface(self) -> str:
        """Its name in the node."""
        return f"eth{self.device}"


@dataclass(frozen=True, slots=True)
class NodePlan:
    """A node: an instance with a primary interface and, by default, one in each of the other subnets."""

    number: int
    hop_limit: int = 2
    instance_type: str = "m5.4xlarge"
    """Thirty addresses on each interface."""
    primary_only: bool = False
    """Whether it boots with its primary interface alone."""
    zone: str = ZONE
    """The availability zone that its Node is labelled with; the subnets of its ENIs say where they are."""

    @property
    def name(self) -> str:
        """The name of the Node."""
        return f"n{self.number}"

    @property
    def instance_id(self) -> str:
        """The instance that the doubles know it as."""
        return f"i-0a{self.number:015x}"

    @property
    def address(self) -> str:
        """Its own address."""
        return f"10.60.0.{10 + self.number}"

    @property
    def pod_cidr(self) -> str:
        """The addresses of its pods' eth0."""
        return f"10.244.{self.number}.0/24"

    @property
    def enis(self) -> tuple[Eni, ...]:
        """Its interfaces, the primary one first."""
        return tuple(
            Eni(
                id=f"eni-0a{self.number:02x}{device:013x}",
                device=device,
                mac=f"02:aa:00:00:{self.number:02x}:{device:02x}",
                subnet=subnet,
                address=f"{subnet.cidr.rpartition('.')[0]}.{10 + self.number}",
            )
            for device, subnet in enumerate((PRIMARY,) if self.primary_only else SUBNETS)
        )


def world(nodes: Sequence[NodePlan]) -> dict[str, object]:
    """Write the world of the doubles in which these nodes are instances."""
    return {
        "region": REGION,
        "account": ACCOUNT,
        "subnets": [_subnet(subnet) for subnet in SUBNETS],
        "instances": [_instance(node) for node in nodes],
    }


def account() -> dict[str, object]:
    """Write what a user tags for node networks and Elastic IPs: keys of the doubles' world."""
    network = _subnet(SECONDARY[1]) | {"tags": {"multus": "oam"}}
    group = {"id": "sg-0b000000000000001", "vpc": VPC, "name": "multus", "tags": {"multus": "oam"}}
    elastic_ip = {"id": "eipalloc-0a000000000000001", "public_ip": "198.51.100.1", "tags": {"pool": "sip"}}
    return {
        "subnets": [*map(_subnet, SUBNETS[:2]), network],
        "security_groups": [group],
        "elastic_ips": [elastic_ip],
        "attach_delay_ms": 500,
    }


def _subnet(subnet: Subnet) -> dict[str, object]:
    found: dict[str, object] = {
        "id": subnet.id,
        "vpc": VPC,
        "cidr": subnet.cidr,
        "az": ZONE,
        "tags": {"multus": subnet.bridge},
    }
    return found | ({"ipv6_cidr": subnet.ipv6_cidr} if subnet.ipv6_cidr else {})


def _instance(node: NodePlan) -> dict[str, object]:
    return {
        "id": node.instance_id,
        "type": node.instance_type,
        "hop_limit": node.hop_limit,
        "host_addresses": [node.address],
        "sources": [node.pod_cidr],
        "role": ROLE,
        # As EKS tags those of a managed node group.
        "tags": {"Name": node.name, f"kubernetes.io/cluster/{CLUSTER}": "owned"},
        "interfaces": [_interface(eni) for eni in node.enis],
    }


def _interface(eni: Eni) -> dict[str, object]:
    return {
        "id": eni.id,
        "mac": eni.mac,
        "device": eni.device,
        "subnet": eni.subnet.id,
        "primary": eni.address,
        "tags": dict(NO_MANAGE) if eni.device else {},
    }
