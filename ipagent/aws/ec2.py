"""EC2 by botocore: calls in our terms, its errors as our own, translated once and here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from botocore import exceptions as aws
from botocore.config import Config
from botocore.credentials import CredentialResolver, InstanceMetadataProvider
from botocore.parsers import ResponseParserError
from botocore.utils import InstanceMetadataFetcher, resolve_imds_endpoint_mode

from common.contract import Credentials
from common.version import VERSION
from ipagent.assign.calls import Assign, Unassign
from ipagent.assign.errors import Ec2Error
from ipagent.assign.faults import RETRIED, Failure, Fault, classify
from ipagent.assign.selection import IPAddress, parse_address
from ipagent.assign.topology import Eni, EniAddresses
from ipagent.aws.botocore_session import new_session
from ipagent.aws.eni import addresses as addresses_of
from ipagent.aws.eni import as_eni, details
from ipagent.aws.interruptible import interruptible
from ipagent.log import printable

if TYPE_CHECKING:
    from botocore.session import Session
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ec2.type_defs import FilterTypeDef, NetworkInterfaceTypeDef

    Answer = TypeVar("Answer")

CONNECT_SECONDS = 3
READ_SECONDS = 6
OK = "ok"
FIRST_SECONDS = 30
"""For the first call, name lookups and credentials included."""
MAX_TEXT = 400
MAX_FILTER_VALUES = 200
"""In one request ("List and filter using the CLI and API", EC2 user guide)."""

HOLDER_FILTERS = {4: "addresses.private-ip-address", 6: "ipv6-addresses.ipv6-address"}

# Before "Encoded authorization failure message: …", which is long, and readable by STS alone.
_ENCODED = re.compile(r"\s*Encoded authorization failure message:.*", re.DOTALL)

_CREDENTIAL_ERRORS = (
    aws.NoCredentialsError,
    aws.PartialCredentialsError,
    aws.CredentialRetrievalError,
    aws.MetadataRetrievalError,
    aws.TokenRetrievalError,
    aws.NoAuthTokenError,
    aws.UnknownCredentialError,
    aws.ProfileNotFound,
    aws.ConfigParseError,
    aws.InvalidConfigError,
    aws.UnauthorizedSSOTokenError,
)


class Ec2Client:
    """Calls EC2 in one region with one identity; every method raises Ec2Error only.

    botocore reads its own variables from the process's environment (endpoints, CA bundle, proxies, files).
    """

    def __init__(self, region: str, credentials: Credentials) -> None:
        self.region = region
        self.identity = "unknown"
        self.calls: Counter[tuple[str, str]] = Counter()
        """How many there were, by action and result: OK, or the fault in small letters."""
        self._reached = False
        self._client: EC2Client = self._translated("credentials", lambda: self._connect(credentials))

    def _connect(self, credentials: Credentials) -> EC2Client:
        session = _session(credentials)
        found = session.get_credentials()
        if found is None:
            raise aws.NoCredentialsError
        self.identity = str(found.method)
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            # One attempt: how often and how long to try is decided in one place, by us.
            retries={"total_max_attempts": 1, "mode": "standard"},
            user_agent_extra=f"multus-eni-injector/{VERSION}",
        )
        return session.create_client("ec2", region_name=self.region, config=config)  # type: ignore[return-value] # by name

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def assign(self, call: Assign) -> frozenset[IPAddress]:
        """AssignPrivateIpAddresses or AssignIpv6Addresses; gives the addresses that the answer lists.

        IPv6 is never reassigned, and of IPv6 addresses EC2 lists only those that are new on the ENI.
        """
        texts = [str(address) for address in call.addresses]
        if _version(call.addresses) == 6:
            answer6 = self._asked(
                f"AssignIpv6Addresses on {call.eni_id}",
                lambda: self._client.assign_ipv6_addresses(
                    NetworkInterfaceId=call.eni_id, Ipv6Addresses=texts
                ),
            )
            return frozenset(map(parse_address, answer6.get("AssignedIpv6Addresses", [])))
        answer = self._asked(
            f"AssignPrivateIpAddresses on {call.eni_id}",
            lambda: self._client.assign_private_ip_addresses(
                NetworkInterfaceId=call.eni_id,
                PrivateIpAddresses=texts,
                AllowReassignment=call.allow_reassignment,
            ),
        )
        listed = answer.get("AssignedPrivateIpAddresses", [])
        return frozenset(parse_address(entry["PrivateIpAddress"]) for entry in listed)

    def unassign(self, call: Unassign) -> None:
        """UnassignPrivateIpAddresses or UnassignIpv6Addresses."""
        texts = [str(address) for address in call.addresses]
        if _version(call.addresses) == 6:
            self._asked(
                f"UnassignIpv6Addresses on {call.eni_id}",
                lambda: self._client.unassign_ipv6_addresses(
                    NetworkInterfaceId=call.eni_id, Ipv6Addresses=texts
                ),
            )
            return
        self._asked(
            f"UnassignPrivateIpAddresses on {call.eni_id}",
            lambda: self._client.unassign_private_ip_addresses(
                NetworkInterfaceId=call.eni_id, PrivateIpAddresses=texts
            ),
        )

    def holders(self, addresses: Collection[IPAddress], subnet_id: str) -> tuple[EniAddresses, ...]:
        """DescribeNetworkInterfaces by address, in one subnet where `subnet_id` is known.

        Other VPCs may use the same ranges. All addresses are of one family.
        """
        within = [("subnet-id", [subnet_id])] if subnet_id else []
        by_address = (HOLDER_FILTERS[_version(addresses)], sorted(map(str, addresses)))
        return tuple(map(addresses_of, self._described([*within, by_address])))

    def _described(self, filters: Sequence[tuple[str, Sequence[str]]]) -> list[NetworkInterfaceTypeDef]:
        """Find by filters; the values of the last one may be more than one request can carry."""
        *others, (name, values) = filters
        room = MAX_FILTER_VALUES - len(others)
        found: list[NetworkInterfaceTypeDef] = []
        for start in range(0, len(values), room):
            part = [*others, (name, values[start : start + room])]
            asked: list[FilterTypeDef] = [{"Name": key, "Values": wanted} for key, wanted in part]
            answer = self._asked(
                f"DescribeNetworkInterfaces by {name}",
                partial(self._client.describe_network_interfaces, Filters=asked),
            )
            found += answer["NetworkInterfaces"]
        return found

    def describe(self, eni_id: str) -> EniAddresses:
        """DescribeNetworkInterfaces of one ENI."""
        answer = self._asked(
            f"DescribeNetworkInterfaces of {eni_id}",
            lambda: self._client.describe_network_interfaces(NetworkInterfaceIds=[eni_id]),
        )
        for shown in answer["NetworkInterfaces"]:
            if shown.get("NetworkInterfaceId") == eni_id:
                return addresses_of(shown)
        raise Ec2Error(Failure(Fault.NO_ENI, f"DescribeNetworkInterfaces of {eni_id}: EC2 does not show it"))

    def enis(self, macs: Collection[str]) -> tuple[Eni, ...]:
        """DescribeNetworkInterfaces by MAC; the ENIs found have no known subnet ranges."""
        shown = self._described([("mac-address", sorted(macs))])
        return tuple(as_eni(details(entry)) for entry in shown if entry.get("Attachment"))

    def _asked(self, what: str, call: Callable[[], Answer]) -> Answer:
        """Make one call to EC2. Until one has succeeded it may hang where signals are not heard."""
        first = not self._reached
        made = partial(interruptible, call, FIRST_SECONDS) if first else call
        action, _, _ = what.partition(" ")
        try:
            answer = self._translated(what, made)
        except Ec2Error as error:
            self.calls[action, error.failure.fault.name.lower()] += 1
            raise
        self.calls[action, OK] += 1
        self._reached = True
        return answer

    def _translated(self, what: str, call: Callable[[], Answer]) -> Answer:
        try:
            return call()
        except aws.ClientError as error:
            failure = self._failure_of_answer(what, error)
        except _CREDENTIAL_ERRORS as error:
            failure = Failure(Fault.NO_CREDENTIALS, self._text(what, str(error)))
        except (aws.HTTPClientError, aws.ConnectionError, TimeoutError) as error:
            failure = Failure(Fault.UNREACHABLE, self._text(what, str(error)))
        except ResponseParserError as error:
            failure = Failure(Fault.TRANSIENT, self._text(what, f"the answer can't be read: {error}"))
        except aws.BotoCoreError as error:
            failure = Failure(Fault.UNKNOWN, self._text(what, str(error)))
        raise Ec2Error(failure)

    def _failure_of_answer(self, what: str, error: aws.ClientError) -> Failure:
        answer: Mapping[str, Mapping[str, object]] = error.response  # type: ignore[assignment] # parts of it
        code = str(answer.get("Error", {}).get("Code", ""))
        message = str(answer.get("Error", {}).get("Message", ""))
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        fault = classify(code, message, status if isinstance(status, int) else 0)
        if error.operation_name.startswith("AssumeRole"):
            # The call for credentials failed, not the call that they were for.
            fault = fault if fault in RETRIED else Fault.NO_CREDENTIALS
            what = f"{what}: {error.operation_name}"
        text = self._text(what, f"{code}: {_ENCODED.sub('', message)}")
        if fault in (Fault.NO_PERMISSION, Fault.NO_CREDENTIALS):
            text += f" (credentials used: {self.identity}; region: {self.region})"
        return Failure(fault, text)

    def _text(self, what: str, why: str) -> str:
        return printable(f"{what}: {why}")[:MAX_TEXT].rstrip(". ")


def _session(credentials: Credentials) -> Session:
    """Make the session; raises errors of botocore where its files or variables are wrong."""
    session = new_session()
    # botocore's default is one try of a second; a node that starts is slower than that.
    for name, value in (("metadata_service_num_attempts", 3), ("metadata_service_timeout", 2)):
        if session.get_config_variable(name) == 1:
            session.set_config_variable(name, value)
    if credentials is Credentials.NODE:
        session.register_component("credential_provider", _node_credentials(session))
    return session


def _node_credentials(session: Session) -> CredentialResolver:
    """The node's role by IMDS and nothing else, put together as botocore's own chain does it."""
    fetcher = InstanceMetadataFetcher(
        timeout=session.get_config_variable("metadata_service_timeout"),
        num_attempts=session.get_config_variable("metadata_service_num_attempts"),
        user_agent=session.user_agent(),
        config={
            "ec2_metadata_service_endpoint": session.get_config_variable("ec2_metadata_service_endpoint"),
            "ec2_metadata_service_endpoint_mode": resolve_imds_endpoint_mode(session),
            "ec2_credential_refresh_window": 15 * 60,
            "ec2_metadata_v1_disabled": session.get_config_variable("ec2_metadata_v1_disabled"),
        },
    )
    return CredentialResolver(providers=[InstanceMetadataProvider(iam_role_fetcher=fetcher)])


def _version(addresses: Collection[IPAddress]) -> int:
    (version,) = {address.version for address in addresses}
    return version
