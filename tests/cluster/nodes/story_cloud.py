"""What EC2's double has, and when it was asked for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

from tests.cluster.nodes.cloud import CloudControl

Held = frozenset[tuple[str, str]]
"""Pairs of an ENI's id and an address that it has beside its primary one."""


@dataclass(frozen=True, slots=True)
class Eni:
    """An ENI, and the subnet that it lies in."""

    id: str
    mac: str
    primary: str
    cidr: IPv4Network
    ipv6_cidr: IPv6Network
    addresses: frozenset[str]

    def address(self, number: int) -> str:
        """Return the IPv4 address of this number in its subnet."""
        return str(self.cidr[number])

    def ipv6(self, number: int) -> str:
        """Return the IPv6 address of this number in its subnet."""
        return str(self.ipv6_cidr[number])

    def span(self, first: int, last: int) -> str:
        """Return whereabouts' notation of the IPv4 addresses with these numbers."""
        return f"{self.address(first)}-{self.address(last)}/{self.cidr.prefixlen}"

    def ipv6_span(self, first: int, last: int) -> str:
        """Return whereabouts' notation of the IPv6 addresses with these numbers."""
        return f"{self.ipv6(first)}-{self.ipv6(last)}/{self.ipv6_cidr.prefixlen}"

    def local(self, first: int, last: int) -> dict[str, str]:
        """Return host-local's notation of the IPv4 addresses with these numbers."""
        return {
            "subnet": str(self.cidr),
            "rangeStart": self.address(first),
            "rangeEnd": self.address(last),
        }

    def ipv6_local(self, first: int, last: int) -> dict[str, str]:
        """Return host-local's notation of the IPv6 addresses with these numbers."""
        return {
            "subnet": str(self.ipv6_cidr),
            "rangeStart": self.ipv6(first),
            "rangeEnd": self.ipv6(last),
        }


@dataclass(frozen=True, slots=True)
class Assignment:
    """An assignment that took place: `at` are seconds of the monotonic clock."""

    at: float
    wall: float
    eni: str
    address: str


class Ledger:
    """Reads the double's world and its journal."""

    def __init__(self, cloud: CloudControl) -> None:
        self._cloud = cloud

    def enis(self) -> dict[str, Eni]:
        """Return all ENIs by id."""
        state = self._cloud.state()
        subnets = {subnet["id"]: subnet for subnet in state["subnets"]}
        return {each["id"]: _eni(each, subnets[each["subnet"]]) for each in state["interfaces"]}

    def held(self) -> Held:
        """Return what all ENIs have."""
        return frozenset((eni.id, address) for eni in self.enis().values() for address in eni.addresses)

    def holder(self, address: str) -> str | None:
        """Return the ENI that has an address beside its primary one."""
        found = [eni.id for eni in self.enis().values() if normal(address) in eni.addresses]
        assert len(found) < 2, f"{address} is on {found}"
        return found[0] if found else None

    def assignments(self, since: float = 0.0) -> list[Assignment]:
        """Return the assignments that took place since a time of the monotonic clock, the oldest first."""
        return [
            Assignment(call["monotonic"], call["wall"], call["params"]["NetworkInterfaceId"], address)
            for call in self.calls("Assign", since)
            if call["result"] == "ok"
            for address in _addresses(call["params"])
        ]

    def calls(self, action: str, since: float = 0.0) -> list[dict[str, Any]]:
        """Return the calls of EC2 actions that begin so, whatever became of them."""
        return [
            call
            for call in self._cloud.journal()
            if call["service"] == "ec2"
            if call["action"].startswith(action)
            if call["monotonic"] >= since
        ]

    def assigned(self, eni: str, address: str, since: float = 0.0) -> Assignment:
        """Return the first assignment of an address to an ENI."""
        for each in self.assignments(since):
            if (each.eni, each.address) == (eni, normal(address)):
                return each
        raise AssertionError(f"{address} was never assigned to {eni}: {self.assignments(since)}")


def normal(address: str) -> str:
    """Return an address in the form that EC2 shows."""
    return str(ip_address(address.partition("/")[0]))


def pairs(eni: str, addresses: Iterable[str]) -> Held:
    """Make pairs of one ENI."""
    return frozenset((eni, normal(address)) for address in addresses)


def _eni(found: Mapping[str, Any], subnet: Mapping[str, Any]) -> Eni:
    return Eni(
        id=found["id"],
        mac=found["mac"],
        primary=found["primary"],
        cidr=IPv4Network(subnet["cidr"]),
        ipv6_cidr=IPv6Network(subnet["ipv6_cidr"] or "::/128"),
        addresses=frozenset(map(normal, (*found["secondaries"], *found["ipv6s"]))),
    )


def _addresses(parameters: Mapping[str, str]) -> Iterator[str]:
    """Find the addresses that an Assign call names: on the wire `PrivateIpAddress.1`, `Ipv6Addresses.1`."""
    for name, value in parameters.items():
        if name.startswith(("PrivateIpAddress.", "Ipv6Addresses.")):
            yield normal(value)
