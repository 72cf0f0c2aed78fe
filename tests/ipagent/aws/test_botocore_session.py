"""botocore with the agent's data and handlers is botocore: the same requests, answers and endpoints."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.credentials
import botocore.session
import botocore.tokens
import pytest
from botocore import UNSIGNED, xform_name
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, Shape, StructureShape
from botocore.session import Session

from ipagent.aws import botocore_session, ec2_calls, ec2_client
from ipagent.aws.botocore_session import SERVICES, new_session, trimmed_data_path
from ipagent.aws.trim_botocore import OPERATIONS, build
from tests.doubles import Doubles
from tests.ipagent import worlds
from tests.ipagent.worlds import ENI_1, NEIGHBOUR_SECONDARY, REGION, TWIN

Transcript = list[tuple[str, object]]

DESCRIBED = {"NetworkInterfaceIds": [ENI_1, TWIN]}
CALLS: list[tuple[str, dict[str, Any]]] = [
    (
        "AssignPrivateIpAddresses",
        {
            "NetworkInterfaceId": ENI_1,
            "PrivateIpAddresses": ["10.10.1.80", NEIGHBOUR_SECONDARY],
            "AllowReassignment": True,
        },
    ),
    ("AssignIpv6Addresses", {"NetworkInterfaceId": ENI_1, "Ipv6Addresses": ["2001:db8:1::80"]}),
    ("DescribeNetworkInterfaces", DESCRIBED),
    (
        "DescribeNetworkInterfaces",
        {"Filters": [{"Name": "addresses.private-ip-address", "Values": ["10.10.1.80", "10.10.1.11"]}]},
    ),
    ("UnassignIpv6Addresses", {"NetworkInterfaceId": ENI_1, "Ipv6Addresses": ["2001:db8:1::80"]}),
    ("UnassignPrivateIpAddresses", {"NetworkInterfaceId": ENI_1, "PrivateIpAddresses": ["10.10.1.80"]}),
    ("UnassignPrivateIpAddresses", {"NetworkInterfaceId": ENI_1, "PrivateIpAddresses": ["10.10.1.80"]}),
    ("DescribeInstanceTypes", {"InstanceTypes": ["m5.xlarge"]}),
    ("DescribeSecurityGroups", {"Filters": [{"Name": "vpc-id", "Values": ["vpc-0a000000000000001"]}]}),
    ("DescribeSubnets", {"Filters": [{"Name": "vpc-id", "Values": ["vpc-0a000000000000001"]}]}),
    (
        "AttachNetworkInterface",
        {"DeviceIndex": 4, "InstanceId": "i-0a000000000000001", "NetworkInterfaceId": ENI_1},
    ),
    ("ModifyNetworkInterfaceAttribute", {"NetworkInterfaceId": ENI_1, "SourceDestCheck": {"Value": False}}),
    ("DetachNetworkInterface", {"AttachmentId": "eni-attach-0a000000000000001"}),
    (
        "CreateNetworkInterface",
        {
            "SubnetId": "subnet-0a000000000000001",
            "ClientToken": "a-token",
            "TagSpecifications": [
                {"ResourceType": "network-interface", "Tags": [{"Key": "k", "Value": "v & <w>"}]}
            ],
        },
    ),
    ("CreateTags", {"Resources": [ENI_1], "Tags": [{"Key": "k", "Value": "v & <w>"}]}),
    ("DeleteTags", {"Resources": [ENI_1], "Tags": [{"Key": "k"}]}),
    ("DescribeAddresses", {}),
    (
        "AssociateAddress",
        {
            "AllocationId": "eipalloc-0a000000000000001",
            "NetworkInterfaceId": ENI_1,
            "PrivateIpAddress": "10.10.1.80",
            "AllowReassociation": True,
        },
    ),
    ("DisassociateAddress", {"AssociationId": "eipassoc-0a000000000000001"}),
    ("DeleteNetworkInterface", {"NetworkInterfaceId": ENI_1}),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with trimmed data."""
    folder = tmp_path_factory.mktemp("data") / "trimmed"
    build(folder)
    return str(folder)


