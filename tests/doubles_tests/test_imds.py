"""The metadata service over the wire: versions, tokens, hop limit, the tree, staleness, role credentials."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.utils import InstanceMetadataFetcher, InstanceMetadataRegionFetcher
from starlette.requests import Request
from starlette.types import Message

from tests.doubles import Clock, Doubles, ManualClock, load_world
from tests.doubles.cloud import Cloud
from tests.doubles.imds.endpoint import MetadataEndpoint
from tests.doubles_tests import worlds
from tests.doubles_tests.conftest import CONFIG
from tests.doubles_tests.imds_client import MACS, TOKEN, ask, token, value

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

    from tests.doubles_tests.conftest import Connect

INSTANCE_ID = "/latest/meta-data/instance-id"


def test_version_two_reads_with_a_token(shared: Doubles) -> None:
    assert value(shared, INSTANCE_ID) == worlds.NODE_A


def test_version_one_is_refused_where_tokens_are_required(shared: Doubles) -> None:
    assert ask(shared, "GET", INSTANCE_ID, worlds.HOST_A)[0] == 401


def test_version_one_works_where_tokens_are_optional(shared: Doubles) -> None:
    assert ask(shared, "GET", INSTANCE_ID, worlds.POD_B) == (200, worlds.NODE_B)


@pytest.mark.parametrize("source", [worlds.HOST_A, worlds.POD_B])
def test_a_wrong_token_is_refused_even_where_tokens_are_optional(source: str, shared: Doubles) -> None:
    assert ask(shared, "GET", INSTANCE_ID, source, {"X-aws-ec2-metadata-token": "banana"})[0] == 401


def test_another_instance_s_token_is_refused(shared: Doubles) -> None:
    assert ask(shared, "GET", INSTANCE_ID, worlds.POD_B, token(shared, worlds.HOST_A))[0] == 401


def test_a_token_expires(doubles: Doubles, clock: ManualClock) -> None:
    header = token(doubles, worlds.HOST_A, ttl="30")

    clock.advance(29.9)
    assert ask(doubles, "GET", INSTANCE_ID, worlds.HOST_A, header)[0] == 200
    clock.advance(0.2)
    assert ask(doubles, "GET", INSTANCE_ID, worlds.HOST_A, header)[0] == 401


@pytest.mark.parametrize("ttl", ["0", "21601", "-1", "banana", "", None])
def test_a_token_request_without_a_ttl_in_range_is_bad(ttl: str | None, shared: Doubles) -> None:
    headers = {} if ttl is None else {"X-aws-ec2-metadata-token-ttl-seconds": ttl}
    assert ask(shared, "PUT", TOKEN, worlds.HOST_A, headers)[0] == 400


@pytest.mark.parametrize("ttl", ["1", "21600"])
def test_a_token_request_with_a_ttl_in_range_is_answered(ttl: str, shared: Doubles) -> None:
    assert token(shared, worlds.HOST_A, ttl)


def test_a_forwarded_token_request_is_forbidden(shared: Doubles) -> None:
    headers = {"X-aws-ec2-metadata-token-ttl-seconds": "60", "X-Forwarded-For": "127.0.2.1"}
    assert ask(shared, "PUT", TOKEN, worlds.HOST_A, headers)[0] == 403


def test_a_forwarding_header_does_not_change_who_asks(shared: Doubles) -> None:
    # From 127.0.0.1: a proxy there is what HTTP servers trust by default.
    headers = token(shared, worlds.HOST_A) | {"X-Forwarded-For": worlds.POD_B}

    assert ask(shared, "GET", INSTANCE_ID, worlds.HOST_A, headers) == (200, worlds.NODE_A)


@pytest.mark.parametrize(("method", "path"), [("GET", TOKEN), ("PUT", INSTANCE_ID), ("POST", INSTANCE_ID)])
def test_other_methods_are_not_allowed(method: str, path: str, shared: Doubles) -> None:
    assert ask(shared, method, path, worlds.POD_B)[0] == 405


def test_a_token_request_beyond_the_hop_limit_is_never_answered(doubles: Doubles) -> None:
    headers = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    with pytest.raises(TimeoutError):
        ask(doubles, "PUT", TOKEN, worlds.POD_A, headers, seconds=0.3)

    # The double has not stalled: another instance, with a limit of two, is answered.
    assert token(doubles, worlds.POD_B)
    assert doubles.journal("PUT /latest/api/token")[0].result == "no answer"


def test_a_hanging_request_does_not_keep_the_double_from_ending(clock: ManualClock) -> None:
    with Doubles(worlds.world(), clock=clock) as doubles:
        connection = http.client.HTTPConnection(
            urlsplit(doubles.imds_url).netloc, timeout=5, source_address=(worlds.POD_A, 0)
        )
        connection.putrequest("PUT", TOKEN)
        connection.endheaders()
        deadline = time.monotonic() + 5
        while not any(call.result == "no answer" for call in doubles.journal()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    connection.close()


@pytest.mark.parametrize("end", ["client", "double"])
def test_a_hanging_request_ends_with_its_client_and_with_the_double(end: str) -> None:
    async def receive() -> Message:
        if end == "double":
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def hang() -> int:
        cloud = Cloud(load_world(worlds.world()), Clock())
        scope = {
            "type": "http",
            "method": "PUT",
            "path": TOKEN,
            "query_string": b"",
            "headers": [],
            "client": (worlds.POD_A, 1),
        }
        if end == "double":
            asyncio.get_running_loop().call_soon(cloud.closing.set)
        async with asyncio.timeout(5):
            return (await MetadataEndpoint(cloud)(Request(scope, receive))).status_code

    assert asyncio.run(hang()) == 503


def test_the_hop_limit_holds_for_tokens_alone() -> None:
    node = worlds.node_a(http_tokens="optional", hop_limit=1)
    with Doubles(worlds.world(instances=[node])) as doubles:
        assert ask(doubles, "GET", INSTANCE_ID, worlds.POD_A) == (200, worlds.NODE_A)


@pytest.mark.parametrize(("method", "path"), [("PUT", TOKEN), ("GET", INSTANCE_ID)])
def test_a_disabled_endpoint_is_forbidden(method: str, path: str) -> None:
    with Doubles(worlds.world(instances=[worlds.node_a(http_endpoint="disabled")])) as doubles:
        assert ask(doubles, method, path, worlds.POD_A)[0] == 403


def test_a_caller_outside_all_instances_gets_an_explanation(shared: Doubles) -> None:
    status, body = ask(shared, "GET", INSTANCE_ID, worlds.STRANGER)
    assert status == 403
    assert worlds.STRANGER in body


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/latest", "dynamic/\nmeta-data/"),
        ("/latest/", "dynamic/\nmeta-data/"),
        (MACS, "02:aa:00:00:00:00/\n02:aa:00:00:00:01/\n02:aa:00:00:00:02/"),
        ("/latest/meta-data/mac", "02:aa:00:00:00:00"),
        ("/latest/meta-data/local-ipv4", "10.0.0.10"),
        ("/latest/meta-data/instance-type", "t3.medium"),
        ("/latest/meta-data/placement/", "availability-zone\nregion"),
        ("/latest/meta-data/placement/region", "eu-central-1"),
        ("/latest/meta-data/placement/availability-zone", "eu-central-1a"),
        ("/latest/meta-data/placement/availability-zone/", "eu-central-1a"),
        (f"{MACS}02:aa:00:00:00:01/interface-id", worlds.A1),
        (f"{MACS}02:aa:00:00:00:01/device-number", "1"),
        (f"{MACS}02:aa:00:00:00:01/network-card", None),
        (f"{MACS}02:aa:00:00:00:02/network-card", "1"),
        (f"{MACS}02:aa:00:00:00:01/subnet-id", worlds.POD_SUBNET),
        (f"{MACS}02:aa:00:00:00:01/vpc-id", worlds.VPC),
        (f"{MACS}02:aa:00:00:00:01/subnet-ipv4-cidr-block", "10.0.1.0/24"),
        (f"{MACS}02:aa:00:00:00:01/subnet-ipv6-cidr-blocks", "2001:db8:1::/64"),
        (f"{MACS}02:aa:00:00:00:00/subnet-ipv6-cidr-blocks", None),
        (f"{MACS}02:aa:00:00:00:01/local-ipv4s", "10.0.1.10"),
        (
            f"{MACS}02:aa:00:00:00:02/local-ipv4s",
            "10.0.2.4\n10.0.2.5\n10.0.2.6\n10.0.2.7\n10.0.2.8\n10.0.2.9",
        ),
        (f"{MACS}02:aa:00:00:00:01/security-group-ids", "sg-0a000000000000001"),
        (f"{MACS}02:aa:00:00:00:01/ipv6s", None),
        (f"{MACS}02:aa:00:00:00:01/ipv4-prefix", None),
        (f"{MACS}02:bb:00:00:00:01/", None),
        ("/latest/meta-data/mac/more", None),
        ("/latest/meta-data/banana", None),
        ("/2021-01-03/meta-data/mac", None),
        ("/", None),
    ],
)
def test_the_tree_holds_what_the_instance_has(path: str, expected: str | None, shared: Doubles) -> None:
    assert value(shared, path) == expected


def test_an_interface_s_names_are_listed(shared: Doubles) -> None:
    listing = value(shared, f"{MACS}{worlds.A1_MAC}/")

    assert listing is not None
    names = set(listing.splitlines())
    assert {"device-number", "interface-id", "local-ipv4s", "subnet-ipv4-cidr-block"} <= names
    assert names.isdisjoint({"network-card", "ipv6s", "ipv4-prefix"})


def test_the_identity_document_names_instance_and_region(shared: Doubles) -> None:
    document = json.loads(value(shared, "/latest/dynamic/instance-identity/document") or "")

    assert document["instanceId"] == worlds.NODE_A
    assert document["region"] == "eu-central-1"
    assert document["availabilityZone"] == "eu-central-1a"
    assert document["accountId"] == worlds.ACCOUNT
    assert document["privateIp"] == "10.0.0.10"
    assert document["instanceType"] == "t3.medium"


def test_addresses_show_at_once_without_a_delay(doubles: Doubles, ec2: EC2Client) -> None:
    path = f"{MACS}{worlds.A1_MAC}/local-ipv4s"

    ec2.assign_private_ip_addresses(
        NetworkInterfaceId=worlds.A1, PrivateIpAddresses=["10.0.1.50"], AllowReassignment=True
    )

    assert value(doubles, path) == "10.0.1.10\n10.0.1.50"


@pytest.fixture
def slow(clock: ManualClock) -> Iterator[Doubles]:
    """A double whose IMDS is two seconds behind."""
    with Doubles(worlds.world(imds_delay_ms=2000), clock=clock) as doubles:
        yield doubles


def test_an_entry_may_be_half_shown_or_hidden(shared: Doubles) -> None:
    entry = f"{MACS}{worlds.A1_MAC}/"
    with Doubles(worlds.world(imds={worlds.A1: {"hidden": ["device-number", "interface-id"]}})) as doubles:
        assert value(doubles, f"{entry}device-number") is None
        assert value(doubles, f"{entry}interface-id") is None
        assert value(doubles, f"{entry}subnet-id") == value(shared, f"{entry}subnet-id")
        doubles.change_settings(imds={worlds.A1: {"hidden": ["*"]}})
        assert value(doubles, f"{entry}subnet-id") is None
        assert worlds.A1_MAC not in (value(doubles, MACS) or "")
        doubles.change_settings(imds={})
        assert value(doubles, f"{entry}interface-id") == worlds.A1


def test_one_interface_may_show_later_than_the_others(
    slow: Doubles, clock: ManualClock, connect: Connect
) -> None:
    slow.change_settings(imds={worlds.A1: {"delay_ms": 6000}})
    for eni in (worlds.A1, worlds.B1):
        held = str(slow.world.interfaces[eni].primary + 60)
        connect(slow).assign_private_ip_addresses(NetworkInterfaceId=eni, PrivateIpAddresses=[held])
    late, other = f"{MACS}{worlds.A1_MAC}/local-ipv4s", f"{MACS}02:bb:00:00:00:01/local-ipv4s"
    before = value(slow, late), value(slow, other, worlds.POD_B)
    clock.advance(2.1)
    assert value(slow, late) == before[0]
    assert value(slow, other, worlds.POD_B) != before[1]
    clock.advance(4)
    assert value(slow, late) != before[0]


def test_a_move_shows_after_the_delay_on_both_sides(
    slow: Doubles, clock: ManualClock, connect: Connect
) -> None:
    def shown() -> tuple[str | None, str | None]:
        gaining = value(slow, f"{MACS}{worlds.A1_MAC}/local-ipv4s", worlds.HOST_A)
        losing = value(slow, f"{MACS}02:bb:00:00:00:01/local-ipv4s", worlds.POD_B)
        return gaining, losing

    before = ("10.0.1.10", "10.0.1.20\n10.0.1.50")
    client = connect(slow)
    client.assign_private_ip_addresses(
        NetworkInterfaceId=worlds.A1, PrivateIpAddresses=["10.0.1.50"], AllowReassignment=True
    )
    described = client.describe_network_interfaces(
        Filters=[{"Name": "addresses.private-ip-address", "Values": ["10.0.1.50"]}]
    )

    assert [found["NetworkInterfaceId"] for found in described["NetworkInterfaces"]] == [worlds.A1]
    assert shown() == before
    clock.advance(1.9)
    assert shown() == before
    clock.advance(0.2)
    assert shown() == ("10.0.1.10\n10.0.1.50", "10.0.1.20")


def test_changes_show_one_after_the_other(slow: Doubles, clock: ManualClock, connect: Connect) -> None:
    def shown() -> str | None:
        return value(slow, f"{MACS}{worlds.A1_MAC}/local-ipv4s")

    client = connect(slow)
    client.assign_private_ip_addresses(NetworkInterfaceId=worlds.A1, PrivateIpAddresses=["10.0.1.100"])
    clock.advance(1)
    client.unassign_private_ip_addresses(NetworkInterfaceId=worlds.A1, PrivateIpAddresses=["10.0.1.100"])

    assert shown() == "10.0.1.10"
    clock.advance(1)
    assert shown() == "10.0.1.10\n10.0.1.100"
    clock.advance(1)
    assert shown() == "10.0.1.10"


def test_botocore_gets_the_role_s_credentials_and_ec2_knows_them(
    shared: Doubles, session: boto3.Session
) -> None:
    found = InstanceMetadataFetcher(base_url=shared.imds_url, timeout=5).retrieve_iam_role_credentials()

    assert found["role_name"] == "node"
    client = session.client(
        "ec2",
        endpoint_url=shared.ec2_url,
        region_name=worlds.REGION,
        aws_access_key_id=found["access_key"],
        aws_secret_access_key=found["secret_key"],
        aws_session_token=found["token"],
        config=CONFIG,
    )
    with closing(client):
        assert client.describe_subnets()["Subnets"]
        arn = f"arn:aws:sts::123456789012:assumed-role/node/{worlds.NODE_A}"
        assert shared.journal()[-1].identity == arn
        with pytest.raises(ClientError, match=f"UnauthorizedOperation.*{arn}"):
            client.unassign_private_ip_addresses(
                NetworkInterfaceId=worlds.B1, PrivateIpAddresses=["10.0.1.50"]
            )


def test_a_role_s_key_without_its_session_token_is_refused(shared: Doubles, session: boto3.Session) -> None:
    found = InstanceMetadataFetcher(base_url=shared.imds_url, timeout=5).retrieve_iam_role_credentials()
    client = session.client(
        "ec2",
        endpoint_url=shared.ec2_url,
        region_name=worlds.REGION,
        aws_access_key_id=found["access_key"],
        aws_secret_access_key=found["secret_key"],
        config=CONFIG,
    )
    with closing(client), pytest.raises(ClientError, match="AuthFailure"):
        client.describe_subnets()


def test_boto3_finds_credentials_by_itself(shared: Doubles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", shared.imds_url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", shared.ec2_url)
    client = boto3.Session(region_name=worlds.REGION).client("ec2", config=Config(proxies={}))

    with closing(client):
        assert client.describe_subnets()["Subnets"]


def test_botocore_gets_the_region(shared: Doubles) -> None:
    fetcher = InstanceMetadataRegionFetcher(base_url=shared.imds_url, timeout=5)

    assert fetcher.retrieve_region() == "eu-central-1"


def test_an_instance_without_role_has_no_credentials(shared: Doubles) -> None:
    path = "/latest/meta-data/iam/security-credentials/"

    assert value(shared, path, worlds.POD_B) is None
    assert value(shared, path, worlds.HOST_A) == "node"


def test_neither_tokens_nor_secrets_are_in_the_journal(shared: Doubles) -> None:
    header = token(shared, worlds.HOST_A)
    path = "/latest/meta-data/iam/security-credentials/node"
    status, body = ask(shared, "GET", path, worlds.HOST_A, header)
    assert status == 200

    text = repr(shared.journal())
    credentials = json.loads(body)
    for secret in (*header.values(), credentials["SecretAccessKey"], credentials["Token"]):
        assert secret not in text
    assert shared.journal()[-1].action == f"GET {path}"
    assert shared.journal()[-1].result == "200"
