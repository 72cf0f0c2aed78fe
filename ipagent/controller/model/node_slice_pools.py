"""NodeSlicePools of whereabouts: which prefix each node hands out.

The controller writes them in place of whereabouts' own slice controller.

The IPAM plugin reads the first allocation of its node in the pool that has its network's name, and hands out
what lies in it but the first and the last address of IPv4 (whereabouts, pkg/storage/kubernetes, ipam.go).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import Any

EDGES = 2
"""Addresses of an IPv4 slice that whereabouts does not hand out."""


@dataclass(frozen=True, slots=True)
class SlicePool:
    """A network's pool: by node its slice. `uid` is the NodeNetwork's, `range` one of its ENIs' subnets."""

    network: str
    uid: str
    range: str
    slices: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SliceReport:
    """What the API server has of a pool: by node its slice, or why it can't be written."""

    slices: Mapping[str, str]
    problem: str = ""


def slice_of(before: str, prefixes: Iterable[str]) -> str:
    """Return the slice of a node, of one family's prefixes: as it was, as long as they have it.

    Neighbours are joined at the beginning. A slice that pods have addresses of never changes: whereabouts
    keeps its reservations by it.
    """
    blocks: list[Any] = [ip_network(each) for each in prefixes]
    joined: list[IPv4Network | IPv6Network] = list(collapse_addresses(blocks))
    if before and any(_inside(ip_network(before), each) for each in joined):
        return before
    largest = min(joined, key=lambda each: (each.prefixlen, int(each.network_address)), default=None)
    return "" if largest is None else str(largest)


def usable(found: str, held: Iterable[str]) -> int:
    """Return how many addresses of an IPv4 slice are left beside those that pods have."""
    block = IPv4Network(found)
    used = sum(1 for each in held if ":" not in each and IPv4Network(each)[0] in block)
    return max(0, block.num_addresses - EDGES - used)


def _inside(one: IPv4Network | IPv6Network, other: IPv4Network | IPv6Network) -> bool:
    return one.version == other.version and one[0] in other and one[-1] in other
