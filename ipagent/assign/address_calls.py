"""The calls that change an ENI's addresses, and their results."""

from __future__ import annotations

from collections.abc import Iterable

from common.frozen_dataclass import dataclass
from ipagent.assign.addresses import IPAddress, sort_key
from ipagent.assign.ec2_error_codes import Failure


@dataclass(frozen=True)
class Assign:
    """Assign these addresses to the ENI, taking them from other ENIs only if `allow_reassignment`."""

    eni_id: str
    addresses: tuple[IPAddress, ...]
    allow_reassignment: bool


@dataclass(frozen=True)
class Move:
    """Assign these IPv6 addresses to the ENI, after taking them off other ENIs if `allow_reassignment`.

    EC2 has no reassignment for IPv6: whoever holds an address in the subnet is looked for first.
    """

    eni_id: str
    subnet_id: str
    addresses: tuple[IPAddress, ...]
    allow_reassignment: bool


@dataclass(frozen=True)
class TakeOver:
    """Assign these IPv4 addresses to the ENI, and take those off other ENIs that may be taken.

    EC2 itself would take an address off any ENI, the VPC CNI's among them: it is asked to only once it was
    looked up whose the ENI is that holds it. For `looked_up` addresses that was done a moment ago.
    """

    eni_id: str
    subnet_id: str
    addresses: tuple[IPAddress, ...]
    looked_up: frozenset[IPAddress] = frozenset()

    @property
    def allow_reassignment(self) -> bool:
        """Whether other ENIs may lose addresses."""
        return True


@dataclass(frozen=True)
class Unassign:
    """Take these addresses off the ENI."""

    eni_id: str
    addresses: tuple[IPAddress, ...]


Call = Assign | Move | TakeOver | Unassign


def assign_action(version: int) -> str:
    """Return the action of the EC2 API that assigns addresses of a family (4 or 6)."""
    return "AssignPrivateIpAddresses" if version == 4 else "AssignIpv6Addresses"


def unassign_action(version: int) -> str:
    """Return the action that takes them off."""
    return "UnassignPrivateIpAddresses" if version == 4 else "UnassignIpv6Addresses"


def action_of(call: Assign | Unassign) -> str:
    """Return the action of a call; raises ValueError where its addresses are not of one family."""
    (version,) = {address.version for address in call.addresses}
    return (assign_action if isinstance(call, Assign) else unassign_action)(version)


@dataclass(frozen=True)
class Outcome:
    """How a call, or a part of one, went. `listed` are the addresses that EC2's answer names."""

    call: Call
    listed: frozenset[IPAddress] = frozenset()
    failure: Failure | None = None


def unassign_calls(held: Iterable[tuple[str, IPAddress]]) -> tuple[Unassign, ...]:
    """Return the calls that take addresses off their ENIs: one for each ENI and address family."""
    batches: dict[tuple[str, int], set[IPAddress]] = {}
    for eni_id, address in held:
        batches.setdefault((eni_id, address.version), set()).add(address)
    return tuple(
        Unassign(eni_id, tuple(sorted(addresses, key=sort_key)))
        for (eni_id, _), addresses in sorted(batches.items())
    )
