"""Which address a pod gets: the ranges of whereabouts, for one range and IPv4 or IPv6.

As in whereabouts' README ("Core Parameters") and pkg/iphelpers: `range` is a network (`10.10.1.0/24`) or the
first and last address with a prefix length (`10.10.1.80-10.10.1.82/24`); `range_start` and `range_end` narrow
a network where they lie in it; `exclude` lists networks or addresses; a network's own and its broadcast
address are never given.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Any

from demo.failure import DemoError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Interface = IPv4Interface | IPv6Interface


@dataclass(frozen=True)
class Pool:
    """Addresses from `first` to `last` of a network, without the excluded ones."""

    network: Network
    first: Address
    last: Address
    excluded: tuple[Network, ...] = ()

    def addresses(self) -> Iterator[Address]:
        """All addresses that may be given, lowest first."""
        for number in range(int(self.first), int(self.last) + 1):
            # From the network, so that a small IPv6 number is no IPv4 address.
            address = self.network[number - int(self.network.network_address)]
            if not any(address in network for network in self.excluded):
                yield address

    def first_free(self, taken: Collection[Address]) -> Interface:
        """The lowest address that is not taken, with the network's prefix; DemoError if none is left."""
        for address in self.addresses():
            if address not in taken:
                return ip_interface(f"{address}/{self.network.prefixlen}")
        raise DemoError(f"no address from {self.first} to {self.last} is free")


def pool(ipam: Mapping[str, Any]) -> Pool:
    """Read the `ipam` part of a CNI configuration; DemoError where it is none that is understood here."""
    if ipam.get("type") != "whereabouts":
        raise DemoError(f"the demo understands IPAM by whereabouts only, not {ipam.get('type')!r}")
    try:
        return _pool(ipam)
    except (ValueError, TypeError) as error:
        raise DemoError(f"the NetworkAttachmentDefinition's IPAM range can't be read: {error}") from None


def _pool(ipam: Mapping[str, Any]) -> Pool:
    text = str(ipam.get("range", ""))
    if "/" not in text:
        raise ValueError(f"{text!r} has no prefix length")
    low, dash, high = text.partition("-")
    network = ip_network(high if dash else text, strict=False)
    narrowing = (ipam.get("range_start"), ipam.get("range_end"))
    first_text, last_text = (low, high.partition("/")[0]) if dash else narrowing
    usable = network.num_addresses > 2
    first = _narrowed(network, network[1 if usable else 0], first_text)
    last = _narrowed(network, network[-2 if usable else -1], last_text)
    if int(first) > int(last):
        raise ValueError(f"{first} comes after {last}")
    return Pool(
        network, first, last, tuple(ip_network(item, strict=False) for item in ipam.get("exclude", ()))
    )


def _narrowed(network: Network, bound: Address, text: object) -> Address:
    if not text:
        return bound
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is not an address")
    address = ip_address(text)
    return address if address in network else bound
