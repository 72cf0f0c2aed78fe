"""What a node controller releases, takes over and keeps."""

from __future__ import annotations

import pytest

from common.exit_codes import ExitCode
from ipagent.assign.addresses import parse_address
from ipagent.assign.ec2_error_codes import Fault
from ipagent.node.model.address_events import EventType
from ipagent.node.model.claim import ClaimState
from ipagent.node.model.pod import InjectedAgent
from ipagent.node.reconcile.controller import NodeController
from tests.ipagent.fakes import Strike
from tests.ipagent.node.pods import claim, key, pod
from tests.ipagent.node.reconcile.controller_run import FLOATS, Run

pytestmark = pytest.mark.pure


class TestGivingBack:
    def given(self, *, release: bool = True) -> Run:
        run = Run()
        run.pods(pod("a", "10.1.1.1"), pod("b", "10.1.1.2"))
        run.claims(claim("a", "10.1.1.1", "10.1.9.9", release_on_exit=release))
        run.core.take_status_changes()
        return run

    def test_a_container_that_ends_is_told_what_became_of_its_addresses(self) -> None:
        run = self.given()
        leaving = claim("a", "10.1.1.1", "10.1.9.9", release_on_exit=True, leaving=True)
        run.account.struck = [Strike("unassign", Fault.THROTTLED)]
        run.core.set_claim(leaving)
        run.core.step()
        assert run.status().state is ClaimState.PENDING
        assert "10.1.1.1, 10.1.9.9 is being released" in run.status().message
        run.to_rest()
        assert run.status().state is ClaimState.ASSIGNED
        assert "10.1.9.9 was taken off eni-a-1" in run.status().message
        assert run.on() == {"10.1.1.2"}

    def test_what_cannot_be_given_back_is_a_failure(self) -> None:
        run = self.given()
        run.account.struck = [Strike("unassign", Fault.UNKNOWN)] * 2
        run.claims(claim("a", "10.1.1.1", "10.1.9.9", release_on_exit=True, leaving=True))
        assert run.status().state is ClaimState.FAILED
        assert EventType.NOT_RELEASED in run.kinds()

    def test_without_release_on_exit_nothing_is_released(self) -> None:
        run = self.given(release=False)
        run.claims(claim("a", "10.1.1.1", "10.1.9.9", leaving=True))
        run.core.update_pod(pod("a"), gone=True)
        run.to_rest()
        assert run.on() == {"10.1.1.1", "10.1.1.2", "10.1.9.9"}

    def test_a_pod_that_is_gone_gives_back_what_it_asked_to(self) -> None:
        run = self.given()
        run.core.end_session(key("a"))
        run.live(300)
        assert run.on() == {"10.1.1.1", "10.1.1.2", "10.1.9.9"}
        run.core.replace_pods([pod("b", "10.1.1.2")])
        run.to_rest()
        assert run.on() == {"10.1.1.2"}
        assert run.kinds()[-2:] == [EventType.RELEASED, EventType.RELEASED]

    def test_what_another_pod_names_by_now_is_not_taken_off(self) -> None:
        run = self.given()
        run.core.update_pod(pod("c", "10.1.1.1"))
        run.core.update_pod(pod("a"), gone=True)
        run.to_rest()
        assert run.on() == {"10.1.1.1", "10.1.1.2"}
        assert run.core.owners["eni-a-1", parse_address("10.1.1.1")] == key("c")

    def test_what_comes_back_while_it_is_being_given_back_stays(self) -> None:
        run = self.given()
        run.account.struck = [Strike("unassign", Fault.THROTTLED)]
        run.core.set_claim(claim("a", "10.1.1.1", "10.1.9.9", release_on_exit=True, leaving=True))
        run.core.step()
        run.claims(claim("a", "10.1.1.1", "10.1.9.9", release_on_exit=True))
        run.live(60)
        assert run.on() == {"10.1.1.1", "10.1.1.2", "10.1.9.9"}
        assert run.status().state is ClaimState.ASSIGNED

    def test_what_another_eni_took_is_not_taken_off_there(self) -> None:
        run = self.given()
        run.take_away("10.1.9.9")
        run.put("eni-b-1", "10.1.9.9")
        run.live(200)
        run.core.update_pod(pod("a"), gone=True)
        run.to_rest()
        assert run.on("eni-b-1") == {"10.1.9.9"}


