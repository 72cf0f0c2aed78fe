"""The calls that node agents ask for, to the strict double, under exactly the policy that is shipped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ipagent.assign.ec2_error_codes import Fault
from ipagent.assign.topology import EniDetails
from ipagent.controller.ec2.client import ControllerEc2Client
from ipagent.controller.model.relay_calls import (
    AddressCall,
    AssignAddresses,
    Assigned,
    DescribeAttached,
    DescribeSubnetHolders,
    Interfaces,
    LookUpHolders,
    RequestKey,
    UnassignAddresses,
)
from ipagent.controller.reconcile.ec2_answers import Done, Refused
from ipagent.controller.reconcile.ec2_error_conditions import Kind
from tests import doubles
from tests.doubles import Doubles
from tests.ipagent.controller.ec2.rig import KEY, REGION, connected, shipped
from tests.ipagent.controller.relay.world import addresses

VPC = "vpc-0123456789abcdef0"
OAM, SIG = "subnet-0123456789abcdef1", "subnet-0123456789abcdef2"
HERE, THERE, FOREIGN, PREFIXED = (f"eni-0a00000000000000{number}" for number in range(1, 5))
REQUEST = RequestKey("n1.oam", "s1", 1)
OTHER = RequestKey("n2.oam", "s9", 1)


def interface(identifier: str, number: int, *, cluster: str = "prod", **more: Any) -> dict[str, Any]:
    tags = {"multus-eni.io/cluster": cluster, "node.k8s.amazonaws.com/no_manage": "true"}
    return {
        "id": identifier,
        "mac": f"02:aa:00:00:00:0{number}",
        "subnet": OAM,
        "primary": f"10.10.1.{number}0",
        "tags": tags,
        **more,
    }


def world() -> dict[str, Any]:
    return {
        "region": REGION,
        "account": "111122223333",
        "access_keys": [{**KEY, "policy": shipped("controller.json")}],
        "subnets": [
            {
                "id": OAM,
                "vpc": VPC,
                "cidr": "10.10.1.0/24",
                "ipv6_cidr": "2001:db8:10:1::/64",
                "az": "eu-central-1a",
            },
            {"id": SIG, "vpc": VPC, "cidr": "10.10.2.0/24", "az": "eu-central-1a"},
        ],
        "instances": [],
        "interfaces": [
            interface(HERE, 1),
            interface(THERE, 2, secondaries=["10.10.1.5", "10.10.1.6"], ipv6s=["2001:db8:10:1::5"]),
            interface(FOREIGN, 3, cluster="other", secondaries=["10.10.1.7"]),
            interface(PREFIXED, 4, ipv4_prefixes=["10.10.1.112/28"]),
        ],
    }


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ControllerEc2Client, Doubles]]:
    with connected(world(), monkeypatch) as found:
        yield found


def assign(*texts: str, eni: str = HERE, reassign: bool = False) -> AssignAddresses:
    return AssignAddresses(REQUEST, "n1", eni, OAM, addresses(*texts), reassign)


def unassign(*texts: str, eni: str = HERE) -> UnassignAddresses:
    return UnassignAddresses(REQUEST, "n1", eni, OAM, addresses(*texts))


def found(ec2: ControllerEc2Client, call: AddressCall) -> dict[str, EniDetails]:
    answer = ec2.execute(call)
    assert isinstance(answer, Interfaces), answer
    return {eni.eni_id: eni for eni in answer.enis}


def failed(ec2: ControllerEc2Client, call: AddressCall) -> tuple[Kind, Fault, str]:
    answer = ec2.execute(call)
    assert isinstance(answer, Refused), answer
    assert answer.failure is not None
    return answer.kind, answer.failure.fault, answer.failure.text


def test_addresses_come_and_go_again_and_again(ec2: ControllerEc2Client, double: Doubles) -> None:
    for texts in (("10.10.1.50", "10.10.1.51"), ("2001:db8:10:1::50",)):
        assert ec2.execute(assign(*texts)) == Assigned(frozenset(addresses(*texts)))
        assert isinstance(ec2.execute(assign(*texts)), Assigned)
        (shown,) = found(ec2, DescribeAttached((HERE,), ((REQUEST, HERE),))).values()
        assert set(shown.secondaries) >= set(addresses(*texts))
        assert ec2.execute(unassign(*texts)) == Done()
        assert failed(ec2, unassign(*texts))[1] is Fault.NOT_HELD
    assert (double.secondaries(HERE), double.ipv6s(HERE)) == ((), ())


def test_an_address_moves_only_with_the_flag(ec2: ControllerEc2Client) -> None:
    kind, fault, text = failed(ec2, assign("10.10.1.5"))
    assert (kind, fault) == (Kind.OTHER, Fault.HELD_ELSEWHERE)
    assert text.startswith(f"AssignPrivateIpAddresses on {HERE}: ")
    assert ec2.execute(assign("10.10.1.5", reassign=True)) == Assigned(frozenset(addresses("10.10.1.5")))


def test_looks_of_several_nodes_are_one_call(ec2: ControllerEc2Client, double: Doubles) -> None:
    gone = "eni-0f000000000000009"
    shown = found(ec2, DescribeAttached((HERE, THERE, gone), ((REQUEST, HERE), (OTHER, THERE))))
    assert set(shown) == {HERE, THERE}
    assert shown[THERE].no_manage
    assert shown[THERE].subnet_id == OAM
    places = frozenset((OAM, address) for address in addresses("10.10.1.5", "10.10.1.10", "10.10.1.99"))
    holders = found(ec2, LookUpHolders(places, 4, frozenset((REQUEST, OTHER))))
    assert set(holders) == {HERE, THERE}
    elsewhere = frozenset(((SIG, addresses("10.10.1.5")[0]),))
    assert found(ec2, LookUpHolders(elsewhere, 4, frozenset((REQUEST,)))) == {}
    ipv6 = frozenset(((OAM, addresses("2001:db8:10:1::5")[0]),))
    assert set(found(ec2, LookUpHolders(ipv6, 6, frozenset((REQUEST,))))) == {THERE}
    inside = DescribeSubnetHolders(OAM, ((REQUEST, addresses("10.10.1.115")),))
    assert set(found(ec2, inside)) == {PREFIXED}
    assert [call.action for call in double.journal()] == ["DescribeNetworkInterfaces"] * 5


def test_what_is_another_clusters_can_not_be_touched(ec2: ControllerEc2Client) -> None:
    before = found(ec2, DescribeAttached((FOREIGN,), ((REQUEST, FOREIGN),)))
    for call in (
        assign("10.10.1.60", eni=FOREIGN),
        assign("2001:db8:10:1::60", eni=FOREIGN),
        unassign("10.10.1.7", eni=FOREIGN),
        unassign("2001:db8:10:1::60", eni=FOREIGN),
    ):
        kind, fault, text = failed(ec2, call)
        assert (kind, fault) == (Kind.NOT_PERMITTED, Fault.NO_PERMISSION)
        assert KEY["id"] in text
    assert found(ec2, DescribeAttached((FOREIGN,), ((REQUEST, FOREIGN),))) == before


def test_throttling_is_told_apart(ec2: ControllerEc2Client, double: Doubles) -> None:
    double.put_faults(doubles.Fault("AssignPrivateIpAddresses", error="RequestLimitExceeded", times=1))
    assert failed(ec2, assign("10.10.1.50"))[:2] == (Kind.THROTTLED, Fault.THROTTLED)
    assert isinstance(ec2.execute(assign("10.10.1.50")), Assigned)
