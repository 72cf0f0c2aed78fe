"""A refused batch is split until the good addresses have landed and the bad ones are known."""

from ipaddress import IPv4Address
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipagent.assign import executor
from ipagent.assign.address_calls import Assign, Move, Outcome, Unassign
from ipagent.assign.addresses import IPAddress
from ipagent.assign.ec2_error_codes import Fault
from ipagent.assign.executor import split
from tests.ipagent.fakes import FakeCloud, Strike, Time, ip

pytestmark = pytest.mark.pure

POOL = [ip(f"10.10.1.{last}") for last in range(80, 90)]
FOREIGN_PRIMARY = ip("10.10.1.9")


def cloud(**changes: Any) -> FakeCloud:
    return FakeCloud(Time(), **changes)


def assign(*addresses: IPAddress, takeover: bool = True) -> Assign:
    return Assign("eni-1", addresses, allow_reassignment=takeover)


def faults(outcomes: list[Outcome]) -> dict[str, Fault | None]:
    return {
        str(address): outcome.failure.fault if outcome.failure else None
        for outcome in outcomes
        for address in outcome.call.addresses
    }


def test_good_addresses_are_one_call() -> None:
    ec2 = cloud()
    (outcome,) = executor.run(assign(*POOL[:3]), ec2)
    assert outcome.failure is None
    assert outcome.listed == frozenset(POOL[:3])
    assert len(ec2.calls) == 1


def test_a_bad_address_is_found_and_the_others_land() -> None:
    ec2 = cloud()
    outcomes = list(executor.run(assign(*POOL[:3], FOREIGN_PRIMARY), ec2))
    assert faults(outcomes) == {**{str(a): None for a in POOL[:3]}, "10.10.1.9": Fault.REFUSED}
    assert ec2.secondaries["eni-1"] == set(POOL[:3])


def test_as_many_land_as_the_eni_has_room_for_and_the_rest_is_not_tried_one_by_one() -> None:
    ec2 = cloud(room=3)
    outcomes = list(executor.run(assign(*POOL), ec2))
    assert len(ec2.secondaries["eni-1"]) == 3
    assert list(faults(outcomes).values()).count(Fault.ENI_FULL) == 7
    assert len(ec2.calls) < len(POOL)


def test_what_concerns_the_whole_call_is_not_split() -> None:
    for fault in (Fault.NO_PERMISSION, Fault.THROTTLED, Fault.UNREACHABLE, Fault.NO_ENI, Fault.UNKNOWN):
        ec2 = cloud(struck=[Strike("assign", fault)])
        outcomes = list(executor.run(assign(*POOL[:4]), ec2))
        assert set(faults(outcomes).values()) == {fault}
        assert len(ec2.calls) == 1


def test_a_throttle_in_the_middle_leaves_the_rest_for_later() -> None:
    ec2 = cloud(struck=[Strike("assign", Fault.REFUSED), Strike("assign", Fault.THROTTLED)])
    outcomes = list(executor.run(assign(*POOL[:4]), ec2))
    assert set(faults(outcomes).values()) == {Fault.THROTTLED}
    assert len(ec2.calls) == 2


def test_a_release_is_split_so_that_what_is_held_comes_off() -> None:
    ec2 = cloud()
    ec2.secondaries["eni-1"] = set(POOL[:2])
    outcomes = list(executor.run(Unassign("eni-1", tuple(POOL[:3])), ec2))
    assert faults(outcomes)[str(POOL[2])] is Fault.NOT_HELD
    assert ec2.secondaries["eni-1"] == set()


V6 = [ip(f"2001:db8:1::{last:x}") for last in range(4)]


def move(*addresses: IPAddress, takeover: bool = True) -> Move:
    return Move("eni-1", "subnet-1", addresses, allow_reassignment=takeover)


