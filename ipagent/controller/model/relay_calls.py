"""The calls to EC2 that node agents ask for, and their answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from ipagent.assign.address_calls import assign_action, unassign_action
from ipagent.assign.addresses import IPAddress
from ipagent.assign.topology import EniDetails
from ipagent.controller.model.call_rank import Rank

Place: TypeAlias = tuple[str, IPAddress]
"""An address, and the subnet that it is looked for in: another VPC may have the same range."""


class RequestKey(NamedTuple):
    """Which request a call is for: `call` is its id within the node agent's session."""

    attachment: str
    session: str
    call: int

    def __str__(self) -> str:
        return f"relay {self.attachment}/{self.session}/{self.call}"


@dataclass(frozen=True, slots=True)
class AssignAddresses:
    """AssignPrivateIpAddresses or AssignIpv6Addresses; with `reassign` EC2 takes them off other ENIs."""

    request: RequestKey
    node: str
    eni: str
    subnet: str
    addresses: tuple[IPAddress, ...]
    reassign: bool = False
    rank = Rank.ASSIGN

    @property
    def key(self) -> str:
        """The request's."""
        return str(self.request)

    @property
    def actions(self) -> tuple[str, ...]:
        """EC2 has an action for each family."""
        return (assign_action(self.addresses[0].version),)


@dataclass(frozen=True, slots=True)
class UnassignAddresses:
    """UnassignPrivateIpAddresses or UnassignIpv6Addresses; with the rank ASSIGN for a takeover."""

    request: RequestKey
    node: str
    eni: str
    subnet: str
    addresses: tuple[IPAddress, ...]
    rank: Rank = Rank.FREE

    @property
    def key(self) -> str:
        """The request's."""
        return str(self.request)

    @property
    def actions(self) -> tuple[str, ...]:
        """EC2 has an action for each family."""
        return (unassign_action(self.addresses[0].version),)


@dataclass(frozen=True, slots=True)
class DescribeAttached:
    """DescribeNetworkInterfaces by id, at most 200: for every request that waits for it."""

    enis: tuple[str, ...]
    requests: tuple[tuple[RequestKey, str], ...]
    """Which of them each request is about."""
    rank = Rank.LOOK
    key = "relay enis"
    actions = ("DescribeNetworkInterfaces",)


@dataclass(frozen=True, slots=True)
class LookUpHolders:
    """DescribeNetworkInterfaces by addresses of one family; with their subnets at most 200."""

    places: frozenset[Place]
    version: int
    requests: frozenset[RequestKey]
    """Those that wait for it."""
    rank = Rank.LOOK
    actions = ("DescribeNetworkInterfaces",)

    @property
    def key(self) -> str:
        """One at a time for each family."""
        return f"relay holders IPv{self.version}"


@dataclass(frozen=True, slots=True)
class DescribeSubnetHolders:
    """DescribeNetworkInterfaces of a subnet, all pages: EC2 has no filter for the addresses of a prefix.

    The answer has the ENIs that hold one of the addresses.
    """

    subnet: str
    requests: tuple[tuple[RequestKey, tuple[IPAddress, ...]], ...]
    """Which addresses each request is about."""
    rank = Rank.LOOK
    actions = ("DescribeNetworkInterfaces",)

    @property
    def key(self) -> str:
        """One at a time for each subnet."""
        return f"relay subnet {self.subnet}"

    @property
    def addresses(self) -> frozenset[IPAddress]:
        """All of them."""
        return frozenset(address for _, addresses in self.requests for address in addresses)


AddressChange: TypeAlias = AssignAddresses | UnassignAddresses
AddressCall: TypeAlias = AddressChange | DescribeAttached | LookUpHolders | DescribeSubnetHolders


def requests_of(call: AddressCall) -> frozenset[RequestKey]:
    """Return the requests that wait for a call."""
    match call:
        case AssignAddresses() | UnassignAddresses():
            return frozenset((call.request,))
        case LookUpHolders():
            return call.requests
        case _:
            return frozenset(key for key, _ in call.requests)


@dataclass(frozen=True, slots=True)
class Assigned:
    """The addresses that EC2's answer lists."""

    addresses: frozenset[IPAddress]


@dataclass(frozen=True, slots=True)
class Interfaces:
    """ENIs with all that they hold."""

    enis: tuple[EniDetails, ...]
