"""A node's pool of addresses for a network of prefixes: how much is used, and when to report it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, ip_address, ip_network
from typing import Any

SCARCE = 16
"""Free addresses from which on each change is reported at once: another prefix is assigned soon."""
IDLE_SECONDS = 30.0
"""Seconds between two reports while there are more."""


@dataclass(frozen=True, slots=True)
class Pool:
    """What the NodeAttachment says of a network's pool.

    `families` are those of which each pod gets an address, none if the network has no prefixes any more;
    `active` are the prefixes to hand out, `known` all that the ENI has. One of a single address (/32, /128)
    is a secondary address of the ENI: the subnet had no whole prefix left.
    """

    network: str
    families: tuple[int, ...] = ()
    router: bool = True
    """Whether routes without a gateway go by the router of the subnet."""
    routes: tuple[tuple[str, str], ...] = ()
    """Destination and gateway, which may be empty."""
    cidrs: tuple[str, ...] = ()
    active: tuple[str, ...] = ()
    known: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PrefixUse:
    """A prefix, how many pods have addresses of it, and whether the configuration has it."""

    prefix: str
    used: int
    offered: bool


@dataclass(frozen=True, slots=True)
class PoolReport:
    """What is reported of a pool (`status.pool`)."""

    file: str = ""
    message: str = ""
    uses: tuple[PrefixUse, ...] = ()

    @property
    def free(self) -> int:
        """IPv4 addresses that new pods can have."""
        ipv4 = (use for use in self.uses if use.offered and ":" not in use.prefix)
        return sum(IPv4Network(use.prefix).num_addresses - use.used for use in ipv4)


def read_pool(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Pool | None:
    """Read a NodeAttachment; None if its network neither has prefixes nor had any."""
    addresses, prefixes = spec.get("addresses"), status.get("prefixes") or ()
    if addresses is None and not prefixes:
        return None
    found = addresses or {}
    families = tuple(4 if each == "IPv4" else 6 for each in found.get("families") or ())
    active = [each["prefix"] for each in prefixes if each.get("state", "Active") == "Active"]
    return Pool(
        network=str(spec["network"]),
        families=families,
        router=found.get("gateway", "Subnet") == "Subnet",
        routes=tuple((str(each["dst"]), str(each.get("gw", ""))) for each in found.get("routes") or ()),
        cidrs=tuple(map(str, status.get("cidrs") or ())),
        active=tuple(map(str, active)) if families else (),
        known=tuple(str(each["prefix"]) for each in prefixes),
    )


def read_status(pool: Mapping[str, Any] | None) -> PoolReport | None:
    """Read `status.pool` as it was reported last."""
    if pool is None:
        return None
    uses = tuple(
        PrefixUse(str(each["prefix"]), int(each["used"]), bool(each["offered"]))
        for each in pool.get("prefixes") or ()
    )
    return PoolReport(str(pool.get("file", "")), str(pool.get("message", "")), uses)


def status_object(status: PoolReport) -> dict[str, Any]:
    """Return `status.pool` as the schema has it."""
    uses = [{"prefix": use.prefix, "used": use.used, "offered": use.offered} for use in status.uses]
    return {"file": status.file, "message": status.message, "prefixes": uses}


def uses(pool: Pool, reserved: Iterable[str], offered: bool) -> tuple[PrefixUse, ...]:
    """Return how each prefix is used, by the names of host-local's files."""
    addresses = []
    for name in reserved:
        try:
            addresses.append(ip_address(name))
        except ValueError:
            # Beside the addresses: `lock` and `last_reserved_ip.0`.
            continue
    blocks = {prefix: ip_network(prefix) for prefix in pool.known}
    return tuple(
        PrefixUse(prefix, sum(address in block for address in addresses), offered and prefix in pool.active)
        for prefix, block in blocks.items()
    )


def worth_reporting(before: PoolReport, now: PoolReport) -> bool:
    """Return whether a change has to be reported at once, or how many addresses are left can wait."""
    if (before.file, before.message) != (now.file, now.message) or min(before.free, now.free) <= SCARCE:
        return before != now
    return _turning_points(before) != _turning_points(now)


def _turning_points(status: PoolReport) -> tuple[PrefixUse, ...]:
    return tuple(replace(use, used=min(use.used, 1)) for use in status.uses)