class TestMoves:
    def test_what_nobody_holds_is_one_look_and_one_call(self) -> None:
        ec2 = cloud()
        (outcome,) = executor.run(move(*V6), ec2)
        assert outcome.failure is None
        assert [kind for kind, *_ in ec2.calls] == ["holders", "assign"]
        assert ec2.secondaries["eni-1"] == set(V6)

    def test_what_another_holds_is_taken_off_there_first(self) -> None:
        ec2 = cloud()
        ec2.secondaries["eni-9"] = {V6[0], V6[3]}
        (outcome,) = executor.run(move(*V6[:3]), ec2)
        assert outcome.failure is None
        assert ec2.asked("unassign") == [("eni-9", [str(V6[0])])]
        assert ec2.secondaries == {"eni-1": set(V6[:3]), "eni-2": set(), "eni-9": {V6[3]}}

    def test_without_takeover_it_stays_there_and_the_others_land(self) -> None:
        ec2 = cloud()
        ec2.secondaries["eni-9"] = {V6[0]}
        outcomes = list(executor.run(move(*V6, takeover=False), ec2))
        assert faults(outcomes)[str(V6[0])] is Fault.HELD_ELSEWHERE
        assert ec2.secondaries["eni-9"] == {V6[0]}
        assert ec2.secondaries["eni-1"] == set(V6[1:])

    def test_an_address_of_device_number_0_is_never_touched(self) -> None:
        ec2 = cloud()
        ec2.primaries["eni-0"], ec2.secondaries["eni-0"] = ip("10.10.1.8"), {V6[0]}
        outcomes = list(executor.run(move(V6[0]), ec2))
        assert faults(outcomes) == {str(V6[0]): Fault.HELD_ELSEWHERE}
        assert [kind for kind, *_ in ec2.calls] == ["holders"]

    def test_without_the_right_to_look_ec2_is_asked_all_the_same(self) -> None:
        ec2 = cloud(struck=[Strike("holders", Fault.NO_PERMISSION)])
        (outcome,) = executor.run(move(V6[0]), ec2)
        assert outcome.failure is None

    @pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.UNREACHABLE, Fault.NO_CREDENTIALS])
    def test_a_look_that_fails_otherwise_is_the_failure(self, fault: Fault) -> None:
        ec2 = cloud(struck=[Strike("holders", fault)])
        assert set(faults(list(executor.run(move(*V6), ec2))).values()) == {fault}
        assert ec2.asked("assign") == []

    def test_what_could_not_be_taken_off_is_not_assigned_and_the_others_are(self) -> None:
        ec2 = cloud(struck=[Strike("unassign", Fault.THROTTLED)])
        ec2.secondaries["eni-9"] = {V6[0]}
        outcomes = list(executor.run(move(*V6), ec2))
        assert faults(outcomes)[str(V6[0])] is Fault.THROTTLED
        assert ec2.secondaries["eni-1"] == set(V6[1:])
        assert ec2.secondaries["eni-9"] == {V6[0]}

    def test_what_left_the_holder_meanwhile_is_no_matter(self) -> None:
        ec2 = cloud(struck=[Strike("unassign", Fault.NOT_HELD, lost=True)])
        ec2.secondaries["eni-9"] = {V6[0]}
        (outcome,) = executor.run(move(V6[0]), ec2)
        assert outcome.failure is None

    def test_a_refusal_after_taking_it_off_says_so(self) -> None:
        ec2 = cloud(room=0)
        ec2.secondaries["eni-9"] = {V6[0]}
        (outcome,) = executor.run(move(V6[0]), ec2)
        assert outcome.failure
        assert outcome.failure.fault is Fault.ENI_FULL
        gone = f"the agent took {V6[0]} off eni-9 before, and could not give {V6[0]} back to eni-9 (Number "
        assert gone in outcome.failure.text

    @pytest.mark.parametrize("fault", [Fault.ENI_FULL, Fault.NO_PERMISSION, Fault.NO_ENI])
    def test_what_can_not_be_assigned_is_given_back(self, fault: Fault) -> None:
        ec2 = cloud(struck=[Strike("assign", fault)])
        ec2.secondaries["eni-9"] = {V6[0], V6[3]}
        (outcome,) = executor.run(move(V6[0]), ec2)
        assert outcome.failure
        assert outcome.failure.fault is fault
        assert outcome.failure.text.endswith(f"took {V6[0]} off eni-9 before, and gave {V6[0]} back to eni-9")
        assert ec2.secondaries == {"eni-1": set(), "eni-2": set(), "eni-9": {V6[0], V6[3]}}

    def test_what_has_left_the_holder_by_itself_is_not_given_back(self) -> None:
        struck = [Strike("unassign", Fault.NOT_HELD, lost=True), Strike("assign", Fault.ENI_FULL)]
        ec2 = cloud(struck=struck)
        ec2.secondaries["eni-9"] = {V6[0]}
        (outcome,) = executor.run(move(V6[0]), ec2)
        assert faults([outcome]) == {str(V6[0]): Fault.ENI_FULL}
        assert ec2.secondaries["eni-9"] == set()

    @pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.UNREACHABLE, Fault.HELD_ELSEWHERE])
    def test_what_is_soon_tried_again_is_not_given_back(self, fault: Fault) -> None:
        ec2 = cloud(struck=[Strike("assign", fault)])
        ec2.secondaries["eni-9"] = {V6[0]}
        (_,) = executor.run(move(V6[0]), ec2)
        assert ec2.asked("assign") == [("eni-1", [str(V6[0])])]


