"""Who may have which address on which ENI."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.agent_settings import Takeover
from common.exit_codes import ExitCode
from ipagent.assign.addresses import Detection, Link, parse_address
from ipagent.assign.topology import Topology
from ipagent.node.model.claim import Claim
from ipagent.node.model.grants import NOTHING, Grant
from ipagent.node.model.pod import Pod, PodKey
from ipagent.node.reconcile.conflicts import Desired, resolve_conflicts
from ipagent.node.reconcile.desired import ClaimView, PodDesired, desired_for
from tests.ipagent.fakes import Time
from tests.ipagent.node.account import Account
from tests.ipagent.node.pods import MAC_0, claim, holding, key, pod

pytestmark = pytest.mark.pure

CLOUD = Account(Time()).node("a", 1)
NODE = CLOUD.topology(())
FLOATS = Grant((ip_network("10.1.9.0/24"),))
ALL = Grant((ip_network("10.1.9.0/24"),), takeover=True)


def wished(
    pod: Pod, claim: Claim | None = None, grant: Grant = NOTHING, topology: Topology = NODE, **stated: Any
) -> PodDesired:
    return desired_for(pod, None if claim is None else ClaimView(claim, **stated), grant, topology)


def placed(found: PodDesired | Desired) -> dict[str, str]:
    return {str(each.holding.address): each.eni.id for each in found.placements}


class TestOnePod:
    def test_its_network_status_gives_it_its_addresses_without_grant_and_claim(self) -> None:
        found = wished(pod("a", holdings=(holding("10.1.1.1"), holding("10.2.1.1", "net2"))))
        assert placed(found) == {"10.1.1.1": "eni-a-1", "10.2.1.1": "eni-a-2"}
        assert not any(each.takeover for each in found.placements)

    @pytest.mark.parametrize(
        ("state", "stated", "taken_over"),
        [
            ({}, None, {"10.1.1.1", "10.1.1.2"}),
            ({"leaving": True}, None, set()),
            ({"leaving": True}, ["10.1.1.1", "10.1.9.1"], {"10.1.9.1"}),
            ({"remade": True}, None, set()),
            ({"remade": True}, ["10.1.1.1", "10.1.9.1"], {"10.1.1.1", "10.1.9.1"}),
            ({"remade": True, "leaving": True}, ["10.1.1.1"], set()),
        ],
    )
    def test_what_ipam_may_have_given_to_another_node_is_not_taken_over(
        self, state: dict[str, Any], stated: list[str] | None, taken_over: set[str]
    ) -> None:
        one = pod("a", "10.1.1.1", "10.1.1.2", **state)
        found = wished(one, None if stated is None else claim("a", *stated), ALL)
        assert {"10.1.1.1", "10.1.1.2"} <= placed(found).keys()
        assert {str(each.holding.address) for each in found.placements if each.takeover} == taken_over

    def test_where_the_mac_is_foreign_the_subnet_names_the_eni(self) -> None:
        found = wished(pod("a", holdings=(holding("10.2.1.1", mac="5e:00:00:00:00:01"),)))
        assert placed(found) == {"10.2.1.1": "eni-a-2"}
        assert "macvlan" in found.placements[0].warning

    def test_a_missing_mac_is_taken_from_the_kernel(self) -> None:
        both = replace(NODE.enis[2], subnet_id="subnet-1", subnet_cidrs=NODE.enis[1].subnet_cidrs)
        twins = Topology((NODE.enis[0], both, NODE.enis[1]))
        status = pod("a", holdings=(replace(holding("10.1.1.1"), mac=""),))
        links = (Link(2, "eth0", "0a:00:00:00:00:02"), Link(3, "net1", both.mac))
        assert placed(wished(status, topology=twins)) == {"10.1.1.1": "eni-a-1"}
        assert placed(wished(status, claim("a", "10.1.1.1", links=links), topology=twins)) == {
            "10.1.1.1": "eni-a-2"
        }

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            (holding("10.0.1.1", mac=MAC_0), "device number 0"),
            (holding("192.168.7.7"), "outside that ENI's subnet"),
            (holding("192.168.7.7", mac=""), "no ENI of this node"),
        ],
    )
    def test_what_no_eni_of_ours_carries_is_said(self, bad: Any, said: str) -> None:
        found = wished(pod("a", holdings=(bad, holding("10.1.1.1"))))
        assert placed(found) == {"10.1.1.1": "eni-a-1"}
        (problem,) = found.unplaced
        assert said in problem.text
        assert problem.error.exit_code is ExitCode.NO_ENI

    def test_an_eni_that_is_not_ours_gets_nothing(self) -> None:
        barred = Topology(tuple(replace(each, barred="lacks the tag") for each in NODE.enis))
        found = wished(pod("a", "10.1.1.1"), topology=barred)
        assert placed(found) == {}
        assert "lacks the tag" in found.unplaced[0].text

    @pytest.mark.parametrize("agent", [None, "claim"])
    def test_outside_of_the_allowed_cidrs_it_gets_nothing(self, agent: str | None) -> None:
        grant = replace(ALL, allowed=(ip_network("10.1.1.0/24"),))
        stated = claim("a", "10.1.1.1", "10.1.7.1", "10.1.9.1") if agent else None
        found = wished(pod("a", "10.1.1.1", "10.1.7.1"), stated, grant)
        assert placed(found) == {"10.1.1.1": "eni-a-1"}
        assert {str(each.holding.address) for each in found.problems} == {
            "10.1.7.1",
            *(["10.1.9.1"] if agent else []),
        }
        for problem in found.problems:
            assert problem.error.exit_code is ExitCode.ADDRESS_REFUSED
            assert problem.text == "it lies outside the allowed CIDRs 10.1.1.0/24"

    def test_what_the_clusters_own_cni_manages_is_not_claimed(self) -> None:
        """The VPC CNI's second interface, whose address is of its own pool."""
        links = (
            Link(2, "eth0", "0a:00:00:00:00:02"),
            Link(3, "net1", holding("10.1.1.1").mac),
            Link(4, "net2", "02:00:00:00:00:99"),
        )
        status = pod("a", "10.1.1.1", default_interfaces=("eth0", "net2"))
        found = wished(status, claim("a", "10.1.1.1", "10.2.0.77", links=links, interfaces=()), ALL)
        assert placed(found) == {"10.1.1.1": "eni-a-1"}
        assert (found.problems, found.error) == ((), None)
        assert parse_address("10.2.0.77") not in found.named

    def test_a_mac_that_may_be_an_enis_waits(self) -> None:
        found = desired_for(pod("a", "10.1.1.1"), None, NOTHING, NODE, {holding("10.1.1.1").mac})
        assert placed(found) == {}
        assert list(found.held_back.values()) == ["its ENI is being looked for"]

    def test_the_annotation_narrows_the_interfaces(self) -> None:
        both = (holding("10.1.1.1"), holding("10.2.1.1", "net2"))
        found = wished(pod("a", holdings=both, interfaces=("net2",)))
        assert placed(found) == {"10.2.1.1": "eni-a-2"}
        assert found.own == {each.address for each in both}

    @pytest.mark.parametrize(
        ("annotated", "claimed", "granted", "expected"),
        [
            (Takeover.ALWAYS, None, True, True),
            (Takeover.ALWAYS, Takeover.ALWAYS, True, True),
            (Takeover.ALWAYS, Takeover.ALWAYS, False, False),
            (Takeover.NEVER, Takeover.ALWAYS, True, False),
            (Takeover.NEVER, None, True, False),
            (Takeover.ALWAYS, Takeover.NEVER, True, False),
        ],
    )
    def test_takeover_needs_the_grant_and_no_word_against_it(
        self, annotated: Takeover, claimed: Takeover | None, granted: bool, expected: bool
    ) -> None:
        stated = claim("a", "10.1.1.1", takeover=claimed) if claimed else None
        found = wished(pod("a", "10.1.1.1", takeover=annotated), stated, Grant(takeover=granted))
        assert [each.takeover for each in found.placements] == [expected]

    def test_what_of_network_status_cannot_be_read_is_no_success(self) -> None:
        found = wished(pod("a", "10.1.1.1", problem="entry 2 is not an object"))
        assert placed(found) == {"10.1.1.1": "eni-a-1"}
        assert found.error
        assert "entry 2 is not an object" in str(found.error)


