"""What the controller does about Elastic IPs: pods, pools and what EC2 says in, calls and conditions out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Network

import pytest

from ipagent.controller.model.condition import FALSE, TRUE, UNKNOWN
from ipagent.controller.model.ec2_snapshot import CLUSTER_TAG
from ipagent.controller.model.eip_calls import Associate, DescribeAddresses, Disassociate
from ipagent.controller.model.eips import KEPT_TAG, POD_TAG, PRIVATE_TAG, TARGET_TAG, Grant, owner_tag
from ipagent.controller.model.node_network import Tags
from ipagent.controller.model.state import Releases
from ipagent.controller.reconcile.ec2_answers import Refused
from ipagent.controller.reconcile.ec2_error_conditions import Kind
from tests.ipagent.controller.eip.world import GRANTS, SIP, EipLeader, EipWorld

pytestmark = pytest.mark.pure

POOL = dict(SIP)
ONE = "eipalloc-0000000a"
FLOATING = "10.10.1.200"


def world(count: int = 2) -> EipWorld:
    made = EipWorld()
    made.add_eips(count, **POOL)
    return made


def named(made: EipWorld, identifier: str = ONE, **tags: str) -> None:
    """Allocate an address with this id."""
    (temporary,) = made.add_eips(1, **tags)
    eip = made.eips.pop(temporary)
    made.eips[identifier] = replace(eip, id=identifier)


def test_a_pod_gets_one_of_its_pool_with_two_calls() -> None:
    made = world()
    made.run_pod("voice/sip-0", "net1=pool/sip", "10.10.1.5", kept=True)
    leader = EipLeader(made)

    leader.run(30)

    condition = leader.condition("voice/sip-0")
    assert (condition.status, condition.reason) == (TRUE, "Associated")
    assert condition.message == "net1: 198.51.100.1 (eipalloc-00000001) is associated with 10.10.1.5"
    assert (made.calls["TagEip"], made.calls["Associate"], made.calls["Disassociate"]) == (1, 1, 0)
    assert made.calls["DescribeHolders"] == 1
    assert made.eips["eipalloc-00000001"].tags == {
        **POOL,
        CLUSTER_TAG: "prod",
        POD_TAG: "voice/sip-0",
        TARGET_TAG: "net1",
        KEPT_TAG: "true",
        PRIVATE_TAG: "10.10.1.5",
    }


def test_without_grants_nothing_is_asked() -> None:
    made = world()
    made.run_pod("voice/sip-0", "net1=pool/sip", "10.10.1.5")

    EipLeader(made, grants={}).run(1000)

    assert not made.calls


def test_at_rest_it_describes_once_in_five_minutes() -> None:
    made = world()

    EipLeader(made).run(1000)

    assert made.calls == {"DescribeAddresses": 4}


def test_a_pods_eips_are_looked_at_each_minute_and_healed() -> None:
    made = world()
    made.run_pod("voice/sip-0", "net1=pool/sip", "10.10.1.5", kept=True)
    leader = EipLeader(made)
    leader.run(30)
    made.unassign("10.10.1.5")
    made.assigned["10.10.1.5"] = "n1"

    leader.run(90)

    assert made.public("10.10.1.5") == "eipalloc-00000001"
    assert made.calls["Associate"] == 2


def test_a_statefulset_pod_keeps_its_eip_over_fifty_reschedulings() -> None:
    made = world(4)
    for name in ("sip-0", "sip-1", "sip-2"):
        made.run_pod(f"voice/{name}", "net1=pool/sip", f"10.10.1.1{name[-1]}", kept=True)
    leader = EipLeader(made)
    leader.run(30)
    first = {name: made.public(f"10.10.1.1{name[-1]}") for name in ("sip-0", "sip-1", "sip-2")}
    assert len(set(first.values())) == 3
    for turn in range(50):
        name = f"sip-{turn % 3}"
        made.end_pod(f"voice/{name}")
        leader.run((0.0, 5.0, 40.0)[turn % 3] or 0.05)
        if turn % 7 == 0:
            leader = EipLeader(made)
        made.run_pod(f"voice/guest-{turn}", "net1=pool/sip", f"10.10.3.{turn}")
        private = f"10.10.2.{turn}"
        made.run_pod(f"voice/{name}", "net1=pool/sip", private, node=f"n{turn % 3 + 1}", kept=True)
        leader.run(30)
        assert made.public(private) == first[name], turn
        made.end_pod(f"voice/guest-{turn}")
        leader.run(30)
    assert sum(bool(eip.association) for eip in made.eips.values()) == 3


@pytest.mark.parametrize("released", [True, False])
def test_a_pod_that_comes_back_with_its_address_has_its_eip_when_it_is_told_so(released: bool) -> None:
    made = world()
    made.run_pod("voice/sip-0", "net1=pool/sip", "10.10.1.5", kept=True)
    leader = EipLeader(made)
    leader.run(65)
    looks = made.calls["DescribeAddresses"]
    if released:
        # By the agent, as release-on-exit says.
        made.unassign("10.10.1.5")
    made.end_pod("voice/sip-0")
    leader.run(2)
    made.run_pod("voice/sip-0", "net1=pool/sip", "10.10.1.5", node="n2" if released else "n1", kept=True)
    leader.turn()
    assert leader.condition("voice/sip-0").status == UNKNOWN
    leader.run(3)
    assert leader.condition("voice/sip-0").status == TRUE
    assert made.public("10.10.1.5") == "eipalloc-00000001"
    assert made.calls["Associate"] == (2 if released else 1)
    assert made.calls["DescribeAddresses"] == looks + 1


def test_another_pod_with_the_address_of_one_that_is_gone_has_the_eip_when_it_is_told_so() -> None:
    made = world(0)
    named(made)
    made.run_pod("voice/a", f"net1={ONE}", "10.10.1.5")
    leader = EipLeader(made)
    leader.run(65)
    made.unassign("10.10.1.5")
    made.end_pod("voice/a")
    made.run_pod("voice/b", f"net1={ONE}", "10.10.1.5", node="n2")
    seen = []
    leader.between = lambda _: seen.append((made.pods["voice/b"].condition, made.public("10.10.1.5")))
    leader.run(3)
    assert leader.condition("voice/b").status == TRUE
    told = [eip for condition, eip in seen if condition is not None and condition.status == TRUE]
    assert set(told) <= {ONE}


def test_a_pod_that_comes_back_is_told_why_its_eip_is_not_looked_at() -> None:
    made = world()
    made.run_pod("voice/sip-0", "net1=pool/sip", "10.10.1.5", kept=True)
    leader = EipLeader(made)
    leader.run(30)
    made.end_pod("voice/sip-0")
    made.refuse = lambda call: (
        Refused(Kind.NOT_PERMITTED, "DescribeAddresses", "not authorized")
        if isinstance(call, DescribeAddresses)
        else None
    )
    made.run_pod("voice/sip-0", "net1=pool/sip", "10.10.1.5", kept=True)
    leader.run(3)
    told = leader.condition("voice/sip-0")
    assert (told.status, told.reason) == (FALSE, "NotPermitted")
    assert "not authorized" in told.message


def test_the_second_pod_that_claims_an_eip_is_told_who_has_it() -> None:
    made = world(0)
    named(made)
    made.run_pod("voice/a", f"net1={ONE}", "10.10.1.5")
    made.run_pod("voice/b", f"net1={ONE}", "10.10.1.6")
    leader = EipLeader(made)

    leader.run(60)

    assert leader.condition("voice/a").status == TRUE
    told = leader.condition("voice/b")
    assert (told.status, told.reason) == (FALSE, "HeldByPod")
    assert "voice/a (10.10.1.5) has eipalloc-0000000a (198.51.100.1)" in told.message
    assert made.calls["Associate"] == 1
    made.end_pod("voice/a")
    leader.run(60)
    assert leader.condition("voice/b").status == TRUE
    assert made.public("10.10.1.6") == ONE


def test_a_floating_address_keeps_its_eip_without_a_call() -> None:
    made = world()
    for name, node in (("a", "n1"), ("b", "n2")):
        made.run_pod(f"voice/{name}", f"{FLOATING}=pool/sip", node=node)
    made.assigned[FLOATING] = "n1"
    leader = EipLeader(made, grants=floats())
    leader.run(30)
    assert made.public(FLOATING) == "eipalloc-00000001"
    assert {leader.condition(f"voice/{name}").status for name in "ab"} == {TRUE}
    before = made.calls["Associate"]

    for turn in range(20):
        made.move(FLOATING, "n2" if turn % 2 else "n1")
        leader.run(40)
    made.end_pod("voice/a")
    leader.run(100)

    assert made.calls["Associate"] == before == 1
    assert made.calls["Disassociate"] == 0
    assert made.public(FLOATING) == "eipalloc-00000001"
    made.end_pod("voice/b")
    leader.run(100)
    assert made.public(FLOATING) == ""


def floats() -> dict[str, Grant]:
    return {"voice": replace(GRANTS["voice"], cidrs=(IPv4Network("10.10.1.192/26"),))}


def test_an_eip_of_a_pod_that_died_while_nobody_led_is_freed() -> None:
    made = world()
    made.run_pod("voice/a", "net1=pool/sip", "10.10.1.5")
    made.run_pod("voice/sip-0", "net1=pool/sip", "10.10.1.6", kept=True)
    EipLeader(made).run(30)
    made.end_pod("voice/a")
    made.end_pod("voice/sip-0")
    made.now += 3600

    leader = EipLeader(made)
    leader.run(5)
    assert made.public("10.10.1.5")
    leader.run(30)

    assert not any(eip.association for eip in made.eips.values())
    assert made.eips["eipalloc-00000001"].tags == POOL
    assert made.eips["eipalloc-00000002"].tags[POD_TAG] == "voice/sip-0"


def test_one_look_is_not_enough() -> None:
    made = world()
    pod = made.run_pod("voice/a", "net1=pool/sip", "10.10.1.5")
    leader = EipLeader(made)
    leader.run(30)
    made.end_pod("voice/a")
    leader.run(8)
    made.pods["voice/a"] = pod
    leader.run(60)

    assert made.calls["Disassociate"] == 0


@pytest.mark.parametrize("releases", [Releases.REPORT, Releases.OFF])
def test_releases_that_are_not_on_end_no_association(releases: Releases) -> None:
    made = world()
    made.run_pod("voice/a", "net1=pool/sip", "10.10.1.5")
    leader = EipLeader(made, releases=releases)
    leader.run(30)
    made.end_pod("voice/a")
    leader.run(100)

    assert made.public("10.10.1.5")
    assert leader.turn().gone == {"eipalloc-00000001"}


def test_an_address_that_changed_gets_the_same_eip() -> None:
    made = world()
    pod = made.run_pod("voice/a", "net1=pool/sip", "10.10.1.5")
    leader = EipLeader(made)
    leader.run(30)
    made.assigned["10.10.1.9"] = "n1"
    made.pods["voice/a"] = replace(made.pods["voice/a"], addresses={"net1": "10.10.1.9"})
    leader.run(30)

    assert made.public("10.10.1.9") == "eipalloc-00000001"
    assert made.public(pod.addresses["net1"]) == ""
    assert made.calls["Disassociate"] == 0


def test_what_others_have_associated_is_not_touched() -> None:
    made = world(3)
    busy = made.eips["eipalloc-00000001"]
    nat = replace(busy, association="eipassoc-nat", eni="eni-nat", private="10.10.0.9")
    other = made.eips["eipalloc-00000002"]
    theirs = replace(
        other,
        association="eipassoc-other",
        eni="eni-other",
        private="10.20.0.9",
        tags={**POOL, CLUSTER_TAG: "test", POD_TAG: "voice/a", TARGET_TAG: "net1"},
    )
    made.eips |= {nat.id: nat, theirs.id: theirs}
    made.run_pod("voice/a", "net1=pool/sip", "10.10.1.5")
    made.run_pod("voice/b", "net1=pool/sip", "10.10.1.6")
    leader = EipLeader(made)

    leader.run(100)

    assert (made.eips[nat.id], made.eips[theirs.id]) == (nat, theirs)
    assert made.public("10.10.1.5") == "eipalloc-00000003"
    assert leader.condition("voice/b").reason == "PoolEmpty"
    made.end_pod("voice/a")
    leader.run(100)
    assert (made.eips[nat.id], made.eips[theirs.id]) == (nat, theirs)
    assert leader.condition("voice/b").status == TRUE


def test_what_somebody_has_associated_rightly_is_taken_over_without_a_remap() -> None:
    made = world(0)
    named(made)
    made.eips[ONE] = replace(made.eips[ONE], association="eipassoc-hand", eni="eni-n1", private="10.10.1.5")
    made.run_pod("voice/a", f"net1={ONE}", "10.10.1.5")
    leader = EipLeader(made)

    leader.run(30)

    assert leader.condition("voice/a").status == TRUE
    assert (made.calls["Associate"], made.eips[ONE].tags[POD_TAG]) == (0, "voice/a")


@dataclass(frozen=True)
class Case:
    """A pod that is refused: what it claims, what is different, and what it is told."""

    claims: str
    status: str
    reason: str
    says: tuple[str, ...]
    change: Callable[[EipWorld], None] = lambda _: None
    private: str = "10.10.1.5"


def no_gateway(made: EipWorld) -> None:
    made.gateway = False


def full(made: EipWorld) -> None:
    for eip in list(made.eips.values()):
        made.eips[eip.id] = replace(eip, association="x", eni="eni-x", private=f"10.9.9.{eip.id[-1]}")


def kept(made: EipWorld) -> None:
    tags = {CLUSTER_TAG: "prod", POD_TAG: "voice/sip-9", TARGET_TAG: "net1", KEPT_TAG: "true"}
    for eip in list(made.eips.values()):
        made.eips[eip.id] = replace(eip, tags={**eip.tags, **tags})


def elsewhere(made: EipWorld) -> None:
    named(made)
    made.eips[ONE] = replace(made.eips[ONE], association="x", eni="eni-nat", private="10.9.9.9")


def other_cluster(made: EipWorld) -> None:
    named(made)
    tags = {CLUSTER_TAG: "test", POD_TAG: "voice/z"}
    made.eips[ONE] = replace(made.eips[ONE], tags=tags)


def unassigned(made: EipWorld) -> None:
    made.assigned.clear()


def refuse(kind: Kind, text: str) -> Callable[[EipWorld], None]:
    def change(made: EipWorld) -> None:
        made.refuse = lambda call: (
            Refused(kind, "AssociateAddress", text) if isinstance(call, Associate) else None
        )

    return change


REFUSED = [
    Case("net1=pool/rtp", FALSE, "NotGranted",
         ("namespace voice has no pool rtp", "controller.eips.voice.pools.rtp", "sip")),
    Case("net1=eipalloc-0000000b", FALSE, "AllocationNotFound",
         ("not in this region", "correct the annotation")),
    Case("net1=eipalloc-0000000c", FALSE, "NotGranted",
         ("may not have eipalloc-0000000c", "controller.eips.voice.allocations"),
         lambda made: named(made, "eipalloc-0000000c", pool="rtp")),
    Case("10.10.1.5=pool/sip", FALSE, "NotGranted",
         ("may not name 10.10.1.5", "controller.eips.voice.cidrs")),
    Case("net1=pool/sip", FALSE, "PoolEmpty", ("tags of pool sip (pool=sip)", "allocate one, and tag it"),
         lambda made: made.eips.clear()),
    Case("net1=pool/sip", FALSE, "PoolEmpty",
         ("no Elastic IP of pool sip is free", "add one with the tags"), full),
    Case("net1=pool/sip", FALSE, "PoolEmpty", ("voice/sip-9", f"delete the tag {POD_TAG}"), kept),
    Case(f"net1={ONE}", FALSE, "HeldElsewhere",
         ("eni-nat (10.9.9.9)", "not by this controller", "disassociate it there"), elsewhere),
    Case(f"net1={ONE}", FALSE, "HeldByCluster",
         ("belongs to voice/z in cluster test", "name another one"), other_cluster),
    Case("net1=pool/sip", FALSE, "NoInternetGateway", ("attach an internet gateway to the VPC",), no_gateway),
    Case("net1=pool/sip", FALSE, "NotPermitted", ("examples/iam/controller-eips.json",),
         refuse(Kind.NOT_PERMITTED, "AssociateAddress: UnauthorizedOperation")),
    Case("net1=pool/sip", FALSE, "OtherBorderGroup", ("network border group of the node's zone",),
         refuse(Kind.BORDER_GROUP, "InvalidParameterValue")),
    Case("net1=pool/sip", UNKNOWN, "WaitingForAddress",
         ("has not reported an IPv4 address of net1",), private=""),
    Case("net1=pool/sip", FALSE, "AddressNotOnInterface",
         ("10.10.1.5 is not a secondary address of an ENI of n1", "see why the agent"), unassigned),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case.reason}-{case.claims}")
def test_each_refusal_says_what_to_do(case: Case) -> None:
    made = world()
    made.run_pod("voice/a", case.claims, case.private)
    case.change(made)
    leader = EipLeader(made)

    leader.run(100)

    condition = leader.condition("voice/a")
    assert (condition.status, condition.reason) == (case.status, case.reason)
    for part in case.says:
        assert part in condition.message
    assert condition.message.startswith(case.claims.partition("=")[0] + ": ")
    assert not any(eip.eni == "eni-n1" for eip in made.eips.values())


def test_a_namespace_without_grants_and_a_broken_annotation_are_told_so() -> None:
    made = world()
    made.run_pod("other/a", "net1=pool/sip", "10.10.1.5")
    made.run_pod("other/c", f"net1={ONE}", "10.10.1.7")
    made.pods["other/b"] = replace(made.pods["other/a"], name="b", claims=(), problem="'x' is nothing")
    leader = EipLeader(made)

    leader.run(30)

    assert "add controller.eips.other.pools.sip" in leader.condition("other/a").message
    assert "add it to controller.eips.other.allocations" in leader.condition("other/c").message
    broken = leader.condition("other/b")
    assert (broken.reason, broken.status) == ("InvalidAnnotation", FALSE)
    assert "'x' is nothing: correct the annotation" in broken.message


def test_only_what_multus_has_written_counts_and_is_remembered_by_tags() -> None:
    made = world()
    made.run_pod("voice/a", "net1=pool/sip", "10.10.1.5")
    made.run_pod("voice/b", "net1=pool/sip", "10.10.1.6", proven=False)
    EipLeader(made).run(30)
    # Ten other managers have changed the pod, and who wrote network-status is forgotten.
    made.pods["voice/a"] = replace(made.pods["voice/a"], proven=False)

    leader = EipLeader(made)
    leader.run(100)

    assert made.public("10.10.1.5")
    assert leader.condition("voice/a").status == TRUE
    assert leader.condition("voice/b").reason == "AddressNotProven"
    assert not made.public("10.10.1.6")


def test_a_claim_that_is_withdrawn_frees_the_eip() -> None:
    made = world()
    made.run_pod("voice/a", "net1=pool/sip", "10.10.1.5")
    leader = EipLeader(made)
    leader.run(30)
    made.pods["voice/a"] = replace(made.pods["voice/a"], claims=())
    leader.run(60)

    assert made.public("10.10.1.5") == ""
    assert leader.condition("voice/a").reason == "NotClaimed"


def test_two_claims_for_one_address_are_one_too_many() -> None:
    made = world()
    made.run_pod("voice/a", f"{FLOATING}=pool/sip")
    made.run_pod("voice/b", f"{FLOATING}={ONE}", node="n2")
    made.assigned[FLOATING] = "n1"
    leader = EipLeader(made, grants=floats())

    leader.run(30)

    assert leader.condition("voice/a").status == TRUE
    assert leader.condition("voice/b").reason == "AddressTaken"


def test_two_interfaces_have_two_eips() -> None:
    made = world()
    pod = made.run_pod("voice/a", "net1=pool/sip,net2=pool/sip", "10.10.1.5")
    made.pods["voice/a"] = replace(pod, addresses={"net1": "10.10.1.5", "net2": "10.10.2.5"})
    made.assigned["10.10.2.5"] = "n1"
    leader = EipLeader(made)

    leader.run(30)

    assert {made.public("10.10.1.5"), made.public("10.10.2.5")} == set(made.eips)
    condition = leader.condition("voice/a")
    assert condition.status == TRUE
    assert condition.message.count("is associated with") == 2


def test_an_eip_that_another_grabs_at_the_same_time_is_replaced() -> None:
    made = world()
    made.run_pod("voice/a", "net1=pool/sip", "10.10.1.5")

    def grab(what: object) -> None:
        if isinstance(what, DescribeAddresses) and not made.eips["eipalloc-00000001"].association:
            eip = made.eips["eipalloc-00000001"]
            made.eips[eip.id] = replace(eip, association="x", eni="eni-theirs", private="10.9.9.9")

    leader = EipLeader(made, between=grab)
    leader.run(60)

    assert made.eips["eipalloc-00000001"].private == "10.9.9.9"
    assert made.public("10.10.1.5") == "eipalloc-00000002"
    assert POD_TAG not in made.eips["eipalloc-00000001"].tags
    assert not [call for call in made.made if isinstance(call, Disassociate)]


def test_a_kept_eip_that_somebody_took_is_not_taken_back() -> None:
    made = world()
    made.run_pod("voice/sip-0", "net1=pool/sip", "10.10.1.5", kept=True)
    leader = EipLeader(made)
    leader.run(30)
    eip = made.eips["eipalloc-00000001"]
    taken = replace(eip, association="x", eni="eni-theirs", private="10.9.9.9")
    made.eips[eip.id] = taken

    leader.run(100)
    told = leader.condition("voice/sip-0")
    made.end_pod("voice/sip-0")
    leader.run(100)

    assert (told.reason, told.status) == ("HeldElsewhere", FALSE)
    assert "eni-theirs (10.9.9.9)" in told.message
    assert made.eips[eip.id] == taken


def test_a_long_name_is_cut_and_stays_unique() -> None:
    tags: Tags = (("pod", owner_tag("voice", "a" * 253)), ("pod", owner_tag("voice", "a" * 252 + "b")))
    assert len(tags[0][1]) == 256
    assert tags[0] != tags[1]
