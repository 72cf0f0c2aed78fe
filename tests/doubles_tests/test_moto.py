"""Which of EC2's refusals moto makes: nearly none, which is why there is a double of our own.

A newer moto that refuses more makes a case fail here: then its line in the table is to be changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.doubles.state.instance_types import TYPES, NetworkInfo
from tests.doubles_tests import worlds
from tests.doubles_tests.conftest import CONFIG
from tests.doubles_tests.error_cases import CASES, Case, Moto, Place

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client


@pytest.fixture(scope="module")
def moto_session() -> boto3.Session:
    """A session made after moto's import: that is when moto hooks into botocore's sessions."""
    import moto.core  # noqa: F401, PLC0415 - slow to import, and needed here alone

    return boto3.Session()


@pytest.fixture(scope="module")
def client(moto_session: boto3.Session) -> Iterator[EC2Client]:
    import moto  # noqa: PLC0415 - slow to import, and needed here alone

    # A call that moto did not catch would go to AWS; the proxy leads nowhere.
    nowhere = Config(proxies={"http": "http://127.0.0.1:9", "https": "http://127.0.0.1:9"})
    with moto.mock_aws():
        client = moto_session.client(
            "ec2",
            region_name=worlds.REGION,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            config=CONFIG.merge(nowhere),
        )
        yield client
        client.close()


@pytest.fixture
def place(client: EC2Client) -> Place:
    """A VPC of the case's own: moto accepts, and so changes, what it should refuse."""
    vpc = client.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = {
        cidr: client.create_subnet(VpcId=vpc, CidrBlock=cidr)["Subnet"]["SubnetId"]
        for cidr in ("10.0.1.0/24", "10.0.2.0/28")
    }

    def interface(cidr: str, primary: str, *secondaries: str) -> str:
        made = client.create_network_interface(
            SubnetId=subnets[cidr],
            PrivateIpAddresses=[
                {"PrivateIpAddress": address, "Primary": address == primary}
                for address in (primary, *secondaries)
            ],
        )
        return made["NetworkInterface"]["NetworkInterfaceId"]

    return Place(
        mine=interface("10.0.1.0/24", "10.0.1.10"),
        other=interface("10.0.1.0/24", "10.0.1.20", "10.0.1.50"),
        full=interface("10.0.2.0/28", "10.0.2.4", *(f"10.0.2.{last}" for last in range(5, 10))),
        crowded=interface("10.0.2.0/28", "10.0.2.10", *(f"10.0.2.{last}" for last in range(11, 15))),
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_answer_of_moto_is_as_listed(case: Case, client: EC2Client, place: Place) -> None:
    assert _answer(case, client, place) is case.moto


def test_moto_lets_two_interfaces_hold_one_address(client: EC2Client, place: Place) -> None:
    client.assign_private_ip_addresses(
        NetworkInterfaceId=place.mine, PrivateIpAddresses=["10.0.1.50"], AllowReassignment=True
    )

    found = client.describe_network_interfaces(NetworkInterfaceIds=[place.mine, place.other])
    holders = [
        interface["NetworkInterfaceId"]
        for interface in found["NetworkInterfaces"]
        if any(address["PrivateIpAddress"] == "10.0.1.50" for address in interface["PrivateIpAddresses"])
    ]
    assert sorted(holders) == sorted([place.mine, place.other])


@pytest.mark.parametrize(
    ("name", "value"),
    [("attachment.device-index", "1"), ("attachment.status", "attached"), ("addresses.primary", "true")],
)
def test_moto_does_not_have_these_filters(name: str, value: str, client: EC2Client, place: Place) -> None:
    with pytest.raises(NotImplementedError):
        client.describe_network_interfaces(
            NetworkInterfaceIds=[place.mine], Filters=[{"Name": name, "Values": [value]}]
        )


def test_moto_finds_interfaces_by_their_primary_address_alone(client: EC2Client, place: Place) -> None:
    found = client.describe_network_interfaces(
        NetworkInterfaceIds=[place.other],
        Filters=[{"Name": "addresses.private-ip-address", "Values": ["10.0.1.50"]}],
    )
    assert found["NetworkInterfaces"] == []


def test_limits_are_those_of_the_instance_types_that_moto_recorded(client: EC2Client) -> None:
    pages = client.get_paginator("describe_instance_types").paginate(InstanceTypes=list(TYPES))  # type: ignore[arg-type] # the stubs list types one by one
    recorded = {
        found["InstanceType"]: NetworkInfo(
            found["NetworkInfo"]["MaximumNetworkInterfaces"],
            found["NetworkInfo"]["Ipv4AddressesPerInterface"],
            found["NetworkInfo"]["Ipv6AddressesPerInterface"],
            found["NetworkInfo"]["MaximumNetworkCards"],
            found.get("Hypervisor", ""),
        )
        for page in pages
        for found in page["InstanceTypes"]
    }
    assert recorded == TYPES


def _answer(case: Case, client: EC2Client, place: Place) -> Moto:
    try:
        case.call(client, place)
    except ClientError as error:
        same = error.response["Error"].get("Code") == case.code
        return Moto.REFUSES if same else Moto.OTHERWISE
    except NotImplementedError:
        return Moto.CRASHES
    return Moto.ACCEPTS
