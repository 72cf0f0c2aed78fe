"""The calls about Elastic IPs to the strict double, under exactly the policy that is shipped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ipagent.controller.ec2.client import ControllerEc2Client
from ipagent.controller.model.eip_calls import (
    Addresses,
    Associate,
    Associated,
    DescribeAddresses,
    DescribeHolders,
    Disassociate,
    EipCall,
    Holders,
    TagEip,
    UntagEip,
)
from ipagent.controller.model.eips import ElasticIp
from ipagent.controller.reconcile.ec2_answers import Done, Refused
from ipagent.controller.reconcile.ec2_error_conditions import Kind
from tests.doubles import Doubles
from tests.ipagent.controller.ec2.rig import KEY, REGION, connected, shipped

VPC = "vpc-0123456789abcdef0"
NODES, OAM = "subnet-0123456789abcdef0", "subnet-0123456789abcdef1"
NODE = "i-0a000000000000001"
PRIMARY, FOR_PODS, UNTAGGED = "eni-0a000000000000000", "eni-0a000000000000001", "eni-0a000000000000002"
SIP, OTHER, FAR = "eipalloc-0a000000000000001", "eipalloc-0a000000000000002", "eipalloc-0a000000000000003"
TAGS = (
    ("multus-eni.io/cluster", "prod"),
    ("multus-eni.io/eip-kept", "true"),
    ("multus-eni.io/eip-private", "10.10.1.5"),
    ("multus-eni.io/eip-target", "net1"),
    ("multus-eni.io/pod", "voice/sip-0"),
)


def interface(identifier: str, number: int, subnet: str, **more: Any) -> dict[str, Any]:
    return {
        "id": identifier,
        "mac": f"02:aa:00:00:00:0{number}",
        "device": number,
        "subnet": subnet,
        **more,
    }


def world() -> dict[str, Any]:
    policy = shipped("controller-eips.json")
    tags = {"node.k8s.amazonaws.com/no_manage": "true"}
    interfaces = [
        interface(PRIMARY, 0, NODES, primary="10.10.0.10", secondaries=["10.10.0.11"], tags=tags),
        interface(FOR_PODS, 1, OAM, primary="10.10.1.4", secondaries=["10.10.1.5"], tags=tags),
        interface(UNTAGGED, 2, OAM, primary="10.10.1.20", secondaries=["10.10.1.21"]),
    ]
    return {
        "region": REGION,
        "account": "111122223333",
        "access_keys": [{**KEY, "policy": policy}],
        "subnets": [
            {"id": NODES, "vpc": VPC, "cidr": "10.10.0.0/24", "az": "eu-central-1a"},
            {"id": OAM, "vpc": VPC, "cidr": "10.10.1.0/24", "az": "eu-central-1a"},
        ],
        "instances": [
            {"id": NODE, "type": "m5.xlarge", "sources": ["127.0.1.1/32"], "interfaces": interfaces}
        ],
        "elastic_ips": [
            {"id": SIP, "public_ip": "198.51.100.1", "tags": {"pool": "sip"}},
            {"id": OTHER, "public_ip": "198.51.100.2", "tags": {"pool": "other"}},
            {
                "id": FAR,
                "public_ip": "198.51.100.3",
                "network_border_group": "eu-central-1-ham-1",
                "tags": {"pool": "sip"},
            },
        ],
    }


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ControllerEc2Client, Doubles]]:
    with connected(world(), monkeypatch) as found:
        yield found


def described(ec2: ControllerEc2Client) -> dict[str, ElasticIp]:
    answer = ec2.execute(DescribeAddresses())
    assert isinstance(answer, Addresses), answer
    return {each.id: each for each in answer.eips}


def test_an_eip_is_tagged_associated_and_freed(ec2: ControllerEc2Client, double: Doubles) -> None:
    assert described(ec2)[SIP] == ElasticIp(SIP, "198.51.100.1", {"pool": "sip"})
    held = ec2.execute(DescribeHolders(("10.10.1.5",), (NODE,)))
    assert held == Holders({"10.10.1.5": (FOR_PODS, NODE)})
    assert ec2.execute(TagEip(SIP, TAGS)) == Done()
    made = ec2.execute(Associate(SIP, FOR_PODS, "10.10.1.5"))
    assert isinstance(made, Associated), made
    shown = described(ec2)[SIP]
    assert (shown.association, shown.eni, shown.private) == (made.id, FOR_PODS, "10.10.1.5")
    assert shown.owner == ("voice/sip-0", "net1")
    assert not shown.foreign
    assert ec2.execute(Disassociate(SIP, made.id)) == Done()
    assert ec2.execute(UntagEip(SIP, TAGS)) == Done()
    assert described(ec2)[SIP] == ElasticIp(SIP, "198.51.100.1", {"pool": "sip"})
    assert double.remaps == 1


def test_only_secondary_addresses_of_enis_for_pods_are_found(ec2: ControllerEc2Client) -> None:
    asked = ("10.10.0.10", "10.10.0.11", "10.10.1.4", "10.10.1.21", "10.10.1.5")
    assert ec2.execute(DescribeHolders(asked, (NODE,))) == Holders({"10.10.1.5": (FOR_PODS, NODE)})
    assert ec2.execute(DescribeHolders(("10.10.1.5",), ("i-0f000000000000001",))) == Holders({})


REFUSED: list[tuple[EipCall, Kind]] = [
    (Associate(OTHER, FOR_PODS, "10.10.1.5"), Kind.NOT_PERMITTED),
    (Associate(SIP, UNTAGGED, "10.10.1.21"), Kind.NOT_PERMITTED),
    (TagEip(OTHER, TAGS), Kind.NOT_PERMITTED),
    (TagEip(SIP, (("pool", "rtp"),)), Kind.NOT_PERMITTED),
    (UntagEip(SIP, (("pool", "sip"),)), Kind.NOT_PERMITTED),
    (Associate(FAR, FOR_PODS, "10.10.1.5"), Kind.BORDER_GROUP),
    (Associate(SIP, FOR_PODS, "10.10.1.9"), Kind.NO_SUCH_ADDRESS),
]


@pytest.mark.parametrize(("call", "kind"), REFUSED)
def test_what_is_not_of_the_pools_can_not_be_touched(
    call: EipCall, kind: Kind, ec2: ControllerEc2Client, double: Doubles
) -> None:
    before = double.state()
    answer = ec2.execute(call)
    assert isinstance(answer, Refused), answer
    assert answer.kind is kind
    assert double.state() == before


def test_the_state_of_ec2_is_told_by_its_kind(ec2: ControllerEc2Client, double: Doubles) -> None:
    first = ec2.execute(Associate(SIP, FOR_PODS, "10.10.1.5"))
    assert isinstance(first, Associated)
    double.change_settings(internet_gateways=[])
    answers = [
        ec2.execute(Associate(SIP, FOR_PODS, "10.10.1.5")),
        ec2.execute(Disassociate(SIP, "eipassoc-0f000000")),
    ]
    # Without an association no resource has a tag, and so the shipped policy allows nothing.
    assert [each.kind for each in answers if isinstance(each, Refused)] == [
        Kind.NO_GATEWAY,
        Kind.NOT_PERMITTED,
    ]
