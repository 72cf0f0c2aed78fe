"""The EC2 client: the calls that agents make, by botocore or by `ec2_query`.

Until a call has succeeded, calls run in a thread of their own: a signal's handler runs between two
instructions of Python's main thread, and looking up a name is one call of C (`getaddrinfo`), which goes on
for a minute where the name servers are silent: 5 seconds for each server, try and search domain
(`man 5 resolv.conf`).
"""

from __future__ import annotations

from _thread import allocate_lock, start_new_thread
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial

from common.lean_typing import Protocol
from ipagent.assign.address_calls import Assign, Unassign, action_of
from ipagent.assign.addresses import IPAddress, IPNetwork, sort_key
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.errors import Ec2Error
from ipagent.assign.topology import EniDetails
from ipagent.aws.describe_enis import details, subnet_ranges
from ipagent.aws.ec2_calls import (
    HOLDER_FILTERS,
    EndlessPagesError,
    assign_addresses,
    assigned_addresses,
    pages,
    unassign_addresses,
)
from ipagent.aws.ec2_failures import unreachable, unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ec2.type_defs import (
        DescribeNetworkInterfacesResultTypeDef,
        FilterTypeDef,
    )

    Answer = TypeVar("Answer")


OK = "ok"
FIRST_SECONDS = 30
"""For the first call, name lookups and credentials included."""
PAGE_SIZE = 1000
"""The most that DescribeNetworkInterfaces takes for MaxResults."""
MAX_FILTER_VALUES = 200
"""In one request ("List and filter using the CLI and API", EC2 user guide)."""


class Connection(Protocol):
    """How EC2 is called: by botocore, or in the usual case without it."""

    identity: str
    """Where the credentials come from, by botocore's name for it."""

    def call(self, what: str, call: Callable[[EC2Client], Answer]) -> Answer:
        """Make one call, with the client that it is given; raises Ec2Error, which says `what` failed."""

    def abandon(self) -> None:
        """Leave alone what a call that does not end still uses."""

    def close(self) -> None:
        """Close the connections."""


