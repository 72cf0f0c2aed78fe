"""Makes the controller's calls to EC2 by botocore; refusals are answers, not exceptions.

Thread: those of the executor, several at once.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import ClientError, NoCredentialsError

from common.agent_settings import Credentials
from common.version import VERSION
from ipagent.assign.holders import NO_MANAGE
from ipagent.aws.botocore_errors import TRANSLATED, failure_of, register_handlers
from ipagent.aws.botocore_session import session_for
from ipagent.aws.ec2_calls import CONNECT_SECONDS, READ_SECONDS, pages
from ipagent.aws.ec2_client import PAGE_SIZE
from ipagent.aws.ec2_failures import unreadable
from ipagent.aws.missing_credentials import with_credentials
from ipagent.controller.ec2 import eips, prefixes, relay, responses
from ipagent.controller.model.actions import (
    AssignPrefixes,
    Attach,
    Call,
    Create,
    Delete,
    DescribeAll,
    DescribeEnis,
    DescribeInstances,
    Detach,
    Modify,
    ReadLimits,
    Resolve,
    UnassignPrefix,
)
from ipagent.controller.model.eip_calls import (
    Associate,
    DescribeAddresses,
    DescribeHolders,
    Disassociate,
    TagEip,
    UntagEip,
)
from ipagent.controller.model.node_network import Term
from ipagent.controller.model.relay_calls import (
    AddressCall,
    AssignAddresses,
    DescribeAttached,
    DescribeSubnetHolders,
    LookUpHolders,
    UnassignAddresses,
)
from ipagent.controller.reconcile.ec2_answers import (
    Answer,
    Attachment,
    Done,
    Enis,
    Found,
    Refused,
    TypeLimits,
)
from ipagent.controller.reconcile.ec2_error_conditions import classify

if TYPE_CHECKING:
    from botocore.credentials import Credentials as Signing
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ec2.type_defs import NetworkInterfaceTypeDef

OK = "ok"

Filters = list[dict[str, Any]]


class ControllerEc2Client:
    """EC2 in one region with one identity. `calls` counts by action and result."""

    def __init__(self, region: str, credentials: Credentials, connections: int) -> None:
        self.region = region
        self.calls: Counter[tuple[str, str]] = Counter()
        self._config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            max_pool_connections=connections,
            # How often and how long to try is decided in one place, by us.
            retries={"total_max_attempts": 1, "mode": "standard"},
            user_agent_extra=f"multus-eni-injector/{VERSION}",
        )
        self._session = session_for(credentials)
        self._connecting = threading.Lock()
        self._connected: tuple[EC2Client, Signing] | None = None

    def close(self) -> None:
        """Close the connections."""
        if self._connected is not None:
            client, _ = self._connected
            client.close()

    @property
    def _client(self) -> EC2Client:
        """The client, which is made as soon as there are credentials; raises errors of botocore's.

        One that is made without them never looks for any again, such as those of a role that IMDS shows late.
        """
        with self._connecting:
            if self._connected is None:
                found = with_credentials(self._session.get_credentials)
                if found is None:
                    raise NoCredentialsError
                made: Any = self._session.create_client("ec2", region_name=self.region, config=self._config)
                register_handlers(made)
                self._connected = made, found
            client, credentials = self._connected
        # Renewed now if they are due: those of IRSA are read for the first time here.
        with_credentials(credentials.get_frozen_credentials)
        return client

    def execute(self, call: Call) -> Answer:
        """Make a call, with all its pages; raises nothing of botocore's."""
        try:
            return self._execute(call)
        except TRANSLATED as error:
            answer = self._refused(call, error)
        except (KeyError, ValueError, TypeError) as error:
            # It lacks what EC2's has, or has what is no address.
            failure = unreadable(_action(call), f"{type(error).__name__}: {error}")
            answer = Refused(classify("", "", failure.fault), _action(call), failure.text)
        self.calls[answer.action, answer.kind] += 1
        return answer

    def _execute(self, call: Call) -> Answer:
        match call:
            case DescribeAttached() | LookUpHolders() | DescribeSubnetHolders():
                return relay.describe(self._interfaces, call)
            case DescribeAll() | DescribeEnis() | DescribeInstances() | DescribeHolders():
                return self._describe(call)
            case Resolve():
                return self._resolve(call)
            case ReadLimits():
                return self._limits(call)
            case Create():
                return self._create(call)
            case _:
                return self._change(call)

    def _describe(self, call: DescribeAll | DescribeEnis | DescribeInstances | DescribeHolders) -> Answer:
        found = self._interfaces(_interface_filters(call))
        if isinstance(call, DescribeHolders):
            return eips.read_holders(call, found)
        return Enis(tuple(map(responses.read_eni, found)))

    def _interfaces(self, filters: Filters) -> Iterator[NetworkInterfaceTypeDef]:
        ask: Any = lambda **token: self._client.describe_network_interfaces(  # noqa: E731 - a page
            Filters=filters,  # type: ignore[arg-type] # by name
            MaxResults=PAGE_SIZE,
            **token,
        )
        for found in pages(ask):
            self._count("DescribeNetworkInterfaces")
            yield from found["NetworkInterfaces"]

    def _resolve(self, call: Resolve) -> Found:
        subnets, groups = {}, {}
        for filters in _filters("subnet-id", call.subnets):
            for shown in self._client.describe_subnets(Filters=filters)["Subnets"]:  # type: ignore[arg-type] # by name
                subnets[shown["SubnetId"]] = responses.read_subnet(shown)
            self._count("DescribeSubnets")
        for filters in _filters("group-id", call.groups):
            for found in self._client.describe_security_groups(Filters=filters)["SecurityGroups"]:  # type: ignore[arg-type] # by name
                groups[found["GroupId"]] = responses.read_group(found)
            self._count("DescribeSecurityGroups")
        return Found(tuple(subnets.values()), tuple(groups.values()))

    def _limits(self, call: ReadLimits) -> TypeLimits:
        found = self._client.describe_instance_types(
            Filters=[{"Name": "instance-type", "Values": list(call.types)}]
        )
        self._count("DescribeInstanceTypes")
        types = {str(shown["InstanceType"]): responses.read_limits(shown) for shown in found["InstanceTypes"]}
        return TypeLimits(types)

    def _create(self, call: Create) -> Enis:
        tags = [{"Key": key, "Value": value} for key, value in call.tags]
        tagged: Any = [{"ResourceType": "network-interface", "Tags": tags}]
        ipv6: dict[str, Any] = {"Ipv6AddressCount": call.ipv6_addresses} if call.ipv6_addresses else {}
        made = self._client.create_network_interface(
            ClientToken=call.token,
            SubnetId=call.subnet,
            Groups=list(call.groups),
            Description=call.description,
            TagSpecifications=tagged,
            **ipv6,
        )
        self._count("CreateNetworkInterface")
        return Enis((responses.read_eni(made["NetworkInterface"]),))

    def _change(self, call: Call) -> Answer:
        answer: Answer = Done()
        match call:
            case Attach():
                made = self._client.attach_network_interface(
                    NetworkInterfaceId=call.eni,
                    InstanceId=call.instance,
                    NetworkCardIndex=call.card,
                    DeviceIndex=call.device,
                )
                answer = Attachment(made["AttachmentId"])
            case Detach():
                self._client.detach_network_interface(AttachmentId=call.attachment)
            case Delete():
                self._client.delete_network_interface(NetworkInterfaceId=call.eni)
            case Modify():
                self._client.modify_network_interface_attribute(
                    NetworkInterfaceId=call.eni, **_attribute(call)
                )
            case AssignPrefixes() | UnassignPrefix():
                answer = prefixes.assign_or_unassign(self._client, call)
            case DescribeAddresses() | Associate() | Disassociate() | TagEip() | UntagEip():
                answer = eips.execute(self._client, call)
            case AssignAddresses() | UnassignAddresses():
                answer = relay.assign_or_unassign(self._client, call)
            case _:
                raise TypeError(f"{call} is not a call to EC2")
        self._count(_action(call))
        return answer

    def _count(self, action: str) -> None:
        self.calls[action, OK] += 1

    def _refused(self, call: Call, error: Exception) -> Refused:
        code, message, action = "", "", _action(call)
        if isinstance(error, ClientError) and error.operation_name in call.actions:
            action = error.operation_name
            code = str(error.response.get("Error", {}).get("Code", ""))
            message = str(error.response.get("Error", {}).get("Message", ""))
        what = relay.call_text(call) if isinstance(call, AddressCall) else action
        failure = failure_of(what, error, self._identity(), self.region)
        return Refused(classify(code, message, failure.fault), action, failure.text, failure)

    def _identity(self) -> str:
        if self._connected is None:
            return "none"
        _, credentials = self._connected
        return str(credentials.method)


