"""What the controller says and does at odd moments: after a mistake, in between, when others interfere."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from ipagent.controller.model.actions import (
    Attach,
    Call,
    Create,
    Delete,
    DescribeAll,
    DescribeInstances,
    Detach,
    ListPods,
    ReadLimits,
    Resolve,
)
from ipagent.controller.model.condition import FALSE, TRUE
from ipagent.controller.model.ec2_snapshot import ATTACHED, CLUSTER_TAG, DETACHING
from ipagent.controller.model.node import Taint
from ipagent.controller.model.node_attachment import READY, PodUsage
from ipagent.controller.model.node_network import LinkSpec, Selector, Term, is_label_key
from ipagent.controller.model.state import Releases
from ipagent.controller.reconcile.ec2_answers import Refused
from ipagent.controller.reconcile.ec2_error_conditions import Kind
from ipagent.controller.reconcile.node_labels_and_taints import TAINT
from ipagent.node_network_api import READY_PREFIX, STANDING_BY
from tests.ipagent.controller.leader import Leader
from tests.ipagent.controller.world import ZONES, World, adopting, condition, network, ours

pytestmark = pytest.mark.pure


def refuse(world: World, what: type[Call], kind: Kind, text: str = "as EC2 says") -> None:
    action = (*what.actions, "list pods")[0]  # type: ignore[misc] # of the class
    world.refuse = lambda call: Refused(kind, action, text) if isinstance(call, what) else None


# Names of interfaces.


def test_a_new_network_takes_no_links_name_from_one_that_nodes_have(world: World, leader: Leader) -> None:
    world.add_network(network("oam", created="2026-01-01T00:00:00Z"))
    world.add_node("n1")
    leader.run(60)
    before = world.nodes["n1"]
    assert before.labels[READY_PREFIX + "oam"] == "true"
    world.add_network(network("aaa", link=LinkSpec("oam"), created="2026-01-02T00:00:00Z"))
    leader.run(60)
    assert world.nodes["n1"] == before
    assert set(world.attachments) == {"n1.oam"}
    assert world.networks["aaa"].status["Accepted"].reason == "LinkNameTaken"
    assert world.networks["oam"].status["Accepted"].status == TRUE


def test_a_links_name_that_is_edited_later_takes_nothing_from_nodes(world: World, leader: Leader) -> None:
    world.add_network(network("oam", created="2026-01-01T00:00:00Z"))
    world.add_network(network("sig", created="2026-01-02T00:00:00Z"))
    world.add_node("n1")
    leader.run(60)
    before = world.nodes["n1"]
    world.networks["oam"] = replace(world.networks["oam"], link=LinkSpec("sig"))
    world.add_node("n2")
    leader.run(60)
    assert world.nodes["n1"] == before
    assert world.networks["sig"].status["Accepted"].reason == "LinkNameTaken"
    assert "n2.sig" not in world.attachments
    assert READY_PREFIX + "sig" not in world.nodes["n2"].labels


# A node that is replaced by another one of its name.


def test_a_new_leader_gives_a_new_node_nothing_that_a_former_one_of_its_name_had(
    world: World, leader: Leader
) -> None:
    world.add_network(network("oam"))
    former = world.add_node("n1")
    leader.run(60)
    found = world.attachments["n1.oam"]
    world.attachments["n1.oam"] = replace(found, usage=PodUsage(found.status.mac))
    leader.run(10)
    assert world.nodes["n1"].advertised
    world.terminate(former.instance)
    node = world.nodes["n1"] = replace(world.add_node("n1"), taints=(TAINT,))
    # It has not described EC2 yet, and leaves what the former leader has written.
    later = Leader(world)
    later.turn()
    assert world.nodes["n1"] == node
    later.run(120)
    assert condition(world, "n1.oam")[0] == TRUE
    assert not world.nodes["n1"].taints
    assert {eni.instance for eni in ours(world)} == {node.instance}


# A network that another release has written.


def test_of_a_network_that_it_can_not_read_nodes_keep_what_they_have(world: World, leader: Leader) -> None:
    world.add_network(network("oam", full_taint=True, node_labels=(("team.example/core", "yes"),)))
    world.add_node("n1")
    leader.run(60)
    before, enis, calls = world.nodes["n1"], dict(world.enis), Counter(world.calls)
    world.networks["oam"] = replace(
        world.networks["oam"], unknown=("spec.source Lease",), selector=Selector()
    )
    world.add_node("n2")
    # One that takes over has no more to go by than the objects.
    later = Leader(world)
    later.run(600)
    assert world.nodes["n1"] == before
    assert {name: eni for name, eni in world.enis.items() if name in enis} == enis
    assert set(world.attachments) == {"n1.oam"}
    assert condition(world, "n1.oam")[0] == TRUE
    for change in ("Create", "Attach", "Detach", "Delete", "Modify"):
        assert world.calls[change] == calls[change]
    found = world.networks["oam"].status
    assert (found["Accepted"].status, found["Accepted"].reason) == (FALSE, "UnknownValue")
    assert "does not know spec.source Lease" in found["Accepted"].message
    assert (found[READY].status, found[READY].reason) == (FALSE, "UnknownValue")
    world.networks["oam"] = replace(world.networks["oam"], unknown=())
    later.run(60)
    assert {name: condition(world, name)[0] for name in world.attachments} == {"n1.oam": TRUE, "n2.oam": TRUE}


def test_the_eni_of_a_network_that_it_can_not_read_goes_with_its_node(world: World, leader: Leader) -> None:
    world.add_network(network("oam", delete_on_termination=False))
    node = world.add_node("n1")
    leader.run(60)
    world.networks["oam"] = replace(world.networks["oam"], unknown=("spec.source Lease",))
    leader.run(300)
    assert ours(world)
    world.terminate(node.instance)
    del world.nodes["n1"]
    leader.run(300)
    assert not ours(world)
    assert not world.attachments


@pytest.mark.parametrize("taints", [(), (TAINT,)], ids=["no taint", "the kubelet's"])
@pytest.mark.parametrize("why", ["UnknownValue", "LinkNameTaken"])
def test_a_new_node_of_a_former_ones_name_is_as_any_other_one(
    world: World, leader: Leader, why: str, taints: tuple[Taint, ...]
) -> None:
    world.add_network(network("oam", created="2026-01-02T00:00:00Z"))
    former = world.add_node("n1")
    leader.run(60)
    if why == "UnknownValue":
        world.networks["oam"] = replace(world.networks["oam"], unknown=("spec.source Lease",))
    else:
        older = {"created": "2026-01-01T00:00:00Z", "selector": Selector((("no", "node"),))}
        world.add_network(network("aaa", link=LinkSpec("oam"), **older))
    leader.run(10)
    assert world.networks["oam"].status["Accepted"].reason == why
    world.terminate(former.instance)
    for name in ("n1", "n2"):
        world.nodes[name] = replace(world.add_node(name), taints=taints)
    leader.run(300)
    assert not world.attachments
    assert world.nodes["n1"].taints == world.nodes["n2"].taints == taints


def test_a_full_node_of_a_network_that_it_can_not_read_is_full_only_as_long_as_pods_fill_it(
    world: World, leader: Leader
) -> None:
    world.add_network(network("oam", full_taint=True))
    world.add_node("n1")
    leader.run(60)
    mac = world.attachments["n1.oam"].status.mac
    later = ("spec.deletionPolicy Never",)
    for requested, unknown in ((14, ()), (14, later), (0, later)):
        world.networks["oam"] = replace(world.networks["oam"], unknown=unknown)
        world.attachments["n1.oam"] = replace(world.attachments["n1.oam"], usage=PodUsage(mac, requested))
        before = world.attachments["n1.oam"].status
        leader.run(30)
        # A later release may have written more there, which an apply of this one would drop.
        assert not unknown or world.attachments["n1.oam"].status == before
        assert bool(world.nodes["n1"].taints) == (requested == 14)
        assert set(world.nodes["n1"].advertised.values()) == {("14", "14")}


def test_a_network_that_it_can_not_read_can_be_deleted(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    world.add_node("n1")
    leader.run(60)
    world.networks["oam"] = replace(world.networks["oam"], unknown=("spec.deletionPolicy Never",))
    world.pods[world.attachments["n1.oam"].status.mac] = ("apps/p",)
    world.delete_network("oam")
    leader.run(120)
    assert ours(world)
    assert condition(world, "n1.oam")[1] == "InUse"
    world.pods.clear()
    leader.run(120)
    assert not ours(world)
    assert not world.networks


def test_an_eni_that_is_not_attached_yet_is_not_taken_for_leaked(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    refuse(world, Attach, Kind.NO_SLOT)
    world.add_node("n1")
    leader.run(60)
    made = ours(world)
    assert made
    world.networks["oam"] = replace(world.networks["oam"], unknown=("spec.source Lease",))
    later = Leader(world)
    later.run(600)
    assert ours(world) == made
    assert not later.leaked


def test_a_label_that_is_none_is_said_and_holds_up_no_node(world: World, leader: Leader) -> None:
    world.add_network(network("oam", node_labels=(("a b", "x"), ("team.example/core", "yes"))))
    world.add_node("n1")
    leader.run(60)
    assert condition(world, "n1.oam")[0] == TRUE
    labels = world.nodes["n1"].labels
    assert (labels[READY_PREFIX + "oam"], labels["team.example/core"]) == ("true", "yes")
    assert "a b" not in labels
    for kind in ("Accepted", READY):
        found = world.networks["oam"].status[kind]
        assert (found.status, found.reason) == (FALSE, "InvalidLabel")
        assert "nodes.labels has a b" in found.message


@pytest.mark.parametrize(
    ("key", "valid"),
    [
        ("a", True),
        ("cluster.custom.tags/multus-attached", True),
        ("A_b.c-9", True),
        ("a" * 63, True),
        ("a" * 64, False),
        ("b" * 253 + "/a", True),
        ("b" * 254 + "/a", False),
        ("", False),
        ("a b", False),
        ("-a", False),
        ("a/", False),
        ("/a", False),
        ("A/a", False),
        ("a/b/c", False),
        ("a..b/c", False),
    ],
)
def test_keys_of_labels(key: str, valid: bool) -> None:
    assert is_label_key(key) is valid


# Refusals that are over, and what they hold up.


def test_a_refusal_of_a_call_that_nobody_needs_any_more_does_not_count_for_long(
    world: World, leader: Leader
) -> None:
    world.add_network(network("oam"))
    world.add_node("n1")
    leader.run(60)
    refuse(world, DescribeInstances, Kind.NO_CREDENTIALS)
    world.add_node("n2")
    leader.run(60)
    assert world.networks["oam"].status["Permitted"].status == FALSE
    del world.nodes["n2"]
    leader.run(300)
    assert {name: each.status for name, each in world.networks["oam"].status.items()} == dict.fromkeys(
        ("Accepted", "Resolved", "Permitted", "Ready"), TRUE
    )


def test_what_was_refused_before_does_not_hold_up_the_release(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    world.add_node("n1")
    refuse(world, Attach, Kind.NOT_PERMITTED, "UnauthorizedOperation: no right to attach")
    leader.run(200)
    del world.nodes["n1"]
    leader.run(10)
    assert not world.attachments
    assert not ours(world)


def test_another_subnet_is_tried_as_soon_as_the_network_names_it(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    world.add_node("n1")
    refuse(world, Create, Kind.SUBNET_FULL)
    leader.run(600)
    assert condition(world, "n1.oam")[1] == "SubnetFull"
    full = world.subnets["oam"]
    world.refuse = lambda call: (
        Refused(Kind.SUBNET_FULL, "CreateNetworkInterface", "full")
        if isinstance(call, Create) and call.subnet in {each.id for each in full}
        else None
    )
    world.subnets["oam"] = (replace(full[0], id="subnet-0aaaaaaa"),)
    world.networks["oam"] = replace(world.networks["oam"], subnets=(Term(id="subnet-0aaaaaaa"),))
    leader.run(20)
    assert condition(world, "n1.oam")[0] == TRUE


def test_an_eni_is_not_created_in_a_subnet_that_was_found_long_ago(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    world.add_node("n1")
    leader.run(60)
    leader.run(86_400)
    # The tag has been moved to another subnet meanwhile.
    world.subnets["oam"] = (replace(world.subnets["oam"][0], id="subnet-0aaaaaaa"),)
    world.add_node("n2")
    leader.run(60)
    assert world.attachments["n2.oam"].status.subnet == "subnet-0aaaaaaa"
    assert world.calls["Create"] == 2


@pytest.mark.parametrize(
    ("what", "kind", "text", "before"),
    [
        (DescribeAll, Kind.UNREACHABLE, "let the controller's pods reach EC2", 0),
        (Resolve, Kind.NOT_PERMITTED, "examples/iam/controller.json", 0),
        # The first description of all shows the instance's interfaces, too.
        (DescribeInstances, Kind.NOT_PERMITTED, "examples/iam/controller.json", 60),
    ],
)
def test_a_look_that_is_refused_is_not_said_to_be_under_way(
    world: World, leader: Leader, what: type[Call], kind: Kind, text: str, before: int
) -> None:
    world.add_network(network("oam"))
    if before:
        world.add_node("n0")
        leader.run(before)
    refuse(world, what, kind)
    world.add_node("n1")
    leader.run(120)
    _, reason, message = condition(world, "n1.oam")
    assert reason == kind
    assert "as EC2 says" in message
    assert text in message


def test_pods_that_can_not_be_listed_are_said(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    world.add_node("n1")
    leader.run(60)
    refuse(world, ListPods, Kind.PODS_UNKNOWN, "the API server refused to list the pods of node n1")
    world.delete_network("oam")
    leader.run(60)
    _, reason, message = condition(world, "n1.oam")
    assert (reason, message) == ("PodsNotListed", "the API server refused to list the pods of node n1")
    world.refuse = lambda _: None
    leader.run(60)
    assert not world.networks


# Others who change ENIs.


def test_an_eni_that_is_deleted_before_it_is_attached_is_replaced_soon(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    world.add_node("n1")
    refuse(world, Attach, Kind.STATE)
    leader.run(70)
    (first,) = ours(world)
    world._put(None, first.id)  # noqa: SLF001 - what EC2 does
    world.refuse = lambda _: None
    leader.run(120)
    assert condition(world, "n1.oam")[0] == TRUE
    assert world.calls["DescribeAll"] == 1


def test_an_eni_that_somebody_attached_first_is_said_after_seconds(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    world.add_node("n1")
    refuse(world, Attach, Kind.STATE)
    leader.run(20)
    (eni,) = ours(world)
    world._put(replace(eni, instance="i-0e15ee1e", attachment="x", state=ATTACHED))  # noqa: SLF001 - as above
    world.refuse = lambda _: None
    leader.run(30)
    assert condition(world, "n1.oam")[1] == "AttachedElsewhere"
    assert "i-0e15ee1e" in condition(world, "n1.oam")[2]
    assert world.calls["DescribeAll"] == 1


def test_an_eni_in_use_without_an_attachment_is_left_alone_until_it_is_free(
    world: World, leader: Leader
) -> None:
    world.add_network(network("oam"))
    world.add_node("n1")
    refuse(world, Attach, Kind.STATE)
    leader.run(20)
    (eni,) = ours(world)
    world._put(replace(eni, state=DETACHING))  # noqa: SLF001 - as ec2/responses.py reads it
    world.refuse = lambda _: None
    leader.run(300)
    before = world.calls["Attach"]
    assert condition(world, "n1.oam")[1] == "Detaching"
    leader.run(60)
    assert world.calls["Attach"] == before
    world._put(eni)  # noqa: SLF001 - what EC2 does
    leader.run(20)
    assert condition(world, "n1.oam")[0] == TRUE
    # The same while it is released.
    (eni,) = ours(world)
    world.execute(Detach("somebody", eni.id, eni.attachment))
    world._put(replace(eni, state=DETACHING, instance="", attachment=""))  # noqa: SLF001 - as above
    del world.nodes["n1"]
    leader.run(400)
    assert (world.calls["Delete"], len(world.attachments)) == (0, 1)
    world._put(replace(eni, state="available", instance="", attachment="", device=None))  # noqa: SLF001 - as above
    leader.run(20)
    assert not ours(world)
    assert not world.attachments


def test_a_leaked_eni_that_is_only_reported_costs_no_more_descriptions(world: World) -> None:
    leader = Leader(world, releases=Releases.REPORT)
    world.add_network(network("oam"))
    world.add_node("n1")
    leader.run(60)
    leaked = world.add_eni(
        **{CLUSTER_TAG: "prod", "multus-eni.io/network": "oam", "multus-eni.io/node-uid": "x"}
    )
    leader.run(700)
    assert leaked.id in leader.leaked
    world.calls.clear()
    leader.run(3000)
    assert world.calls == Counter(DescribeAll=10)


def test_a_leaked_eni_that_ec2_does_not_delete_is_looked_at(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    world.add_node("n1")
    leader.run(60)
    leaked = world.add_eni(
        **{CLUSTER_TAG: "prod", "multus-eni.io/network": "oam", "multus-eni.io/node-uid": "x"}
    )
    attached = replace(leaked, instance="i-0e15ee1e", attachment="x", state=ATTACHED)
    leader.between = lambda call: (
        None if isinstance(call, Delete) or leaked.id not in leader.leaked else world._put(attached)  # noqa: SLF001
    )
    refuse(world, Delete, Kind.IN_USE)
    leader.run(400)
    world._put(attached)  # noqa: SLF001 - what EC2 does
    before = world.calls["Delete"]
    leader.run(40)
    assert world.calls["Delete"] - before <= 3
    assert world.enis[leaked.id] == attached


# Adoption.


def test_two_networks_with_the_same_tags_adopt_an_eni_each(world: World, leader: Leader) -> None:
    for _ in range(2):
        world.add_eni(Zone=ZONES[0], multus="out")
    world.add_network(adopting("out"))
    tags = world.networks["out"].interface_tags
    world.add_network(replace(adopting("two"), interface_tags=tags))
    world.add_node("n1")
    leader.run(120)
    assert condition(world, "n1.out")[0] == condition(world, "n1.two")[0] == TRUE
    assert world.attachments["n1.out"].status.eni != world.attachments["n1.two"].status.eni


def test_of_two_networks_with_the_same_tags_one_has_the_only_eni(world: World, leader: Leader) -> None:
    world.add_eni(Zone=ZONES[0], multus="out")
    world.add_network(adopting("out"))
    tags = world.networks["out"].interface_tags
    world.add_network(replace(adopting("two"), interface_tags=tags))
    world.add_node("n1")
    leader.run(120)
    reasons = Counter(condition(world, name)[1] for name in ("n1.out", "n1.two"))
    assert reasons == Counter({"Ready": 1, "NoneAvailable": 1})


def test_a_network_whose_enis_are_all_in_use_is_ready_while_nodes_stand_by(
    world: World, leader: Leader
) -> None:
    enis = [world.add_eni(zone, Zone=zone, multus="out") for zone in ZONES]
    world.add_network(adopting("out"))
    for number in range(5):
        world.add_node(f"n{number}", ZONES[number % 2])
    leader.run(60)
    found = leader.turn().networks["out"]
    assert (found.nodes, found.ready, found.failed) == (5, 2, 0)
    ready = found.conditions[READY]
    assert (ready.status, ready.reason) == (TRUE, STANDING_BY)
    assert ready.message == "3 of 5 nodes stand by: others have all ENIs to adopt"

    # One of them takes over, and nobody has to act meanwhile.
    holder = next(each for each in world.attachments.values() if each.status.eni == enis[0].id)
    world.pods[enis[0].mac] = ("ns/squid-0",)
    world.nodes[holder.node] = replace(world.nodes[holder.node], labels={})
    leader.run(30)
    found = leader.turn().networks["out"]
    assert found.conditions[READY].reason == "NodesNotReady"
    assert found.conditions[READY].message.startswith(f"{holder.name}: InUse: ")
    assert Counter(condition(world, name)[1] for name in world.attachments) == Counter(
        {"Ready": 1, "InUse": 1, STANDING_BY: 3}
    )
    world.pods.clear()
    leader.run(120)
    found = leader.turn().networks["out"]
    assert (found.nodes, found.ready, found.failed) == (4, 2, 0)
    assert found.conditions[READY].reason == STANDING_BY


def test_a_node_without_any_eni_to_adopt_does_not_stand_by(world: World, leader: Leader) -> None:
    eni = world.add_eni(Zone=ZONES[0], multus="out")
    world.add_network(adopting("out"))
    for number in range(2):
        world.add_node(f"n{number}", ZONES[0])
    world.add_node("n2", ZONES[1])
    leader.run(60)
    assert condition(world, "n2.out")[1] == "NoneAvailable"
    found = leader.turn().networks["out"]
    assert (found.ready, found.failed) == (1, 1)
    assert found.conditions[READY].reason == "NodesNotReady"
    assert found.conditions[READY].message.startswith("1 of 3 nodes are not ready. n2.out: NoneAvailable")
    # Nor do nodes that had it once, when somebody else has it.
    world._put(replace(world.enis[eni.id], instance="i-0e15ee1e", attachment="x"))  # noqa: SLF001 - EC2
    for name in ("n0.out", "n1.out"):
        each = world.attachments[name]
        world.attachments[name] = replace(each, status=replace(each.status, eni=eni.id))
    leader.run(400)
    assert {condition(world, name)[1] for name in world.attachments} == {"NoneAvailable"}
    assert leader.turn().networks["out"].failed == 3


def test_an_eni_to_adopt_that_is_attached_outside_of_the_cluster_is_looked_at_once_a_minute(
    world: World, leader: Leader
) -> None:
    eni = world.add_eni(Zone=ZONES[0], multus="out")
    world._put(replace(eni, instance="i-0e15ee1e", attachment="x", state=ATTACHED))  # noqa: SLF001 - EC2
    world.add_network(adopting("out"))
    world.add_node("n1")
    leader.run(60)
    assert "i-0e15ee1e" in condition(world, "n1.out")[2]
    world.calls.clear()
    leader.run(600)
    assert world.calls["DescribeEnis"] <= 10
    world._put(eni)  # noqa: SLF001 - what EC2 does
    leader.run(70)
    assert condition(world, "n1.out")[0] == TRUE


# Nodes.


def test_a_node_of_the_same_name_on_another_instance_gets_an_eni_of_its_own(
    world: World, leader: Leader
) -> None:
    name = "ip-10-0-0-1.eu-central-1.compute.internal"
    world.add_network(network("oam"))
    first = world.add_node(name)
    leader.run(60)
    (before,) = ours(world)
    second = world.add_node(name)
    leader.run(60)
    (after,) = ours(world)
    assert (before.instance, after.instance) == (first.instance, second.instance)
    assert after.id != before.id
    assert condition(world, f"{name}.oam")[0] == TRUE


def test_an_instance_that_was_stopped_and_changed_its_type_keeps_its_enis(
    world: World, leader: Leader
) -> None:
    world.add_network(network("oam"))
    node = world.add_node("n1")
    leader.run(60)
    before = ours(world)
    # Stopped: ENIs stay attached. Then fewer interfaces are allowed than it has.
    world.limit = 1
    world.nodes["n1"] = replace(world.nodes["n1"], type="t3.small")
    world.attachments["n1.oam"] = replace(world.attachments["n1.oam"], reported=None)
    leader.run(300)
    assert condition(world, "n1.oam")[1] == "LinkMissing"
    assert "container links" in condition(world, "n1.oam")[2]
    assert READY_PREFIX + "oam" in world.nodes["n1"].labels
    world._report(before[0])  # noqa: SLF001 - what the links container does when it is there again
    leader.run(30)
    assert condition(world, "n1.oam")[0] == TRUE
    assert ours(world) == before
    assert world.enis[before[0].id].instance == node.instance


# Columns of `kubectl get nodenetworks`.


def test_a_new_leader_writes_no_free_addresses_away_before_it_knows_the_limits(
    world: World, leader: Leader
) -> None:
    world.add_network(network("oam"))
    world.add_node("n1")
    leader.run(60)
    before = leader.turn().networks["oam"].free
    assert before is not None
    assert before > 0
    refuse(world, ReadLimits, Kind.THROTTLED)
    second = Leader(world)
    second.run(60)
    assert second.turn().networks["oam"].free == before


def test_free_is_not_zero_where_it_is_not_known(world: World, leader: Leader) -> None:
    world.add_network(network("oam"))
    plan = leader.turn()
    assert (plan.networks["oam"].nodes, plan.networks["oam"].free) == (0, 0)
    world.addresses = 0
    world.add_node("n1")
    leader.run(60)
    plan = leader.turn()
    assert (plan.networks["oam"].ready, plan.networks["oam"].free) == (1, None)


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("node", "there is no node n1 any more"),
        ("another", "node n1 is another one by now"),
        ("network", "NodeNetwork oam is deleted"),
        ("label", "the node is not selected any more"),
    ],
)
def test_why_a_node_attachment_is_released_is_said(
    world: World, leader: Leader, what: str, text: str
) -> None:
    world.add_network(network("oam"))
    world.add_node("n1")
    leader.run(60)
    match what:
        case "node":
            del world.nodes["n1"]
        case "another":
            world.add_node("n1")
        case "network":
            world.delete_network("oam")
        case _:
            world.nodes["n1"] = replace(world.nodes["n1"], labels={})
    # No pod uses it, as is seen first where the node is still there.
    said = set()
    for _ in range(5):
        status = leader.turn().attachments.get("n1.oam")
        if status is not None:
            said.add(status.conditions[READY].message)
    assert text in said