class Ec2Client:
    """Calls EC2 in one region with one identity; every method raises Ec2Error only."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.calls: Counter[tuple[str, str]] = Counter()
        """How many there were, by action and result: OK, or the fault in small letters."""
        self._reached = False

    @property
    def identity(self) -> str:
        """Where the credentials come from."""
        return self._connection.identity

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def assign(self, call: Assign) -> frozenset[IPAddress]:
        """AssignPrivateIpAddresses or AssignIpv6Addresses; returns the addresses that the answer lists.

        IPv6 is never reassigned, and of IPv6 addresses EC2 lists only those that are new on the ENI.
        """
        action = action_of(call)
        answer = self._asked(
            f"{action} on {call.eni_id}",
            lambda ec2: assign_addresses(ec2, call.eni_id, call.addresses, reassign=call.allow_reassignment),
        )
        return _read(action, lambda: assigned_addresses(answer))

    def unassign(self, call: Unassign) -> None:
        """UnassignPrivateIpAddresses or UnassignIpv6Addresses."""
        self._asked(
            f"{action_of(call)} on {call.eni_id}",
            lambda ec2: unassign_addresses(ec2, call.eni_id, call.addresses),
        )

    def describe(self, eni_id: str) -> EniDetails:
        """DescribeNetworkInterfaces of one ENI, by its id; the failure is NO_ENI if EC2 does not know it."""
        answer = self._asked(
            f"DescribeNetworkInterfaces of {eni_id}",
            lambda ec2: ec2.describe_network_interfaces(NetworkInterfaceIds=[eni_id]),
        )
        for held in _read(f"DescribeNetworkInterfaces of {eni_id}", lambda: _interfaces(answer)):
            if held.eni_id == eni_id:
                return held
        raise Ec2Error(Failure(Fault.NO_ENI, f"DescribeNetworkInterfaces of {eni_id}: EC2 does not show it"))

    def by_id(self, eni_ids: Collection[str]) -> tuple[EniDetails, ...]:
        """DescribeNetworkInterfaces by id; ENIs that EC2 does not know are left out."""
        # By filter: among explicit ids a single one that is gone would fail the whole call.
        return self._described([("network-interface-id", sorted(eni_ids))])

    def by_mac(self, macs: Collection[str]) -> tuple[EniDetails, ...]:
        """DescribeNetworkInterfaces by MAC, whatever the ENIs are attached to."""
        return self._described([("mac-address", sorted(macs))])

    def attached(self, instance_id: str) -> tuple[EniDetails, ...]:
        """DescribeNetworkInterfaces of all ENIs of an instance, by one call."""
        return self._described([("attachment.instance-id", [instance_id])])

    def holders(
        self, addresses: Collection[IPAddress], subnet_id: str = "", *, vpc_id: str = ""
    ) -> tuple[EniDetails, ...]:
        """DescribeNetworkInterfaces by address, in whatever role: one call for each address family.

        Other VPCs may use the same ranges: only ENIs of that subnet, or of that VPC, are found where it is
        given.
        """
        places = (("subnet-id", subnet_id), ("vpc-id", vpc_id))
        within = [(name, [place]) for name, place in places if place]
        found: dict[str, EniDetails] = {}
        for version, name in HOLDER_FILTERS.items():
            values = [str(each) for each in sorted(addresses, key=sort_key) if each.version == version]
            for eni in self._described([*within, (name, values)]) if values else ():
                found[eni.eni_id] = eni
        return tuple(found.values())

    def prefix_holders(self, addresses: Collection[IPAddress], subnet_id: str) -> tuple[EniDetails, ...]:
        """DescribeNetworkInterfaces of a whole subnet, page by page; returns the holders of the addresses.

        EC2 has no filter for an address inside a prefix.
        """
        found = self._pages("subnet-id", [{"Name": "subnet-id", "Values": [subnet_id]}], MaxResults=PAGE_SIZE)
        return tuple(eni for eni in found if any(eni.holds(address) for address in addresses))

    def _pages(self, name: str, filters: Sequence[FilterTypeDef], **more: Any) -> Iterator[EniDetails]:
        """DescribeNetworkInterfaces by `name`, with all its pages: EC2 may divide an answer unasked, too."""
        what = f"DescribeNetworkInterfaces by {name}"

        def ask(ec2: EC2Client, **token: Any) -> DescribeNetworkInterfacesResultTypeDef:
            return ec2.describe_network_interfaces(Filters=filters, **more, **token)

        try:
            for answer in pages(lambda **token: self._asked(what, partial(ask, **token))):
                yield from _read(what, partial(_interfaces, answer))
        except EndlessPagesError as error:
            raise Ec2Error(unreadable(what, str(error))) from None

    def subnet_cidrs(self, subnet_ids: Collection[str]) -> dict[str, tuple[IPNetwork, ...]]:
        """DescribeSubnets: the ranges of both families; a subnet that EC2 does not know is left out."""
        answer = self._asked(
            "DescribeSubnets",
            lambda ec2: ec2.describe_subnets(Filters=[{"Name": "subnet-id", "Values": sorted(subnet_ids)}]),
        )
        return _read(
            "DescribeSubnets",
            lambda: {subnet["SubnetId"]: subnet_ranges(subnet) for subnet in answer["Subnets"]},
        )

    def _described(self, filters: Sequence[tuple[str, Sequence[str]]]) -> tuple[EniDetails, ...]:
        """Find by filters; the values of the last one may be more than one request can carry."""
        *others, (name, values) = filters
        room = MAX_FILTER_VALUES - len(others)
        found: list[EniDetails] = []
        for start in range(0, len(values), room):
            part = [*others, (name, values[start : start + room])]
            found += self._pages(name, [{"Name": key, "Values": wanted} for key, wanted in part])
        return tuple(found)

    def _asked(self, what: str, call: Callable[[EC2Client], Answer]) -> Answer:
        """Make one call to EC2. Until one has succeeded it may hang where signals are not heard."""
        action, _, _ = what.partition(" ")
        made = partial(self._connection.call, what, call)
        try:
            answer = made() if self._reached else self._first(what, made)
        except Ec2Error as error:
            self.calls[action, error.failure.fault.name.lower()] += 1
            raise
        self.calls[action, OK] += 1
        self._reached = True
        return answer

    def _first(self, what: str, made: Callable[[], Answer]) -> Answer:
        try:
            return interruptible(made, FIRST_SECONDS)
        except TimeoutError as error:
            self._connection.abandon()
            raise Ec2Error(unreachable(what, str(error))) from None


def _read(what: str, read: Callable[[], Answer]) -> Answer:
    """Read an answer; raises Ec2Error where it lacks what EC2's has, or has what is no address."""
    try:
        return read()
    except (KeyError, ValueError, TypeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise Ec2Error(unreadable(what, why)) from None


def _interfaces(answer: DescribeNetworkInterfacesResultTypeDef) -> tuple[EniDetails, ...]:
    return tuple(map(details, answer["NetworkInterfaces"]))


def interruptible(call: Callable[[], Answer], seconds: float) -> Answer:
    """Make the call in a thread of its own and wait for it; raises what it raises.

    After so many seconds raises TimeoutError; the thread goes on, and what it does is not undone.
    """
    answers: list[Answer] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            answers.append(call())
        except BaseException as error:  # noqa: BLE001 - raised below, by the thread that asked
            errors.append(error)
        finally:
            ended.release()

    # Without `threading`, whose import costs more than the thread.
    ended = allocate_lock()
    ended.acquire()
    start_new_thread(work, ())
    ended.acquire(timeout=seconds)
    if errors:
        raise errors[0]
    if not answers:
        raise TimeoutError(
            f"no answer within {seconds:g} s, as it is where name servers or all addresses of EC2 are silent"
        )
    return answers[0]
