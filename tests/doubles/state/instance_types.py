"""What instance types allow their network interfaces: `NetworkInfo` of DescribeInstanceTypes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class NetworkInfo:
    """How many interfaces an instance may have, and how many addresses one of them.

    `ipv4_per_interface` counts the primary; a prefix counts as one address. `max_interfaces` is for all
    network cards together.
    """

    max_interfaces: int
    ipv4_per_interface: int
    ipv6_per_interface: int
    network_cards: int = 1
    hypervisor: str = "nitro"
    """`nitro`, `xen`, or nothing for bare metal."""

    @property
    def prefixes(self) -> bool:
        """Whether interfaces may have prefixes ("Prefix delegation", EC2 user guide: Nitro-based types)."""
        return self.hypervisor != "xen"

    @property
    def per_card(self) -> int:
        """How many interfaces a network card takes."""
        return self.max_interfaces // self.network_cards


# Interfaces and addresses per interface, which all these types allow of each family.
_COMMON: Mapping[tuple[int, int], str] = {
    (3, 4): "t3.small",
    (3, 6): "t3.medium t3a.medium",
    (3, 10): "m5.large m6i.large c5.large c5n.large",
    (3, 12): "t3.large",
    (
        4,
        15,
    ): "t3.xlarge t3.2xlarge m5.xlarge m5.2xlarge m5n.xlarge m6i.xlarge m6g.xlarge m7i.xlarge m7g.xlarge"
    " c5.xlarge c5.2xlarge c5n.xlarge c6i.xlarge r5.xlarge r6i.xlarge",
    (8, 30): "m5.4xlarge m5.8xlarge m5.12xlarge m6i.4xlarge c5.4xlarge c5.9xlarge c5n.4xlarge c5n.9xlarge"
    " c6in.8xlarge r5.4xlarge",
    (15, 50): "m5.24xlarge c5.18xlarge c5n.18xlarge",
}

TYPES: Mapping[str, NetworkInfo] = {
    name: NetworkInfo(interfaces, addresses, addresses)
    for (interfaces, addresses), names in _COMMON.items()
    for name in names.split()
} | {
    "p4d.24xlarge": NetworkInfo(60, 50, 50, network_cards=4),
    "m5.metal": NetworkInfo(15, 50, 50, hypervisor=""),
    "m4.large": NetworkInfo(2, 10, 10, hypervisor="xen"),
    "t2.medium": NetworkInfo(3, 6, 6, hypervisor="xen"),
}
"""The types that are common as nodes."""