@pytest.fixture(scope="module")
def read() -> Loader:
    """botocore's own data, which is parsed once: it takes most of the time of a session."""
    loader = botocore.session.Session().get_component("data_loader")
    assert isinstance(loader, Loader)
    return loader


def sessions(data: str, read: Loader) -> tuple[Session, Session]:
    """Make a session as botocore makes it, and one with trimmed data."""
    full = botocore.session.Session()
    full.register_component("data_loader", read)
    return full, new_session(data)


@pytest.fixture
def both(data: str, read: Loader) -> tuple[Session, Session]:
    return sessions(data, read)


def transcript(session: Session, after: Callable[[Any, Transcript], None]) -> Transcript:
    """Call a fresh double by a client of the session; returns requests and parsed answers."""
    found: Transcript = []
    with Doubles(worlds.world(ipv6=True)) as doubles:
        made: Any = session.create_client(
            "ec2",
            region_name=REGION,
            endpoint_url=doubles.ec2_url,
            aws_access_key_id=worlds.KEY,
            aws_secret_access_key=worlds.SECRET,
            config=Config(retries={"total_max_attempts": 1}),
        )

        def sent(request: AWSPreparedRequest, **_: object) -> None:
            found.append((request.method, request.body))

        made.meta.events.register("before-send.ec2", sent)
        after(made, found)
        made.close()
    return found


def call_everything(made: Any, found: Transcript) -> None:
    for operation, parameters in CALLS:
        try:
            answer = getattr(made, xform_name(operation))(**parameters)
        except ClientError as error:
            answer = error.response
        found.append((operation, without_ids(answer)))


def read_pages(made: Any, found: Transcript) -> None:
    pages = made.get_paginator("describe_network_interfaces").paginate(PaginationConfig={"PageSize": 5})
    found.extend(("page", without_ids(page)) for page in pages)


