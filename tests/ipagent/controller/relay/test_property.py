"""Whatever a node asks for, and whatever EC2 shows: no call goes beyond what the node may have."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.token_bucket import BucketsByKey
from ipagent.assign.holders import NO_MANAGE, why_immovable
from ipagent.call_relay import Action, RelayCall, RelayRequests
from ipagent.controller.model.ec2_snapshot import (
    ATTACHED,
    ATTACHING,
    AVAILABLE,
    CLUSTER_TAG,
    DETACHING,
    NETWORK_TAG,
    NODE_UID_TAG,
    Ec2Snapshot,
    Eni,
)
from ipagent.controller.model.relay import HolderAnswer, RelayState
from ipagent.controller.model.relay_calls import AssignAddresses, Place, UnassignAddresses
from ipagent.controller.model.state import State
from ipagent.controller.relay.decide import PACE, decide
from tests.ipagent.controller.relay.world import (
    RANGES,
    SUBNET,
    WALL,
    addresses,
    attachment,
    attachment_of,
    cloud_eni,
    details,
    eni_of,
)
from tests.ipagent.fakes import ip

pytestmark = pytest.mark.pure

NOW = 1000.0
NODES = ("n1", "n2", "n3")
V4 = addresses("10.20.0.5", "10.20.0.6", "10.20.7.20", "10.21.0.5", cloud_eni("n1").address)
V6 = addresses("2001:db8:20::5", "2001:db8:21::5")
PREFIX = "10.20.7.16/28"
NODE = st.sampled_from(NODES)


@st.composite
def enis(draw: st.DrawFn, node: str) -> Eni:
    tags = {
        NO_MANAGE: draw(st.sampled_from(["true", "true", "false"])),
        CLUSTER_TAG: draw(st.sampled_from(["prod", "prod", "test"])),
        NETWORK_TAG: draw(st.sampled_from(["oam", "oam", "sig"])),
        NODE_UID_TAG: f"uid-{draw(st.sampled_from([node, *NODES]))}",
    }
    return cloud_eni(
        node,
        tags=draw(st.sampled_from([tags, {NO_MANAGE: "true"}])),
        instance=f"i-{draw(st.sampled_from([node, node, *NODES]))}",
        state=draw(st.sampled_from([ATTACHED, ATTACHED, ATTACHING, DETACHING, AVAILABLE])),
        device=draw(st.sampled_from([1, 1, 0])),
        managed=draw(st.sampled_from([False, False, True])),
        prefixes=frozenset(draw(st.lists(st.just(PREFIX), max_size=1))),
    )


@st.composite
def calls(draw: st.DrawFn, id_: int) -> RelayCall:
    action = draw(st.sampled_from(Action))
    family = V6 if "Ipv6" in action.value else V4
    given_ = tuple(draw(st.lists(st.sampled_from(family), min_size=1, max_size=3, unique=True)))
    return RelayCall(id_, action, eni_of(draw(NODE)), given_, draw(st.booleans()))


HOLDERS = st.builds(
    lambda node, held, first, owner, at: HolderAnswer(
        at,
        (
            details(
                node,
                *held,
                device_number=0 if first else 1,
                no_manage=not owner,
                description="aws-K8S-i-0123" if owner else "",
            ),
        ),
    ),
    NODE,
    st.lists(st.sampled_from([*map(str, V4[:2]), str(V6[0])]), max_size=3, unique=True),
    st.booleans(),
    st.booleans(),
    st.sampled_from([NOW, NOW - 5, NOW - 20]),
)


@settings(max_examples=2 * settings().max_examples, deadline=None)
@given(st.data())
def test_no_call_goes_beyond_what_the_node_may_have(data: st.DataObject) -> None:
    known = {node: data.draw(enis(node)) for node in NODES}
    asked = {node: [data.draw(calls(number)) for number in range(3)] for node in NODES}
    attachments = {
        attachment_of(node): attachment(node, requests=RelayRequests("s1", WALL, tuple(each)))
        for node, each in asked.items()
    }
    places: list[Place] = [(SUBNET, address) for address in (*V4, *V6)]
    lookups = data.draw(st.dictionaries(st.sampled_from(places), HOLDERS))
    cluster = State(
        "prod", attachments=attachments, ec2=Ec2Snapshot(enis={each.id: each for each in known.values()})
    )

    plan = decide(RelayState(lookups=lookups), BucketsByKey(PACE), cluster, NOW, WALL)

    for call in plan.calls:
        if not isinstance(call, AssignAddresses | UnassignAddresses):
            continue
        own = known[call.node]
        assert call.request.attachment == attachment_of(call.node)
        assert (own.instance, own.no_manage, own.managed) == (f"i-{call.node}", True, False)
        assert own.state in (ATTACHED, ATTACHING)
        assert own.device != 0
        if NODE_UID_TAG in own.tags:
            assert (own.tags[CLUSTER_TAG], *own.key) == ("prod", f"uid-{call.node}", "oam")
        ranges = [ip_network(each) for each in RANGES]
        assert all(any(each in range_ for range_ in ranges) for each in call.addresses)
        taken = call.addresses
        if isinstance(call, AssignAddresses):
            assert call.eni == own.id
            taken = taken if call.reassign else ()
        elif call.eni == own.id:
            assert ip(own.address) not in call.addresses
            assert not own.prefixes or V4[2] not in call.addresses
            taken = ()
        for address in taken:
            answer = lookups[SUBNET, address]
            assert answer.at >= NOW - 10
            holders = [each for each in answer.enis if each.holds(address) and each.eni_id != own.id]
            assert not any(why_immovable(address, each) for each in holders)
            assert call.eni == own.id or [each.eni_id for each in holders] == [call.eni]
    made = {call.request for call in plan.calls if isinstance(call, AssignAddresses | UnassignAddresses)}
    assert made.isdisjoint(plan.answers)
