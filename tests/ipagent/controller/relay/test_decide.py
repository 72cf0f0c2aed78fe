"""What the controller does for node agents, request by request."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from ipagent.assign.ec2_error_codes import Fault
from ipagent.call_relay import MAX_AGE, Action, RelayAnswers, RelayCall, RelayRequests
from ipagent.controller.model.actions import Call
from ipagent.controller.model.relay_calls import (
    AssignAddresses,
    DescribeAttached,
    LookUpHolders,
    UnassignAddresses,
)
from ipagent.controller.reconcile.ec2_answers import Refused
from ipagent.controller.reconcile.ec2_error_conditions import Kind
from ipagent.controller.relay.controller import RelayController
from ipagent.controller.relay.decide import PATIENCE
from tests.ipagent.controller.relay.world import (
    SESSION,
    WALL,
    RelayLeader,
    RelayWorld,
    addresses,
    attachment,
    cloud_eni,
    details,
    refused,
    throttled,
)
from tests.ipagent.fakes import ip

pytestmark = pytest.mark.pure

V4, V6 = Action.ASSIGN_IPV4, Action.ASSIGN_IPV6
OFF4, OFF6 = Action.UNASSIGN_IPV4, Action.UNASSIGN_IPV6


@pytest.fixture
def world() -> RelayWorld:
    found = RelayWorld()
    for name in ("n1", "n2", "n3"):
        found.add_node(name)
    return found


@pytest.fixture
def leader(world: RelayWorld) -> RelayLeader:
    return RelayLeader(world)


def fault(world: RelayWorld, node: str, call: RelayCall) -> Fault | None:
    failure = world.answers(node)[call.id].failure
    return None if failure is None else failure.fault


def test_what_is_asked_for_is_called_once_and_answered_in_one_write(
    world: RelayWorld, leader: RelayLeader
) -> None:
    first = world.call("n1", V4, "10.20.0.5", "10.20.0.6")
    second = world.call("n1", V6, "2001:db8:20::5")
    third = world.call("n1", Action.DESCRIBE)
    world.ask("n1", first, second, third)
    leader.run(5)
    assert world.calls == {"AssignAddresses": 2, "DescribeAttached": 1}
    assert world.writes == 1
    found = world.answers("n1")
    assert found[first.id].addresses == frozenset(first.addresses)
    assert found[second.id].addresses == frozenset(second.addresses)
    assert [eni.eni_id for eni in found[third.id].interfaces] == ["eni-n1"]


def test_outside_of_the_allowed_cidrs_nothing_is_called(world: RelayWorld) -> None:
    leader = RelayLeader(world)
    leader.relay = RelayController((ip_network("10.20.1.0/24"),))
    barred, fine = world.call("n1", V4, "10.20.2.5"), world.call("n1", V4, "10.20.1.5")
    world.ask("n1", barred, fine)
    leader.run(5)
    assert world.calls == {"AssignAddresses": 1}
    assert (fault(world, "n1", barred), fault(world, "n1", fine)) == (Fault.REFUSED, None)


def test_looks_of_all_nodes_are_one_call(world: RelayWorld, leader: RelayLeader) -> None:
    calls = {}
    for number in range(150):
        node = world.add_node(f"m{number}", f"10.20.1.{number}")
        asked = world.call(node, Action.HOLDERS, f"10.20.1.{(number + 1) % 150}")
        calls[node] = (world.call(node, Action.DESCRIBE), asked)
        world.ask(node, *calls[node])
    leader.run(1)
    assert world.calls == {"DescribeAttached": 1, "LookUpHolders": 1}
    for number, (node, (describe, holders)) in enumerate(calls.items()):
        found = world.answers(node)
        assert [eni.eni_id for eni in found[describe.id].interfaces] == [f"eni-{node}"]
        (holder,) = found[holders.id].interfaces
        assert holder.eni_id == f"eni-m{(number + 1) % 150}"
        assert holder.secondaries == holders.addresses


def test_more_than_one_call_can_carry_are_looked_up_by_several(
    world: RelayWorld, leader: RelayLeader
) -> None:
    calls = []
    for number in range(4):
        node = world.add_node(f"m{number}", *(f"10.20.{number}.{each}" for each in range(10, 20)))
        texts = [f"10.20.{number}.{each}" for each in range(64)]
        calls.append((node, world.call(node, Action.HOLDERS, *texts)))
        world.ask(node, calls[-1][1])
    leader.run(1)
    assert world.calls == {"LookUpHolders": 2}
    assert [[eni.eni_id for eni in world.answers(node)[each.id].interfaces] for node, each in calls] == [
        [f"eni-{node}"] for node, _ in calls
    ]


def test_a_look_that_was_sent_before_answers_no_later_request(world: RelayWorld, leader: RelayLeader) -> None:
    leader.latency = 0.2
    world.ask("n1", early := world.call("n1", Action.DESCRIBE))
    leader.turn()
    world.enis["eni-n2"] = details("n2", "10.20.0.9")
    world.ask("n2", late := world.call("n2", Action.DESCRIBE))
    leader.run(1)
    assert world.calls["DescribeAttached"] == 2
    assert early.id in world.answers("n1")
    assert world.answers("n2")[late.id].interfaces[0].secondaries == addresses("10.20.0.9")


def test_a_node_attachment_that_is_made_anew_gets_no_answer_to_the_former_ones_calls(
    world: RelayWorld, leader: RelayLeader
) -> None:
    leader.latency = 0.2
    early = world.call("n1", V4, "10.20.0.5")
    world.ask("n1", early, world.call("n1", Action.DESCRIBE))
    leader.turn()
    assert world.calls == {"AssignAddresses": 1, "DescribeAttached": 1}
    # Both are on their way when the NodeAttachment goes, and another one comes with another ENI.
    fresh = attachment("n1")
    world.enis["eni-new"] = details("n1", eni_id="eni-new")
    world.known["eni-new"] = cloud_eni("n1", id="eni-new")
    status = replace(fresh.status, eni="eni-new")
    world.attachments[fresh.name] = replace(fresh, uid="uid-2", status=status)
    late = [
        world.call("n1", action, *on, eni="eni-new")
        for action, on in ((V4, ["10.20.0.6"]), (OFF4, ["10.20.0.5"]))
    ]
    world.ask("n1", *late)
    leader.run(5)
    found = world.answers("n1")
    assert found.keys() == {call.id for call in late}
    assert found[late[0].id].addresses == frozenset(addresses("10.20.0.6"))
    assert fault(world, "n1", late[1]) is Fault.NOT_HELD
    # What is asked about the former ENI is not done on the new one.
    world.ask("n1", stray := world.call("n1", V4, "10.20.0.7"))
    leader.run(5)
    assert fault(world, "n1", stray) is Fault.NO_ENI


def test_an_interface_that_is_gone_is_said_to_be(world: RelayWorld, leader: RelayLeader) -> None:
    del world.enis["eni-n1"]
    world.ask("n1", asked := world.call("n1", Action.DESCRIBE))
    leader.run(1)
    assert fault(world, "n1", asked) is Fault.NO_ENI


def test_prefixes_are_found_by_listing_the_subnet(world: RelayWorld, leader: RelayLeader) -> None:
    world.enis["eni-n2"] = details("n2", prefixes=(ip_network("10.20.7.16/28"),))
    world.ask("n1", asked := world.call("n1", Action.PREFIX_HOLDERS, "10.20.7.20"))
    leader.run(1)
    assert world.calls == {"DescribeSubnetHolders": 1}
    (found,) = world.answers("n1")[asked.id].interfaces
    assert (found.eni_id, found.prefixes) == ("eni-n2", (ip_network("10.20.7.16/28"),))


def test_calls_about_the_same_address_go_in_their_order(world: RelayWorld, leader: RelayLeader) -> None:
    world.enis["eni-n1"] = details("n1", "10.20.0.5")
    off = world.call("n1", OFF4, "10.20.0.5")
    again = world.call("n1", V4, "10.20.0.5", "10.20.0.6")
    other = world.call("n1", V4, "10.20.0.7")
    world.ask("n1", off, again, other)
    leader.latency = 0.2
    leader.turn()
    assert world.calls == {"UnassignAddresses": 1, "AssignAddresses": 1}
    leader.run(1)
    assert world.held("n1") == {"10.20.0.5", "10.20.0.6", "10.20.0.7"}
    assert [fault(world, "n1", each) for each in (off, again, other)] == [None] * 3


def test_a_refused_assignment_comes_with_the_holder(world: RelayWorld, leader: RelayLeader) -> None:
    world.enis["eni-n2"] = details("n2", "10.20.0.5", "10.20.0.6")
    world.ask("n1", asked := world.call("n1", V4, "10.20.0.5"))
    leader.run(1)
    answer = world.answers("n1")[asked.id]
    assert fault(world, "n1", asked) is Fault.HELD_ELSEWHERE
    assert [(eni.eni_id, eni.secondaries) for eni in answer.interfaces] == [
        ("eni-n2", addresses("10.20.0.5"))
    ]
    # The takeover that follows needs no further look.
    world.ask("n1", world.call("n1", V4, "10.20.0.5", reassign=True))
    leader.run(1)
    assert world.calls == {"AssignAddresses": 2, "LookUpHolders": 1}
    assert (world.held("n1"), world.held("n2")) == ({"10.20.0.5"}, {"10.20.0.6"})


def test_the_holder_is_left_out_where_it_can_not_be_looked_up(world: RelayWorld, leader: RelayLeader) -> None:
    world.enis["eni-n2"] = details("n2", "10.20.0.5")
    world.refuse = lambda call: (
        refused(call, Fault.NO_PERMISSION, "UnauthorizedOperation", Kind.NOT_PERMITTED)
        if isinstance(call, LookUpHolders)
        else None
    )
    world.ask("n1", asked := world.call("n1", V4, "10.20.0.5"))
    leader.run(1)
    assert fault(world, "n1", asked) is Fault.HELD_ELSEWHERE
    assert world.answers("n1")[asked.id].interfaces == ()
    # Nothing is taken without knowing whose it is.
    world.ask("n1", asked := world.call("n1", V4, "10.20.0.5", reassign=True))
    leader.run(1)
    failure = world.answers("n1")[asked.id].failure
    assert failure is not None
    assert failure.fault is Fault.NO_PERMISSION
    assert failure.remedy == "Give the controller's role the statements of examples/iam/controller.json."
    assert world.held("n2") == {"10.20.0.5"}


def test_a_takeover_is_looked_at_by_the_controller_first(world: RelayWorld, leader: RelayLeader) -> None:
    world.enis["eni-n2"] = details("n2", "10.20.0.5", no_manage=False, description="aws-K8S-i-0123")
    world.enis["eni-n3"] = details("n3", "10.20.0.6")
    theirs = world.call("n1", V4, "10.20.0.5", reassign=True)
    pods = world.call("n1", V4, "10.20.0.6", reassign=True)
    free = world.call("n1", V4, "10.20.0.7", reassign=True)
    world.ask("n1", theirs, pods, free)
    leader.run(1)
    assert fault(world, "n1", theirs) is Fault.HELD_ELSEWHERE
    assert [eni.eni_id for eni in world.answers("n1")[theirs.id].interfaces] == ["eni-n2"]
    assert world.held("n1") == {"10.20.0.6", "10.20.0.7"}
    assert world.held("n2") == {"10.20.0.5"}
    assert world.calls == {"AssignAddresses": 2, "LookUpHolders": 1}
    # Nobody has it: nobody is to lose it either, should somebody get it meanwhile.
    flags = {call.addresses: call.reassign for call in world.made if isinstance(call, AssignAddresses)}
    assert flags == {pods.addresses: True, free.addresses: False}


def test_an_address_that_flaps_is_looked_up_once_a_minute(world: RelayWorld, leader: RelayLeader) -> None:
    world.enis["eni-n2"] = details("n2", "10.20.0.5")
    for number in range(8):
        node = ("n1", "n2")[number % 2]
        world.ask(node, world.call(node, V4, "10.20.0.5", reassign=True))
        leader.run(15)
        assert world.held(node) == {"10.20.0.5"}
    assert world.calls == {"AssignAddresses": 8, "LookUpHolders": 2}


def test_ipv6_is_taken_off_the_interface_that_has_it(world: RelayWorld, leader: RelayLeader) -> None:
    world.enis["eni-n2"] = details("n2", "2001:db8:20::5")
    world.enis["eni-n3"] = details("n3", "2001:db8:20::6", device_number=0)
    mine = world.call("n1", OFF6, "2001:db8:20::5", eni="eni-n2")
    first = world.call("n1", OFF6, "2001:db8:20::6", eni="eni-n3")
    nobody = world.call("n1", OFF6, "2001:db8:20::7", eni="eni-n3")
    world.ask("n1", mine, first, nobody)
    leader.run(1)
    assert [fault(world, "n1", each) for each in (mine, first, nobody)] == [
        None,
        Fault.HELD_ELSEWHERE,
        Fault.NOT_HELD,
    ]
    assert (world.held("n2"), world.held("n3")) == (set(), {"2001:db8:20::6"})
    assert world.calls == {"UnassignAddresses": 1, "LookUpHolders": 1}


def test_what_ec2_refuses_is_told_as_it_is(world: RelayWorld, leader: RelayLeader) -> None:
    world.room = 1
    world.ask("n1", asked := world.call("n1", V4, "10.20.0.5", "10.20.0.6"))
    leader.run(1)
    failure = world.answers("n1")[asked.id].failure
    assert failure is not None
    assert (failure.fault, failure.text) == (Fault.ENI_FULL, "PrivateIpAddressLimitExceeded")
    assert world.calls == {"AssignAddresses": 1}


def test_a_throttled_call_is_made_again_by_the_controller(world: RelayWorld, leader: RelayLeader) -> None:
    times = [2]

    def refuse(call: Call) -> Refused | None:
        times[0] -= 1
        return throttled(call) if times[0] >= 0 else None

    world.refuse = refuse
    world.ask("n1", asked := world.call("n1", V4, "10.20.0.5"))
    leader.run(PATIENCE)
    assert fault(world, "n1", asked) is None
    assert world.calls == {"AssignAddresses": 3}


def test_the_node_agent_is_told_before_it_gives_up(world: RelayWorld, leader: RelayLeader) -> None:
    world.refuse = throttled
    wanted = [
        world.call("n1", V4, "10.20.0.5"),
        world.call("n1", Action.DESCRIBE),
        world.call("n1", Action.HOLDERS, "10.20.0.6"),
        world.call("n1", V4, "10.20.0.7", reassign=True),
    ]
    world.ask("n1", *wanted)
    leader.run(PATIENCE + 1)
    assert [fault(world, "n1", each) for each in wanted] == [Fault.THROTTLED] * 4
    assert sum(world.calls.values()) <= 20


def test_a_withdrawn_request_is_not_made(world: RelayWorld, leader: RelayLeader) -> None:
    world.refuse = throttled
    world.ask("n1", world.call("n1", V4, "10.20.0.5"))
    leader.run(2)
    world.refuse = lambda _: None
    world.ask("n1")
    before = world.calls["AssignAddresses"]
    leader.run(30)
    assert world.calls["AssignAddresses"] == before
    assert world.held("n1") == set()
    assert leader.relay.waiting == {}


def test_an_answer_to_a_former_run_is_nobodys(world: RelayWorld, leader: RelayLeader) -> None:
    leader.latency = 0.5
    first = world.call("n1", V4, "10.20.0.5")
    world.ask("n1", first)
    leader.run(0.2)
    world.ask("n1", replace(first, addresses=addresses("10.20.0.6")), session="s2")
    leader.run(0.2)
    assert world.answers("n1") == {}
    leader.run(2)
    assert world.answers("n1")[first.id].addresses == {ip("10.20.0.6")}
    assert world.held("n1") == {"10.20.0.5", "10.20.0.6"}


def test_a_call_on_its_way_is_waited_for_though_the_node_agent_has_begun_anew(
    world: RelayWorld, leader: RelayLeader
) -> None:
    world.enis["eni-n1"] = details("n1", "10.20.0.5")
    leader.latency = 0.5
    world.ask("n1", world.call("n1", OFF4, "10.20.0.5"))
    leader.run(0.2)
    again = world.call("n1", V4, "10.20.0.5")
    world.ask("n1", again, session="s2")
    leader.run(0.2)
    assert world.calls == {"UnassignAddresses": 1}, "EC2 might carry out the later call first"
    leader.run(2)
    assert world.calls == {"UnassignAddresses": 1, "AssignAddresses": 1}
    assert world.held("n1") == {"10.20.0.5"}


def test_an_old_request_is_not_made(world: RelayWorld, leader: RelayLeader) -> None:
    asked = world.call("n1", V4, "10.20.0.5")
    world.put("n1", requests=RelayRequests(SESSION, WALL + world.now - MAX_AGE - 1, (asked,)))
    leader.run(1)
    assert fault(world, "n1", asked) is Fault.TRANSIENT
    assert world.calls == {}


def test_what_can_not_be_read_is_answered(world: RelayWorld, leader: RelayLeader) -> None:
    asked = world.call("n1", V4, "10.20.0.5")
    wrong = {7_000: "KeyError: 'action'"}
    world.put("n1", requests=RelayRequests(SESSION, WALL + world.now, (asked,), wrong))
    leader.run(1)
    assert fault(world, "n1", asked) is None
    assert world.answers("n1")[7_000].failure is not None
    before = world.writes
    leader.run(5)
    assert world.writes == before


def test_answers_are_dropped_with_the_next_write(world: RelayWorld, leader: RelayLeader) -> None:
    world.ask("n1", first := world.call("n1", V4, "10.20.0.5"))
    leader.run(1)
    world.ask("n1")
    leader.run(1)
    assert world.writes == 1
    world.ask("n1", second := world.call("n1", V4, "10.20.0.6"))
    leader.run(1)
    assert world.writes == 2
    assert set(world.answers("n1")) == {second.id}
    assert first.id != second.id


def test_a_former_leaders_late_write_is_put_right(world: RelayWorld, leader: RelayLeader) -> None:
    world.ask("n1", asked := world.call("n1", V4, "10.20.0.5"))
    leader.run(1)
    world.put("n1", responses=RelayAnswers(SESSION))
    leader.run(1)
    assert asked.id in world.answers("n1")
    assert world.calls == {"AssignAddresses": 1}


def test_a_call_waits_for_an_interface_that_is_not_described_yet(
    world: RelayWorld, leader: RelayLeader
) -> None:
    known = world.known.pop("eni-n1")
    world.ask("n1", asked := world.call("n1", V4, "10.20.0.5"))
    leader.run(2)
    assert world.answers("n1") == {}
    world.known["eni-n1"] = known
    leader.run(1)
    assert fault(world, "n1", asked) is None


def test_a_deposed_leader_answers_nothing(world: RelayWorld, leader: RelayLeader) -> None:
    world.refuse = lambda _: Refused(Kind.TRANSIENT, "", "this replica does not lead any more")
    world.ask("n1", world.call("n1", V4, "10.20.0.5"), world.call("n1", Action.DESCRIBE))
    leader.turn()
    leader.turn()
    assert world.answers("n1") == {}


def test_each_node_has_its_turn_and_assignments_go_first(world: RelayWorld, leader: RelayLeader) -> None:
    world.enis["eni-n2"] = details("n2", "10.20.2.1")
    world.ask("n1", *(world.call("n1", V4, f"10.20.1.{number}") for number in range(16)))
    world.ask("n2", world.call("n2", OFF4, "10.20.2.1"), world.call("n2", V4, "10.20.2.2"))
    world.ask("n3", world.call("n3", V4, "10.20.3.1"))
    leader.turn()
    changes = [call for call in world.made if isinstance(call, AssignAddresses | UnassignAddresses)]
    assert [call.node for call in changes[:3]] == ["n1", "n2", "n3"]
    assert {call.node for call in changes[3:]} == {"n1"}
    leader.run(3)
    ordered = [call for call in world.made if isinstance(call, UnassignAddresses)]
    assert len(ordered) == 1
    assert world.held("n2") == {"10.20.2.2"}


def test_a_node_agent_that_asks_without_end_is_slowed_down(world: RelayWorld, leader: RelayLeader) -> None:
    def ask() -> bool:
        if not all(call.id in world.answers("n1") for call in asked):
            return False
        asked[:] = [world.call("n1", Action.DESCRIBE) for _ in range(16)]
        world.ask("n1", *asked)
        return True

    asked: list[RelayCall] = []
    leader.run(60, ask)
    served = sum(len(call.requests) for call in world.made if isinstance(call, DescribeAttached))
    assert served <= 60 + 2 * 60 + 2 * 16


def test_at_rest_nothing_is_called_or_written(world: RelayWorld, leader: RelayLeader) -> None:
    leader.run(600)
    assert (world.calls, world.writes) == ({}, 0)