class TestTakeover:
    @pytest.mark.parametrize("other", [(), ("10.1.1.2", "10.1.1.3")], ids=["alone", "among others"])
    def test_nothing_is_taken_off_the_vpc_cnis_eni_whatever_is_granted(self, other: tuple[str, ...]) -> None:
        run = Run(FLOATS)
        theirs = run.account.enis["eni-b-0"]
        theirs.secondaries.add(parse_address("10.1.1.1"))
        run.pods(pod("a", "10.1.1.1", *other))
        assert theirs.secondaries == {parse_address("10.1.1.1")}
        assert run.on() == set(other)
        (refused,) = [each for each in run.happened if each.kind is EventType.REFUSED]
        assert "device number 0 belongs to the VPC CNI" in refused.message

    def test_what_a_pods_eni_holds_is_taken_as_granted(self) -> None:
        run = Run(FLOATS)
        run.account.enis["eni-b-1"].secondaries.add(parse_address("10.1.1.1"))
        run.pods(pod("a", "10.1.1.1"))
        assert run.on() == {"10.1.1.1"}
        assert run.account.calls["holders"] == 1


class TestKeeping:
    def test_the_owner_of_an_address_is_recorded_before_it_is_assigned(self) -> None:
        run = Run(collector=True)
        assert run.collector
        owned: list[bool] = []
        pair = "eni-a-1", parse_address("10.1.1.1")

        def note(kind: str) -> None:
            if kind == "assign" and run.collector:
                owned.append(pair in run.collector.shown[-1].owners)

        run.account.before_call = note
        run.pods(pod("a", "10.1.1.1"))
        assert owned == [True]

    def test_the_collector_is_told_which_pods_addresses_are_unknown(self) -> None:
        run = Run(collector=True)
        assert run.collector
        run.pods(
            pod("a", "10.1.1.1", agent=InjectedAgent.DIRECT_SIDECAR),
            pod("b", "10.1.1.2", agent=InjectedAgent.NODE_SIDECAR),
            pod("c", "10.1.1.3", agent=InjectedAgent.NODE_INIT),
            pod("d", agent=InjectedAgent.NODE_SIDECAR, bare=True),
            pod("e", agent=InjectedAgent.NODE_SIDECAR),
        )
        last = run.collector.shown[-1]
        assert last.complete
        on = frozenset({"eni-a-1"})
        assert last.unstated == {key("a"): on, key("b"): on, key("d"): frozenset()}
        assert last.named == {parse_address(f"10.1.1.{number}") for number in (1, 2, 3)}
        run.claims(claim("b", "10.1.1.2", "10.1.9.9"), claim("d"))
        last = run.collector.shown[-1]
        assert last.unstated == {key("a"): on}
        assert parse_address("10.1.9.9") in last.named
        run.core.end_session(key("b"))
        run.core.set_watch_current(current=False)
        run.to_rest()
        last = run.collector.shown[-1]
        assert key("b") in last.unstated
        assert last.owners["eni-a-1", parse_address("10.1.9.9")] == key("b")
        assert not last.complete

    def test_nothing_is_complete_before_the_first_list(self) -> None:
        run = Run(collector=True)
        assert run.collector
        run.core = NodeController(run.cloud, run.grants, run.time.timing, run.lines.log, run.collector)
        run.pods(pod("a", "10.1.1.1"))
        assert not run.collector.shown[-1].complete

    def test_a_full_eni_is_swept_before_anybody_is_refused(self) -> None:
        run = Run(collector=True, room=2)
        assert run.collector
        run.collector.leaked = {"eni-a-1": {parse_address("10.1.7.7")}}
        run.put("eni-a-1", "10.1.7.6", "10.1.7.7")
        run.collector.works = False
        run.core.update_pod(pod("a", "10.1.1.1"))
        run.claims(claim("a", "10.1.1.1"))
        assert run.status().state is ClaimState.PENDING
        assert run.kinds() == []
        run.collector.works = True
        run.to_rest()
        assert run.status().state is ClaimState.ASSIGNED
        assert run.on() == {"10.1.7.6", "10.1.1.1"}
        assert run.kinds() == [EventType.ASSIGNED]

    def test_without_room_to_make_the_refusal_lists_what_is_there(self) -> None:
        run = Run(collector=True, room=1)
        run.put("eni-a-1", "10.1.7.7")
        run.core.update_pod(pod("a", "10.1.1.1"))
        run.claims(claim("a", "10.1.1.1"))
        status = run.status()
        assert (status.state, status.code) == (ClaimState.FAILED, ExitCode.ENI_FULL)
        assert "10.1.7.7" in status.message
        run.take_away("10.1.7.7")
        run.live(900)
        assert run.status().state is ClaimState.ASSIGNED
