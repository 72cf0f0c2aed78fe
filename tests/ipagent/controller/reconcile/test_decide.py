"""Stories of nodes and networks, from the objects that users write to calls of EC2 and what they see."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from common.token_bucket import Rate
from ipagent.assign.holders import NO_MANAGE
from ipagent.controller.kube.events import news
from ipagent.controller.model.actions import Attach, Call, Create, Delete, Detach, Modify
from ipagent.controller.model.condition import FALSE, TRUE, unknown
from ipagent.controller.model.ec2_snapshot import ATTACHED, CLUSTER_TAG, Group
from ipagent.controller.model.node import Taint
from ipagent.controller.model.node_attachment import (
    CREATED,
    LINK_READY,
    READY,
    SUBNET_CHANGED,
    LinkStatus,
    PodUsage,
)
from ipagent.controller.model.node_network import DeletionPolicy, LinkSpec, Term
from ipagent.controller.model.prefixes import PrefixSpec
from ipagent.controller.model.state import Releases, State
from ipagent.controller.model.writes import DeleteAttachment
from ipagent.controller.reconcile.call_rate_limiter import RATES, CallRateLimiter
from ipagent.controller.reconcile.controller import Controller
from ipagent.controller.reconcile.ec2_answers import Refused
from ipagent.controller.reconcile.ec2_error_conditions import Kind
from ipagent.controller.reconcile.node_labels_and_taints import TAINT
from ipagent.node_network_api import HOST_ADDRESS, READY_PREFIX, STANDING_BY
from tests.ipagent.controller.leader import Leader
from tests.ipagent.controller.world import LABELS, ZONES, World, adopting, condition, network, ours

pytestmark = pytest.mark.pure

NOT_YET = unknown("NotYet", "")


def test_a_node_gets_its_networks_and_loses_the_taint_when_both_are_ready(
    world: World, leader: Leader
) -> None:
    world.add_network(network("oam", node_labels=(("attached", "true"),)))
    world.add_network(network("sig"))
    world.add_node("n1")
    world.nodes["n1"] = replace(world.nodes["n1"], taints=(Taint("other", "NoExecute"), TAINT))
    world.links = False
    leader.run(30)
    assert condition(world, "n1.oam")[:2] == (FALSE, "WaitingForLink")
    assert TAINT in world.nodes["n1"].taints
    assert READY_PREFIX + "oam" not in world.nodes["n1"].labels
    world.links = True
    for eni in list(world.enis.values()):
        world._report(eni)  # noqa: SLF001 - what the links container does
    leader.run(30)
    assert condition(world, "n1.oam")[0] == TRUE
    assert world.nodes["n1"].taints == (Taint("other", "NoExecute"),)
    assert world.nodes["n1"].labels == {
        **LABELS,
        READY_PREFIX + "oam": "true",
        READY_PREFIX + "sig": "true",
        "attached": "true",
    }
    made = ours(world)
    assert {(eni.state, eni.subnet, eni.device) for eni in made} == {
        (ATTACHED, "subnet-oam-a", 1),
        (ATTACHED, "subnet-sig-a", 2),
    }
    assert all(eni.no_manage and eni.delete_on_termination for eni in made)


def test_each_link_takes_one_create_one_attach_and_a_modify_for_each_wish(
    world: World, leader: Leader
) -> None:
    world.add_network(network("oam"))
    world.add_network(network("sig", source_dest_check=False))
    for number in range(20):
        world.add_node(f"n{number}", ZONES[number % 2])
    leader.run(120)
    assert all(condition(world, name)[0] == TRUE for name in world.attachments)
    assert len(world.attachments) == 40
    assert (world.calls["Create"], world.calls["Attach"], world.calls["Modify"]) == (40, 40, 60)


def test_at_rest_ec2_is_asked_once_in_five_minutes(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    world.add_node("n1")
    leader.run(60)
    world.calls.clear()
    leader.run(3000)
    assert world.calls == Counter({"DescribeAll": 10})


def test_a_second_leader_finds_everything_as_it_is(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    world.add_node("n1")
    leader.run(60)
    world.calls.clear()
    before = dict(world.enis)
    Leader(world).run(60)
    assert world.enis == before
    assert set(world.calls) <= {"DescribeAll", "Resolve", "ReadLimits"}


def test_an_index_that_the_vpc_cni_took_is_no_failure(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    node = world.add_node("n1")
    grabbed = iter([node.instance])

    def grab(call: Call) -> None:
        if isinstance(call, Create) and (instance := next(grabbed, None)):
            world.grab_index(instance)

    leader.between = grab
    leader.run(60)
    assert condition(world, "n1.oam")[0] == TRUE
    assert [eni.device for eni in ours(world)] == [2]


def test_full_slots_are_said_with_the_remedy_and_taken_when_free(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    node = world.add_node("n1")
    for _ in range(3):
        world.grab_index(node.instance)
    leader.run(100)
    status, reason, message = condition(world, "n1.oam")
    assert (status, reason) == (FALSE, "NoSlot")
    assert "all 4 interfaces that m5.xlarge allows are taken" in message
    assert "MAX_ENI" in message
    theirs = next(eni for eni in world.enis.values() if eni.device == 3)
    del world.enis[theirs.id]
    leader.run(130)
    assert condition(world, "n1.oam")[0] == TRUE


@pytest.mark.parametrize(
    ("subnets", "reason", "text"),
    [
        ([], "NoSubnet", "subnetSelectorTerms (multus=oam) find no subnet"),
        ([1], "NoSubnetInZone", "find no subnet in eu-central-1a"),
        ([0, 0], "SeveralSubnetsInZone", "in eu-central-1a: make the terms narrower"),
    ],
)
def test_subnets_that_do_not_fit_are_named(
    world: World, leader: Leader, subnets: list[int], reason: str, text: str
) -> None:
    world.add_network(network("oam"))
    all_of_them = world.subnets["oam"]
    world.subnets["oam"] = tuple(
        replace(all_of_them[index], id=f"subnet-{number}") for number, index in enumerate(subnets)
    )
    world.add_node("n1")
    leader.run(20)
    resolved = world.networks["oam"].status["Resolved"]
    assert (resolved.status, resolved.reason) == (FALSE, reason)
    assert text in resolved.message
    assert not ours(world)
    world.subnets["oam"] = all_of_them
    leader.run(120)
    assert condition(world, "n1.oam")[0] == TRUE


def test_missing_rights_are_said_with_action_and_remedy(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    world.add_node("n1")
    text = "UnauthorizedOperation: user/x may not ec2:AttachNetworkInterface on i-1"
    denied = Refused(Kind.NOT_PERMITTED, "AttachNetworkInterface", text)
    world.refuse = lambda call: denied if isinstance(call, Attach) else None
    leader.run(200)
    permitted = world.networks["oam"].status["Permitted"]
    assert permitted.status == FALSE
    assert text in permitted.message
    assert "examples/iam/controller.json" in permitted.message
    # Half a minute, then ever longer: a missing right is not hammered at.
    assert world.calls["Attach"] <= 4


def test_a_deleted_node_gives_its_enis_back(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    world.add_node("n1")
    leader.run(60)
    del world.nodes["n1"]
    leader.run(60)
    assert not ours(world)
    assert not world.attachments


def test_a_terminated_instance_leaves_nothing(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    world.add_network(network("kept", delete_on_termination=False))
    node = world.add_node("n1")
    leader.run(60)
    world.terminate(node.instance)
    del world.nodes["n1"]
    leader.run(400)
    assert not ours(world)
    assert not world.attachments


def test_a_network_waits_for_its_pods_and_names_them(world: World, leader: Leader) -> None:
    world.add_network(network("oam", node_labels=(("attached", "true"),)))
    world.add_node("n1")
    leader.run(60)
    (eni,) = ours(world)
    world.pods[eni.mac] = ("ns/smf-0", "ns/smf-1")
    world.delete_network("oam")
    leader.run(60)
    status, reason, message = condition(world, "n1.oam")
    assert (status, reason) == (FALSE, "InUse")
    assert "ns/smf-0, ns/smf-1" in message
    assert "ns/smf-0" in world.networks["oam"].status[READY].message
    assert world.enis[eni.id].state == ATTACHED
    world.pods.clear()
    leader.run(60)
    assert not world.networks
    assert not world.attachments
    assert not ours(world)
    assert world.nodes["n1"].labels == LABELS


def test_force_does_not_wait(world: World, leader: Leader) -> None:
    world.add_network(network("oam", deletion_policy=DeletionPolicy.FORCE))
    world.add_node("n1")
    leader.run(60)
    world.pods[ours(world)[0].mac] = ("ns/smf-0",)
    world.delete_network("oam")
    leader.run(60)
    assert not world.networks
    assert not ours(world)


def test_a_node_that_is_relabelled_keeps_its_eni_until_its_pods_are_gone(
    world: World, leader: Leader
) -> None:
    world.add_network(network("oam"))
    world.add_node("n1")
    leader.run(60)
    before = [eni.id for eni in ours(world)]
    world.pods[world.enis[before[0]].mac] = ("ns/smf-0",)
    world.nodes["n1"] = replace(world.nodes["n1"], labels={})
    leader.run(60)
    assert condition(world, "n1.oam")[1] == "InUse"
    world.nodes["n1"] = replace(world.nodes["n1"], labels=dict(LABELS))
    leader.run(60)
    assert condition(world, "n1.oam")[0] == TRUE
    assert [eni.id for eni in ours(world)] == before


def test_a_changed_spec_reaches_what_exists(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    world.add_node("n1")
    leader.run(60)
    changed = replace(world.networks["oam"], source_dest_check=False, link=LinkSpec("oam", mtu=1500))
    world.networks["oam"] = changed
    leader.run(30)
    assert condition(world, "n1.oam")[1] == "WrongMtu"
    assert world.attachments["n1.oam"].link.mtu == 1500
    reported = LinkStatus(world.attachments["n1.oam"].status.mac, "oam", up=True, mtu=1500)
    world.attachments["n1.oam"] = replace(world.attachments["n1.oam"], reported=reported)
    leader.run(30)
    assert condition(world, "n1.oam")[0] == TRUE
    assert [eni.source_dest_check for eni in ours(world)] == [False]
    assert world.calls["Create"] == 1


def test_of_one_eni_to_adopt_exactly_one_node_wins_and_the_other_takes_over(
    world: World, leader: Leader
) -> None:
    eni = world.add_eni(Zone=ZONES[0], multus="out")
    elsewhere = world.add_eni(ZONES[1], Zone=ZONES[1], multus="out")
    world.add_network(adopting("out"))
    world.add_node("n1")
    world.add_node("n2")
    leader.run(60)
    assert condition(world, "n1.out")[0] == TRUE
    status, reason, message = condition(world, "n2.out")
    assert (status, reason) == (FALSE, STANDING_BY)
    assert f"{eni.id} (n1)" in message
    assert not world.nodes["n2"].taints
    assert world.enis[elsewhere.id] == elsewhere
    world.terminate(world.nodes.pop("n1").instance)
    leader.run(10)
    assert condition(world, "n2.out")[0] == TRUE
    world.delete_network("out")
    leader.run(120)
    assert not world.networks
    assert world.enis[eni.id].state == "available"
    assert world.calls["Delete"] == 0


@pytest.mark.parametrize("how", ["attached by hand", "NodeAttachment deleted"])
def test_a_node_whose_adopted_eni_another_one_has_now_attracts_no_pods_any_more(
    world: World, leader: Leader, how: str
) -> None:
    eni = world.add_eni(Zone=ZONES[0], multus="out")
    world.add_network(adopting("out", node_labels=(("team.example/core", "yes"),)))
    bare = world.add_node("n1")
    world.add_node("n2")
    leader.run(30)
    found = world.attachments["n1.out"]
    world.attachments["n1.out"] = replace(found, usage=PodUsage(found.status.mac))
    leader.run(30)
    assert world.nodes["n1"].labels["team.example/core"] == "yes"
    assert world.nodes["n1"].advertised
    if how == "attached by hand":
        there = world.nodes["n2"].instance
        world.enis[eni.id] = replace(world.enis[eni.id], instance=there, attachment="eni-attach-theirs")
    else:
        world.attachments["n1.out"] = replace(world.attachments["n1.out"], deleting=True)
    leader.run(400)
    assert condition(world, "n1.out")[1] == STANDING_BY
    assert world.enis[eni.id].instance == world.nodes["n2"].instance
    assert world.nodes["n1"] == bare
    # The metrics sum it up.
    assert world.attachments["n1.out"].status.capacity is None


def test_an_eni_that_another_program_has_attached_is_adopted_where_it_is(
    world: World, leader: Leader
) -> None:
    node = world.add_node("n2")
    world.add_node("n1")
    found = world.add_eni(Zone=ZONES[0], multus="out")
    attached = replace(
        found, instance=node.instance, attachment="eni-attach-theirs", device=2, state=ATTACHED
    )
    world.enis[found.id] = attached
    world.add_network(adopting("out"))
    leader.run(30)
    assert world.attachments["n2.out"].status.eni == found.id
    assert condition(world, "n1.out")[1] == STANDING_BY
    assert world.enis[found.id] == attached
    assert not world.calls.keys() & {"Attach", "Detach", "Create", "Modify"}


def test_an_eni_that_is_tagged_later_is_adopted_within_a_minute(world: World, leader: Leader) -> None:
    world.add_network(adopting("out"))
    world.add_node("n1")
    leader.run(10)
    assert condition(world, "n1.out")[1] == "NoneAvailable"
    world.add_eni(Zone=ZONES[0], multus="out")
    leader.run(65)
    assert condition(world, "n1.out")[0] == TRUE
    # Once there is one, nodes that stand by ask for nothing more.
    world.add_node("n2")
    leader.run(30)
    before = world.calls.copy()
    leader.run(290)
    assert world.calls - before == Counter(DescribeAll=1)


def test_an_eni_without_no_manage_is_not_adopted(world: World, leader: Leader) -> None:
    eni = world.add_eni(Zone=ZONES[0], multus="out")
    world.enis[eni.id] = replace(eni, tags={"Zone": ZONES[0], "multus": "out"})
    world.add_network(adopting("out"))
    world.add_node("n1")
    leader.run(30)
    assert condition(world, "n1.out")[1] == "NoManageMissing"
    assert world.calls["Attach"] == 0


def test_an_attached_eni_without_no_manage_is_not_adopted_where_it_is(world: World, leader: Leader) -> None:
    node = world.add_node("n1")
    eni = world.add_eni(Zone=ZONES[0], multus="out")
    tags = {"Zone": ZONES[0], "multus": "out"}
    attached = replace(eni, tags=tags, instance=node.instance, attachment="a", device=1, state=ATTACHED)
    world.enis[eni.id] = attached
    world.add_network(adopting("out", source_dest_check=False))
    leader.run(30)
    assert condition(world, "n1.out")[1] == "NoManageMissing"
    assert world.enis[eni.id] == attached
    world.enis[eni.id] = replace(attached, tags={**tags, NO_MANAGE: "true"})
    leader.run(65)
    assert world.attachments["n1.out"].status.eni == eni.id


def test_an_adopted_eni_whose_tag_goes_is_told_and_gets_no_second_one_beside_it(
    world: World, leader: Leader
) -> None:
    world.add_node("n1")
    eni = world.add_eni(Zone=ZONES[0], multus="out")
    world.add_network(adopting("out"))
    leader.run(30)
    other, tags = world.add_eni(Zone=ZONES[0], multus="out"), world.enis[eni.id].tags
    bare = {key: value for key, value in tags.items() if key != NO_MANAGE}
    world.enis[eni.id] = replace(world.enis[eni.id], tags=bare)
    later = Leader(world)
    later.run(200)
    assert condition(world, "n1.out")[:2] == (FALSE, "NoManageMissing")
    assert world.attachments["n1.out"].status.eni == eni.id
    assert not world.enis[other.id].instance
    assert world.nodes["n1"].labels[READY_PREFIX + "out"] == "true"
    world.enis[eni.id] = replace(world.enis[eni.id], tags=tags)
    later.run(65)
    assert condition(world, "n1.out")[0] == TRUE


def test_a_node_goes_on_standing_by_when_the_tag_of_the_eni_goes_that_another_node_keeps(
    world: World, leader: Leader
) -> None:
    eni = world.add_eni(Zone=ZONES[0], multus="out")
    world.add_network(adopting("out"))
    world.add_node("n1")
    world.add_node("n2")
    leader.run(60)
    bare = {key: value for key, value in world.enis[eni.id].tags.items() if key != NO_MANAGE}
    world.enis[eni.id] = replace(world.enis[eni.id], tags=bare)
    leader.run(400)
    assert condition(world, "n1.out")[:2] == (FALSE, "NoManageMissing")
    assert condition(world, "n2.out")[:2] == (FALSE, STANDING_BY)
    assert not world.nodes["n2"].taints


def test_a_primary_eni_is_not_adopted_whatever_its_tags(world: World, leader: Leader) -> None:
    node = world.add_node("n1")
    (own,) = world.enis.values()
    # As a launch template tags all interfaces of an instance.
    tags = {"Zone": ZONES[0], "multus": "out", NO_MANAGE: "true"}
    tagged = world.enis[own.id] = replace(own, tags=tags)
    eni = world.add_eni(Zone=ZONES[0], multus="out")
    world.add_network(adopting("out", source_dest_check=False))
    leader.run(60)
    assert world.attachments["n1.out"].status.eni == eni.id
    assert world.enis[own.id] == tagged
    assert world.enis[eni.id].instance == node.instance


@pytest.mark.parametrize(
    ("releases", "deleted", "reported"),
    [(Releases.ON, True, True), (Releases.REPORT, False, True), (Releases.OFF, False, True)],
)
def test_what_is_leaked_is_deleted_after_two_looks_and_only_with_our_tags(
    world: World, releases: Releases, deleted: bool, reported: bool
) -> None:
    leader = Leader(world, releases=releases)
    world.add_network(network("oam"))
    world.add_node("n1")
    leader.run(400)
    leaked = world.add_eni(
        **{CLUSTER_TAG: "prod", "multus-eni.io/network": "oam", "multus-eni.io/node-uid": "x"}
    )
    theirs = world.add_eni(**{CLUSTER_TAG: "test", "multus-eni.io/network": "oam"})
    looks = world.calls["DescribeAll"]
    leader.run(290)
    assert leaked.id in world.enis or world.calls["DescribeAll"] - looks >= 2
    leader.run(400)
    assert (leaked.id not in world.enis) == deleted
    assert (leaked.id in leader.leaked) == reported
    assert world.enis[theirs.id] == theirs
    assert condition(world, "n1.oam")[0] == TRUE


def test_with_releases_off_nothing_is_detached(world: World) -> None:
    leader = Leader(world, releases=Releases.OFF)
    world.add_network(network("oam"))
    world.add_node("n1")
    leader.run(60)
    del world.nodes["n1"]
    leader.run(60)
    assert condition(world, "n1.oam")[1] == "ReleasesOff"
    assert world.calls["Detach"] == world.calls["Delete"] == 0


def test_an_eni_that_somebody_deleted_is_replaced(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    world.add_node("n1")
    leader.run(60)
    (before,) = ours(world)
    del world.enis[before.id]
    leader.run(500)
    (after,) = ours(world)
    assert after.id != before.id
    assert condition(world, "n1.oam")[0] == TRUE


def test_a_link_that_never_appears_is_said_after_three_minutes(world: World, leader: Leader) -> None:
    world.links = False
    world.add_network(network("oam"))
    world.add_node("n1")
    leader.run(170)
    assert condition(world, "n1.oam")[1] == "WaitingForLink"
    leader.run(30)
    assert condition(world, "n1.oam")[1] == "LinkMissing"


def test_the_ipv6_addresses_that_an_eni_is_created_with_are_told_to_the_node(
    world: World, leader: Leader
) -> None:
    world.add_network(replace(network("oam"), ipv6_addresses=1))
    world.add_node("n1")
    leader.run(60)
    found = world.attachments["n1.oam"].status
    assert found.ipv6_addresses == ("2001:db8::1",)
    # What pods get later is theirs.
    eni = world.enis[found.eni]
    world.enis[eni.id] = replace(eni, addresses=eni.addresses | {"2001:db8::80"})
    leader.run(600)
    assert world.attachments["n1.oam"].status.ipv6_addresses == ("2001:db8::1",)


def test_addresses_of_pods_on_the_node_are_a_warning(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    world.add_node("n1")
    leader.run(60)
    found = world.attachments["n1.oam"]
    assert found.status.address == world.enis[found.status.eni].address != ""
    assert found.reported is not None
    before = found.status.conditions
    aliased = replace(found.reported, message="the node has them", host_addresses=("10.10.1.80",))
    world.attachments["n1.oam"] = replace(found, reported=aliased)
    leader.run(10)
    assert condition(world, "n1.oam", LINK_READY) == (TRUE, HOST_ADDRESS, "the node has them")
    assert condition(world, "n1.oam")[0] == TRUE
    now = world.attachments["n1.oam"].status.conditions
    assert news(before, now) == ("Warning", now[LINK_READY])
    assert news(now, now) is None


def test_a_node_that_reports_no_interface_is_replaced_after_three_minutes(
    world: World, leader: Leader
) -> None:
    world.links = False
    world.add_network(network("oam"))
    world.add_node("n1")
    leader.run(10)
    report_missing(world, "n1.oam")
    leader.run(150)
    assert condition(world, "n1.oam")[1] == "WaitingForLink"
    leader.run(40)
    status, reason, message = condition(world, "n1.oam")
    assert (status, reason) == (FALSE, "LinkMissing")
    assert message.endswith("replace the node")


def test_an_interface_in_a_pod_is_ready_for_every_leader(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    world.add_node("n1")
    leader.run(60)
    report_missing(world, "n1.oam")
    for each in (leader, Leader(world)):
        each.run(600)
        assert condition(world, "n1.oam", LINK_READY)[:2] == (TRUE, "InPod")
        assert condition(world, "n1.oam")[0] == TRUE
    # A successor of the ENI has not been seen on the node.
    world.enis.pop(ours(world)[0].id)
    world.links = False
    leader.run(800)
    assert condition(world, "n1.oam")[:2] == (FALSE, "LinkMissing")


def test_the_next_leader_leaves_statuses_as_they_are_until_it_has_described_ec2(
    world: World, leader: Leader
) -> None:
    world.add_network(network("oam"))
    world.add_network(network("sig"))
    world.add_node("n1")
    world.add_node("n2")
    leader.run(60)
    world.nodes["n2"] = replace(world.nodes["n2"], labels={})
    written = {name: each.status for name, each in world.attachments.items()}
    plan = Leader(world).turn()
    assert plan.attachments == written


def test_an_eni_that_is_not_shown_has_all_described_and_leaves_other_nodes_ready(
    world: World, leader: Leader
) -> None:
    world.add_network(network("oam"))
    world.add_node("n1")
    leader.run(60)
    before = world.calls["DescribeAll"]
    mismatch = Refused(Kind.MISMATCH, "CreateNetworkInterface", "IdempotentParameterMismatch")
    world.refuse = lambda call: mismatch if isinstance(call, Create) else None
    world.add_node("n2")
    for _ in range(20):
        leader.turn()
        assert condition(world, "n1.oam")[0] == TRUE
        world.advance(1)
    assert world.calls["DescribeAll"] > before


def report_missing(world: World, name: str) -> None:
    """Report what `links` does while the node has no interface with the MAC."""
    found = world.attachments[name]
    gone = LinkStatus(found.status.mac, message="no interface of the node has the MAC")
    world.attachments[name] = replace(found, reported=gone)


def test_a_link_that_goes_down_later_is_said_and_leaves_taint_and_labels(
    world: World, leader: Leader
) -> None:
    world.add_network(network("oam"))
    world.add_node("n1")
    leader.run(60)
    before = world.nodes["n1"]
    found = world.attachments["n1.oam"]
    down = LinkStatus(found.status.mac, "oam", up=False, message="somebody took it down")
    world.attachments["n1.oam"] = replace(found, reported=down)
    leader.run(10)
    assert condition(world, "n1.oam") == (FALSE, "LinkDown", "somebody took it down")
    assert world.nodes["n1"] == before


def lose_its_name(world: World, leader: Leader, prefixes: PrefixSpec | None = None) -> str:
    """Have a node report that another interface has the name of its ENI's; returns the report's message."""
    world.links = False
    world.add_network(network("oam", link=LinkSpec("ens6"), prefixes=prefixes))
    world.add_node("n1")
    leader.run(30)
    found = world.attachments["n1.oam"]
    text = "the name ens6 belongs to the interface ens6 (0a:00:00:00:00:01): choose another spec.link.name"
    reported = LinkStatus(found.status.mac, "ens7", up=True, mtu=9001, message=text, name_owner="ens6")
    world.attachments["n1.oam"] = replace(found, reported=reported)
    leader.run(10)
    return text


def test_a_node_on_which_another_interface_has_the_name_is_not_ready(world: World, leader: Leader) -> None:
    text = lose_its_name(world, leader)
    assert condition(world, "n1.oam", LINK_READY) == (FALSE, "NameTaken", text)
    assert condition(world, "n1.oam") == (FALSE, "NameTaken", text)
    assert world.nodes["n1"].taints == (TAINT,)
    assert READY_PREFIX + "oam" not in world.nodes["n1"].labels


def test_the_name_does_not_matter_where_links_writes_the_configuration(world: World, leader: Leader) -> None:
    text = lose_its_name(world, leader, PrefixSpec())
    assert condition(world, "n1.oam", LINK_READY) == (TRUE, "LinkUp", text)


def test_two_networks_with_one_link_name_are_not_both_served(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    world.add_network(network("other", link=LinkSpec("oam")))
    world.add_node("n1")
    leader.run(60)
    assert set(world.attachments) == {"n1.oam"}
    accepted = world.networks["other"].status["Accepted"]
    assert (accepted.status, accepted.reason) == (FALSE, "LinkNameTaken")
    assert condition(world, "n1.oam")[0] == TRUE


def test_throttling_pauses_that_bucket_alone(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    for number in range(8):
        world.add_node(f"n{number}")
    leader.run(0)
    refusals = iter([Refused(Kind.THROTTLED, "CreateNetworkInterface", "RequestLimitExceeded")])
    world.refuse = lambda call: next(refusals, None) if isinstance(call, Create) else None
    leader.run(60)
    assert all(condition(world, name)[0] == TRUE for name in world.attachments)
    assert world.calls["Create"] == 9


def test_nothing_of_a_kind_that_is_not_asked_for_is_called(world: World, leader: Leader) -> None:
    seen: list[Call] = []
    leader.between = seen.append
    world.add_network(network("oam", delete_on_termination=False))
    world.add_node("n1")
    leader.run(60)
    assert not [call for call in seen if isinstance(call, Modify | Detach | Delete)]


def test_a_token_that_ec2_knows_with_other_parameters_is_replaced_when_its_eni_stays_hidden(
    world: World, leader: Leader
) -> None:
    world.add_network(network("oam"))
    world.add_node("n1")
    tokens: list[str] = []

    def mismatch(call: Call) -> Refused | None:
        if not isinstance(call, Create) or (tokens and call.token != tokens[0]):
            return None
        tokens.append(call.token)
        return Refused(Kind.MISMATCH, "CreateNetworkInterface", "IdempotentParameterMismatch")

    world.refuse = mismatch
    leader.run(30)
    assert condition(world, "n1.oam")[1] == "OtherParameters"
    leader.run(300)
    assert condition(world, "n1.oam")[0] == TRUE
    assert world.attachments["n1.oam"].status.attempt == 1
    assert len(tokens) == 3
    assert len(ours(world)) == 1


def test_another_subnet_is_said_and_comes_with_another_node_attachment(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    world.add_node("n1")
    leader.run(60)
    before = world.attachments["n1.oam"].status.subnet
    world.networks["oam"] = replace(world.networks["oam"], subnets=(Term(id="subnet-0aaaaaaa"),))
    world.subnets["oam"] = (replace(world.subnets["oam"][0], id="subnet-0aaaaaaa"),)
    leader.run(10)
    status, reason, message = condition(world, "n1.oam", CREATED)
    assert (status, reason) == (TRUE, SUBNET_CHANGED)
    assert before in message
    assert "subnet-0aaaaaaa" in message
    assert "delete this NodeAttachment" in message
    assert condition(world, "n1.oam")[0] == TRUE
    ready = world.networks["oam"].status[READY]
    assert (ready.status, ready.reason) == (TRUE, SUBNET_CHANGED)
    assert "n1.oam" in ready.message
    world.write(DeleteAttachment("n1.oam", world.attachments["n1.oam"].uid))
    leader.run(30)
    assert world.attachments["n1.oam"].status.subnet == "subnet-0aaaaaaa"
    assert condition(world, "n1.oam")[0] == TRUE
    assert condition(world, "n1.oam", CREATED)[1] == "Created"
    assert len(ours(world)) == 1


def test_changed_security_groups_reach_enis_that_exist(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    world.add_node("n1")
    leader.run(60)
    eni = ours(world)[0]
    world.enis[eni.id] = replace(eni, groups=frozenset({"sg-other"}))
    denied = Refused(Kind.OTHER, "ModifyNetworkInterfaceAttribute", "no such group")
    world.refuse = lambda call: denied if isinstance(call, Modify) else None
    leader.run(320)
    assert condition(world, "n1.oam", "Attached") == (TRUE, "Attached", "no such group")
    assert condition(world, "n1.oam")[0] == TRUE
    world.refuse = lambda _: None
    leader.run(320)
    assert world.enis[eni.id].groups == frozenset({"sg-oam"})


def test_an_eni_that_somebody_attached_elsewhere_is_left_there(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    world.add_node("n1")
    leader.run(60)
    eni = ours(world)[0]
    world.enis[eni.id] = replace(eni, instance="i-0123456789abcdef0")
    leader.run(320)
    status, reason, message = condition(world, "n1.oam")
    assert (status, reason) == (FALSE, "AttachedElsewhere")
    assert "i-0123456789abcdef0" in message
    del world.nodes["n1"]
    leader.run(120)
    assert not world.attachments
    assert world.enis[eni.id].instance == "i-0123456789abcdef0"


def test_what_was_created_twice_is_taken_back(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    node = world.add_node("n1")
    leader.run(60)
    first = ours(world)[0]
    second = world.add_eni(**first.tags)
    attachment = {"instance": node.instance, "attachment": "eni-attach-x", "state": ATTACHED, "device": 9}
    world.enis[second.id] = replace(second, **attachment)  # type: ignore[arg-type] # by name
    leader.run(800)
    assert [eni.id for eni in ours(world)] == [first.id]
    assert world.enis[first.id].instance == node.instance


def test_one_that_is_detached_by_hand_is_attached_again(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    world.add_node("n1")
    leader.run(60)
    eni = ours(world)[0]
    world.execute(Detach("somebody", eni.id, eni.attachment))
    leader.run(320)
    assert world.enis[eni.id].state == ATTACHED
    assert condition(world, "n1.oam")[0] == TRUE


def test_a_device_index_that_is_asked_for_is_taken_or_said_to_be_in_use(world: World, leader: Leader) -> None:
    world.add_network(network("oam", device_index=3))
    world.add_network(network("sig", device_index=3))
    world.add_node("n1")
    leader.run(60)
    assert condition(world, "n1.oam")[0] == TRUE
    message = condition(world, "n1.sig")[2]
    assert "device index 3 of network card 0, as placement asks, is taken" in message
    assert "placement.deviceIndex" in message
    assert "MAX_ENI" not in message


def test_a_card_that_the_type_does_not_have_has_no_slot(world: World, leader: Leader) -> None:
    world.add_network(network("oam", network_card=1))
    world.add_node("n1")
    leader.run(60)
    status, reason, message = condition(world, "n1.oam")
    assert (status, reason) == (FALSE, "NoSlot")
    assert message.startswith("m5.xlarge has no network card 1: change placement.networkCard")


def test_interfaces_of_the_vpc_cni_are_counted_where_there_is_no_slot(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    node = world.add_node("n1")
    for _ in range(3):
        world.grab_index(node.instance)
    for eni in [each for each in world.enis.values() if each.device]:
        world.enis[eni.id] = replace(eni, tags={"node.k8s.amazonaws.com/instance_id": node.instance})
    leader.run(60)
    assert "3 of them are the VPC CNI's" in condition(world, "n1.oam")[2]


@pytest.mark.parametrize(
    ("group", "reason"),
    [
        (Group("sg-1", "oam", "vpc-2"), "NoSecurityGroup"),
        (Group("sg-1", "default", "vpc-1"), "DefaultSecurityGroup"),
    ],
)
def test_groups_that_do_not_fit_are_said(world: World, leader: Leader, group: Group, reason: str) -> None:
    world.add_network(network("oam"))
    world.group = group
    world.add_node("n1")
    leader.run(20)
    assert condition(world, "n1.oam")[1] == reason
    assert world.networks["oam"].status["Resolved"].reason == reason
    assert not ours(world)


def test_nodes_are_ready_nearly_as_fast_as_ec2s_limits_allow(world: World, leader: Leader) -> None:
    leader.controller = Controller(
        State("prod"), CallRateLimiter({**RATES, "AttachNetworkInterface": Rate(10, 1)})
    )
    world.add_network(network("oam"))
    world.add_network(network("sig"))
    for number in range(20):
        world.add_node(f"n{number}")
    begun = world.now
    while not world.attachments or any(
        each.status.conditions.get(READY, NOT_YET).status != TRUE for each in world.attachments.values()
    ):
        leader.run(1)
    bound = (40 - 10) / 1
    assert world.now - begun <= 1.3 * bound
    assert world.calls["Attach"] == world.calls["Create"] == 40
