"""EC2 by botocore: calls in our terms, its errors as our own, translated once and here."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, TypeVar

import botocore.session
from botocore import exceptions as aws
from botocore.config import Config
from botocore.credentials import CredentialResolver, InstanceMetadataProvider
from botocore.parsers import ResponseParserError
from botocore.utils import InstanceMetadataFetcher, resolve_imds_endpoint_mode

from multus_eni.contract import Credentials
from multus_eni.ipagent.addresses import IPAddress, canonical_mac, parse_address
from multus_eni.ipagent.errors import Ec2Error
from multus_eni.ipagent.log import printable
from multus_eni.ipagent.plan import Assign, Unassign
from multus_eni.ipagent.retry import RETRIED, Failure, Fault, classify
from multus_eni.ipagent.topology import Eni, EniAddresses
from multus_eni.version import VERSION

if TYPE_CHECKING:
    from botocore.session import Session
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ec2.type_defs import NetworkInterfaceTypeDef

    Answer = TypeVar("Answer")

CONNECT_SECONDS = 3
READ_SECONDS = 6
MAX_TEXT = 400

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
        session = botocore.session.Session()
        # botocore's default is one try of a second; a node that starts is slower than that.
        for name, value in (("metadata_service_num_attempts", 3), ("metadata_service_timeout", 2)):
            if session.get_config_variable(name) == 1:
                session.set_config_variable(name, value)
        if credentials is Credentials.NODE:
            session.register_component("credential_provider", _node_credentials(session))
        self.identity = "unknown"
        self._client: EC2Client = self._translated("credentials", lambda: self._connect(session))

    def _connect(self, session: Session) -> EC2Client:
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
        """AssignPrivateIpAddresses; gives the addresses that the answer lists."""
        answer = self._translated(
            f"AssignPrivateIpAddresses on {call.eni_id}",
            lambda: self._client.assign_private_ip_addresses(
                NetworkInterfaceId=call.eni_id,
                PrivateIpAddresses=[str(address) for address in call.addresses],
                AllowReassignment=call.allow_reassignment,
            ),
        )
        listed = answer.get("AssignedPrivateIpAddresses", [])
        return frozenset(parse_address(entry["PrivateIpAddress"]) for entry in listed)

    def unassign(self, call: Unassign) -> None:
        """UnassignPrivateIpAddresses."""
        self._translated(
            f"UnassignPrivateIpAddresses on {call.eni_id}",
            lambda: self._client.unassign_private_ip_addresses(
                NetworkInterfaceId=call.eni_id,
                PrivateIpAddresses=[str(address) for address in call.addresses],
            ),
        )

    def describe(self, eni_id: str) -> EniAddresses:
        """DescribeNetworkInterfaces of one ENI."""
        answer = self._translated(
            f"DescribeNetworkInterfaces of {eni_id}",
            lambda: self._client.describe_network_interfaces(NetworkInterfaceIds=[eni_id]),
        )
        for shown in answer["NetworkInterfaces"]:
            if shown.get("NetworkInterfaceId") == eni_id:
                return _addresses(eni_id, shown)
        raise Ec2Error(Failure(Fault.NO_ENI, f"DescribeNetworkInterfaces of {eni_id}: EC2 does not show it"))

    def enis(self, macs: Collection[str]) -> tuple[Eni, ...]:
        """DescribeNetworkInterfaces by MAC; the ENIs found have no known subnet ranges."""
        answer = self._translated(
            "DescribeNetworkInterfaces by mac-address",
            lambda: self._client.describe_network_interfaces(
                Filters=[{"Name": "mac-address", "Values": sorted(macs)}]
            ),
        )
        return tuple(_eni(shown) for shown in answer["NetworkInterfaces"] if shown.get("Attachment"))

    def _translated(self, what: str, call: Callable[[], Answer]) -> Answer:
        try:
            return call()
        except aws.ClientError as error:
            failure = self._failure_of_answer(what, error)
        except _CREDENTIAL_ERRORS as error:
            failure = Failure(Fault.NO_CREDENTIALS, self._text(what, str(error)))
        except (aws.HTTPClientError, aws.ConnectionError) as error:
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


def _eni(shown: NetworkInterfaceTypeDef) -> Eni:
    return Eni(
        id=shown["NetworkInterfaceId"],
        mac=canonical_mac(shown["MacAddress"]),
        device_number=shown["Attachment"]["DeviceIndex"],
        subnet_id=shown["SubnetId"],
    )


def _addresses(eni_id: str, shown: NetworkInterfaceTypeDef) -> EniAddresses:
    primary = shown.get("PrivateIpAddress")
    entries = shown.get("PrivateIpAddresses", [])
    return EniAddresses(
        eni_id,
        parse_address(primary) if primary else None,
        tuple(parse_address(entry["PrivateIpAddress"]) for entry in entries if not entry.get("Primary")),
    )
