"""The controller's calls to the strict double under exactly the policy that is shipped."""

from __future__ import annotations

from typing import Any

import pytest

from ipagent.controller.model.actions import (
    AssignPrefixes,
    Attach,
    Call,
    Create,
    Delete,
    DescribeAll,
    DescribeEnis,
    Detach,
    Modify,
    ReadLimits,
    Resolve,
    UnassignPrefix,
)
from ipagent.controller.model.ec2_snapshot import ATTACHED, Eni
from ipagent.controller.model.node_network import Term
from ipagent.controller.model.prefixes import Family
from ipagent.controller.reconcile.ec2_answers import (
    Attachment,
    Done,
    Enis,
    Found,
    Prefixes,
    Refused,
    TypeLimits,
)
from ipagent.controller.reconcile.ec2_error_conditions import Kind
from tests.ipagent.controller.ec2.rig import KEY, REGION, connected, shipped

ACCOUNT = "111122223333"
POLICY = "controller.json"
VPC = "vpc-0123456789abcdef0"
NODES, OAM = "subnet-0123456789abcdef0", "subnet-0123456789abcdef1"
GROUP = "sg-0a000000000000001"
NODE, FOREIGN_NODE = "i-0a000000000000001", "i-0b000000000000001"
FOREIGN = "eni-0f000000000000001"
TAGS = (("multus-eni.io/cluster", "prod"), ("node.k8s.amazonaws.com/no_manage", "true"))


def instance(identifier: str, number: int, cluster: str) -> dict[str, Any]:
    primary = {
        "id": f"eni-0{number}000000000000000",
        "mac": f"02:aa:00:00:00:0{number}",
        "device": 0,
        "subnet": NODES,
        "primary": f"10.10.0.{10 + number}",
    }
    return {
        "id": identifier,
        "type": "m5.xlarge",
        "sources": [f"127.0.{number}.1/32"],
        "tags": {f"kubernetes.io/cluster/{cluster}": "owned"},
        "interfaces": [primary],
    }


def world(policy: dict[str, Any]) -> dict[str, Any]:
    return {
        "region": REGION,
        "account": ACCOUNT,
        "access_keys": [{**KEY, "policy": policy}],
        "subnets": [
            {"id": NODES, "vpc": VPC, "cidr": "10.10.0.0/24", "az": "eu-central-1a"},
            {
                "id": OAM,
                "vpc": VPC,
                "cidr": "10.10.1.0/24",
                "ipv6_cidr": "2001:db8:10:1::/64",
                "az": "eu-central-1a",
                "tags": {"multus": "oam"},
            },
        ],
        "security_groups": [{"id": GROUP, "vpc": VPC, "name": "multus", "tags": {"multus": "oam"}}],
        "instances": [instance(NODE, 1, "prod"), instance(FOREIGN_NODE, 2, "other")],
        "interfaces": [
            {
                "id": FOREIGN,
                "mac": "02:aa:00:00:00:0f",
                "subnet": OAM,
                "primary": "10.10.1.200",
                "tags": {"multus-eni.io/cluster": "other"},
            }
        ],
    }


def create(cluster: str = "prod") -> Create:
    tags = (("multus-eni.io/cluster", cluster), *TAGS[1:])
    return Create("n1.oam", f"token of {cluster}", OAM, (GROUP,), tags, "multus-eni: oam of n1")


def only(answer: object) -> Eni:
    assert isinstance(answer, Enis), answer
    (found,) = answer.enis
    return found


def test_an_eni_lives_its_life_under_the_shipped_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    with connected(world(shipped(POLICY)), monkeypatch) as (ec2, doubles):
        terms = (Term(tags=(("multus", "oam"),)),)
        found = ec2.execute(Resolve("oam", terms, terms))
        assert isinstance(found, Found), found
        assert ([each.id for each in found.subnets], [each.id for each in found.groups]) == ([OAM], [GROUP])
        assert found.subnets[0].cidrs == ("10.10.1.0/24", "2001:db8:10:1::/64")
        limits = ec2.execute(ReadLimits(("m5.xlarge",)))
        assert isinstance(limits, TypeLimits), limits
        assert limits.limits["m5.xlarge"].interfaces == 4
        eni = only(ec2.execute(create()))
        assert only(ec2.execute(create())).id == eni.id
        attached = ec2.execute(Attach("n1.oam", eni.id, NODE, 0, 1))
        assert isinstance(attached, Attachment), attached
        for change in (
            Modify("n1.oam", eni.id, source_dest_check=False),
            Modify("n1.oam", eni.id, groups=(GROUP,)),
            Modify("n1.oam", eni.id, delete_on_termination=True, attachment=attached.id),
        ):
            assert ec2.execute(change) == Done()
        shown = only(ec2.execute(DescribeEnis((eni.id,))))
        assert (shown.state, shown.instance, shown.device) == (ATTACHED, NODE, 1)
        assert (shown.source_dest_check, shown.delete_on_termination) == (False, True)
        assert ec2.execute(Detach("n1.oam", eni.id, attached.id)) == Done()
        assert ec2.execute(Delete("n1.oam", eni.id)) == Done()
        assert eni.id not in doubles.world.interfaces
        every = ec2.execute(DescribeAll((VPC,)))
        assert isinstance(every, Enis)
        assert FOREIGN in {each.id for each in every.enis}


