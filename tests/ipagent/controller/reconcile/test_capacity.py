"""How many addresses of a network a node has for pods, and what nodes say of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipagent.controller.model.ec2_snapshot import Eni
from ipagent.controller.model.node import Taint
from ipagent.controller.model.node_attachment import PodUsage
from ipagent.controller.model.node_network import LinkSpec
from ipagent.controller.reconcile.capacity import CONFIRM, FamilyLimit, capacity
from ipagent.controller.reconcile.node_labels_and_taints import FULL
from ipagent.node_network_api import FULL_TAINT
from tests.ipagent.controller.leader import Leader
from tests.ipagent.controller.world import World, network

pytestmark = pytest.mark.pure

RESOURCE = "multus-eni.io/oam"

CASES: dict[str, tuple[list[FamilyLimit], int, int, int]] = {
    "all but the primary address": ([FamilyLimit(15, 1)], 0, 0, 14),
    "addresses of others": ([FamilyLimit(15, 4)], 0, 0, 11),
    "a reserve": ([FamilyLimit(15, 1)], 3, 0, 11),
    "the smaller family": ([FamilyLimit(15, 1), FamilyLimit(10)], 0, 0, 10),
    "the smaller family is IPv4": ([FamilyLimit(15, 9), FamilyLimit(10)], 0, 0, 6),
    "never less than is requested": ([FamilyLimit(15, 12)], 2, 9, 9),
    "never less than nothing": ([FamilyLimit(4, 9)], 2, 0, 0),
}


@pytest.mark.parametrize("case", CASES)
def test_capacity(case: str) -> None:
    families, reserve, requested, expected = CASES[case]
    assert capacity(families, reserve, requested) == expected


families_of = st.builds(FamilyLimit, st.integers(0, 50), st.integers(0, 60))


@given(st.lists(families_of, min_size=1, max_size=2), st.integers(0, 60), st.integers(0, 60), st.data())
def test_more_of_others_is_never_more_for_pods(
    families: list[FamilyLimit], reserve: int, requested: int, data: st.DataObject
) -> None:
    found = capacity(families, reserve, requested)
    assert found >= requested
    taken = data.draw(st.integers(0, 20))
    worse = [replace(each, taken=each.taken + taken) for each in families]
    assert capacity(worse, reserve, requested) <= found
    assert capacity(families, reserve + taken, requested) <= found
    assert capacity([*families, FamilyLimit(100)], reserve, requested) <= found


class Account:
    """A world with one node and its network; pods come and go."""

    def __init__(self, **fields: object) -> None:
        self.world = World()
        self.world.add_network(network("oam", **fields))
        self.world.add_node("n1")
        self.leader = Leader(self.world)
        self.leader.run(30)

    @property
    def eni(self) -> Eni:
        return self.world.enis[self.world.attachments["n1.oam"].status.eni]

    def report(self, requested: int = 0, *addresses: str, others: tuple[str, ...] = ()) -> None:
        """Report as the node agent does."""
        found = self.world.attachments["n1.oam"]
        assert found.report_pods
        usage = PodUsage(self.eni.mac, requested, frozenset(addresses), frozenset(others))
        self.world.attachments["n1.oam"] = replace(found, usage=usage)

    def assign(self, *addresses: str) -> None:
        """Have EC2 show these secondary addresses, and no others."""
        ipv4 = 1 + sum(":" not in each for each in addresses)
        self.world.enis[self.eni.id] = replace(self.eni, addresses=frozenset(addresses), ipv4=ipv4)

    def run(self, seconds: float = 30) -> str | None:
        """Let time pass; returns what the node's capacity says."""
        self.leader.run(seconds)
        found = self.world.nodes["n1"].advertised.get(RESOURCE)
        if found is None:
            return None
        assert found[0] == found[1]
        return found[0]

    def taints(self) -> tuple[Taint, ...]:
        return self.world.nodes["n1"].taints

    def told(self) -> bool:
        """Return whether the node agent is asked to report."""
        return self.world.attachments["n1.oam"].report_pods

    @property
    def free(self) -> int | None:
        return self.world.attachments["n1.oam"].status.free


def test_a_node_says_what_it_has_once_its_pods_are_known() -> None:
    account = Account()
    assert account.run() is None
    account.report()
    assert account.run(1) == "14"
    assert account.free == 14


def test_what_pods_request_is_counted_by_the_scheduler_alone() -> None:
    account = Account()
    account.report(3, "10.0.0.5", "10.0.0.6")
    account.assign("10.0.0.5", "10.0.0.6")
    assert account.run() == "14"
    assert account.free == 11


def test_pods_that_do_not_request_it_are_subtracted_at_once() -> None:
    account = Account(reserve=1)
    account.report(others=("10.0.0.5", "10.0.0.6"))
    assert account.run(1) == "11"
    account.assign("10.0.0.5", "10.0.0.6")
    assert account.run() == "11"


