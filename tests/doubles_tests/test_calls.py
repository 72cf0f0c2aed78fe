"""Assigning, moving and unassigning addresses with real boto3: what succeeds, and what it changes."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from tests.doubles import Doubles
from tests.doubles_tests import worlds

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

    from tests.doubles_tests.conftest import Connect


def test_assigned_addresses_are_on_the_interface_and_in_the_answer(doubles: Doubles, ec2: EC2Client) -> None:
    answer = ec2.assign_private_ip_addresses(
        NetworkInterfaceId=worlds.A1, PrivateIpAddresses=["10.0.1.101", "10.0.1.100"]
    )

    assert answer["NetworkInterfaceId"] == worlds.A1
    assert answer["AssignedPrivateIpAddresses"] == [
        {"PrivateIpAddress": "10.0.1.101"},
        {"PrivateIpAddress": "10.0.1.100"},
    ]
    assert answer["AssignedIpv4Prefixes"] == []
    assert doubles.secondaries(worlds.A1) == ("10.0.1.101", "10.0.1.100")
    assert doubles.holder_of("10.0.1.100") == worlds.A1


def test_a_move_takes_the_address_from_its_holder(doubles: Doubles, ec2: EC2Client) -> None:
    ec2.assign_private_ip_addresses(
        NetworkInterfaceId=worlds.A1, PrivateIpAddresses=["10.0.1.50", "10.0.1.60"], AllowReassignment=True
    )

    assert doubles.secondaries(worlds.A1) == ("10.0.1.50", "10.0.1.60")
    assert doubles.secondaries(worlds.B1) == ()
    described = ec2.describe_network_interfaces(NetworkInterfaceIds=[worlds.B1])["NetworkInterfaces"][0]
    assert [address["PrivateIpAddress"] for address in described["PrivateIpAddresses"]] == ["10.0.1.20"]


@pytest.mark.parametrize("move", [True, False])
def test_assigning_again_what_the_interface_has_succeeds_and_changes_nothing(
    move: bool, doubles: Doubles, ec2: EC2Client
) -> None:
    before = doubles.state()

    answer = ec2.assign_private_ip_addresses(
        NetworkInterfaceId=worlds.B1, PrivateIpAddresses=["10.0.1.50", "10.0.1.50"], AllowReassignment=move
    )

    assert answer["AssignedPrivateIpAddresses"] == [{"PrivateIpAddress": "10.0.1.50"}]
    assert doubles.state() == before


def test_an_interface_takes_as_many_addresses_as_its_type_allows(doubles: Doubles, ec2: EC2Client) -> None:
    addresses = [f"10.0.1.{last}" for last in range(100, 105)]

    ec2.assign_private_ip_addresses(NetworkInterfaceId=worlds.A1, PrivateIpAddresses=addresses)

    assert doubles.secondaries(worlds.A1) == tuple(addresses)
    with pytest.raises(ClientError, match="PrivateIpAddressLimitExceeded"):
        ec2.assign_private_ip_addresses(NetworkInterfaceId=worlds.A1, PrivateIpAddresses=["10.0.1.105"])


def test_a_full_interface_takes_again_what_it_has(doubles: Doubles, ec2: EC2Client) -> None:
    ec2.assign_private_ip_addresses(NetworkInterfaceId=worlds.A_FULL, PrivateIpAddresses=["10.0.2.5"])

    assert len(doubles.secondaries(worlds.A_FULL)) == 5


def test_a_count_gets_free_addresses(doubles: Doubles, ec2: EC2Client) -> None:
    answer = ec2.assign_private_ip_addresses(NetworkInterfaceId=worlds.B1, SecondaryPrivateIpAddressCount=8)

    assigned = [address["PrivateIpAddress"] for address in answer["AssignedPrivateIpAddresses"]]
    # .10 and .20 are primaries and .50 is another's secondary; the first four are reserved.
    assert assigned == [f"10.0.1.{last}" for last in (4, 5, 6, 7, 8, 9, 11, 12)]
    assert doubles.secondaries(worlds.B1) == ("10.0.1.50", *assigned)


def test_unassigned_addresses_are_free_again(doubles: Doubles, ec2: EC2Client) -> None:
    answer = ec2.unassign_private_ip_addresses(NetworkInterfaceId=worlds.B1, PrivateIpAddresses=["10.0.1.50"])

    assert set(answer) == {"ResponseMetadata"}
    assert doubles.holder_of("10.0.1.50") is None
    ec2.assign_private_ip_addresses(NetworkInterfaceId=worlds.A1, PrivateIpAddresses=["10.0.1.50"])
    assert doubles.holder_of("10.0.1.50") == worlds.A1


def test_free_addresses_are_counted(ec2: EC2Client) -> None:
    def free() -> int:
        return ec2.describe_subnets(SubnetIds=[worlds.POD_SUBNET])["Subnets"][0]["AvailableIpAddressCount"]

    assert free() == 256 - 5 - 3
    ec2.assign_private_ip_addresses(NetworkInterfaceId=worlds.A1, PrivateIpAddresses=["10.0.1.100"])
    assert free() == 256 - 5 - 4


def test_an_unknown_access_key_is_refused(shared: Doubles, connect: Connect) -> None:
    with pytest.raises(ClientError, match="AuthFailure") as refused:
        connect(shared, key="AKIAUNKNOWNUNKNOWN").describe_subnets()
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 401


def test_a_signature_for_another_region_is_refused(shared: Doubles, connect: Connect) -> None:
    with pytest.raises(ClientError, match="AuthFailure"):
        connect(shared, region="us-east-1").describe_subnets()


def test_an_action_that_the_double_does_not_have_is_refused(reading: EC2Client) -> None:
    with pytest.raises(ClientError, match=r"InvalidAction.*DescribeVolumes"):
        reading.describe_volumes()


@contextmanager
def posting(doubles: Doubles) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(urlsplit(doubles.ec2_url).netloc, timeout=5)
    try:
        yield connection
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"Action=DescribeSubnets&Version=2016-11-15", 403, "MissingAuthenticationToken"),
        (b"Action=DescribeSubnets&Version=2014-01-01", 400, "NoSuchVersion"),
        (b"Action=DescribeSubnets", 400, "MissingParameter"),
        (b"Version=2016-11-15", 400, "MissingAction"),
        (b"Action=A&Action=B&Version=2016-11-15", 404, "MalformedQueryString"),
        (b"\xff\xfe", 404, "MalformedQueryString"),
        (b"Action=DescribeSubnets&" + b"x" * (1 << 20), 413, "RequestEntityTooLarge"),
    ],
)
def test_a_request_that_is_not_a_signed_call_is_refused(
    body: bytes, status: int, code: str, shared: Doubles
) -> None:
    with posting(shared) as connection:
        connection.request("POST", "/", body)
        response = connection.getresponse()
        text = response.read().decode()

    assert response.status == status
    assert f"<Code>{code}</Code>" in text


def test_a_call_may_come_in_the_query_string(shared: Doubles) -> None:
    with posting(shared) as connection:
        connection.request("GET", "/?Action=DescribeSubnets&Version=2016-11-15")
        text = connection.getresponse().read().decode()

    assert "<Code>MissingAuthenticationToken</Code>" in text
    assert shared.journal()[-1].action == "DescribeSubnets"