def test_it_serves_in_a_vpc_that_another_account_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = world(shipped(POLICY))
    for subnet in shared["subnets"]:
        subnet["owner"] = "999988887777"
    with connected(shared, monkeypatch) as (ec2, _):
        eni = only(ec2.execute(create())).id
        assert isinstance(ec2.execute(Attach("n1.oam", eni, NODE, 0, 1)), Attachment)
        assert ec2.execute(Modify("n1.oam", eni, groups=(GROUP,))) == Done()


def test_prefixes_come_and_go_under_the_shipped_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    with connected(world(shipped(POLICY)), monkeypatch) as (ec2, _):
        eni = only(ec2.execute(create())).id
        assert isinstance(ec2.execute(Attach("n1.oam", eni, NODE, 0, 1)), Attachment)
        given = ec2.execute(AssignPrefixes("n1.oam", eni, Family.IPV4, 2))
        more = ec2.execute(AssignPrefixes("n1.oam", eni, Family.IPV6, 1))
        assert isinstance(given, Prefixes), given
        assert isinstance(more, Prefixes), more
        assert given.prefixes == ("10.10.1.16/28", "10.10.1.32/28")
        shown = only(ec2.execute(DescribeEnis((eni,))))
        assert (shown.prefixes, shown.ipv4) == (frozenset((*given.prefixes, *more.prefixes)), 3)
        for prefix in (given.prefixes[0], more.prefixes[0]):
            assert ec2.execute(UnassignPrefix("n1.oam", eni, prefix)) == Done()
        assert only(ec2.execute(DescribeEnis((eni,)))).prefixes == {"10.10.1.32/28"}


def test_single_addresses_in_their_place_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    with connected(world(shipped(POLICY)), monkeypatch) as (ec2, _):
        eni = only(ec2.execute(create())).id
        assert isinstance(ec2.execute(Attach("n1.oam", eni, NODE, 0, 1)), Attachment)
        before = only(ec2.execute(DescribeEnis((eni,)))).addresses
        given = ec2.execute(AssignPrefixes("n1.oam", eni, Family.IPV4, 3, single=True))
        more = ec2.execute(AssignPrefixes("n1.oam", eni, Family.IPV6, 2, single=True))
        assert isinstance(given, Prefixes), given
        assert isinstance(more, Prefixes), more
        every = (*given.prefixes, *more.prefixes)
        assert [each.partition("/")[2] for each in every] == ["32", "32", "32", "128", "128"]
        shown = only(ec2.execute(DescribeEnis((eni,))))
        assert {each.partition("/")[0] for each in every} == shown.addresses - before
        assert (shown.prefixes, shown.ipv4) == (frozenset(), 4)
        for single in every:
            assert ec2.execute(UnassignPrefix("n1.oam", eni, single)) == Done()
        assert only(ec2.execute(DescribeEnis((eni,)))).addresses == before


def calls_on_others(eni: str) -> list[tuple[str, Call]]:
    return [
        ("CreateNetworkInterface", create("other")),
        ("AttachNetworkInterface", Attach("n1.oam", FOREIGN, NODE, 0, 2)),
        ("AttachNetworkInterface", Attach("n1.oam", eni, FOREIGN_NODE, 0, 2)),
        ("ModifyNetworkInterfaceAttribute", Modify("n1.oam", FOREIGN, source_dest_check=False)),
        ("DeleteNetworkInterface", Delete("n1.oam", FOREIGN)),
        ("AssignPrivateIpAddresses", AssignPrefixes("n1.oam", FOREIGN, Family.IPV4, 1)),
        ("AssignIpv6Addresses", AssignPrefixes("n1.oam", FOREIGN, Family.IPV6, 1)),
        ("UnassignPrivateIpAddresses", UnassignPrefix("n1.oam", FOREIGN, "10.10.1.16/28")),
        ("UnassignIpv6Addresses", UnassignPrefix("n1.oam", FOREIGN, "2001:db8:10:1:1::/80")),
    ]


def test_what_is_another_clusters_can_not_be_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    with connected(world(shipped(POLICY)), monkeypatch) as (ec2, doubles):
        eni = only(ec2.execute(create())).id
        before = doubles.world.interfaces
        for action, call in calls_on_others(eni):
            answer = ec2.execute(call)
            assert isinstance(answer, Refused), call
            assert (answer.kind, answer.action) == (Kind.NOT_PERMITTED, action)
            assert "eni-" in answer.text or "arn:aws:ec2" in answer.text
        assert doubles.world.interfaces == before


NEEDED = [
    ("DescribeInstanceTypes", ReadLimits(("m5.xlarge",))),
    ("DescribeNetworkInterfaces", DescribeAll((VPC,))),
    ("DescribeSubnets", Resolve("oam", (Term(OAM),), ())),
    ("DescribeSecurityGroups", Resolve("oam", (), (Term(GROUP),))),
    ("CreateNetworkInterface", create()),
    ("CreateTags", create()),
]


@pytest.mark.parametrize(("action", "call"), NEEDED, ids=[action for action, _ in NEEDED])
def test_each_action_that_is_missing_is_named_with_its_identity(
    action: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = shipped(POLICY)
    for statement in policy["Statement"]:
        statement["Action"] = [each for each in statement["Action"] if each != f"ec2:{action}"]
    policy["Statement"] = [statement for statement in policy["Statement"] if statement["Action"]]
    with connected(world(policy), monkeypatch) as (ec2, _):
        answer = ec2.execute(call)
        assert isinstance(answer, Refused)
        assert answer.kind is Kind.NOT_PERMITTED
        assert f"ec2:{action}" in answer.text
        assert f"user/{KEY['id']}" in answer.text
