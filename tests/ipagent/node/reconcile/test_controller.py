"""One node: pods and claims in, calls and answers out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from common.agent_settings import LogLevel, Mode, Takeover
from common.exit_codes import ExitCode
from ipagent.assign.address_state import Phase
from ipagent.assign.addresses import Link, parse_address
from ipagent.assign.ec2_error_codes import Fault
from ipagent.node.model.address_events import EventType
from ipagent.node.model.claim import AddressState, ClaimState
from ipagent.node.model.grants import Grants, read_grants
from ipagent.node.model.pod import InjectedAgent
from ipagent.node.reconcile.retries import RETRY_COOLDOWN
from ipagent.node.reconcile.state import SILENT_SECONDS, STATUS_SECONDS
from tests.ipagent.fakes import Strike
from tests.ipagent.node.account import Holding as Attachment
from tests.ipagent.node.pods import LINKS, claim, holding, key, pod
from tests.ipagent.node.reconcile.controller_run import FLOATS, Run

pytestmark = pytest.mark.pure


class TestWatching:
    def test_network_status_is_enough(self) -> None:
        run = Run()
        run.pods(pod("a", "10.1.1.1", "2001:db8:1::1"), pod("b", "10.1.1.2"))
        assert run.on() == {"10.1.1.1", "2001:db8:1::1", "10.1.1.2"}
        assert run.kinds() == [EventType.ASSIGNED, EventType.ASSIGNED]
        assert run.happened[0].message == "assigned 10.1.1.1 to eni-a-1"
        assert run.happened[0].seconds is not None
        assert run.happened[0].level is LogLevel.INFO
        assert run.account.calls["assign"] == 2

    def test_a_pod_alone_is_assigned_in_the_step_that_sees_it(self) -> None:
        run = Run()
        run.core.update_pod(pod("a", "10.1.1.1"))
        run.core.step()
        assert run.on() == {"10.1.1.1"}

    def test_an_idle_node_asks_nobody_anything(self) -> None:
        run = Run()
        run.pods(pod("a", alive=True), pod("b", waiting=True))
        assert run.core.step() is None
        assert run.account.calls == {}

    def test_what_changes_nothing_costs_nothing(self) -> None:
        run = Run()
        run.pods(pod("a", "10.1.1.1"))
        calls = dict(run.account.calls)
        for created in "1234":
            run.pods(pod("a", "10.1.1.1", created=created))
        assert dict(run.account.calls) == calls

    def test_pods_that_end_keep_nothing_wanted_and_nothing_is_taken_off_for_it(self) -> None:
        run = Run()
        run.pods(pod("a", "10.1.1.1"), pod("b", "10.1.1.2"))
        run.pods(pod("a", "10.1.1.1", alive=False))
        run.core.update_pod(pod("b", "10.1.1.2"), gone=True)
        run.to_rest()
        assert run.core.plan.items == ()
        assert run.on() == {"10.1.1.1", "10.1.1.2"}

    def test_a_list_replaces_all_that_was_known(self) -> None:
        run = Run()
        run.pods(pod("a", "10.1.1.1"), pod("b", "10.1.1.2"))
        run.core.set_claim(claim("a", "10.1.1.1"))
        run.core.replace_pods([pod("b", "10.1.1.2")])
        run.to_rest()
        assert [str(item.address) for item in run.core.plan.items] == ["10.1.1.2"]
        assert run.core.statuses() == {}

    def test_a_late_network_status_is_served_when_it_comes(self) -> None:
        run = Run()
        run.pods(pod("a", waiting=True))
        run.claims(claim("a", "10.1.1.1"))
        assert run.status().state is ClaimState.PENDING
        assert "network-status" in run.status().message
        run.live(60)
        assert run.status().state is ClaimState.PENDING
        run.pods(pod("a", "10.1.1.1"))
        assert run.status().state is ClaimState.ASSIGNED

    def test_reused_addresses_change_hands_without_a_call(self) -> None:
        run = Run()
        run.pods(pod("a", "10.1.1.1"))
        run.pods(pod("a", "10.1.1.1", leaving=True), pod("b", "10.1.1.1"))
        assert run.core.owners == {("eni-a-1", parse_address("10.1.1.1")): key("b")}
        run.core.update_pod(pod("a"), gone=True)
        run.to_rest()
        assert run.account.calls["assign"] == 1
        assert run.kinds("b") == [EventType.ASSIGNED]

    def test_of_two_pods_with_one_address_the_earlier_keeps_it_and_the_other_is_told(self) -> None:
        run = Run()
        run.pods(pod("a", "10.1.1.1"))
        run.pods(pod("b", "10.1.1.1"))
        run.claims(claim("b", "10.1.1.1"))
        assert run.kinds("b") == [EventType.CONFLICT]
        assert run.happened[-1].level is LogLevel.ERROR
        assert run.core.conflicts == 1
        status = run.status("b")
        assert (status.state, status.code) == (ClaimState.FAILED, ExitCode.HELD_ELSEWHERE)
        assert "the pod apps/a on this node" in status.message
        run.core.update_pod(pod("a"), gone=True)
        run.to_rest()
        assert run.status("b").state is ClaimState.ASSIGNED

    def test_after_a_reboot_addresses_change_hands_between_pods_without_a_conflict(self) -> None:
        """IPAM begins anew, and the kubelet makes one sandbox after the other: b's before a's."""
        run = Run()
        run.pods(pod("a", "10.1.1.1"), pod("b", "10.1.1.2"))
        run.pods(pod("a", "10.1.1.1", remade=True), pod("b", "10.1.1.2", remade=True))
        run.pods(pod("b", "10.1.1.1", remade=True))
        run.claims(claim("b", "10.1.1.1", mode=Mode.INIT))
        status = run.status("b")
        assert (status.state, status.code) == (ClaimState.PENDING, ExitCode.HELD_ELSEWHERE)
        assert "the pod apps/a on this node" in status.message
        run.pods(pod("b", "10.1.1.1"))
        assert run.status("b").state is ClaimState.ASSIGNED
        run.pods(pod("a", "10.1.1.2", remade=True))
        run.pods(pod("a", "10.1.1.2"))
        run.claims(claim("a", "10.1.1.2", mode=Mode.INIT))
        assert run.status("a").state is ClaimState.ASSIGNED
        assert EventType.CONFLICT not in (*run.kinds("a"), *run.kinds("b"))

    def test_without_a_grant_nothing_is_taken_from_another_eni(self) -> None:
        run = Run(Grants())
        run.put("eni-b-1", "10.1.1.1")
        run.pods(pod("a", "10.1.1.1"))
        assert run.on("eni-b-1") == {"10.1.1.1"}
        assert run.kinds() == [EventType.REFUSED]
        assert "eni-b-1 (device number 1 of b)" in run.happened[-1].message
        assert "the grant for its namespace must allow the takeover" in run.happened[-1].message
        run.take_away("10.1.1.1")
        run.live(600)
        assert run.on() == {"10.1.1.1"}
        assert run.kinds() == [EventType.REFUSED, EventType.ASSIGNED]

    def test_only_the_pods_with_the_right_take_over(self) -> None:
        run = Run()
        run.put("eni-b-1", "10.1.1.1", "10.1.1.2")
        run.pods(pod("a", "10.1.1.1"), pod("b", "10.1.1.2", takeover=Takeover.NEVER))
        assert run.on() == {"10.1.1.1"}
        assert run.on("eni-b-1") == {"10.1.1.2"}

    def test_addresses_of_other_networks_are_said_once_and_sought_rarely(self) -> None:
        run = Run()
        run.pods(pod("a", holdings=(holding("192.168.1.1", mac="5e:00:00:00:00:01"),)))
        assert run.kinds() == [EventType.REFUSED]
        before = run.cloud.lookups
        run.live(3600)
        assert run.kinds() == [EventType.REFUSED]
        assert run.cloud.lookups - before < 60

    def test_an_eni_that_is_attached_later_is_found(self) -> None:
        run = Run()
        late = run.account.enis.pop("eni-a-2")
        run.pods(pod("a", holdings=(holding("10.2.1.1", "net2"),)))
        assert run.kinds() == [EventType.REFUSED]
        run.account.enis["eni-a-2"] = late
        run.live(600)
        assert run.on("eni-a-2") == {"10.2.1.1"}

    def test_an_eni_that_is_gone_is_looked_for_anew(self) -> None:
        run = Run()
        run.account.struck = [Strike("assign", Fault.NO_ENI)]
        run.pods(pod("a", "10.1.1.1"))
        run.live(600)
        assert run.on() == {"10.1.1.1"}


class TestClaims:
    def test_the_gate_opens_when_the_address_is_confirmed(self) -> None:
        run = Run()
        run.cloud.imds_delay = 3.0
        run.core.update_pod(pod("a", "10.1.1.1"))
        run.core.set_claim(claim("a", "10.1.1.1", mode=Mode.INIT))
        run.core.step()
        (first,) = run.core.take_status_changes().values()
        assert (first.state, first.code) == (ClaimState.PENDING, ExitCode.DEADLINE)
        assert [each.phase for each in first.addresses] == [AddressState.PENDING]
        run.to_rest()
        (last,) = run.core.take_status_changes().values()
        assert (last.state, last.code, last.message) == (
            ClaimState.ASSIGNED,
            ExitCode.OK,
            "Assigned: 10.1.1.1 on eni-a-1.",
        )

    def test_every_claim_is_answered_and_nothing_is_said_twice(self) -> None:
        run = Run()
        run.pods(pod("a", "10.1.1.1"))
        for _ in range(2):
            run.claims(claim("a", "10.1.1.1"))
            assert run.core.take_status_changes() == {key("a"): run.status()}
        run.live(3600)
        assert run.core.take_status_changes() == {}

    def test_a_claim_of_a_pod_that_is_not_known_yet_waits(self) -> None:
        run = Run()
        run.claims(claim("a", "10.1.1.1"))
        assert run.status().state is ClaimState.PENDING
        run.pods(pod("a", "10.1.1.1"))
        assert run.status().state is ClaimState.ASSIGNED

    def test_a_list_that_is_older_than_the_claim_does_not_end_its_session(self) -> None:
        run = Run()
        run.core.set_claim(claim("a", "10.1.1.1"))
        run.core.replace_pods([pod("b", "10.1.1.2")])
        run.to_rest()
        run.pods(pod("a", "10.1.1.1"))
        assert run.status().state is ClaimState.ASSIGNED

    def test_a_pod_has_nothing_tried_anew_that_is_anothers(self) -> None:
        run = Run()
        run.pods(pod("a", "10.1.1.1"), pod("b", "10.1.1.2"))
        calls = run.account.calls["assign"]
        run.claims(replace(claim("b", "10.1.1.2"), again=frozenset({parse_address("10.1.1.1")})))
        assert run.account.calls["assign"] == calls

    def test_macs_that_a_pod_makes_up_are_looked_for_only_where_it_may_add_addresses(self) -> None:
        odd = (*LINKS, Link(9, "dummy0", "5e:00:00:00:00:99"))
        for grants, lookups in ((Grants(), 1), (FLOATS, 2)):
            run = Run(grants)
            run.pods(pod("a", "10.1.1.1"))
            run.claims(claim("a", "10.1.1.1", links=odd))
            assert run.cloud.lookups == lookups
            assert run.status().state is ClaimState.ASSIGNED

    def test_network_status_that_cannot_be_read_keeps_the_gate_shut(self) -> None:
        run = Run()
        run.pods(pod("a", "10.1.1.1", problem="entry 2 is not an object"))
        run.claims(claim("a", "10.1.1.1"))
        status = run.status()
        assert (status.state, status.code) == (ClaimState.FAILED, ExitCode.ADDRESS_REFUSED)
        assert "entry 2 is not an object" in status.message

    def test_a_session_of_an_unknown_pod_leaves_nothing_behind(self) -> None:
        run = Run()
        run.claims(claim("a", "10.1.1.1"))
        run.core.end_session(key("a"))
        run.core.end_session(key("never-seen"))
        run.to_rest()
        assert run.core.statuses() == {}
        run.pods(pod("a", "10.1.9.9"))
        assert run.kinds() == [EventType.ASSIGNED]

    def test_what_is_not_granted_is_refused_after_network_status_had_its_time(self) -> None:
        run = Run(Grants())
        run.pods(pod("a", "10.1.1.1"))
        run.core.set_claim(claim("a", "10.1.1.1", "10.1.9.9"))
        delay = run.core.step()
        assert run.status().state is ClaimState.PENDING
        assert delay is not None
        assert delay <= STATUS_SECONDS
        run.live(STATUS_SECONDS)
        status = run.status()
        assert (status.state, status.code) == (ClaimState.FAILED, ExitCode.NOT_GRANTED)
        assert run.on() == {"10.1.1.1"}
        assert [each.phase for each in status.addresses] == [AddressState.ASSIGNED, AddressState.FAILED]

    def test_a_floating_address_comes_and_goes(self) -> None:
        run = Run()
        run.pods(pod("a", "10.1.1.1"))
        run.claims(claim("a", "10.1.1.1"))
        run.claims(claim("a", "10.1.1.1", "10.1.9.9"))
        assert run.on() == {"10.1.1.1", "10.1.9.9"}
        run.claims(claim("a", "10.1.1.1"))
        assert run.on() == {"10.1.1.1", "10.1.9.9"}
        assert EventType.RELEASED not in run.kinds()
        run.claims(claim("a", "10.1.1.1", "10.1.9.9", release_on_exit=True))
        run.claims(claim("a", "10.1.1.1", release_on_exit=True))
        assert run.on() == {"10.1.1.1"}
        assert run.kinds()[-1] is EventType.RELEASED

    def test_an_address_of_another_pods_network_status_is_never_claimed(self) -> None:
        run = Run(read_grants({"apps": {"cidrs": ["10.1.0.0/16"], "takeover": True}}))
        run.pods(pod("a", "10.1.1.1"), pod("b", "10.1.1.2"))
        run.claims(claim("b", "10.1.1.2", "10.1.1.1"))
        assert run.core.owners["eni-a-1", parse_address("10.1.1.1")] == key("a")
        assert run.status("b").code is ExitCode.HELD_ELSEWHERE
        assert run.account.calls["assign"] == 1

    def test_a_silent_sidecar_keeps_its_floating_address_until_its_pod_is_gone(self) -> None:
        run = Run()
        run.pods(pod("a", "10.1.1.1"), pod("b", "10.1.1.2"))
        run.claims(claim("a", "10.1.1.1", "10.1.9.9"))
        run.core.end_session(key("a"))
        run.live(300)
        run.claims(claim("b", "10.1.1.2", "10.1.9.9"))
        assert run.core.owners["eni-a-1", parse_address("10.1.9.9")] == key("a")
        run.live(SILENT_SECONDS)
        assert run.core.owners["eni-a-1", parse_address("10.1.9.9")] == key("b")
        run.core.end_session(key("b"))
        run.live(2 * SILENT_SECONDS)
        run.core.replace_pods([pod("a", "10.1.1.1")])
        run.to_rest()
        assert run.core.owners["eni-a-1", parse_address("10.1.9.9")] == key("a")
        assert "10.1.9.9" in run.on()

    def test_what_another_eni_took_is_left_there_until_it_is_added_anew(self) -> None:
        run = Run()
        run.pods(pod("a", "10.1.1.1"))
        stated = claim("a", "10.1.1.1", "10.1.9.9")
        run.claims(stated)
        run.take_away("10.1.9.9")
        run.put("eni-b-1", "10.1.9.9")
        run.live(200)
        assert run.phase("10.1.9.9") is Phase.TAKEN
        assert run.status().state is ClaimState.FAILED
        assert {each.phase for each in run.status().addresses} == {
            AddressState.ASSIGNED,
            AddressState.CONFLICT,
        }
        assert run.kinds()[-1] is EventType.CONFLICT
        run.core.end_session(key("a"))
        run.claims(stated)
        assert run.on("eni-b-1") == {"10.1.9.9"}
        run.claims(replace(stated, again=frozenset({parse_address("10.1.9.9")})))
        assert run.on("eni-b-1") == set()
        assert run.status().state is ClaimState.ASSIGNED

    def test_a_pod_that_starts_once_more_tries_once_more(self) -> None:
        run = Run()
        run.put("eni-b-1", "10.1.1.1")
        run.pods(pod("a", "10.1.1.1", takeover=Takeover.NEVER))
        stated = claim("a", "10.1.1.1", mode=Mode.INIT, takeover=Takeover.NEVER)
        run.claims(stated)
        assert run.status().code is ExitCode.HELD_ELSEWHERE
        calls = run.account.calls["assign"]
        run.take_away("10.1.1.1")
        run.core.end_session(key("a"))
        run.live(RETRY_COOLDOWN)
        run.claims(stated)
        assert run.account.calls["assign"] == calls + 1
        assert run.status().state is ClaimState.ASSIGNED

    def test_a_pod_that_reconnects_all_the_time_does_not_make_calls_all_the_time(self) -> None:
        run = Run()
        run.put("eni-b-1", "10.1.1.1")
        run.pods(pod("a", "10.1.1.1", takeover=Takeover.NEVER))
        calls = run.account.calls["assign"]
        for _ in range(50):
            run.core.set_claim(claim("a", "10.1.1.1", mode=Mode.INIT))
            run.live(0.1)
            run.core.end_session(key("a"))
        assert run.account.calls["assign"] - calls <= 3

    def test_the_right_to_take_over_that_comes_with_the_grant_is_lost_with_the_claim(self) -> None:
        run = Run()
        run.put("eni-b-1", "10.1.9.9")
        run.pods(pod("a", "10.1.1.1"))
        run.claims(claim("a", "10.1.1.1", "10.1.9.9", takeover=Takeover.NEVER))
        assert run.status().code is ExitCode.HELD_ELSEWHERE
        run.claims(claim("a", "10.1.1.1", "10.1.9.9"))
        assert run.status().state is ClaimState.ASSIGNED
        assert run.on("eni-b-1") == set()

    def test_what_only_people_can_mend_is_said_at_once_and_tried_on(self) -> None:
        run = Run()
        run.account.struck = [Strike("assign", Fault.NO_PERMISSION)] * 3
        run.core.update_pod(pod("a", "10.1.1.1"))
        run.claims(claim("a", "10.1.1.1"))
        assert (run.status().state, run.status().code) == (ClaimState.FAILED, ExitCode.NO_PERMISSION)
        run.live(1800)
        assert run.status().state is ClaimState.ASSIGNED
        assert run.kinds() == [EventType.REFUSED, EventType.ASSIGNED]

    @pytest.mark.parametrize("fault", [Fault.UNKNOWN, Fault.NO_CREDENTIALS, Fault.SUBNET_FULL])
    def test_nothing_is_given_up_for_good_that_may_pass(self, fault: Fault) -> None:
        run = Run()
        run.account.struck = [Strike("assign", fault)] * 2
        run.pods(pod("a", "10.1.1.1"))
        run.live(1800)
        assert run.on() == {"10.1.1.1"}

    def test_throttled_is_pending_and_names_why(self) -> None:
        run = Run()
        run.account.struck = [Strike("assign", Fault.THROTTLED)]
        run.core.update_pod(pod("a", "10.1.1.1"))
        run.core.set_claim(claim("a", "10.1.1.1"))
        run.core.step()
        assert run.status().state is ClaimState.PENDING
        assert "struck by THROTTLED" in run.status().message
        run.to_rest()
        assert run.status().state is ClaimState.ASSIGNED
        assert run.account.calls["assign"] == 2


class TestWhatIsShownLate:
    def test_an_address_on_the_wrong_eni_of_a_subnet_moves_when_the_right_one_is_shown(self) -> None:
        run = Run(Grants())
        first = run.account.enis["eni-a-1"].eni
        late = replace(first, id="eni-a-3", mac="02:00:00:00:01:03", device_number=3)
        run.account.enis[late.id] = Attachment(late, "a", parse_address("10.1.1.253"))
        run.cloud.hidden.add(late.id)
        run.pods(pod("a", holdings=(holding("10.1.1.1", mac=late.mac),)))
        assert run.on("eni-a-1") == {"10.1.1.1"}
        run.cloud.hidden.clear()
        run.live(30.0)
        assert (run.on("eni-a-1"), run.on("eni-a-3")) == (set(), {"10.1.1.1"})
        assert not run.core.conflicts

    def test_what_no_eni_carried_for_a_while_is_taken_off_the_wrong_one(self) -> None:
        run = Run(Grants())
        wrong = run.account.enis["eni-a-1"]
        late = replace(wrong.eni, id="eni-a-3", mac="02:00:00:00:01:03", device_number=3)
        run.account.enis[late.id] = Attachment(late, "a", parse_address("10.1.1.253"))
        run.cloud.hidden.add(late.id)
        run.pods(pod("a", holdings=(holding("10.1.1.1", mac=late.mac),)))
        assert run.on("eni-a-1") == {"10.1.1.1"}
        run.account.enis["eni-a-1"] = replace(wrong, eni=replace(wrong.eni, barred="is of the type trunk"))
        run.live(1500.0)
        assert (run.core.plan.items, run.on("eni-a-1")) == ((), {"10.1.1.1"})
        run.cloud.hidden.clear()
        run.live(600.0)
        assert (run.on("eni-a-1"), run.on("eni-a-3")) == (set(), {"10.1.1.1"})


class TestDynamicNetworks:
    """multus-dynamic-networks-controller changes annotation and network-status of a running pod."""

    def test_an_interface_that_is_plugged_in_is_served_whether_or_not_the_claim_names_it(self) -> None:
        run = Run(Grants())
        run.pods(pod("a", "10.1.1.1", agent=InjectedAgent.NODE_SIDECAR))
        run.claims(claim("a", "10.1.1.1", interfaces=("net1",)))
        both = (holding("10.1.1.1"), holding("10.2.1.1", "net2"))
        run.pods(pod("a", holdings=both, agent=InjectedAgent.NODE_SIDECAR))
        assert (run.on("eni-a-1"), run.on("eni-a-2")) == ({"10.1.1.1"}, {"10.2.1.1"})
        assert run.status().state is ClaimState.ASSIGNED

    @pytest.mark.parametrize("release", [True, False])
    def test_one_that_is_unplugged_is_followed_and_released_if_the_pod_asks_for_it(
        self, release: bool
    ) -> None:
        run = Run(Grants())
        both = (holding("10.1.1.1"), holding("10.2.1.1", "net2"))
        run.pods(pod("a", holdings=both, agent=InjectedAgent.NODE_SIDECAR))
        run.claims(claim("a", "10.1.1.1", "10.2.1.1", release_on_exit=release))
        run.pods(pod("a", "10.1.1.1", agent=InjectedAgent.NODE_SIDECAR))
        run.claims(claim("a", "10.1.1.1", release_on_exit=release))
        assert run.status().state is ClaimState.ASSIGNED
        assert set(run.core.owners) == {("eni-a-1", parse_address("10.1.1.1"))}
        assert run.on("eni-a-2") == (set() if release else {"10.2.1.1"})