def test_addresses_of_nobody_are_subtracted_once_ec2_has_shown_them_twice() -> None:
    account = Account()
    account.report()
    assert account.run(1) == "14"
    account.assign("10.0.0.9")
    assert account.run(400) == "13"
    account.assign()
    assert account.run(400) == "14"


def test_an_address_that_goes_with_its_pod_is_no_strangers() -> None:
    account = Account()
    account.report(1, "10.0.0.5")
    account.assign("10.0.0.5")
    account.run(400)
    account.assign()
    account.report()
    seen = set()
    for _ in range(40):
        seen.add(account.run(0.1))
    assert seen == {"14"}


def test_a_new_leader_promises_nothing_before_it_knows_whose_the_addresses_are() -> None:
    account = Account()
    account.report(1, "10.0.0.5", others=("10.0.0.6",))
    account.assign("10.0.0.5", "10.0.0.6", "10.0.0.7", "10.0.0.8")
    assert account.run(400) == "11"
    account.leader = Leader(account.world)
    seen = {account.run(0.1) for _ in range(40)}
    assert seen == {"11"}
    assert CONFIRM < 4.0


def test_a_report_about_a_former_eni_changes_nothing() -> None:
    account = Account()
    account.report(2)
    assert account.run(1) == "14"
    usage = PodUsage("02:00:00:00:ff:ff", 0, frozenset(), frozenset({"10.0.0.7"}))
    found = account.world.attachments["n1.oam"]
    account.world.attachments["n1.oam"] = replace(found, usage=usage)
    assert account.run(1) == "14"
    assert account.free == 12


def test_ipv6_counts_where_it_is_in_use() -> None:
    account = Account()
    account.world.ipv6_limit = 6
    account.leader = Leader(account.world)
    account.report(1, "10.0.0.5")
    assert account.run() == "14"
    account.report(1, "10.0.0.5", "2001:db8::5")
    assert account.run() == "6"
    account.assign("10.0.0.5", "2001:db8::5", "2001:db8::6")
    assert account.run(400) == "5"


def test_prefixes_of_an_eni_have_a_slot_each() -> None:
    account = Account()
    account.world.enis[account.eni.id] = replace(account.eni, ipv4=3)
    account.report()
    assert account.run(400) == "12"


def test_a_kubelet_that_resets_its_resources_gets_them_back_at_once() -> None:
    account = Account()
    account.report(5)
    assert account.run(1) == "14"
    for lost in ({RESOURCE: ("0", "0")}, {}, {RESOURCE: ("14", "")}):
        account.world.nodes["n1"] = replace(account.world.nodes["n1"], advertised=lost)
        account.leader.turn()
        assert account.world.nodes["n1"].advertised == {RESOURCE: ("14", "14")}
    # Also by a leader that has not described EC2 yet.
    account.world.nodes["n1"] = replace(account.world.nodes["n1"], advertised={RESOURCE: ("0", "0")})
    Leader(account.world).turn()
    assert account.world.nodes["n1"].advertised == {RESOURCE: ("14", "14")}


def test_a_node_that_leaves_the_network_loses_the_resource() -> None:
    account = Account()
    account.report()
    assert account.run(1) == "14"
    account.world.nodes["n1"] = replace(account.world.nodes["n1"], labels={})
    assert account.run() is None


def test_nothing_is_advertised_or_reported_where_nobody_wants_it() -> None:
    account = Account(advertise=False)
    assert not account.told()
    assert account.run() is None
    account.world.networks["oam"] = replace(account.world.networks["oam"], full_taint=True)
    account.run()
    assert account.told()
    account.report(1)
    assert account.run() is None
    assert account.free == 13


def test_a_full_node_is_marked_until_an_address_is_free() -> None:
    account = Account(full_taint=True)
    account.report(13)
    account.run()
    assert FULL not in account.taints()
    account.report(14)
    account.run(1)
    assert account.taints() == (FULL,)
    assert (FULL.key, FULL.effect) == (FULL_TAINT, "NoSchedule")
    account.report(13, others=("10.0.0.5",))
    account.run(1)
    assert account.taints() == (FULL,)
    account.report(13)
    account.run(1)
    assert account.taints() == ()
    account.report(14)
    account.run(1)
    account.world.networks["oam"] = replace(account.world.networks["oam"], full_taint=False)
    account.run(1)
    assert account.taints() == ()


def test_ec2_is_asked_ever_less_about_addresses_of_nobody() -> None:
    account = Account()
    account.report()
    account.assign("10.0.0.9")
    account.run(400)
    account.world.calls.clear()
    account.run(3000)
    assert account.world.calls["DescribeEnis"] <= 3000 / 100
    assert account.world.calls["DescribeAll"] == 10


def test_a_spec_that_changes_reaches_the_node_agent() -> None:
    account = Account()
    assert account.told()
    found = account.world.networks["oam"]
    account.world.networks["oam"] = replace(found, advertise=False, link=LinkSpec("oam", mtu=1500))
    account.run(5)
    assert not account.told()
    assert account.world.attachments["n1.oam"].link.mtu == 1500
