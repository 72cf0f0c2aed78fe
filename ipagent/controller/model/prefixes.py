"""Prefixes of ENIs: what a network asks for, what a NodeAttachment records, and what its node reports.

A prefix is a /28 or a /80 that EC2 has delegated to an ENI: all of its addresses are routed there ("Prefix
delegation for Amazon EC2 network interfaces", EC2 user guide). Where the subnet has no whole one left,
secondary addresses of the ENI take its place: these are recorded as prefixes of one address, /32 or /128.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_network
from typing import Any

from ipagent.node_network_api import SINGLE, AddressMode, known

IPV4_SIZE = 16
"""Addresses of an IPv4 prefix, all of which pods can have."""
_IPV6_SIZE = 2**48


class Family(StrEnum):
    """An address family; the value is that of `status.assigning`."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"

    @property
    def version(self) -> int:
        """4 or 6."""
        return 4 if self is Family.IPV4 else 6


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the pods; without `gateway` it goes by the subnet's router."""

    destination: str
    gateway: str = ""


@dataclass(frozen=True, slots=True)
class CniSpec:
    """What the CNI configuration on a node says beside the prefixes."""

    families: tuple[Family, ...] = (Family.IPV4,)
    """Those of which each pod gets an address."""
    gateway: str = "Subnet"
    routes: tuple[Route, ...] = ()


class Ipam(StrEnum):
    """What hands out the addresses: the CNI configuration that the node writes, or whereabouts."""

    HOST_LOCAL = "HostLocal"
    WHEREABOUTS = "Whereabouts"


@dataclass(frozen=True, slots=True)
class PrefixSpec:
    """How many prefixes each ENI of a network has."""

    ipv4: int = 1
    ipv6: int = 0
    max_ipv4: int = 4
    cni: CniSpec = field(default_factory=CniSpec)
    ipam: Ipam = Ipam.HOST_LOCAL


class PrefixState(StrEnum):
    """What becomes of a prefix: only an active one is handed out, and one that is leaving never is again.

    One that is lent is whereabouts' as long as its ENI is there.
    """

    ACTIVE = "Active"
    DRAINING = "Draining"
    LEAVING = "Leaving"
    LENT = "Lent"


@dataclass(frozen=True, slots=True)
class PrefixStatus:
    """A prefix of the ENI."""

    prefix: str
    state: PrefixState = PrefixState.ACTIVE


@dataclass(frozen=True, slots=True)
class PrefixUse:
    """What the node reports of a prefix: how many pods have addresses of it, whether it hands out more."""

    used: int
    offered: bool


@dataclass(frozen=True, slots=True)
class Fragmentation:
    """EC2's last refusal of `count` prefixes, since the subnet has no whole one left; `at` is monotonic."""

    at: float
    count: int
    text: str


@dataclass(frozen=True, slots=True)
class PoolReport:
    """What the node reports of its CNI configuration; `file` is empty while there is none."""

    file: str = ""
    message: str = ""
    prefixes: Mapping[str, PrefixUse] = field(default_factory=dict)

    @property
    def used_ipv4(self) -> int:
        """How many IPv4 addresses of the prefixes pods have."""
        return sum(use.used for prefix, use in self.prefixes.items() if family(prefix) is Family.IPV4)


