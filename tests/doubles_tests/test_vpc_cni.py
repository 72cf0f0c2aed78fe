"""The VPC CNI beside others: which device index it takes, and what it leaves behind where it gets none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.doubles import Doubles, Fault, ManualClock
from tests.doubles.vpc_cni import FakeVpcCni
from tests.doubles_tests import worlds

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client


@pytest.fixture
def doubles(clock: ManualClock) -> Iterator[Doubles]:
    instances = [worlds.node_a(type="m5.4xlarge"), worlds.node_b(type="m5.4xlarge")]
    with Doubles(worlds.world(instances=instances), clock=clock) as doubles:
        yield doubles


@pytest.fixture
def cni(ec2: EC2Client) -> FakeVpcCni:
    instances = {worlds.NODE_A: worlds.NODE_SUBNET, worlds.NODE_B: worlds.NODE_SUBNET}
    return FakeVpcCni(ec2, instances, pause=(0.0, 0.01))


def test_it_takes_the_lowest_free_index(ec2: EC2Client, cni: FakeVpcCni) -> None:
    ec2.detach_network_interface(AttachmentId="eni-attach-0b000000000000001")

    first, second = cni.grab(worlds.NODE_B), cni.grab(worlds.NODE_B)

    assert (first and cni.held[first], second and cni.held[second]) == (
        (worlds.NODE_B, 1),
        (worlds.NODE_B, 3),
    )
    assert cni.lost() == []


def test_it_leaves_nothing_behind_where_there_is_no_room(doubles: Doubles, cni: FakeVpcCni) -> None:
    while cni.grab(worlds.NODE_A):
        pass

    assert len(doubles.world.interfaces_of(worlds.NODE_A)) == 8
    assert [held.id for held in doubles.world.interfaces.values() if held.attachment is None] == []
    assert doubles.journal("AttachNetworkInterface")[-1].result == "AttachmentLimitExceeded"


def test_it_gives_way_to_who_was_faster(doubles: Doubles, cni: FakeVpcCni) -> None:
    doubles.put_faults(Fault("AttachNetworkInterface", error="InvalidParameterValue", times=1))

    assert cni.grab(worlds.NODE_A) is None
    assert cni.grab(worlds.NODE_A) is not None


def test_it_notices_what_is_taken_from_it(ec2: EC2Client, doubles: Doubles, cni: FakeVpcCni) -> None:
    taken, kept = cni.grab(worlds.NODE_A), cni.grab(worlds.NODE_A)
    assert taken
    assert kept
    attachment = doubles.world.interfaces[taken].attachment
    assert attachment

    ec2.detach_network_interface(AttachmentId=attachment.id)

    assert cni.lost() == [taken]


def test_it_goes_on_at_random_until_it_is_ended(cni: FakeVpcCni) -> None:
    deadline = time.monotonic() + 20
    with cni:
        while len(set(cni.held.values())) < 6:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    assert {instance for instance, _ in cni.held.values()} == {worlds.NODE_A, worlds.NODE_B}
    assert cni.lost() == []
