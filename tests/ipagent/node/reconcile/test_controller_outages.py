"""What a node controller does while EC2 is unreachable or throttles."""

from __future__ import annotations

from dataclasses import replace

import pytest

from common.agent_settings import Mode
from common.exit_codes import ExitCode
from ipagent.assign.address_calls import Assign
from ipagent.assign.address_state import Phase
from ipagent.assign.addresses import IPAddress
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.errors import Ec2Error
from ipagent.assign.retry import PENDING_SECONDS
from ipagent.node.model.address_events import EventType
from ipagent.node.model.claim import ClaimState
from ipagent.node.model.grants import Grants, read_grants
from ipagent.node.model.pod import InjectedAgent
from ipagent.node.reconcile.claim_status import GIVEN_AWAY, NO_TAKEOVER
from ipagent.node.reconcile.eni_cache import RECHECK_SECONDS
from tests.ipagent.fakes import Strike
from tests.ipagent.node.account import NodeCloud
from tests.ipagent.node.pods import MAC_1, claim, holding, pod
from tests.ipagent.node.reconcile.controller_run import Run

pytestmark = pytest.mark.pure


class TestOutages:
    def test_a_restart_needs_a_list_and_a_look_and_tells_nobody(self) -> None:
        run = Run()
        names = [f"pod-{number}" for number in range(30)]
        pods = [pod(name, f"10.1.1.{number + 1}") for number, name in enumerate(names)]
        run.pods(*pods)
        before = run.on()
        run.account.calls.clear()
        run.start(*pods)
        run.to_rest()
        assert dict(run.account.calls) == {"lookup": 1}
        assert run.on() == before
        assert [each.kind for each in run.happened[30:]] == [EventType.FOUND] * 30

    def test_what_was_not_there_at_a_restart_is_assigned(self) -> None:
        run = Run()
        old, new = pod("old", "10.1.1.1"), pod("new", "10.1.1.2")
        run.pods(old)
        run.start(old, new)
        run.to_rest()
        assert run.on() == {"10.1.1.1", "10.1.1.2"}
        assert run.kinds("old")[1:] == [EventType.FOUND]
        assert run.kinds("new") == [EventType.ASSIGNED]

    @pytest.mark.parametrize("version", [4, 6])
    @pytest.mark.parametrize("state", ["leaving", "remade"])
    def test_a_restart_takes_nothing_back_that_ipam_has_given_to_a_pod_of_another_node(
        self, state: str, version: int
    ) -> None:
        run, address = Run(), {4: "10.1.1.1", 6: "2001:db8:1::1"}[version]
        run.pods(pod("a", address))
        run.take_away(address)
        run.put("eni-b-1", address)
        run.live(60)
        assert run.phase(address) is Phase.TAKEN
        run.start(pod("a", address, leaving=state == "leaving", remade=state == "remade"))
        run.live(600)
        assert (run.on(), run.on("eni-b-1")) == (set(), {address})
        # What the other node has left is free.
        run.take_away(address)
        run.live(3600)
        assert run.on() == {address}

    @pytest.mark.parametrize("by", ["condition", "claim"])
    def test_a_pod_takes_over_at_once_what_its_new_sandbox_has(self, by: str) -> None:
        run = Run()
        run.put("eni-b-1", "10.1.1.1")
        run.start(pod("a", "10.1.1.1", remade=True))
        run.live(60)
        if by == "claim":
            run.claims(claim("a", "10.1.1.1"))
        else:
            run.pods(pod("a", "10.1.1.1"))
        assert (run.on(), run.on("eni-b-1")) == ({"10.1.1.1"}, set())

    def test_after_a_reboot_new_addresses_are_taken_over_with_one_look(self) -> None:
        """The condition is true only once containers run: one refused call for each pod would be too late."""
        run, names = Run(room=100), [f"pod-{number}" for number in range(20)]
        taken = [f"10.1.1.{number + 101}" for number in range(20)]
        run.put("eni-b-1", *taken)
        run.start(*(pod(name, f"10.1.1.{number + 1}", remade=True) for number, name in enumerate(names)))
        run.live(60)
        run.account.calls.clear()
        run.happened.clear()
        for name, address in zip(names, taken, strict=True):
            run.core.update_pod(pod(name, address, remade=True))
        run.live(60)
        assert run.on() >= {*taken}
        assert (run.account.calls["assign"], run.account.calls["holders"]) == (2, 1)
        assert {each.kind for each in run.happened} == {EventType.ASSIGNED}

    def test_a_pod_waits_for_what_it_may_not_take_over_before_its_sandbox_is_seen(self) -> None:
        """A device that a DPDK driver has: its container does not state the address."""
        run = Run()
        run.put("eni-b-1", "10.1.1.1")
        run.core.update_pod(pod("a", "10.1.1.1", remade=True))
        run.core.set_claim(claim("a", interfaces=("net1",), mode=Mode.INIT))
        run.live(60)
        assert (run.status().state, run.happened) == (ClaimState.PENDING, [])
        run.pods(pod("a", "10.1.1.1"))
        assert (run.status().state, run.kinds()) == (ClaimState.ASSIGNED, [EventType.ASSIGNED])

    def test_a_pod_that_is_being_deleted_is_not_told_to_ask_for_a_grant(self) -> None:
        run = Run()
        run.put("eni-b-1", "10.1.1.1")
        run.start(pod("a", "10.1.1.1", leaving=True))
        run.live(60)
        (told,) = run.happened
        assert GIVEN_AWAY in told.message

    def test_one_that_may_take_over_nothing_is_still_told_so_when_it_is_deleted(self) -> None:
        """Its successor will want the same address: it is the grant that lacks."""
        run = Run(Grants())
        run.put("eni-b-1", "10.1.1.1")
        run.pods(pod("a", "10.1.1.1"))
        run.live(60)
        run.pods(pod("a", "10.1.1.1", leaving=True))
        run.live(60)
        (told,) = run.happened
        assert NO_TAKEOVER in told.message

    def test_a_new_sandbox_does_not_take_back_what_the_former_one_had(self) -> None:
        """The watch shows the network-status of the new one later than the container states what it has."""
        run = Run()
        run.pods(pod("a", "10.1.1.1"))
        run.take_away("10.1.1.1")
        run.put("eni-b-1", "10.1.1.1")
        run.live(60)
        run.pods(pod("a", "10.1.1.1", remade=True))
        run.core.set_claim(claim("a", "10.1.1.2", mode=Mode.INIT))
        run.to_rest(1.0)
        assert run.status().state is ClaimState.PENDING
        run.pods(pod("a", "10.1.1.2", remade=True))
        assert run.status().state is ClaimState.ASSIGNED
        assert (run.on(), run.on("eni-b-1")) == ({"10.1.1.2"}, {"10.1.1.1"})

    def test_a_pod_that_comes_later_is_assigned_whatever_ec2_shows(self) -> None:
        run = Run()
        run.pods(pod("a", "10.1.1.1"))
        run.start()
        run.account.calls.clear()
        run.pods(pod("a", "10.1.1.1"))
        assert run.account.calls["assign"] == 1

    def test_what_was_found_is_given_back_like_what_was_assigned(self) -> None:
        run = Run()
        one = pod("a", "10.1.1.1", agent=InjectedAgent.NODE_SIDECAR)
        run.pods(one)
        run.start(one)
        run.to_rest()
        run.core.set_claim(claim("a", "10.1.1.1", mode=Mode.SIDECAR, release_on_exit=True))
        run.to_rest()
        run.core.update_pod(one, gone=True)
        run.to_rest()
        assert run.on() == set()

    def test_while_an_answer_is_awaited_others_are_served_and_it_is_taken_soon_after_it_is_there(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As with the backend `central`: what was sent is asked for again, and not sent again."""
        run, made = Run(), NodeCloud.assign
        begun, asked = run.time.now, []

        def assign(cloud: NodeCloud, call: Assign) -> frozenset[IPAddress]:
            if call.eni_id != "eni-a-2" or run.time.now > begun + 15:
                return made(cloud, call)
            asked.append(run.time.now)
            raise Ec2Error(Failure(Fault.UNREACHABLE, "it has not answered yet", pending=True))

        monkeypatch.setattr(NodeCloud, "assign", assign)
        run.core.update_pod(pod("b", holdings=(holding("10.2.1.2", "net2"),)))
        run.core.set_claim(claim("b", "10.2.1.2"))
        for number in range(1, 8):
            run.core.update_pod(pod(f"a-{number}", f"10.1.1.{number}"))
            run.live(1)
        assert len(run.on()) == 7
        assert "it has not answered yet" in run.status("b").message
        run.live(9)
        assert run.on("eni-a-2") == {"10.2.1.2"}
        assert run.status("b").state is ClaimState.ASSIGNED
        # That EC2 is slow is no failure.
        assert run.lines.events("info") == ["assign-failed"]
        assert run.lines.events("warning") == []
        assert len(asked) > 15 / (2 * PENDING_SECONDS)

    @pytest.mark.no_cover
    def test_while_ec2_is_away_nothing_is_given_up(self) -> None:
        run = Run()
        run.pods(pod("a", "10.1.1.1"))
        run.account.struck = [
            Strike(kind, Fault.UNREACHABLE)
            for kind in ("assign", "describe", "holders", "lookup")
            for _ in range(5000)
        ]
        run.core.update_pod(pod("b", "10.1.1.2"))
        run.claims(claim("a", "10.1.1.1"), claim("b", "10.1.1.2"))
        run.live(3600)
        assert run.status("a").state is ClaimState.ASSIGNED
        assert (run.status("b").state, run.status("b").code) == (
            ClaimState.PENDING,
            ExitCode.EC2_UNREACHABLE,
        )
        assert run.account.calls["assign"] < 300
        run.account.struck.clear()
        run.live(120)
        assert run.on() == {"10.1.1.1", "10.1.1.2"}

    def test_while_the_enis_cannot_be_told_the_pods_wait_and_know_why(self) -> None:
        run = Run()
        run.cloud.away = True
        run.core.update_pod(pod("a", "10.1.1.1"))
        run.claims(claim("a", "10.1.1.1"))
        assert run.status().state is ClaimState.PENDING
        assert "nobody answers" in run.status().message
        run.live(600)
        assert run.lines.events("warning") == ["lookup-failed"]
        run.cloud.away = False
        run.live(61)
        assert run.status().state is ClaimState.ASSIGNED

    def test_an_eni_that_cannot_be_asked_for_holds_up_no_pod_on_the_others(self) -> None:
        run = Run()
        run.cloud.unread = {"eni-a-2"}
        run.core.update_pod(pod("a", "10.1.1.1"))
        run.core.update_pod(pod("b", holdings=(holding("10.2.1.2", "net2"),)))
        run.claims(claim("a", "10.1.1.1"), claim("b", "10.2.1.2"))
        assert run.status("a").state is ClaimState.ASSIGNED
        assert run.status("b").state is ClaimState.PENDING
        assert "a webhook refuses that" in run.status("b").message
        run.live(600)
        assert (run.on("eni-a-1"), run.on("eni-a-2")) == ({"10.1.1.1"}, set())
        assert run.lines.events("warning") == ["lookup-failed"]
        run.cloud.unread.clear()
        run.live(61)
        assert run.on("eni-a-2") == {"10.2.1.2"}
        assert run.status("b").state is ClaimState.ASSIGNED

    @pytest.mark.parametrize("agent", [None, "claim"])
    def test_after_a_restart_no_address_is_moved_off_an_eni_that_cannot_be_asked_for(
        self, agent: str | None
    ) -> None:
        """Two ENIs are in one subnet, and network-status does not say on which the address is."""
        run = Run(read_grants({"apps": {"takeover": True}}))
        here, twin = (run.account.enis[each] for each in ("eni-a-1", "eni-a-2"))
        twin.eni = replace(twin.eni, subnet_id=here.eni.subnet_id, subnet_cidrs=here.eni.subnet_cidrs)
        run.put("eni-a-1", "10.1.1.1")
        run.cloud.unread = {"eni-a-1"}
        run.start(pod("a", holdings=(holding("10.1.1.1", mac=""),)))
        if agent:
            run.claims(claim("a", "10.1.1.1"))
        run.live(600)
        assert (run.on("eni-a-1"), run.on("eni-a-2")) == ({"10.1.1.1"}, set())
        assert run.core.plan.items == ()
        run.cloud.unread.clear()
        run.live(61)
        assert (run.on("eni-a-1"), run.on("eni-a-2")) == ({"10.1.1.1"}, set())
        assert run.phase("10.1.1.1") is Phase.CONFIRMED

    @pytest.mark.parametrize("running", [False, True])
    def test_beside_an_eni_that_cannot_be_read_the_subnet_decides_where_it_cannot_be_that_one(
        self, running: bool
    ) -> None:
        """With macvlan each pod has a MAC of its own, which no ENI has."""
        run = Run()
        run.cloud.unread = {"eni-a-2"}
        here, there, nowhere = (
            pod(name, holdings=(holding(address, mac=f"5e:00:00:00:00:0{number}"),))
            for number, (name, address) in enumerate(
                [("a", "10.1.1.1"), ("b", "10.2.1.2"), ("c", "192.168.77.5")]
            )
        )
        if running:
            run.start(here, there, nowhere)
        for each in (here, there, nowhere):
            run.core.update_pod(each)
        run.claims(*(claim(name, interfaces=()) for name in ("a", "b", "c")))
        assert (run.on("eni-a-1"), run.on("eni-a-2")) == ({"10.1.1.1"}, set())
        assert run.status("a").state is ClaimState.ASSIGNED
        waiting, refused = run.status("b"), run.status("c")
        assert (waiting.state, waiting.code) == (ClaimState.PENDING, ExitCode.EC2_UNREACHABLE)
        assert "it may be on eni-a-2, which could not be read yet" in waiting.message
        assert "a webhook refuses that" in waiting.message
        assert refused.state is ClaimState.FAILED
        assert "no ENI of this node is in a subnet that contains it" in refused.message
        run.cloud.unread.clear()
        run.live(61)
        assert (run.on("eni-a-1"), run.on("eni-a-2")) == ({"10.1.1.1"}, {"10.2.1.2"})

    def test_what_an_eni_is_seen_to_have_is_on_it_whichever_other_one_cannot_be_read(self) -> None:
        run = Run()
        here, twin = (run.account.enis[each] for each in ("eni-a-1", "eni-a-2"))
        twin.eni = replace(twin.eni, subnet_id=here.eni.subnet_id, subnet_cidrs=here.eni.subnet_cidrs)
        run.put("eni-a-1", "10.1.1.1")
        run.cloud.unread = {"eni-a-2"}
        old, new = (holding(f"10.1.1.{number}", mac=f"5e:00:00:00:00:0{number}") for number in (1, 2))
        run.start(pod("a", holdings=(old,)), pod("b", holdings=(new,)))
        run.claims(claim("a", interfaces=()), claim("b", interfaces=()))
        assert [run.status(name).state for name in ("a", "b")] == [ClaimState.ASSIGNED, ClaimState.PENDING]
        assert "it may be on eni-a-2" in run.status("b").message

    def test_an_eni_that_is_attached_later_and_cannot_be_read_holds_up_its_own_pods_alone(self) -> None:
        run = Run()
        late = run.account.enis["eni-a-2"]
        run.cloud.hidden.add(late.eni.id)
        run.pods(pod("a", "10.1.1.1"), pod("m", holdings=(holding("10.1.1.9", mac="5e:00:00:00:00:09"),)))
        run.cloud.hidden.clear()
        run.cloud.unread = {late.eni.id}
        run.core.update_pod(pod("b", holdings=(holding("10.2.1.2", "net2"),)))
        run.core.update_pod(pod("c", holdings=(holding("10.1.1.3", mac="5e:00:00:00:00:03"),)))
        run.claims(claim("a", "10.1.1.1"), claim("b", "10.2.1.2"), claim("c", interfaces=()))
        run.live(600)
        assert (run.on(), run.on(late.eni.id)) == ({"10.1.1.1", "10.1.1.3", "10.1.1.9"}, set())
        states = [run.status(name).state for name in ("a", "b", "c")]
        assert states == [ClaimState.ASSIGNED, ClaimState.PENDING, ClaimState.ASSIGNED]
        told = run.status("b").message
        assert "its interface has the MAC of eni-a-2, which could not be read yet" in told
        assert "a webhook refuses that" in told
        named = [line["message"] for line in run.lines.of("lookup-failed") if line["level"] == "warning"]
        assert len(named) == 1
        assert named[0].startswith("Cannot read eni-a-2: ")
        run.cloud.unread.clear()
        run.live(61)
        assert run.on(late.eni.id) == {"10.2.1.2"}
        assert run.status("b").state is ClaimState.ASSIGNED

    def test_no_running_pod_s_address_waits_or_moves_for_an_eni_of_its_subnet_that_is_attached_later(
        self,
    ) -> None:
        run = Run()
        here, late = (run.account.enis[each] for each in ("eni-a-1", "eni-a-2"))
        late.eni = replace(late.eni, subnet_id=here.eni.subnet_id, subnet_cidrs=here.eni.subnet_cidrs)
        run.cloud.hidden.add(late.eni.id)
        run.pods(pod("a", holdings=(holding("10.1.1.1", mac="5e:00:00:00:00:01"),)))
        run.cloud.hidden.clear()
        run.cloud.unread = {late.eni.id}
        run.pods(pod("b", holdings=(holding("10.1.1.2", "net2"),)))
        run.live(600)
        assert (run.on(), run.on(late.eni.id)) == ({"10.1.1.1"}, set())
        assert run.phase("10.1.1.1") is Phase.CONFIRMED
        run.cloud.unread.clear()
        run.live(61)
        assert (run.on(), run.on(late.eni.id)) == ({"10.1.1.1"}, {"10.1.1.2"})

    def test_a_pod_that_waits_for_ec2_alone_is_told_of_no_other_eni(self) -> None:
        run = Run()
        run.cloud.unread = {"eni-a-2"}
        run.account.struck = [Strike("assign", Fault.UNREACHABLE) for _ in range(100)]
        run.core.update_pod(pod("a", "10.1.1.1"))
        run.core.update_pod(pod("b", holdings=(holding("10.2.1.2", "net2"),)))
        run.claims(claim("a", "10.1.1.1"), claim("b", "10.2.1.2"))
        waiting = [run.status(name) for name in ("a", "b")]
        assert [each.state for each in waiting] == [ClaimState.PENDING] * 2
        assert ["a webhook refuses that" in each.message for each in waiting] == [False, True]

    @pytest.mark.no_cover
    def test_what_an_eni_has_stays_while_it_cannot_be_asked_for(self) -> None:
        run = Run()
        run.pods(pod("a", "10.1.1.1"), pod("b", holdings=(holding("10.2.1.2", "net2"),)))
        run.cloud.unread = {"eni-a-2"}
        run.live(2 * RECHECK_SECONDS)
        assert "lookup-failed" in run.lines.events("warning")
        assert (run.on("eni-a-1"), run.on("eni-a-2")) == ({"10.1.1.1"}, {"10.2.1.2"})
        # It is known where it is: new pods get their addresses there, too.
        run.pods(pod("c", holdings=(holding("10.2.1.3", "net2"),)))
        assert run.on("eni-a-2") == {"10.2.1.2", "10.2.1.3"}

    def test_what_disappears_from_the_eni_comes_back(self) -> None:
        run = Run()
        run.pods(pod("a", "10.1.1.1"))
        run.take_away("10.1.1.1")
        run.live(60)
        assert run.on() == {"10.1.1.1"}

    def test_a_new_mac_waits_for_the_look_and_no_longer(self) -> None:
        run = Run()
        run.pods(pod("a", "10.1.1.1"))
        run.cloud.away = True
        run.pods(pod("b", holdings=(holding("10.1.1.2", mac="5e:00:00:00:00:01"),)), pod("c", "10.1.1.3"))
        assert run.on() == {"10.1.1.1", "10.1.1.3"}
        run.cloud.away = False
        run.live(61)
        assert run.on() == {"10.1.1.1", "10.1.1.2", "10.1.1.3"}
        assert MAC_1 not in {each.placement.holding.mac for each in run.core.plan.items[1:2]}
        assert EventType.WARNING in run.kinds("b")