@dataclass(frozen=True, slots=True)
class PrefixMemory:
    """What this process remembers of prefixes beside EC2's last description. Times are monotonic seconds."""

    given: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By ENI: prefixes that EC2 has assigned at our call, and when. Descriptions may lack them."""
    taken: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By ENI: prefixes that were unassigned, and when. Descriptions may still show them."""
    asked: frozenset[tuple[str, str]] = frozenset()
    """NodeAttachments and families whose `status.assigning` is this process's: it knows of each call."""
    doubted: Mapping[str, float] = field(default_factory=dict)
    """By NodeAttachment: since when it is not known whether the call that its status names was made."""
    differing: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """By NodeAttachment and prefix: since when EC2 shows what the status lacks, or the other way round."""
    empty: Mapping[tuple[str, str, bool], float] = field(default_factory=dict)
    """By NodeAttachment, prefix, and whether it is handed out: since when no pod has an address of it."""
    fragmented: Mapping[tuple[str, str], Fragmentation] = field(default_factory=dict)
    """By NodeAttachment and family: that its subnet has no prefix left."""
    singles: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By ENI: single addresses that EC2 has assigned at our call, until the status records them. Nothing else
    tells them from secondary addresses that pods have had assigned."""


@dataclass(slots=True)
class PrefixMarks:
    """What one decision has seen; see PrefixMemory."""

    asked: set[tuple[str, str]] = field(default_factory=set)
    doubted: set[str] = field(default_factory=set)
    differing: set[tuple[str, str]] = field(default_factory=set)
    empty: set[tuple[str, str, bool]] = field(default_factory=set)
    recorded: set[tuple[str, str]] = field(default_factory=set)
    """ENI and single address."""


def family(prefix: str) -> Family:
    """Return the family of a prefix."""
    return Family.IPV6 if ":" in prefix else Family.IPV4


def is_single(prefix: str) -> bool:
    """Return whether it is a secondary address in the place of a prefix."""
    return prefix.endswith(SINGLE)


def single(address: str) -> str:
    """Return a secondary address as a prefix of one address."""
    return address + SINGLE[":" in address]


def address_of(single: str) -> str:
    """Return the secondary address."""
    return single.partition("/")[0]


def size(prefix: str) -> int:
    """Return how many addresses it has for pods."""
    if is_single(prefix):
        return 1
    return _IPV6_SIZE if family(prefix) is Family.IPV6 else IPV4_SIZE


def in_order(prefixes: Iterable[str]) -> list[str]:
    """Return prefixes by family and address."""
    return sorted(prefixes, key=_place)


@lru_cache(maxsize=65536)
def _place(prefix: str) -> tuple[int, int]:
    found = ip_network(prefix)
    return found.version, int(found.network_address)


def read_prefix_spec(addresses: Mapping[str, Any] | None) -> PrefixSpec | None:
    """Read `spec.addresses` of a NodeNetwork; None where addresses are assigned one by one."""
    if not addresses or addresses.get("mode") != AddressMode.PREFIXES:
        return None
    found = addresses.get("prefixes") or {}
    default = PrefixSpec()
    ipv4, ipv6 = int(found.get("ipv4", default.ipv4)), int(found.get("ipv6", default.ipv6))
    families = [each for each, count in ((Family.IPV4, ipv4), (Family.IPV6, ipv6)) if count]
    most, ipam = int(found.get("maxIPv4", default.max_ipv4)), known(Ipam, found.get("ipam"), default.ipam)
    return PrefixSpec(ipv4, ipv6, most, _cni(found, families), ipam)


def read_cni_spec(found: Mapping[str, Any]) -> CniSpec:
    """Read `spec.addresses` of a NodeAttachment."""
    return _cni(found, [Family(each) for each in found["families"]])


def _cni(found: Mapping[str, Any], families: Iterable[Family]) -> CniSpec:
    routes = tuple(Route(str(each["dst"]), str(each.get("gw", ""))) for each in found.get("routes") or ())
    return CniSpec(tuple(families), str(found.get("gateway", "Subnet")), routes)


def cni_object(spec: CniSpec) -> dict[str, Any]:
    """Return `spec.addresses` of a NodeAttachment."""
    routes = [
        {"dst": each.destination, **({"gw": each.gateway} if each.gateway else {})} for each in spec.routes
    ]
    families = [each.value for each in spec.families]
    return {"families": families, "gateway": spec.gateway, **({"routes": routes} if routes else {})}


def read_prefixes(status: Mapping[str, Any]) -> tuple[PrefixStatus, ...]:
    """Read `status.prefixes`."""
    return tuple(
        PrefixStatus(str(each["prefix"]), PrefixState(each.get("state", PrefixState.ACTIVE)))
        for each in status.get("prefixes") or ()
    )


def read_pool(status: Mapping[str, Any]) -> PoolReport | None:
    """Read `status.pool`; None while the node has not reported any."""
    pool = status.get("pool")
    if pool is None:
        return None
    return PoolReport(
        str(pool.get("file", "")),
        str(pool.get("message", "")),
        {
            str(each["prefix"]): PrefixUse(int(each["used"]), bool(each["offered"]))
            for each in pool.get("prefixes") or ()
        },
    )
