"""One node: pods and claims in, calls and answers out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from common.contract import ExitCode, LogLevel, Mode, Takeover
from ipagent.assign.addresses import IPAddress, Link, parse_address
from ipagent.assign.ec2_error_codes import Fault
from ipagent.assign.item import Phase
from ipagent.node.model.claim import AddressState, Claim, ClaimState, ClaimStatus
from ipagent.node.model.events import AddressEvent, EventType
from ipagent.node.model.grants import Grants, read_grants
from ipagent.node.model.ownership import Ownership
from ipagent.node.model.pod import InjectedAgent, Pod
from ipagent.node.reconcile.batcher import INTERVALS, PATIENCE
from ipagent.node.reconcile.controller import NodeController
from ipagent.node.reconcile.releases import RELEASES
from ipagent.node.reconcile.retries import RETRY_COOLDOWN
from ipagent.node.reconcile.state import BUDGET, SILENT_SECONDS, STATUS_SECONDS, TOO_OFTEN
from tests.ipagent.fakes import Lines, Strike, Time
from tests.ipagent.node.account import Account
from tests.ipagent.node.account import Holding as Attachment
from tests.ipagent.node.pods import LINKS, MAC_1, claim, holding, key, pod

pytestmark = pytest.mark.pure

FLOATS = read_grants({"apps": {"cidrs": ["10.1.9.0/24"], "takeover": True}})


@dataclass
class Broom:
    """A collector that makes room when it is told to, and remembers what it was shown."""

    account: Account
    shown: list[Ownership] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    trash: dict[str, set[IPAddress]] = field(default_factory=dict)
    works: bool = True
    done: set[str] = field(default_factory=set)

    def observe(self, ownership: Ownership) -> None:
        self.shown.append(ownership)

    def step(self) -> float | None:
        if self.works:
            for eni_id in self.asked:
                if self.trash.get(eni_id):
                    self.account.enis[eni_id].secondaries -= self.trash.pop(eni_id)
                    self.done.add(eni_id)
            self.asked.clear()
        return None

    def make_room(self, eni_id: str) -> None:
        self.asked.add(eni_id)

    def is_reclaiming(self, eni_id: str) -> bool:
        return eni_id in self.asked

    def take_freed(self) -> frozenset[str]:
        freed, self.done = frozenset(self.done), set()
        return freed

    def take_events(self) -> list[AddressEvent]:
        return []


class Run:
    """A node agent's core with everything that it needs, and a second node beside it."""

    def __init__(self, grants: Grants = FLOATS, *, broom: bool = False, **account: Any) -> None:
        self.time = Time()
        self.account = Account(self.time, **account)
        self.cloud = self.account.node("a", 1)
        self.account.node("b", 2)
        self.broom = Broom(self.account) if broom else None
        self.grants = grants
        self.happened: list[AddressEvent] = []
        self.steps = 0
        self.start()

    def start(self, *pods: Pod) -> None:
        self.lines = Lines()
        self.core = NodeController(self.cloud, self.grants, self.time.timing, self.lines.log, self.broom)
        self.core.replace_pods(pods)

    def to_rest(self, seconds: float = 120.0) -> float:
        """Step until nothing is due for a while, or time is up; returns the seconds that passed."""
        begun = self.time.now
        while (delay := self.core.step()) is not None and self.time.now + delay - begun <= seconds:
            if delay > 12:
                break
            self.time.now += delay
            self.steps += 1
            assert self.steps < 5000, "it spins"
        self.happened += self.core.take_events()
        return self.time.now - begun

    def live(self, seconds: float) -> None:
        """Let time pass."""
        until = self.time.now + seconds
        while (delay := self.core.step()) is not None and self.time.now + delay < until:
            self.time.now += delay
            self.steps += 1
            assert self.steps < 20000, "it spins"
        self.time.now = until
        self.core.step()
        self.happened += self.core.take_events()

    def pods(self, *pods: Pod) -> None:
        for each in pods:
            self.core.update_pod(each)
        self.to_rest()

    def claims(self, *claims: Claim) -> None:
        for each in claims:
            self.core.set_claim(each)
        self.to_rest()

    def on(self, eni_id: str = "eni-a-1") -> set[str]:
        return {str(address) for address in self.account.enis[eni_id].secondaries}

    def put(self, eni_id: str, *addresses: str) -> None:
        self.account.enis[eni_id].secondaries.update(map(parse_address, addresses))

    def take_away(self, *addresses: str) -> None:
        for each in self.account.enis.values():
            each.secondaries -= set(map(parse_address, addresses))

    def status(self, name: str = "a") -> ClaimStatus:
        return self.core.statuses()[key(name)]

    def kinds(self, name: str = "a") -> list[EventType]:
        return [each.kind for each in self.happened if each.pod == key(name)]

    def phase(self, address: str) -> Phase:
        (found,) = [i.phase for i in self.core.plan.items if str(i.address) == address]
        return found


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
        assert "10.1.1.1, 10.1.9.9 is being given back" in run.status().message
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