class TestClaims:
    OWN = pod("a", "10.1.1.1")

    def test_a_floating_address_needs_a_grant_that_covers_it(self) -> None:
        stated = claim("a", "10.1.1.1", "10.1.9.9")
        assert placed(wished(self.OWN, stated, FLOATS)) == {"10.1.1.1": "eni-a-1", "10.1.9.9": "eni-a-1"}
        for grant in (NOTHING, Grant((ip_network("10.1.8.0/24"),), takeover=True)):
            found = wished(self.OWN, stated, grant)
            assert placed(found) == {"10.1.1.1": "eni-a-1"}
            (problem,) = found.problems
            assert problem.error.exit_code is ExitCode.NOT_GRANTED
            assert "namespace apps" in problem.text
            assert parse_address("10.1.9.9") in found.named

    def test_what_network_status_may_yet_name_is_held_back_and_not_refused(self) -> None:
        stated = claim("a", "10.1.1.7")
        for each in (
            wished(self.OWN, stated, settled=False),
            wished(pod("a", waiting=True), stated),
            wished(pod("a", waiting=True), stated, Grant((ip_network("10.1.0.0/16"),))),
        ):
            assert each.problems == ()
            assert [str(holding.address) for holding in each.held_back] == ["10.1.1.7"]

    def test_a_tentative_address_waits(self) -> None:
        stated = claim("a", "2001:db8:1::9", detections=[("2001:db8:1::9", Detection.TENTATIVE)])
        grant = Grant((ip_network("2001:db8:1::/64"),))
        tentative = frozenset({parse_address("2001:db8:1::9")})
        assert placed(wished(self.OWN, stated, grant, tentative=tentative)) == {"10.1.1.1": "eni-a-1"}
        assert "2001:db8:1::9" in placed(wished(self.OWN, stated, grant))

    def test_an_address_that_another_host_has_is_refused_even_if_it_is_the_pods_own(self) -> None:
        own = pod("a", "2001:db8:1::9")
        stated = claim("a", "2001:db8:1::9", detections=[("2001:db8:1::9", Detection.FAILED)])
        found = wished(own, stated)
        assert placed(found) == {}
        assert found.problems[0].error.exit_code is ExitCode.ADDRESS_REFUSED

    def test_the_cidrs_that_the_webhook_allows_narrow(self) -> None:
        stated = claim("a", "10.1.1.1", "10.1.9.9", allowed=(ip_network("10.1.9.0/24"),))
        assert placed(wished(self.OWN, stated, FLOATS)) == {"10.1.9.9": "eni-a-1"}

    def test_the_claims_interfaces_narrow_what_it_states(self) -> None:
        stated = claim("a", "10.1.9.9", "10.2.9.9", interfaces=("net1",))
        grant = Grant((ip_network("10.0.0.0/8"),))
        assert placed(wished(self.OWN, stated, grant)) == {"10.1.1.1": "eni-a-1", "10.1.9.9": "eni-a-1"}
        narrowed = replace(self.OWN, interfaces=("net1",))
        wide = replace(stated, interfaces=())
        assert placed(wished(narrowed, wide, grant)) == {"10.1.1.1": "eni-a-1", "10.1.9.9": "eni-a-1"}

    def test_interfaces_that_annotation_and_claim_do_not_share_are_an_error(self) -> None:
        found = wished(replace(self.OWN, interfaces=("net2",)), claim("a", interfaces=("net1",)))
        assert found.error
        assert found.error.exit_code is ExitCode.USAGE

    def test_an_interface_that_the_pod_lacks_is_an_error_unless_a_driver_has_it(self) -> None:
        stated = claim("a", links=())
        assert wished(replace(self.OWN, interfaces=("net1",)), stated).error is None
        missing = wished(self.OWN, stated).error
        assert missing
        assert str(missing) == "The pod has no interface net2"

    def test_an_interface_that_was_unplugged_before_a_restart_is_no_error(self) -> None:
        assert wished(self.OWN, claim("a", links=(), restarted=True)).error is None

    def test_without_names_the_default_interface_is_told_by_network_status(self) -> None:
        odd = (Link(2, "ens5", "0a:00:00:00:00:02"), Link(3, "net1", holding("10.1.1.1").mac))
        stated = claim("a", "10.1.9.9", links=odd, interfaces=())
        assert placed(wished(self.OWN, stated, FLOATS)) == {"10.1.1.1": "eni-a-1", "10.1.9.9": "eni-a-1"}
        undecided = wished(pod("a"), stated, FLOATS).error
        assert undecided
        assert undecided.exit_code is ExitCode.USAGE

    def test_a_container_that_ends_gives_everything_back_only_if_asked_to(self) -> None:
        leaving = claim("a", "10.1.1.1", leaving=True, release_on_exit=True)
        assert wished(self.OWN, leaving) == PodDesired(self.OWN)
        kept = wished(self.OWN, replace(leaving, release_on_exit=False))
        assert placed(kept) == {"10.1.1.1": "eni-a-1"}