strikes = st.lists(st.builds(Strike, st.just("assign"), st.sampled_from(Fault), st.booleans()), max_size=4)


@given(
    st.lists(st.sampled_from([*POOL, FOREIGN_PRIMARY, ip("10.10.1.10")]), min_size=1, unique=True),
    strikes,
    st.integers(0, 12),
    st.booleans(),
)
def test_each_address_is_answered_once_and_truly(
    batch: list[IPAddress], struck: list[Strike], room: int, takeover: bool
) -> None:
    ec2 = cloud(struck=struck, room=room)
    ec2.secondaries["eni-9"] = {POOL[0]}
    outcomes = list(executor.run(assign(*batch, takeover=takeover), ec2))
    answered = list(chain.from_iterable(outcome.call.addresses for outcome in outcomes))
    assert sorted(answered, key=str) == sorted(batch, key=str)
    for outcome in outcomes:
        if outcome.failure is None:
            assert ec2.secondaries["eni-1"].issuperset(outcome.call.addresses)
    if not takeover:
        assert POOL[0] in ec2.secondaries["eni-9"]


any_strikes = st.lists(
    st.builds(
        Strike, st.sampled_from(["holders", "unassign", "assign"]), st.sampled_from(Fault), st.booleans()
    ),
    max_size=5,
)
OTHER = ip("2001:db8:1::99")


@given(
    st.lists(st.sampled_from(V6), min_size=1, unique=True),
    st.sets(st.sampled_from([*V6, OTHER])),
    any_strikes,
    st.integers(0, 5),
    st.booleans(),
)
def test_a_move_answers_for_each_address_once_and_takes_nothing_else(
    batch: list[IPAddress], held: set[IPAddress], struck: list[Strike], room: int, takeover: bool
) -> None:
    # The cloud takes what strikes from its list.
    ec2 = cloud(struck=[*struck], room=room)
    ec2.secondaries["eni-9"] = set(held)
    outcomes = list(executor.run(move(*batch, takeover=takeover), ec2))
    answered = list(chain.from_iterable(outcome.call.addresses for outcome in outcomes))
    assert sorted(answered, key=int) == sorted(batch, key=int)
    for outcome in outcomes:
        if outcome.failure is None:
            assert ec2.secondaries["eni-1"].issuperset(outcome.call.addresses)
    assert held - set(batch) <= ec2.secondaries["eni-9"]
    if not takeover:
        assert held == ec2.secondaries["eni-9"]
    if not struck and len(held) <= room:
        assert held <= ec2.secondaries["eni-1"] | ec2.secondaries["eni-9"], "nobody has it any more"


def ips(*texts: str) -> tuple[IPAddress, ...]:
    return tuple(map(IPv4Address, texts))


def test_addresses_that_the_message_names_are_set_apart() -> None:
    batch = ips("10.0.1.5", "10.0.1.50", "10.0.1.6", "10.0.1.7")
    rest, named = split(
        batch, "InvalidParameterValue: [10.0.1.50, 10.0.1.7] assigned, but move is not allowed."
    )
    assert rest == ips("10.0.1.5", "10.0.1.6")
    assert named == ips("10.0.1.50", "10.0.1.7")


@pytest.mark.parametrize("message", ["no address here", "10.0.1.5 10.0.1.6", "9.9.9.9"])
def test_a_refused_batch_without_a_named_address_is_halved(message: str) -> None:
    assert split(ips("10.0.1.5", "10.0.1.6"), message) == (ips("10.0.1.5"), ips("10.0.1.6"))


@given(st.lists(st.ip_addresses(), min_size=2, unique=True), st.text() | st.lists(st.ip_addresses()).map(str))
def test_a_split_loses_nothing_and_gets_smaller(batch: list[IPAddress], message: str) -> None:
    parts = split(batch, message)
    assert sorted((a for part in parts for a in part), key=str) == sorted(batch, key=str)
    assert all(0 < len(part) < len(batch) for part in parts)
