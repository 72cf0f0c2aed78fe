"""On which ENI a node agent's calls are made, and which addresses they may be about."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.holders import NO_MANAGE
from ipagent.call_relay import Action, RelayCall
from ipagent.controller.model.ec2_snapshot import (
    ATTACHING,
    AVAILABLE,
    CLUSTER_TAG,
    DETACHING,
    NODE_UID_TAG,
    Ec2Snapshot,
    Eni,
    Resolved,
    Subnet,
)
from ipagent.controller.model.node_attachment import AttachmentStatus
from ipagent.controller.model.prefixes import PrefixStatus
from ipagent.controller.model.state import State
from ipagent.controller.relay.permission import own_interface, refusal, why_not_taken
from tests.ipagent.controller.relay.world import (
    RANGES,
    SUBNET,
    addresses,
    attachment,
    cloud_eni,
    details,
)
from tests.ipagent.fakes import ip

pytestmark = pytest.mark.pure

TAGS = cloud_eni("n1").tags


def tagged(**tags: str) -> Eni:
    return cloud_eni("n1", tags={**TAGS, **tags})


OWN = {
    "attached": (cloud_eni("n1"), None),
    "being attached": (cloud_eni("n1", state=ATTACHING), None),
    "adopted": (cloud_eni("n1", tags={NO_MANAGE: "true", "multus": "oam"}), None),
    "another instance has it": (cloud_eni("n1", instance="i-n2"), Fault.NO_ENI),
    "being detached": (cloud_eni("n1", state=DETACHING), Fault.NO_ENI),
    "the instance's first": (cloud_eni("n1", device=0), Fault.FOREIGN_ENI),
    "a service's": (cloud_eni("n1", managed=True), Fault.FOREIGN_ENI),
    "the VPC CNI's": (cloud_eni("n1", tags={**TAGS, NO_MANAGE: "false"}), Fault.FOREIGN_ENI),
    "another node's": (tagged(**{NODE_UID_TAG: "uid-n2"}), Fault.FOREIGN_ENI),
    "another network's": (tagged(**{"multus-eni.io/network": "sig"}), Fault.FOREIGN_ENI),
    "another cluster's": (tagged(**{CLUSTER_TAG: "test"}), Fault.FOREIGN_ENI),
}


@pytest.mark.parametrize(("eni", "fault"), OWN.values(), ids=OWN.keys())
def test_the_enis_that_may_carry_addresses(eni: Eni, fault: Fault | None) -> None:
    cluster = State("prod", ec2=Ec2Snapshot(enis={eni.id: eni}))
    found = own_interface(cluster, attachment("n1"))
    if fault is None:
        assert found == eni
    else:
        assert isinstance(found, Failure)
        assert found.fault is fault
        assert eni.id in found.text


def test_what_ec2_has_not_shown_yet_is_waited_for() -> None:
    eni = cloud_eni("n1")
    assert own_interface(State("prod"), attachment("n1")) is None
    late = replace(eni, state=AVAILABLE, instance="", attachment="")
    assert own_interface(State("prod", ec2=Ec2Snapshot(enis={eni.id: late})), attachment("n1")) is None
    missed = own_interface(State("prod", ec2=Ec2Snapshot(missed={eni.id: 1.0})), attachment("n1"))
    assert isinstance(missed, Failure)
    assert missed.fault is Fault.NO_ENI
    none = own_interface(State("prod"), attachment("n1", status=AttachmentStatus()))
    assert isinstance(none, Failure)
    assert none.fault is Fault.NO_ENI


def call(action: Action, *texts: str, eni: str = "eni-n1") -> RelayCall:
    return RelayCall(1, action, eni, addresses(*texts))


CALLS = {
    "in the ranges": (call(Action.ASSIGN_IPV4, "10.20.0.5", "10.20.255.5"), None),
    "IPv6 in the ranges": (call(Action.ASSIGN_IPV6, "2001:db8:20::5"), None),
    "one outside": (call(Action.ASSIGN_IPV4, "10.20.0.5", "10.21.0.5"), Fault.REFUSED),
    "IPv6 outside": (call(Action.ASSIGN_IPV6, "2001:db8:21::5"), Fault.REFUSED),
    "a look outside": (call(Action.HOLDERS, "10.21.0.5"), Fault.REFUSED),
    "another ENI": (call(Action.ASSIGN_IPV4, "10.20.0.5", eni="eni-n2"), Fault.NO_ENI),
    "a look at another ENI": (call(Action.DESCRIBE, eni="eni-n2"), Fault.NO_ENI),
    "off another ENI": (call(Action.UNASSIGN_IPV4, "10.20.0.5", eni="eni-n2"), Fault.NO_ENI),
    "IPv6 off another ENI": (call(Action.UNASSIGN_IPV6, "2001:db8:20::5", eni="eni-n2"), None),
    "a release": (call(Action.UNASSIGN_IPV4, "10.20.0.5"), None),
    "the primary's release": (call(Action.UNASSIGN_IPV4, cloud_eni("n1").address), Fault.REFUSED),
    "a release out of a prefix": (call(Action.UNASSIGN_IPV4, "10.20.7.20"), Fault.REFUSED),
    "a release out of the pool of a fragmented subnet": (
        call(Action.UNASSIGN_IPV4, "10.20.0.9"),
        Fault.REFUSED,
    ),
    "an IPv6 release out of a prefix": (call(Action.UNASSIGN_IPV6, "2001:db8:20:0:1::1"), Fault.REFUSED),
}


@pytest.mark.parametrize(("asked", "fault"), CALLS.values(), ids=CALLS.keys())
def test_the_calls_that_are_made(asked: RelayCall, fault: Fault | None) -> None:
    eni = cloud_eni("n1", prefixes=frozenset(("10.20.7.16/28", "2001:db8:20:0:1::/80")))
    own = attachment("n1")
    own = replace(own, status=replace(own.status, prefixes=(PrefixStatus("10.20.0.9/32"),)))
    found = refusal(State("prod", ec2=Ec2Snapshot(enis={eni.id: eni})), own, eni, asked)
    assert (found.fault if found else None) is fault


ALLOWED = (ip_network("10.20.1.0/24"), ip_network("2001:db8:20:0:5::/80"))
BEYOND = {
    "inside": (call(Action.ASSIGN_IPV4, "10.20.1.5"), ""),
    "outside": (call(Action.ASSIGN_IPV4, "10.20.1.5", "10.20.2.5"), "10.20.2.5"),
    "IPv6 inside": (call(Action.ASSIGN_IPV6, "2001:db8:20:0:5::1"), ""),
    "IPv6 outside": (call(Action.ASSIGN_IPV6, "2001:db8:20::1"), "2001:db8:20::1"),
    "IPv6 off another ENI": (call(Action.UNASSIGN_IPV6, "2001:db8:20::1", eni="eni-n2"), "2001:db8:20::1"),
    "a release": (call(Action.UNASSIGN_IPV4, "10.20.2.5"), ""),
    "an IPv6 release": (call(Action.UNASSIGN_IPV6, "2001:db8:20::1"), ""),
    "a look": (call(Action.HOLDERS, "10.20.2.5"), ""),
}


@pytest.mark.parametrize(("asked", "barred"), BEYOND.values(), ids=BEYOND.keys())
def test_outside_of_the_allowed_cidrs_a_node_gets_nothing(asked: RelayCall, barred: str) -> None:
    """Whoever is root on the node asks the controller without the DaemonSet's own look at them."""
    found = refusal(State("prod"), attachment("n1"), cloud_eni("n1"), asked, ALLOWED)
    assert (found.text.partition(" ")[0] if found else "") == barred
    assert found is None or (found.fault is Fault.REFUSED and "allowed CIDRs 10.20.1.0/24" in found.text)