class TestSeveralPods:
    A = wished(pod("a", "10.1.1.1", created="2026-01-01T00:00:00Z"))
    B = wished(pod("b", "10.1.1.1", created="2026-01-01T00:00:01Z"))
    FLOATING = wished(pod("c"), claim("c", "10.1.1.1"), Grant((ip_network("10.1.0.0/16"),)))

    def owner(self, *wishes: PodDesired, before: str = "") -> str:
        address = parse_address("10.1.1.1")
        was = Desired(owners={address: key(before)} if before else {})
        found = resolve_conflicts(wishes, was)
        assert found == resolve_conflicts(reversed(wishes), was)
        losers = {each.name for each in found.conflicts}
        assert losers == {each.pod.key.name for each in wishes} - {found.owners[address].name}
        assert placed(found) == {"10.1.1.1": "eni-a-1"}
        return found.owners[address].name

    def test_the_older_pod_owns_an_address_that_two_name(self) -> None:
        assert self.owner(self.A, self.B) == "a"

    def test_the_present_owner_keeps_an_address_that_two_pods_name(self) -> None:
        assert self.owner(self.A, self.B, before="b") == "b"
        assert self.owner(self.A, self.FLOATING, before="c") == "c"

    def test_a_claim_never_takes_what_another_network_status_names(self) -> None:
        assert self.owner(self.A, self.FLOATING) == "a"
        leaving = replace(self.A, pod=replace(self.A.pod, leaving=True))
        assert self.owner(leaving, self.FLOATING) == "a"
        assert self.owner(leaving, self.FLOATING, before="a") == "a"

    def test_a_claim_never_takes_what_another_pod_has_on_an_interface_that_does_not_count(self) -> None:
        narrowed = wished(replace(self.A.pod, interfaces=("net2",)))
        found = resolve_conflicts([narrowed, self.FLOATING])
        assert placed(found) == {}
        (conflict,) = found.conflicts[key("c")]
        assert conflict.owner == key("a")

    def test_an_address_that_ipam_gave_to_a_new_pod_is_the_old_ones_no_more(self) -> None:
        leaving = replace(self.A, pod=replace(self.A.pod, leaving=True))
        assert self.owner(leaving, self.B) == "b"
        assert self.owner(leaving, self.B, before="a") == "b"

    def test_a_pod_whose_sandbox_is_made_anew_yields_to_one_that_has_its_address_from_ipam_now(self) -> None:
        remade = replace(self.A, pod=replace(self.A.pod, remade=True))
        assert self.owner(remade, self.B) == "b"
        assert self.owner(remade, self.B, before="a") == "b"
        assert self.owner(remade, self.FLOATING) == "a"
        assert self.owner(remade) == "a"

    @pytest.mark.parametrize("who", ["a", "b", "ab", ""])
    def test_a_conflict_passes_while_the_sandbox_of_either_is_made_anew(self, who: str) -> None:
        wishes = [
            replace(each, pod=replace(each.pod, remade=each.pod.key.name in who)) for each in (self.A, self.B)
        ]
        ((conflict,),) = resolve_conflicts(wishes).conflicts.values()
        assert conflict.transient is bool(who)

    def test_a_pod_that_has_long_been_silent_yields_to_one_that_speaks(self) -> None:
        other = wished(pod("d"), claim("d", "10.1.1.1"), Grant((ip_network("10.1.0.0/16"),)))
        assert self.owner(self.FLOATING, other, before="c") == "c"
        assert self.owner(replace(self.FLOATING, silent=True), other, before="c") == "d"
        assert self.owner(replace(self.FLOATING, silent=True), before="c") == "c"

    def test_what_a_pod_had_by_its_network_status_it_does_not_keep_by_stating_it(self) -> None:
        grant = Grant((ip_network("10.1.0.0/16"),))
        a = pod("a", "10.1.1.1")
        before = resolve_conflicts([wished(a, claim("a", "10.1.1.1"), grant), self.B])
        assert before.owners[parse_address("10.1.1.1")] == key("a")
        after = resolve_conflicts(
            [wished(replace(a, holdings=()), claim("a", "10.1.1.1"), grant), self.B], before
        )
        assert after.owners[parse_address("10.1.1.1")] == key("b")
        assert [each.owner for each in after.conflicts[key("a")]] == [key("b")]

    def test_a_conflict_names_the_pod_that_has_it_and_how(self) -> None:
        found = resolve_conflicts([self.A, self.B, self.FLOATING])
        (conflict,) = found.conflicts[key("c")]
        problem = conflict.problem
        assert "the pod apps/a on this node, which has it by its network-status" in problem.text
        assert problem.error.exit_code is ExitCode.HELD_ELSEWHERE
        found = resolve_conflicts(
            [self.A, self.FLOATING], Desired(owners={parse_address("10.1.1.1"): key("c")})
        )
        assert "which has stated it" in found.conflicts[key("a")][0].problem.text


