"""From wishes to ENIs that carry them, whatever happens on the way."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipagent.assign.address_calls import Assign, Unassign
from ipagent.assign.address_state import Phase
from ipagent.assign.addresses import IPAddress
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.errors import Ec2Error
from ipagent.assign.placement import Placement
from ipagent.assign.reconciler import METADATA_PATIENCE, Reconciler
from ipagent.assign.retry import TURN_SECONDS
from tests.ipagent.fakes import ENI_1, ENI_2, FakeCloud, Lines, Strike, Time, ip, placement

pytestmark = pytest.mark.pure

A, B = ip("10.10.1.80"), ip("10.10.1.81")
V6 = ip("2001:db8:1::80")


class Run:
    """A reconciler with everything that it needs; `to_the_end` steps until it is done, or time is up."""

    def __init__(self, **cloud: Any) -> None:
        self.time = Time()
        self.cloud = FakeCloud(self.time, **cloud)
        self.lines = Lines()
        self.reconciler = Reconciler(self.cloud, timing=self.time.timing, log=self.lines.log)
        self.steps = 0

    def to_the_end(self, seconds: float = 120.0) -> float:
        """Step until nothing is left or so many seconds are over; returns those that passed."""
        begun = self.time.now
        while (delay := self.reconciler.step()) is not None and self.time.now - begun < seconds:
            self.time.sleep(delay)
            self.steps += 1
            assert self.steps < 2000, "it spins"
        return self.time.now - begun

    def phases(self) -> dict[str, Phase]:
        return {str(item.address): item.phase for item in self.reconciler.plan.items}


def test_an_undisturbed_assignment_takes_one_call_per_eni_and_no_describe() -> None:
    run = Run()
    run.reconciler.set_desired(
        [placement("10.10.1.80"), placement("10.10.1.81"), placement("10.10.2.80", ENI_2)]
    )
    run.to_the_end()
    assert set(run.phases().values()) == {Phase.CONFIRMED}
    assert run.cloud.asked("assign") == [("eni-1", ["10.10.1.80", "10.10.1.81"]), ("eni-2", ["10.10.2.80"])]
    assert run.cloud.asked("describe") == []


def test_what_imds_already_shows_is_assigned_all_the_same() -> None:
    run = Run()
    run.cloud.secondaries["eni-1"] = {A}
    run.reconciler.set_desired([placement("10.10.1.80")])
    run.to_the_end()
    assert run.cloud.asked("assign") == [("eni-1", ["10.10.1.80"])]


def test_imds_that_lags_a_little_is_waited_for() -> None:
    run = Run(imds_delay=2.0)
    run.reconciler.set_desired([placement("10.10.1.80")])
    assert 2.0 <= run.to_the_end() < METADATA_PATIENCE
    assert run.cloud.asked("describe") == []


def test_imds_that_lags_for_long_is_replaced_by_a_describe() -> None:
    run = Run(imds_delay=300.0)
    run.reconciler.set_desired([placement("10.10.1.80")])
    assert METADATA_PATIENCE <= run.to_the_end() < METADATA_PATIENCE + 2
    assert run.phases() == {"10.10.1.80": Phase.CONFIRMED}
    assert len(run.cloud.asked("describe")) == 1


def test_without_imds_a_describe_confirms_at_once() -> None:
    run = Run(imds=False)
    run.reconciler.set_desired([placement("10.10.1.80")])
    assert run.to_the_end() < 1
    assert run.phases() == {"10.10.1.80": Phase.CONFIRMED}


def test_an_answer_that_does_not_list_the_address_is_checked_and_not_believed() -> None:
    run = Run(unlisted=True)
    run.reconciler.set_desired([placement("10.10.1.80")])
    run.to_the_end()
    assert run.phases() == {"10.10.1.80": Phase.CONFIRMED}
    assert len(run.cloud.asked("describe")) == 1


def test_an_answer_lost_after_the_effect_is_made_good() -> None:
    run = Run(struck=[Strike("assign", Fault.UNREACHABLE, lost=True)])
    run.reconciler.set_desired([placement("10.10.1.80")])
    run.to_the_end()
    assert run.phases() == {"10.10.1.80": Phase.CONFIRMED}


def test_an_address_that_is_taken_before_it_is_confirmed_is_assigned_again() -> None:
    run = Run(imds=False)
    run.reconciler.set_desired([placement("10.10.1.80")])
    stolen = iter([True])

    def steal() -> None:
        if next(stolen, False):
            run.cloud.secondaries["eni-1"].clear()

    run.cloud.struck = [Strike("describe", Fault.THROTTLED)]
    run.time.on_sleep = steal
    run.to_the_end()
    assert run.phases() == {"10.10.1.80": Phase.CONFIRMED}
    assert len(run.cloud.asked("assign")) == 2
    assert A in run.cloud.secondaries["eni-1"]


def test_a_refusal_for_an_address_that_the_eni_has_anyway_is_success() -> None:
    # host-device: the pod's interface is the ENI, with its primary address.
    run = Run()
    run.reconciler.set_desired([placement("10.10.1.10"), placement("10.10.1.80")])
    run.to_the_end()
    assert set(run.phases().values()) == {Phase.CONFIRMED}


def test_a_full_eni_is_described_so_that_the_message_can_list_it() -> None:
    run = Run(room=1)
    run.cloud.secondaries["eni-1"] = {ip("10.10.1.50")}
    run.reconciler.set_desired([placement("10.10.1.80")])
    run.to_the_end()
    assert run.phases() == {"10.10.1.80": Phase.REFUSED}
    assert run.reconciler.described["eni-1"].secondaries == (ip("10.10.1.50"),)


def test_takeover_never_takes_nothing() -> None:
    run = Run()
    run.cloud.secondaries["eni-9"] = {A}
    run.reconciler.set_desired(
        [placement("10.10.1.80", takeover=False), placement("10.10.1.81", takeover=False)]
    )
    run.to_the_end()
    assert run.phases() == {"10.10.1.80": Phase.REFUSED, "10.10.1.81": Phase.CONFIRMED}
    assert run.cloud.secondaries["eni-9"] == {A}


def test_the_holder_is_named_after_one_look() -> None:
    run = Run()
    run.cloud.secondaries["eni-9"] = {A, V6}
    run.reconciler.set_desired(
        [
            placement("10.10.1.80", takeover=False),
            placement(str(V6), takeover=False),
            placement("10.10.1.81", takeover=False),
        ]
    )
    run.to_the_end()
    for item in run.reconciler.plan.in_phases({Phase.REFUSED}):
        assert item.failure
        assert "eni-9 (device number 9 of i-9)" in item.failure.text
    assert run.phases()["10.10.1.81"] is Phase.CONFIRMED
    assert len(run.cloud.asked("holders")) == 2
    assert run.cloud.asked("describe") == []


def test_without_the_right_to_describe_the_message_says_so() -> None:
    run = Run(struck=[Strike("holders", Fault.NO_PERMISSION)])
    run.cloud.secondaries["eni-9"] = {A}
    run.reconciler.set_desired([placement("10.10.1.80", takeover=False)])
    run.to_the_end()
    (item,) = run.reconciler.plan.items
    assert item.failure
    assert "its holder is not known: struck by NO_PERMISSION" in item.failure.text


def test_a_look_that_is_throttled_is_repeated() -> None:
    run = Run(struck=[Strike("holders", Fault.THROTTLED)] * 3)
    run.cloud.secondaries["eni-9"] = {A}
    run.reconciler.set_desired([placement("10.10.1.80", takeover=False)])
    run.to_the_end()
    assert len(run.cloud.asked("holders")) == 4
    assert run.phases() == {"10.10.1.80": Phase.REFUSED}


def test_an_ipv6_address_moves() -> None:
    run = Run()
    run.cloud.secondaries["eni-9"] = {V6}
    run.reconciler.set_desired([placement(str(V6))])
    run.to_the_end()
    assert run.phases() == {str(V6): Phase.CONFIRMED}
    assert run.cloud.secondaries == {"eni-1": {V6}, "eni-2": set(), "eni-9": set()}
    assert run.cloud.asked("describe") == []


def test_an_ipv6_address_that_the_eni_has_is_not_listed_again_and_described() -> None:
    run = Run()
    run.cloud.secondaries["eni-1"] = {V6}
    run.reconciler.set_desired([placement(str(V6))])
    run.to_the_end()
    assert run.phases() == {str(V6): Phase.CONFIRMED}
    assert len(run.cloud.asked("describe")) == 1


def test_another_that_takes_the_ipv6_address_between_look_and_call_is_looked_at_again() -> None:
    run = Run()
    run.cloud.secondaries["eni-9"] = {V6}
    # EC2 accepts the Unassign, but the holder is faster in having it again.
    run.cloud.struck = [Strike("unassign", Fault.NOT_HELD), Strike("unassign", Fault.NOT_HELD)]
    run.reconciler.set_desired([placement(str(V6))])
    run.to_the_end()
    assert run.phases() == {str(V6): Phase.CONFIRMED}
    assert run.cloud.secondaries["eni-9"] == set()
    assert run.lines.events("warning") == ["assign-failed"]


def test_of_two_pods_only_the_one_with_the_right_takes() -> None:
    run = Run()
    run.cloud.secondaries["eni-9"] = {A, B}
    run.reconciler.set_desired([placement(str(A), takeover=False), placement(str(B))])
    run.to_the_end()
    assert run.phases() == {str(A): Phase.REFUSED, str(B): Phase.CONFIRMED}
    assert run.cloud.secondaries == {"eni-1": {B}, "eni-2": set(), "eni-9": {A}}


def test_what_only_one_batch_suffers_from_does_not_hold_up_the_other() -> None:
    run = Run(struck=[Strike("assign", Fault.THROTTLED)])
    run.reconciler.set_desired([placement(str(A), takeover=False), placement(str(B))])
    run.reconciler.step()
    assert run.phases() == {str(A): Phase.WANTED, str(B): Phase.CONFIRMED}


def test_one_family_in_trouble_does_not_hold_up_the_other() -> None:
    run = Run(struck=[Strike("holders", Fault.THROTTLED)])
    run.reconciler.set_desired([placement("10.10.1.80"), placement(str(V6))])
    run.reconciler.step()
    assert run.phases() == {"10.10.1.80": Phase.CONFIRMED, str(V6): Phase.WANTED}
    run.to_the_end()
    assert len(run.cloud.asked("assign")) == 2


def test_takeover_takes() -> None:
    run = Run()
    run.cloud.secondaries["eni-9"] = {A}
    run.reconciler.set_desired([placement("10.10.1.80")])
    run.to_the_end()
    assert run.cloud.secondaries == {"eni-1": {A}, "eni-2": set(), "eni-9": set()}


def test_init_stops_at_once_where_no_retry_helps() -> None:
    run = Run(struck=[Strike("assign", Fault.NO_PERMISSION)])
    run.reconciler.set_desired([placement("10.10.1.80")])
    assert run.to_the_end() == 0
    assert run.phases() == {"10.10.1.80": Phase.REFUSED}


def test_no_right_to_describe_is_no_matter_while_imds_confirms() -> None:
    run = Run(imds_delay=8.0, struck=[Strike("describe", Fault.NO_PERMISSION)] * 20)
    run.reconciler.set_desired([placement("10.10.1.80")])
    run.to_the_end()
    assert run.phases() == {"10.10.1.80": Phase.CONFIRMED}


def test_neither_imds_nor_the_right_to_describe_is_never_success() -> None:
    run = Run(imds=False, struck=[Strike("describe", Fault.NO_PERMISSION)] * 20)
    run.reconciler.set_desired([placement("10.10.1.80")])
    run.to_the_end()
    assert run.phases() == {"10.10.1.80": Phase.REFUSED}


def test_an_outage_is_one_warning_and_ever_rarer_tries() -> None:
    run = Run(struck=[Strike("assign", Fault.UNREACHABLE)] * 500)
    run.reconciler.retry_until_healed()
    run.reconciler.set_desired([placement("10.10.1.80")])
    run.to_the_end(3600)
    assert run.lines.events("warning") == ["assign-failed"]
    assert 60 < len(run.cloud.calls) < 300
    run.cloud.struck.clear()
    run.to_the_end()
    assert run.phases() == {"10.10.1.80": Phase.CONFIRMED}


def test_a_fresh_address_does_not_wait_for_the_delay_of_another() -> None:
    run = Run(struck=[Strike("assign", Fault.NO_PERMISSION)])
    run.reconciler.retry_until_healed()
    run.reconciler.set_desired([placement("10.10.1.80")])
    delay = run.reconciler.step()
    assert delay is not None
    assert delay > 10
    run.reconciler.set_desired([placement("10.10.1.80"), placement("10.10.1.81")])
    run.reconciler.step()
    assert set(run.phases().values()) == {Phase.CONFIRMED}


def test_unchanged_desired_addresses_do_not_hasten_a_retry() -> None:
    run = Run(struck=[Strike("assign", Fault.NO_PERMISSION)])
    run.reconciler.retry_until_healed()
    run.reconciler.set_desired([placement("10.10.1.80")])
    run.reconciler.step()
    run.reconciler.set_desired([placement("10.10.1.80")])
    run.reconciler.step()
    assert len(run.cloud.asked("assign")) == 1


def test_after_a_success_delays_are_short_again() -> None:
    run = Run(struck=[Strike("assign", Fault.UNREACHABLE)] * 10)
    run.reconciler.retry_until_healed()
    run.reconciler.set_desired([placement("10.10.1.80")])
    run.to_the_end()
    run.cloud.struck = [Strike("assign", Fault.UNREACHABLE)]
    run.reconciler.set_desired([placement("10.10.1.80"), placement("10.10.1.81")])
    assert run.to_the_end() < 1


def test_the_oldest_unconfirmed_address_says_when_imds_has_had_its_time() -> None:
    run = Run(imds_delay=300)
    run.reconciler.set_desired([placement("10.10.1.80")])
    run.reconciler.step()
    run.time.sleep(METADATA_PATIENCE - 1)
    run.reconciler.set_desired([placement("10.10.1.80"), placement("10.10.1.81")])
    run.reconciler.step()
    assert run.cloud.asked("describe") == []
    run.time.sleep(1)
    run.reconciler.step()
    assert len(run.cloud.asked("describe")) == 1
    assert set(run.phases().values()) == {Phase.CONFIRMED}


def test_one_eni_in_trouble_does_not_hold_up_another() -> None:
    run = Run(struck=[Strike("assign", Fault.THROTTLED)])
    run.reconciler.set_desired([placement("10.10.1.80"), placement("10.10.2.80", ENI_2)])
    run.reconciler.step()
    assert run.phases() == {"10.10.1.80": Phase.WANTED, "10.10.2.80": Phase.CONFIRMED}


class TestWindow:
    """New addresses that wait for others."""

    def run(self, seconds: float = 2.0, **cloud: Any) -> Run:
        run = Run(**cloud)
        asked: list[tuple[int, list[float]]] = []

        def window(version: int, arrived: Sequence[float], now: float) -> float:
            assert now == run.time.now
            asked.append((version, list(arrived)))
            return min(arrived) + seconds

        run.reconciler = Reconciler(run.cloud, timing=run.time.timing, log=run.lines.log, window=window)
        self.asked = asked
        return run

    def test_they_go_in_one_call_when_the_first_has_waited_long_enough(self) -> None:
        run = self.run()
        first, second = placement("10.10.1.80"), placement("10.10.1.81")
        run.reconciler.set_desired([first])
        assert run.reconciler.step() == 2.0
        run.time.sleep(1.0)
        run.reconciler.set_desired([first, second])
        assert run.reconciler.step() == 1.0
        assert (4, [1000.0, 1001.0]) in self.asked
        run.time.sleep(1.0)
        run.reconciler.step()
        assert run.cloud.asked("assign") == [("eni-1", ["10.10.1.80", "10.10.1.81"])]

    def test_the_next_try_of_what_has_failed_waits_for_nobody(self) -> None:
        run = self.run(seconds=60.0, struck=[Strike("assign", Fault.TRANSIENT)])
        run.reconciler.set_desired([placement("10.10.1.80")])
        assert 60.0 < run.to_the_end() < 61.0
        assert run.phases() == {"10.10.1.80": Phase.CONFIRMED}

    def test_an_address_that_joins_a_failed_batch_has_it_tried_again_soon(self) -> None:
        run = self.run(struck=[Strike("assign", Fault.NO_PERMISSION)])
        run.reconciler.retry_until_healed()
        run.reconciler.set_desired([placement("10.10.1.80")])
        run.time.sleep(2.0)
        delay = run.reconciler.step()
        assert delay is not None
        assert delay > 10
        run.reconciler.set_desired([placement("10.10.1.80"), placement("10.10.1.81")])
        run.time.sleep(2.0)
        run.reconciler.step()
        assert run.cloud.asked("assign")[-1] == ("eni-1", ["10.10.1.80", "10.10.1.81"])

    def test_what_is_wanted_no_longer_makes_nobody_wait(self) -> None:
        run = self.run()
        run.reconciler.set_desired([placement("10.10.1.80")])
        run.reconciler.set_desired([])
        assert run.reconciler.step() is None


def test_nothing_wanted_is_nothing_to_do() -> None:
    assert Run().reconciler.step() is None


strikes = st.lists(
    st.builds(
        Strike,
        st.sampled_from(["assign", "describe", "holders", "unassign"]),
        st.sampled_from([fault for fault in Fault if fault is not Fault.NOT_HELD]),
        st.booleans(),
    ),
    max_size=12,
)
wishes = st.lists(
    st.sampled_from(
        [
            placement(address, eni, takeover=takeover)
            for takeover in (True, False)
            for eni, addresses in (
                (ENI_1, [f"10.10.1.{last}" for last in (9, 10, 80, 81, 82, 83)]),
                (ENI_1, [f"2001:db8:1::{last}" for last in (80, 81)]),
                (ENI_2, [f"10.10.2.{last}" for last in (80, 81)]),
            )
            for address in addresses
        ]
    ),
    min_size=1,
    unique_by=lambda each: each.holding.address,
)


conditions = st.fixed_dictionaries(
    {
        "imds": st.booleans(),
        "imds_delay": st.sampled_from([0.0, 3.0, 30.0]),
        "unlisted": st.booleans(),
        "room": st.integers(0, 5),
    }
)


@given(wishes, strikes, conditions)
def test_confirmed_is_true_refused_has_a_reason_and_primaries_stay(
    wanted: list[Placement], struck: list[Strike], given_conditions: dict[str, Any]
) -> None:
    run = Run(struck=struck, **given_conditions)
    run.cloud.secondaries["eni-9"] = {A, V6}
    primaries = dict(run.cloud.primaries)
    run.reconciler.set_desired(wanted)
    run.to_the_end()
    run.cloud.struck.clear()
    for item in run.reconciler.plan.items:
        if item.phase is Phase.CONFIRMED:
            assert run.cloud.describe(item.eni_id).holds(item.address)
        elif item.phase is Phase.REFUSED:
            assert item.failure is not None
    assert run.cloud.primaries == primaries
    movable = {each.holding.address for each in wanted if each.takeover}
    assert run.cloud.secondaries["eni-9"] >= {A, V6} - movable


def awaited(text: str = "not answered yet") -> Failure:
    return Failure(Fault.UNREACHABLE, text, remedy="Wait.", pending=True)


def silent() -> Failure:
    return Failure(Fault.UNREACHABLE, "not answered for 20 s", remedy="See who leads.", lasting=True)


class Slow(FakeCloud):
    """A call for an ENI in `seconds` takes that long; `failures` are raised first, in order."""

    def __init__(self, time: Time, seconds: dict[str, float], failures: Sequence[Failure] = ()) -> None:
        super().__init__(time)
        self.seconds, self.failures = seconds, [*failures]

    def assign(self, call: Assign) -> frozenset[IPAddress]:
        self.time.now += self.seconds.get(call.eni_id, 0.0)
        if self.failures:
            raise Ec2Error(self.failures.pop(0))
        return super().assign(call)


def slow(seconds: dict[str, float], *failures: Failure) -> Run:
    run = Run()
    run.cloud = Slow(run.time, seconds, failures)
    run.reconciler = Reconciler(run.cloud, timing=run.time.timing, log=run.lines.log)
    return run


def test_that_a_call_is_not_answered_for_long_is_said_once_however_often_it_is_sent_again() -> None:
    run = slow({}, *([awaited(), awaited(), silent()] * 4))
    run.reconciler.set_desired([placement("10.10.1.80", takeover=False)])
    run.to_the_end()
    assert run.phases() == {"10.10.1.80": Phase.CONFIRMED}
    said = [(line["level"], line["message"]) for line in run.lines.of("assign-failed")]
    assert [each for each in said if each[0] != "debug"] == [
        ("info", "not answered yet"),
        ("warning", "not answered for 20 s. See who leads."),
    ]


def test_what_follows_an_answer_that_was_out_is_news() -> None:
    """Also where EC2 is as far away as the answer was."""
    away = Failure(Fault.UNREACHABLE, "EC2 is away")
    run = slow({}, awaited(), away, awaited(), away)
    run.reconciler.set_desired([placement("10.10.1.80", takeover=False)])
    run.to_the_end()
    assert [line["message"] for line in run.lines.of("assign-failed") if line["level"] == "warning"] == [
        "EC2 is away"
    ]


def test_that_nobody_answers_for_long_is_news_after_an_outage_and_said_once() -> None:
    away = Failure(Fault.UNREACHABLE, "API server away")
    run = slow({}, away, *([awaited(), silent()] * 3))
    run.reconciler.set_desired([placement("10.10.1.80", takeover=False)])
    run.to_the_end()
    assert [line["message"] for line in run.lines.of("assign-failed") if line["level"] == "warning"] == [
        "API server away",
        "not answered for 20 s. See who leads.",
    ]


def test_slow_calls_that_are_left_go_on_in_the_next_turn() -> None:
    run = slow({"eni-1": TURN_SECONDS, "eni-2": 1.0})
    run.reconciler.set_desired([placement("10.10.1.80"), placement("10.10.2.80", ENI_2)])
    assert run.reconciler.step() == 0.0
    assert run.cloud.asked("assign") == [("eni-1", ["10.10.1.80"])]
    run.to_the_end()
    assert {*run.phases().values()} == {Phase.CONFIRMED}


def test_an_eni_that_has_failed_comes_after_those_that_have_not() -> None:
    run = slow({"eni-1": TURN_SECONDS}, Failure(Fault.UNREACHABLE, "no"))
    run.reconciler.set_desired([placement("10.10.1.80")])
    run.reconciler.step()
    run.time.now += 60.0
    run.reconciler.set_desired([placement("10.10.1.80"), placement("10.10.2.80", ENI_2)])
    run.cloud.calls.clear()
    # What is new makes no batch due but its own.
    run.reconciler.step()
    assert run.cloud.asked("assign")[0] == ("eni-2", ["10.10.2.80"])


@pytest.mark.parametrize("takeover", [False, True])
def test_a_refused_batch_goes_on_in_the_next_turn_once_a_part_of_it_is_settled(takeover: bool) -> None:
    run = slow({"eni-1": TURN_SECONDS / 2})
    run.cloud.room = 50
    bad = ip("10.10.1.10")
    wanted = [f"10.10.1.{last}" for last in range(10, 18)]
    run.reconciler.set_desired([placement(each, takeover=takeover) for each in wanted])
    assert bad in run.cloud.primaries.values()
    turns = []
    for _ in range(12):
        begun = run.time.now
        run.reconciler.step()
        turns.append(run.time.now - begun)
        run.time.now += 60.0
    # Down to the first part that is settled, and not through all parts.
    assert max(turns) <= 4 * TURN_SECONDS / 2
    assert run.cloud.secondaries["eni-1"] == {ip(each) for each in wanted[1:]}
    assert run.phases()[str(bad)] is not Phase.WANTED


def test_a_move_that_has_begun_is_carried_out_in_one_turn() -> None:
    """Between its calls the address is on no ENI."""
    run = slow({"eni-1": TURN_SECONDS})
    run.cloud.secondaries["eni-9"] = {V6}
    run.cloud.traits["eni-9"] = {"no_manage": True}
    taken = run.cloud.unassign

    def unassign(call: Unassign) -> None:
        run.time.now += TURN_SECONDS
        taken(call)

    run.cloud.unassign = unassign  # type: ignore[method-assign]
    run.reconciler.set_desired([placement(str(V6))])
    run.reconciler.step()
    assert V6 in run.cloud.secondaries["eni-1"]