def test_ranges_are_those_of_the_enis_own_subnet() -> None:
    eni = cloud_eni("n1", subnet="subnet-other")
    outside = call(Action.ASSIGN_IPV4, "10.30.0.5")
    assert refusal(State("prod"), attachment("n1"), eni, outside) is None
    shown = Subnet("subnet-other", "eu-central-1a", "vpc-1", 200, ("10.31.0.0/24",))
    ec2 = Ec2Snapshot(resolved={"oam": Resolved(1.0, (), (Subnet(SUBNET, "", "", 0, RANGES), shown))})
    found = refusal(State("prod", ec2=ec2), attachment("n1"), eni, outside)
    assert found is not None
    assert "10.30.0.5 is not in the ranges of subnet-other" in found.text


TAKEN = {
    "nobody's": ((), "", None),
    "a pod's": ((details("n2", "10.20.0.5"),), "", None),
    "somebody's without the tag": ((details("n2", "10.20.0.5", no_manage=False),), "", Fault.HELD_ELSEWHERE),
    "off somebody's without the tag": (
        (details("n2", "10.20.0.5", no_manage=False),),
        "eni-n2",
        Fault.HELD_ELSEWHERE,
    ),
    "our own": ((details("n1", "10.20.0.5"),), "", None),
    "the VPC CNI's": (
        (details("n2", "10.20.0.5", no_manage=False, description="aws-K8S-i-0123"),),
        "",
        Fault.HELD_ELSEWHERE,
    ),
    "the first interface's": ((details("n2", "10.20.0.5", device_number=0),), "", Fault.HELD_ELSEWHERE),
    "a service's": ((details("n2", "10.20.0.5", managed=True),), "", Fault.HELD_ELSEWHERE),
    "a primary one": ((details("n2", primary=ip("10.20.0.5")),), "", Fault.REFUSED),
    "off a pod's ENI": ((details("n2", "10.20.0.5"),), "eni-n2", None),
    "off a third ENI": ((details("n2", "10.20.0.5"),), "eni-n3", Fault.NOT_HELD),
    "off the VPC CNI's": (
        (details("n2", "10.20.0.5", no_manage=False, description="aws-K8S-i-0123"),),
        "eni-n2",
        Fault.HELD_ELSEWHERE,
    ),
}


@pytest.mark.parametrize(("enis", "off", "fault"), TAKEN.values(), ids=TAKEN.keys())
def test_whom_an_address_may_be_taken_from(enis: tuple[object, ...], off: str, fault: Fault | None) -> None:
    found = why_not_taken(ip("10.20.0.5"), "eni-n1", enis, off=off)  # type: ignore[arg-type] # by name
    assert (found.fault if found else None) is fault