names = st.sampled_from("abcd")
addresses = st.sets(st.sampled_from([f"10.1.1.{last}" for last in range(1, 6)]), max_size=3)
wishes = st.dictionaries(
    names,
    st.tuples(addresses, addresses, *[st.booleans()] * 4, st.sampled_from("12")),
    max_size=4,
)
before = st.dictionaries(st.sampled_from([f"10.1.1.{last}" for last in range(1, 6)]), names)


@given(wishes, before)
def test_each_address_has_one_owner_that_may_have_it_and_network_status_is_never_overruled(
    given_wishes: dict[str, Any], owners: dict[str, str]
) -> None:
    made = []
    for name, (own, stated, leaving, remade, silent, granted, created) in given_wishes.items():
        grant = Grant((ip_network("10.1.0.0/16"),)) if granted else NOTHING
        a_pod = pod(name, *sorted(own), leaving=leaving, remade=remade, created=created)
        made.append(wished(a_pod, claim(name, *sorted(stated)), grant, silent=silent))
    previous = {parse_address(address): key(name) for address, name in owners.items()}
    found = resolve_conflicts(made, Desired(owners=previous))
    by_key: dict[PodKey, PodDesired] = {each.pod.key: each for each in made}
    for each in found.placements:
        address = each.holding.address
        owner = by_key[found.owners[address]]
        assert each in owner.placements
        if address not in owner.own:
            rivals = [one for one in made if address in one.own and one is not owner]
            assert not rivals or previous.get(address) == owner.pod.key
    assert len({each.holding.address for each in found.placements}) == len(found.placements)
    told = {(k, each.holding.address) for k, conflicts in found.conflicts.items() for each in conflicts}
    lost = {
        (each.pod.key, p.holding.address)
        for each in made
        for p in each.placements
        if found.owners[p.holding.address] != each.pod.key
    }
    assert told == lost
