"""A refused batch is split until the good addresses have landed and the bad ones are known."""

from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multus_eni.ipagent import apply
from multus_eni.ipagent.addresses import IPAddress
from multus_eni.ipagent.plan import Assign, Outcome, Unassign
from multus_eni.ipagent.retry import Fault
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
    (outcome,) = apply.run(assign(*POOL[:3]), ec2)
    assert outcome.failure is None
    assert outcome.listed == frozenset(POOL[:3])
    assert len(ec2.calls) == 1


def test_a_bad_address_is_found_and_the_others_land() -> None:
    ec2 = cloud()
    outcomes = list(apply.run(assign(*POOL[:3], FOREIGN_PRIMARY), ec2))
    assert faults(outcomes) == {**{str(a): None for a in POOL[:3]}, "10.10.1.9": Fault.REFUSED}
    assert ec2.secondaries["eni-1"] == set(POOL[:3])


def test_as_many_land_as_the_eni_has_room_for_and_the_rest_is_not_tried_one_by_one() -> None:
    ec2 = cloud(room=3)
    outcomes = list(apply.run(assign(*POOL), ec2))
    assert len(ec2.secondaries["eni-1"]) == 3
    assert list(faults(outcomes).values()).count(Fault.ENI_FULL) == 7
    assert len(ec2.calls) < len(POOL)


def test_what_concerns_the_whole_call_is_not_split() -> None:
    for fault in (Fault.NO_PERMISSION, Fault.THROTTLED, Fault.UNREACHABLE, Fault.NO_ENI, Fault.UNKNOWN):
        ec2 = cloud(struck=[Strike("assign", fault)])
        outcomes = list(apply.run(assign(*POOL[:4]), ec2))
        assert set(faults(outcomes).values()) == {fault}
        assert len(ec2.calls) == 1


def test_a_throttle_in_the_middle_leaves_the_rest_for_later() -> None:
    ec2 = cloud(struck=[Strike("assign", Fault.REFUSED), Strike("assign", Fault.THROTTLED)])
    outcomes = list(apply.run(assign(*POOL[:4]), ec2))
    assert set(faults(outcomes).values()) == {Fault.THROTTLED}
    assert len(ec2.calls) == 2


def test_a_release_is_split_so_that_what_is_held_comes_off() -> None:
    ec2 = cloud()
    ec2.secondaries["eni-1"] = set(POOL[:2])
    outcomes = list(apply.run(Unassign("eni-1", tuple(POOL[:3])), ec2))
    assert faults(outcomes)[str(POOL[2])] is Fault.NOT_HELD
    assert ec2.secondaries["eni-1"] == set()


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
    outcomes = list(apply.run(assign(*batch, takeover=takeover), ec2))
    answered = list(chain.from_iterable(outcome.call.addresses for outcome in outcomes))
    assert sorted(answered, key=str) == sorted(batch, key=str)
    for outcome in outcomes:
        if outcome.failure is None:
            assert ec2.secondaries["eni-1"].issuperset(outcome.call.addresses)
    if not takeover:
        assert POOL[0] in ec2.secondaries["eni-9"]