def _action(call: Call) -> str:
    actions: tuple[str, ...] = call.actions
    return actions[0]


def _attribute(call: Modify) -> dict[str, Any]:
    """Return the one attribute that a call may change."""
    if call.source_dest_check is not None:
        return {"SourceDestCheck": {"Value": call.source_dest_check}}
    if call.groups is not None:
        return {"Groups": list(call.groups)}
    return {
        "Attachment": {
            "AttachmentId": call.attachment,
            "DeleteOnTermination": bool(call.delete_on_termination),
        }
    }


def _filters(name: str, terms: Sequence[Term]) -> Iterator[Filters]:
    """Return the filters of each call: one for all ids, one for each set of tags."""
    if ids := [term.id for term in terms if term.id]:
        yield [_filter(name, ids)]
    for term in terms:
        if term.tags:
            yield [_filter(f"tag:{key}", (value,)) for key, value in term.tags]


def _interface_filters(call: DescribeAll | DescribeEnis | DescribeInstances | DescribeHolders) -> Filters:
    match call:
        case DescribeAll():
            return [_filter("vpc-id", call.vpcs)] if call.vpcs else []
        case DescribeEnis():
            # By filter: among explicit ids a single one that is gone would fail the whole call.
            return [_filter("network-interface-id", call.enis)]
        case DescribeInstances():
            return [_filter("attachment.instance-id", call.instances)]
        case DescribeHolders():
            # ENIs without our tag are the VPC CNI's.
            return [
                _filter("addresses.private-ip-address", call.addresses),
                _filter("attachment.instance-id", call.instances),
                _filter(f"tag:{NO_MANAGE}", ("true",)),
            ]


def _filter(name: str, values: Sequence[str]) -> dict[str, Any]:
    return {"Name": name, "Values": list(values)}