def without_ids(answer: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is new with each answer."""
    status = answer["ResponseMetadata"]["HTTPStatusCode"]
    return {**answer, "ResponseMetadata": status}


@pytest.mark.parametrize("what", [call_everything, read_pages])
def test_requests_and_answers_are_the_same(
    both: tuple[Session, Session], what: Callable[[Any, Transcript], None]
) -> None:
    full, trimmed = (transcript(session, what) for session in both)
    assert trimmed == full
    assert sum(isinstance(entry, bytes | str) for _, entry in full) >= 2, "requests were seen"


def test_every_operation_is_called_above() -> None:
    assert {operation for operation, _ in CALLS} == set(OPERATIONS)


def form(shape: Shape | None, above: tuple[str, ...] = ()) -> object:
    """Return all that (de)serialising goes by; a shape within itself is cut off."""
    if shape is None or shape.name in above:
        return shape and shape.name
    above = (*above, shape.name)
    parts: object = None
    if isinstance(shape, StructureShape):
        parts = [(name, form(member, above)) for name, member in shape.members.items()]
    elif isinstance(shape, ListShape):
        parts = form(shape.member, above)
    elif isinstance(shape, MapShape):
        parts = (form(shape.key, above), form(shape.value, above))
    return shape.name, shape.type_name, shape.serialization, shape.metadata, parts


@pytest.mark.parametrize("service", SERVICES)
def test_the_models_have_the_same_form(both: tuple[Session, Session], service: str) -> None:
    full, trimmed = (session.get_service_model(service) for session in both)
    assert trimmed.metadata == full.metadata
    expected = OPERATIONS if service == "ec2" else full.operation_names
    assert sorted(trimmed.operation_names) == sorted(expected)
    for name in trimmed.operation_names:
        one, other = full.operation_model(name), trimmed.operation_model(name)
        assert (other.http, other.auth_type, other.idempotent_members) == (
            one.http,
            one.auth_type,
            one.idempotent_members,
        )
        assert form(other.input_shape) == form(one.input_shape)
        assert form(other.output_shape) == form(one.output_shape)
        assert [form(shape) for shape in other.error_shapes] == [form(shape) for shape in one.error_shapes]


def sent_to(session: Session, region: str, service: str = "ec2", **config: Any) -> str:
    """Return the URL that a call goes to, and how it is signed, or botocore's objection."""
    seen: list[str] = []

    def catch(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        authorization = str(request.headers.get("Authorization", ""))
        scope = re.search(r"Credential=\S+/\d{8}/(\S+?)/aws4_request", authorization)
        seen.append(f"{request.url} {scope.group(1) if scope else 'unsigned'}")
        return AWSResponse(request.url, 200, HTTPHeaders(), _Raw())

    try:
        made: Any = session.create_client(
            service,
            region_name=region,
            aws_access_key_id=worlds.KEY,
            aws_secret_access_key=worlds.SECRET,
            config=Config(**config),
        )
        made.meta.events.register("before-send", catch)
        if service == "ec2":
            made.describe_network_interfaces()
        else:
            made.assume_role_with_web_identity(
                RoleArn="a" * 20, RoleSessionName="s", WebIdentityToken="token"
            )
    except botocore.exceptions.BotoCoreError as error:
        return str(error)
    made.close()
    return seen[0]


class _Raw:
    """The body of an answer without content."""

    def read(self) -> bytes:
        return b"<Answer/>"

    def stream(self) -> Iterator[bytes]:
        yield self.read()


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ("eu-central-1", "https://ec2.eu-central-1.amazonaws.com/ eu-central-1/ec2"),
        ("us-gov-west-1", "https://ec2.us-gov-west-1.amazonaws.com/ us-gov-west-1/ec2"),
        ("cn-north-1", "https://ec2.cn-north-1.amazonaws.com.cn/ cn-north-1/ec2"),
        ("us-iso-east-1", "https://ec2.us-iso-east-1.c2s.ic.gov/ us-iso-east-1/ec2"),
        ("eu-nowhere-9", "https://ec2.eu-nowhere-9.amazonaws.com/ eu-nowhere-9/ec2"),
    ],
)
def test_every_partition_has_its_endpoints(both: tuple[Session, Session], region: str, expected: str) -> None:
    assert [sent_to(session, region) for session in both] == [expected] * 2
    for service in ("ec2", "sts"):
        for flag in ("use_fips_endpoint", "use_dualstack_endpoint"):
            full, trimmed = (sent_to(session, region, service, **{flag: True}) for session in both)
            assert trimmed == full


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"AWS_ENDPOINT_URL_EC2": "http://127.0.0.1:1/here"}, "http://127.0.0.1:1/here"),
        ({"AWS_ENDPOINT_URL": "https://vpce.example"}, "https://vpce.example/"),
        ({"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_EC2": "http://b"}, "http://b/"),
        (
            {"AWS_ENDPOINT_URL_EC2": "http://b", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
            "https://ec2.us-gov-west-1.amazonaws.com/",
        ),
        ({"AWS_USE_FIPS_ENDPOINT": "true"}, "https://ec2.us-gov-west-1.amazonaws.com/"),
        ({"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "https://ec2.us-gov-west-1.api.aws/"),
        ({"AWS_PROFILE": "private"}, "https://from-a-file.example/"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_the_variables_of_the_sdks_hold(
    data: str,
    read: Loader,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variables: dict[str, str],
    expected: str,
) -> None:
    file = tmp_path / "config"
    file.write_text("[profile private]\nendpoint_url = https://from-a-file.example\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    full, trimmed = (sent_to(session, "us-gov-west-1") for session in sessions(data, read))
    assert trimmed == full
    assert trimmed.split()[0] == expected


def test_a_model_of_the_users_own_comes_first(
    data: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_DATA_PATH", os.pathsep.join(["", str(tmp_path)]))
    (tmp_path / "partitions.json").write_text('{"mine": true}')
    loader = new_session(data).get_component("data_loader")
    assert loader.load_data("partitions") == {"mine": True}
    assert loader.list_available_services("service-2") == sorted(SERVICES)


def test_without_trimmed_data_all_of_botocores_is_there(tmp_path: Path) -> None:
    session = new_session(str(tmp_path / "nothing"))
    assert "s3" in session.get_available_services()
    made = session.create_client("ec2", region_name=REGION, config=Config(signature_version=UNSIGNED))
    assert set(OPERATIONS) < set(made.meta.method_to_api_mapping.values())
    made.close()


def test_the_data_of_another_botocore_is_never_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    here = trimmed_data_path()
    monkeypatch.setattr(botocore, "__version__", "0.0.1")
    assert trimmed_data_path() != here
    assert trimmed_data_path().endswith("0.0.1")


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("before-call", True),
        ("before-call.ec2", True),
        ("before-parameter-build.ec2.*", True),
        ("choose-signer.sts.AssumeRoleWithWebIdentity", True),
        ("before-call.s3.PutObject", False),
        ("before-call.ec2-instance-connect", False),
        ("docs.*.ec2.complete-section", False),
        ("docs-like", True),
    ],
)
def test_events_concern_us_if_our_services_can_send_them(event: str, *, expected: bool) -> None:
    assert botocore_session.concerns_us(event) is expected


# "Extensibility guide" of botocore's documentation, and what botocore emits: grep "emit" in its source.
KINDS = (
    "after-call",
    "after-call-error",
    "before-auth",
    "before-call",
    "before-endpoint-resolution",
    "before-parameter-build",
    "before-parse",
    "before-send",
    "before-sign",
    "choose-signer",
    "creating-client-class",
    "getattr",
    "needs-retry",
    "provide-client-params",
    "request-created",
    "response-received",
)


def test_each_event_of_a_call_has_the_handlers_that_botocore_gives_it(
    both: tuple[Session, Session],
) -> None:
    for service in SERVICES:
        operations = both[0].get_service_model(service).operation_names
        for kind in KINDS:
            for event in (kind, f"{kind}.{service}", *(f"{kind}.{service}.{name}" for name in operations)):
                full, trimmed = (handlers_of(session, event) for session in both)
                assert trimmed == full, event


def handlers_of(session: Session, event: str) -> list[str]:
    emitter = session.get_component("event_emitter")._emitter  # noqa: SLF001 - nothing public tells
    found = emitter._handlers.prefix_search(event)  # noqa: SLF001 - likewise
    # An instance that is called, such as moto's stub, which its import leaves in botocore, has no name.
    return [f"{each.__module__}.{getattr(each, '__qualname__', type(each).__qualname__)}" for each in found]


def test_every_service_that_botocore_asks_for_credentials_is_kept() -> None:
    asked = set()
    for module in (botocore.credentials, botocore.tokens):
        source = inspect.getsource(module)
        asked |= set(re.findall(r"client_creator\(\s*['\"]([a-z0-9-]+)['\"]", source))
        asked |= set(re.findall(r"create_client\(\s*['\"]([a-z0-9-]+)['\"]", source))
    assert {"sts", "sso"} <= asked <= set(SERVICES)


def test_every_call_of_the_agent_is_kept() -> None:
    source = inspect.getsource(ec2_client) + inspect.getsource(ec2_calls)
    methods = set(re.findall(r"\b(?:client|ec2)\.([a-z0-9_]+)\(", source))
    assert {"assign_private_ip_addresses", "describe_network_interfaces"} <= methods
    assert methods <= {xform_name(operation) for operation in OPERATIONS}
