"""Networks whose prefixes whereabouts hands out: the nodes' slices, and that none is taken from its pods."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ipagent.controller.model.node_attachment import READY, PodUsage
from ipagent.controller.model.node_slice_pools import SliceReport, slice_of, usable
from ipagent.controller.model.prefixes import CniSpec, Family, Ipam, PrefixSpec, PrefixState
from ipagent.controller.reconcile.node_slice_pools import NO_SLICES, pools_of
from tests.ipagent.controller.leader import Leader
from tests.ipagent.controller.prefix_world import OAM, PrefixWorld, condition, settle
from tests.ipagent.controller.world import RANGE, network

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("before", "prefixes", "found"),
    [
        ("", [], ""),
        ("", ["10.10.1.64/28", "10.10.1.16/28"], "10.10.1.16/28"),
        ("", ["10.10.1.16/28", "10.10.1.64/28", "10.10.1.80/28"], "10.10.1.64/27"),
        ("", ["2001:db8:0:0:7::/80"], "2001:db8:0:0:7::/80"),
        ("10.10.1.64/28", ["10.10.1.64/28", "10.10.1.80/28"], "10.10.1.64/28"),
        ("10.10.1.64/27", ["10.10.1.64/28", "10.10.1.80/28"], "10.10.1.64/27"),
        ("10.10.1.64/27", ["10.10.1.64/28"], "10.10.1.64/28"),
        ("10.10.1.64/28", ["10.10.1.16/28"], "10.10.1.16/28"),
    ],
)
def test_a_slice_stays_as_it_is_while_the_eni_has_it(before: str, prefixes: list[str], found: str) -> None:
    assert slice_of(before, prefixes) == found


def test_whereabouts_leaves_out_the_edges_of_a_slice() -> None:
    assert usable("10.10.1.64/28", ()) == 14
    assert usable("10.10.1.64/27", ("10.10.1.70", "10.10.1.90", "10.10.1.9", "2001:db8::1")) == 28


def world(ipv4: int = 1, ipv6: int = 0) -> PrefixWorld:
    family = Family.IPV4 if ipv4 else Family.IPV6
    found = PrefixWorld()
    prefixes = PrefixSpec(ipv4, ipv6, 4, CniSpec((family,)), Ipam.WHEREABOUTS)
    found.add_network(network("oam", prefixes=prefixes))
    found.add_node("n1")
    return found


def let_whereabouts_have(leader: Leader) -> None:
    pools = pools_of(leader.controller.state)
    leader.controller.observe_slices({name: SliceReport(pool.slices) for name, pool in pools.items()})


@pytest.mark.parametrize(("ipv4", "ipv6"), [(1, 0), (0, 1)])
def test_a_node_is_ready_once_its_slice_is_in_the_pool(ipv4: int, ipv6: int) -> None:
    oam = world(ipv4, ipv6)
    leader = Leader(oam)
    leader.run(30)
    (prefix,) = oam.prefixes(OAM)
    status = oam.attachments[OAM].status
    assert (status.slice, [each.state for each in status.prefixes]) == (prefix, [PrefixState.LENT])
    assert oam.attachments[OAM].cni is None, "the node writes no configuration"
    assert condition(oam) == ("Unknown", "WritingSlice")
    (pool,) = pools_of(leader.controller.state).values()
    assert (pool.network, pool.uid, pool.slices) == ("oam", "uid-oam", {"n1": prefix})
    assert pool.range == (RANGE if ipv4 else "")
    leader.controller.observe_slices({"oam": SliceReport({}, NO_SLICES)})
    leader.run(2)
    assert condition(oam, READY) == ("False", "SliceRefused")
    let_whereabouts_have(leader)
    leader.run(2)
    assert (condition(oam), condition(oam, READY)) == (("True", "Sliced"), ("True", "Ready"))
    leader.run(3600)
    assert oam.calls["AssignPrefixes"] == 1


def test_two_prefixes_that_are_neighbours_are_one_slice() -> None:
    oam = world(2)
    oam.serial = 16
    leader = Leader(oam)
    leader.run(30)
    assert oam.prefixes(OAM) == {"10.10.1.64/28", "10.10.1.80/28"}
    assert oam.attachments[OAM].status.slice == "10.10.1.64/27"


def test_nothing_is_taken_from_whereabouts_whatever_the_network_becomes() -> None:
    oam = world()
    leader = Leader(oam)
    leader.run(30)
    prefixes = oam.prefixes(OAM)
    for spec in (None, PrefixSpec(1, 0, 4), None):
        oam.networks["oam"] = replace(oam.networks["oam"], prefixes=spec)
        for _ in range(20):
            leader.run(60)
            oam.write_files()
            oam.report()
        assert oam.prefixes(OAM) >= prefixes
        (lent,) = (each for each in oam.attachments[OAM].status.prefixes if each.state is PrefixState.LENT)
        assert {lent.prefix} == prefixes
        assert lent.prefix not in oam.files[OAM], "its addresses are not handed out twice"


def test_in_a_fragmented_subnet_there_is_no_slice_and_the_remedy_is_said() -> None:
    oam = world()
    oam.blocks = 0
    leader = Leader(oam)
    leader.run(60)
    assert condition(oam, READY) == ("False", "SubnetFragmented")
    assert "create-subnet-cidr-reservation" in oam.attachments[OAM].status.conditions[READY].message
    assert oam.singles(OAM) == frozenset()
    assert oam.attachments[OAM].status.slice == ""


def test_what_pods_may_request_is_what_whereabouts_hands_out() -> None:
    oam = world()
    leader = Leader(oam)
    leader.run(30)
    let_whereabouts_have(leader)
    found = oam.attachments[OAM]
    first = found.status.slice.partition("/")[0].rpartition(".")
    held = [f"{first[0]}.{int(first[2]) + offset}" for offset in (1, 2, 3)]
    usage = PodUsage(found.status.mac, 2, frozenset(held[:2]), frozenset(held[2:]))
    oam.attachments[OAM] = replace(found, usage=usage)
    leader.run(10)
    status = oam.attachments[OAM].status
    assert (status.free, status.capacity, status.requested) == (11, 13, 2)


@pytest.mark.parametrize(
    "by", [(PrefixSpec(1, 0, 4), None), (PrefixSpec(1, 0, 4),)], ids=["by way of none", "at once"]
)
def test_what_host_local_has_handed_out_is_no_slice_until_its_pods_are_gone(
    by: tuple[PrefixSpec | None, ...],
) -> None:
    oam = world()
    sliced = oam.networks["oam"].prefixes
    oam.networks["oam"] = replace(oam.networks["oam"], prefixes=by[0])
    leader = Leader(oam)
    settle(oam, leader, pause=60)
    (hosted,) = oam.prefixes(OAM)
    assert oam.start_pod(OAM)
    oam.report()
    for spec in (*by[1:], sliced):
        oam.networks["oam"] = replace(oam.networks["oam"], prefixes=spec)
        leader.run(2)
    settle(oam, leader, 60, pause=60)
    status = oam.attachments[OAM].status
    states = {each.prefix: each.state for each in status.prefixes}
    assert states[hosted] is PrefixState.DRAINING
    assert status.slice != hosted
    assert states[status.slice] is PrefixState.LENT
    oam.end_pod(OAM)
    settle(oam, leader, 60, pause=60)
    assert oam.prefixes(OAM) == {status.slice}
    assert oam.cut_off == []


def test_what_is_lent_is_no_room_for_host_local() -> None:
    oam = world()
    leader = Leader(oam)
    leader.run(30)
    (lent,) = oam.prefixes(OAM)
    oam.networks["oam"] = replace(oam.networks["oam"], prefixes=None)
    leader.run(30)
    oam.networks["oam"] = replace(oam.networks["oam"], prefixes=PrefixSpec(1, 0, 1))
    settle(oam, leader, pause=60)
    (own,) = oam.prefixes(OAM) - {lent}
    assert condition(oam) == ("True", "Offered")
    assert own in oam.files[OAM]
    assert oam.attachments[OAM].status.free == 16