class TestBudget:
    """EC2 calls that one pod causes are bounded, whatever it claims."""

    def calls(self, run: Run) -> int:
        return sum(count for kind, count in run.account.calls.items() if kind != "lookup")

    def test_a_pod_that_leaves_and_stays_in_turn_costs_few_calls(self) -> None:
        run = Run()
        run.pods(pod("a", "10.1.1.1"), pod("b", "10.1.1.2"))
        stays = claim("a", "10.1.1.1", "10.1.9.9", release_on_exit=True)
        for _ in range(500):
            for each in (replace(stays, leaving=True), stays):
                run.core.set_claim(each)
                run.live(0.6)
        changes = BUDGET.burst + 600 * BUDGET.refill
        assert self.calls(run) <= 4 * 2 * changes
        assert run.on() >= {"10.1.1.2"}
        # In the end it is served all the same.
        run.live(2 / BUDGET.refill)
        assert run.status().state is ClaimState.ASSIGNED
        assert run.on() == {"10.1.1.1", "10.1.1.2", "10.1.9.9"}

    def test_a_pod_that_adds_an_address_anew_again_and_again_costs_few_calls(self) -> None:
        run = Run()
        run.pods(pod("a", "10.1.1.1"))
        for _ in range(500):
            run.core.set_claim(claim("a", "10.1.1.1", again=frozenset({parse_address("10.1.1.1")})))
            run.live(1.0)
        changes = BUDGET.burst + 500 * BUDGET.refill
        assert self.calls(run) <= 2 * changes + 4
        run.live(2 / BUDGET.refill)
        assert run.status().state is ClaimState.ASSIGNED

    def test_a_pod_beyond_its_budget_is_told_so_and_others_do_not_wait(self) -> None:
        run = Run()
        run.pods(pod("a", "10.1.1.1"), pod("b", "10.1.1.2"))
        for number in range(20):
            run.core.set_claim(claim("a", "10.1.1.1", f"10.1.9.{number + 1}"))
            run.live(0.1)
        assert run.status().state is ClaimState.PENDING
        assert TOO_OFTEN in run.status().message
        run.claims(claim("b", "10.1.1.2", "10.1.9.200"))
        assert run.status("b").state is ClaimState.ASSIGNED

    @pytest.mark.parametrize("anew", [False, True], ids=["the same pods", "pods made anew"])
    @pytest.mark.parametrize("count", [1, 20])
    def test_many_pods_of_a_namespace_cost_no_more_than_the_node_and_others_are_served(
        self, count: int, anew: bool
    ) -> None:
        """Each has a budget of its own, and a pod that is made anew has a fresh one."""
        run = Run()
        names = {number: f"pod-{number}" for number in range(count)}
        run.pods(*(pod(name, f"10.1.1.{number + 10}") for number, name in names.items()))
        before, begun = self.calls(run), run.time.now
        for turn in range(300):
            number = turn % count
            if anew:
                run.core.update_pod(pod(names[number], f"10.1.1.{number + 10}"), gone=True)
                names[number] = f"turn-{turn}"
                run.core.update_pod(pod(names[number], f"10.1.1.{number + 10}"))
            stated = f"10.1.1.{number + 10}", f"10.1.9.{number + 10}"
            leaving = bool(turn // count % 2)
            run.core.set_claim(claim(names[number], *stated, leaving=leaving, release_on_exit=True))
            run.live(0.2)
            if turn % 100 == 99:
                self.serves_another(run, f"10.1.1.{200 + turn // 100}")
        seconds = run.time.now - begun
        releases = RELEASES.burst + seconds * RELEASES.refill
        assert self.calls(run) - before <= 2 * releases + seconds / INTERVALS[1] + 20

    def serves_another(self, run: Run, address: str) -> None:
        run.core.update_pod(pod(address, address, namespace="quiet"))
        since = run.time.now
        while address not in run.on():
            run.live(0.2)
            assert run.time.now - since <= PATIENCE + INTERVALS[-1]


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


class TestKeeping:
    def test_the_owner_of_an_address_is_recorded_before_it_is_assigned(self) -> None:
        run = Run(broom=True)
        assert run.broom
        owned: list[bool] = []
        pair = "eni-a-1", parse_address("10.1.1.1")

        def note(kind: str) -> None:
            if kind == "assign" and run.broom:
                owned.append(pair in run.broom.shown[-1].owners)

        run.account.before_call = note
        run.pods(pod("a", "10.1.1.1"))
        assert owned == [True]

    def test_the_collector_is_told_which_pods_addresses_are_unknown(self) -> None:
        run = Run(broom=True)
        assert run.broom
        run.pods(
            pod("a", "10.1.1.1", agent=InjectedAgent.DIRECT_SIDECAR),
            pod("b", "10.1.1.2", agent=InjectedAgent.NODE_SIDECAR),
            pod("c", "10.1.1.3", agent=InjectedAgent.NODE_INIT),
            pod("d", agent=InjectedAgent.NODE_SIDECAR, bare=True),
            pod("e", agent=InjectedAgent.NODE_SIDECAR),
        )
        last = run.broom.shown[-1]
        assert last.complete
        on = frozenset({"eni-a-1"})
        assert last.unstated == {key("a"): on, key("b"): on, key("d"): frozenset()}
        assert last.named == {parse_address(f"10.1.1.{number}") for number in (1, 2, 3)}
        run.claims(claim("b", "10.1.1.2", "10.1.9.9"), claim("d"))
        last = run.broom.shown[-1]
        assert last.unstated == {key("a"): on}
        assert parse_address("10.1.9.9") in last.named
        run.core.end_session(key("b"))
        run.core.set_watch_current(current=False)
        run.to_rest()
        last = run.broom.shown[-1]
        assert key("b") in last.unstated
        assert last.owners["eni-a-1", parse_address("10.1.9.9")] == key("b")
        assert not last.complete

    def test_nothing_is_complete_before_the_first_list(self) -> None:
        run = Run(broom=True)
        assert run.broom
        run.core = NodeController(run.cloud, run.grants, run.time.timing, run.lines.log, run.broom)
        run.pods(pod("a", "10.1.1.1"))
        assert not run.broom.shown[-1].complete

    def test_a_full_eni_is_swept_before_anybody_is_refused(self) -> None:
        run = Run(broom=True, room=2)
        assert run.broom
        run.broom.trash = {"eni-a-1": {parse_address("10.1.7.7")}}
        run.put("eni-a-1", "10.1.7.6", "10.1.7.7")
        run.broom.works = False
        run.core.update_pod(pod("a", "10.1.1.1"))
        run.claims(claim("a", "10.1.1.1"))
        assert run.status().state is ClaimState.PENDING
        assert run.kinds() == []
        run.broom.works = True
        run.to_rest()
        assert run.status().state is ClaimState.ASSIGNED
        assert run.on() == {"10.1.7.6", "10.1.1.1"}
        assert run.kinds() == [EventType.ASSIGNED]

    def test_without_room_to_make_the_refusal_lists_what_is_there(self) -> None:
        run = Run(broom=True, room=1)
        run.put("eni-a-1", "10.1.7.7")
        run.core.update_pod(pod("a", "10.1.1.1"))
        run.claims(claim("a", "10.1.1.1"))
        status = run.status()
        assert (status.state, status.code) == (ClaimState.FAILED, ExitCode.ENI_FULL)
        assert "10.1.7.7" in status.message
        run.take_away("10.1.7.7")
        run.live(900)
        assert run.status().state is ClaimState.ASSIGNED


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


@pytest.mark.no_cover
def test_a_node_with_500_addresses_makes_few_calls_for_many_events() -> None:
    run = Run(room=600)
    for number in range(250):
        own = f"10.1.{2 + number // 200}.{number % 200 + 1}"
        both = (holding(own), holding(own.replace("10.1.", "10.2."), "net2"))
        run.core.update_pod(pod(f"pod-{number}", holdings=both))
        run.core.step()
        run.time.now += 0.02
    run.to_rest()
    assert len(run.on()) == len(run.on("eni-a-2")) == 250
    assert run.account.calls["assign"] <= 12
