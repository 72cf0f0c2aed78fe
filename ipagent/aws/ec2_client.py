"""The EC2 client: the calls that this project makes, by botocore.

Until a call has succeeded, calls run in a thread of their own: a signal's handler runs between two
instructions of Python's main thread, and looking up a name is one call of C (`getaddrinfo`), which goes on
for a minute where the name servers are silent: 5 seconds for each server, try and search domain
(`man 5 resolv.conf`).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from botocore import exceptions as aws
from botocore.config import Config

from common.agent_settings import Credentials
from common.version import VERSION
from ipagent.assign.address_calls import Assign, Unassign, action_of
from ipagent.assign.addresses import IPAddress, IPNetwork, sort_key
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.errors import Ec2Error
from ipagent.assign.topology import EniDetails
from ipagent.aws.botocore_session import prefer_aws_roots, session_for
from ipagent.aws.describe_enis import details, subnet_ranges
from ipagent.aws.ec2_calls import (
    HOLDER_FILTERS,
    EndlessPagesError,
    assign_addresses,
    assigned_addresses,
    pages,
    unassign_addresses,
)
from ipagent.aws.ec2_errors import TRANSLATED, failure_of, is_untrusted, unreadable, watch
from ipagent.aws.lost_credentials import lacks_role, role_failure, with_credentials

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ec2.type_defs import (
        DescribeNetworkInterfacesResultTypeDef,
        FilterTypeDef,
    )

Answer = TypeVar("Answer")

CONNECT_SECONDS = 3
READ_SECONDS = 6
OK = "ok"
FIRST_SECONDS = 30
"""For the first call, name lookups and credentials included."""
PAGE_SIZE = 1000
"""The most that DescribeNetworkInterfaces takes for MaxResults."""
MAX_FILTER_VALUES = 200
"""In one request ("List and filter using the CLI and API", EC2 user guide)."""


class Ec2Client:
    """Calls EC2 in one region with one identity; every method raises Ec2Error only.

    botocore reads its own variables from the process's environment (endpoints, CA bundle, proxies, files).
    """

    def __init__(
        self, region: str, credentials: Credentials, role_status: Callable[[], str] | None = None
    ) -> None:
        """Connect. `role_status` asks IMDS for the state of the node's role, as `Imds.role_status` does."""
        self.region = region
        self._role_status = role_status
        self.identity = "unknown"
        self.calls: Counter[tuple[str, str]] = Counter()
        """How many there were, by action and result: OK, or the fault in small letters."""
        self._credentials = credentials
        self._reached = False
        self._aws_roots_alone = False
        self._client: EC2Client = self._translated("credentials", lambda: self._connect(aws_roots_first=True))

    def _connect(self, *, aws_roots_first: bool) -> EC2Client:
        session = session_for(self._credentials)
        aws_roots_alone = aws_roots_first and prefer_aws_roots(session, self.region)
        found = with_credentials(session.get_credentials)
        if found is None:
            raise aws.NoCredentialsError
        self._identified = found
        self.identity = str(found.method)
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            # One attempt: how often and how long to try is decided in one place, by us.
            retries={"total_max_attempts": 1, "mode": "standard"},
            user_agent_extra=f"multus-eni-injector/{VERSION}",
        )
        client = session.create_client("ec2", region_name=self.region, config=config)
        watch(client)
        # Last: where there are no credentials now, the next call that needs another root connects anew, too.
        self._aws_roots_alone = aws_roots_alone
        return client  # type: ignore[return-value] # by name

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def assign(self, call: Assign) -> frozenset[IPAddress]:
        """AssignPrivateIpAddresses or AssignIpv6Addresses; returns the addresses that the answer lists.

        IPv6 is never reassigned, and of IPv6 addresses EC2 lists only those that are new on the ENI.
        """
        action = action_of(call)
        answer = self._asked(
            f"{action} on {call.eni_id}",
            lambda: assign_addresses(
                self._client, call.eni_id, call.addresses, reassign=call.allow_reassignment
            ),
        )
        return _read(action, lambda: assigned_addresses(answer))

    def unassign(self, call: Unassign) -> None:
        """UnassignPrivateIpAddresses or UnassignIpv6Addresses."""
        self._asked(
            f"{action_of(call)} on {call.eni_id}",
            lambda: unassign_addresses(self._client, call.eni_id, call.addresses),
        )

    def describe(self, eni_id: str) -> EniDetails:
        """DescribeNetworkInterfaces of one ENI, by its id; the failure is NO_ENI if EC2 does not know it."""
        answer = self._asked(
            f"DescribeNetworkInterfaces of {eni_id}",
            lambda: self._client.describe_network_interfaces(NetworkInterfaceIds=[eni_id]),
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

        def ask(**token: Any) -> DescribeNetworkInterfacesResultTypeDef:
            # The client is another one once AWS' own roots have not been enough.
            return self._client.describe_network_interfaces(Filters=filters, **more, **token)

        try:
            for answer in pages(lambda **token: self._asked(what, partial(ask, **token))):
                yield from _read(what, partial(_interfaces, answer))
        except EndlessPagesError as error:
            raise Ec2Error(unreadable(what, str(error))) from None

    def subnet_cidrs(self, subnet_ids: Collection[str]) -> dict[str, tuple[IPNetwork, ...]]:
        """DescribeSubnets: the ranges of both families; a subnet that EC2 does not know is left out."""
        answer = self._asked(
            "DescribeSubnets",
            lambda: self._client.describe_subnets(
                Filters=[{"Name": "subnet-id", "Values": sorted(subnet_ids)}]
            ),
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

    def _asked(self, what: str, call: Callable[[], Answer]) -> Answer:
        """Make one call to EC2. Until one has succeeded it may hang where signals are not heard."""
        first, trusted = not self._reached, partial(self._trusted, partial(self._signed, call))
        made = partial(interruptible, trusted, FIRST_SECONDS) if first else trusted
        action, _, _ = what.partition(" ")
        try:
            answer = self._translated(what, made)
        except Ec2Error as error:
            self.calls[action, error.failure.fault.name.lower()] += 1
            raise
        self.calls[action, OK] += 1
        self._reached = True
        return answer

    def _signed(self, call: Callable[[], Answer]) -> Answer:
        """Make one call, for which the credentials are there or are renewed now."""
        with_credentials(self._identified.get_frozen_credentials)
        return call()

    def _trusted(self, call: Callable[[], Answer]) -> Answer:
        """Make a call; where the server's root is none of AWS' own, make it again with all of botocore's."""
        client, narrow = self._client, self._aws_roots_alone
        try:
            return call()
        except (aws.HTTPClientError, aws.ConnectionError) as error:
            # Another thread may have replaced the client meanwhile.
            narrow = narrow or client is not self._client
            if not (narrow and is_untrusted(error)):
                raise
        # Nothing was sent, as the server was not verified.
        if client is self._client:
            self._client = self._connect(aws_roots_first=False)
            client.close()
        return call()

    def _translated(self, what: str, call: Callable[[], Answer]) -> Answer:
        try:
            return call()
        except TRANSLATED as error:
            failure = failure_of(what, error, self.identity, self.region)
            if self._role_status is not None and lacks_role(error, self.identity):
                failure = role_failure(failure, what, self._role_status)
            raise Ec2Error(failure) from None


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

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        raise TimeoutError(f"no answer within {seconds:g} s, as it is where name servers are silent")
    return answers[0]
