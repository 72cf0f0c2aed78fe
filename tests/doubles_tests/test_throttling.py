"""Request limits: EC2's token buckets, by a clock that stands still, and the world's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from tests.doubles import Doubles, ManualClock
from tests.doubles.ec2.errors import Ec2Error
from tests.doubles.ec2.query_protocol import Parameters
from tests.doubles.ec2.throttling import ALL, Buckets, Limit, Throttling, bucket_of
from tests.doubles_tests import worlds

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

    from tests.doubles_tests.conftest import Connect

EC2 = Throttling(enabled=True)


def passes(buckets: Buckets, throttling: Throttling, bucket: str, now: float) -> bool:
    try:
        buckets.take(throttling, bucket, now)
    except Ec2Error:
        return False
    return True


@pytest.mark.pure
def test_an_empty_bucket_refuses_as_ec2_does() -> None:
    buckets, throttling = Buckets(), Throttling(own={"CreateTags": Limit(1, 0)})
    assert passes(buckets, throttling, "CreateTags", 0.0)

    with pytest.raises(Ec2Error) as refused:
        buckets.take(throttling, "CreateTags", 99.0)

    assert (refused.value.code, refused.value.status) == ("RequestLimitExceeded", 503)


@pytest.mark.pure
@pytest.mark.parametrize(
    ("bucket", "size", "refill"),
    [
        ("AssignPrivateIpAddresses", 100, 5),
        ("UnassignPrivateIpAddresses", 100, 5),
        ("AssignIpv6Addresses", 100, 5),
        ("UnassignIpv6Addresses", 50, 5),
        ("CreateNetworkInterface", 100, 5),
        ("DeleteNetworkInterface", 100, 5),
        ("AttachNetworkInterface", 50, 5),
        ("DetachNetworkInterface", 50, 5),
        ("CreateTags", 100, 10),
        ("DescribeSubnets", 100, 20),
        ("DescribeNetworkInterfaces", 100, 20),
        ("DescribeNetworkInterfaces" + ALL, 50, 10),
        ("DescribeInstances" + ALL, 50, 10),
    ],
)
def test_a_bucket_holds_what_ec2_s_holds(bucket: str, size: int, refill: int) -> None:
    buckets = Buckets()

    assert sum(passes(buckets, EC2, bucket, 5.0) for _ in range(200)) == size
    assert sum(passes(buckets, EC2, bucket, 7.0) for _ in range(200)) == 2 * refill
    assert sum(passes(buckets, EC2, bucket, 1000.0) for _ in range(200)) == size


@pytest.mark.pure
@given(st.lists(st.floats(0, 3), max_size=60))
def test_calls_pass_up_to_the_tokens_held_and_gained(pauses: list[float]) -> None:
    buckets, throttling = Buckets(), Throttling(own={"CreateTags": Limit(5, 2)})
    now, passed = 0.0, 0
    for pause in pauses:
        now += pause
        passed += passes(buckets, throttling, "CreateTags", now)

    assert passed <= 5 + 2 * now + 1e-6
    assert passed >= min(len(pauses), 5)


@pytest.mark.pure
@pytest.mark.parametrize(
    ("action", "sent", "everything"),
    [
        ("DescribeNetworkInterfaces", {}, True),
        ("DescribeNetworkInterfaces", {"DryRun": "true"}, True),
        ("DescribeNetworkInterfaces", {"MaxResults": "5"}, False),
        ("DescribeNetworkInterfaces", {"Filter.1.Name": "vpc-id"}, False),
        ("DescribeNetworkInterfaces", {"NetworkInterfaceId.1": "eni-1"}, False),
        ("DescribeInstances", {}, True),
        ("DescribeInstances", {"NextToken": "x"}, False),
        ("DescribeSubnets", {}, False),
    ],
)
def test_describing_everything_has_a_bucket_of_its_own(
    action: str, sent: dict[str, str], everything: bool
) -> None:
    assert bucket_of(action, Parameters(sent)) == (action + ALL if everything else action)


def throttled(call: Callable[[], object]) -> bool:
    try:
        call()
    except ClientError as error:
        return error.response["Error"]["Code"] == "RequestLimitExceeded"
    return False


def test_limits_are_off_by_default(reading: EC2Client) -> None:
    assert not any(throttled(reading.describe_network_interfaces) for _ in range(60))


def test_all_callers_share_a_bucket_and_each_api_has_its_own(
    doubles: Doubles, clock: ManualClock, connect: Connect
) -> None:
    doubles.change_settings(throttling="ec2", limits={"DescribeSubnets": {"size": 2, "refill": 1}})
    admin, reader = connect(doubles), connect(doubles, worlds.READER)

    assert not throttled(admin.describe_subnets)
    assert not throttled(reader.describe_subnets)
    assert throttled(admin.describe_subnets)
    assert throttled(reader.describe_subnets)
    assert not throttled(admin.describe_instances)
    clock.advance(1)
    assert not throttled(reader.describe_subnets)
    assert throttled(admin.describe_subnets)
    assert doubles.journal()[-1].result == "RequestLimitExceeded"


def test_a_throttled_call_has_no_effect(doubles: Doubles, ec2: EC2Client) -> None:
    doubles.change_settings(limits={"AssignPrivateIpAddresses": {"size": 1, "refill": 0}})

    for last in (100, 101):
        throttled(
            lambda last=last: ec2.assign_private_ip_addresses(  # type: ignore[misc] # a default binds the loop's
                NetworkInterfaceId=worlds.A1, PrivateIpAddresses=[f"10.0.1.{last}"]
            )
        )

    assert doubles.secondaries(worlds.A1) == ("10.0.1.100",)
