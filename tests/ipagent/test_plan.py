"""From what is wanted and what was seen to the next calls."""

from dataclasses import replace

import pytest

from multus_eni.ipagent.plan import Assign, Item, Outcome, Phase, Plan, Unassign, releases
from multus_eni.ipagent.retry import HEALING, RETRIED, Failure, Fault
from multus_eni.ipagent.topology import EniAddresses
from tests.ipagent.fakes import ENI_1, ENI_2, ip, placement

pytestmark = pytest.mark.pure

A, B = ip("10.10.1.80"), ip("10.10.1.81")
NOW = 7.0


def plan(phase: Phase = Phase.WANTED, failure: Failure | None = None, *, patient: bool = False) -> Plan:
    item = Item(placement("10.10.1.80"), phase, failure)
    return Plan(HEALING if patient else RETRIED, items=(item,))


def failed(fault: Fault) -> Failure:
    return Failure(fault, "why")


def outcome(failure: Failure | None = None, *, listed: bool = True) -> Outcome:
    return Outcome(Assign("eni-1", (A,), allow_reassignment=True), frozenset({A} if listed else ()), failure)


def phase(after: Plan) -> Phase:
    (item,) = after.items
    return item.phase


def test_one_call_for_each_eni_with_all_its_addresses_in_order() -> None:
    wanted = [
        placement("10.10.1.90"),
        placement("10.10.2.80", ENI_2, "net2"),
        placement("10.10.1.9", ENI_1, "net3"),
    ]
    assert Plan(RETRIED, takeover=False).wanting(wanted).calls() == (
        Assign("eni-1", (ip("10.10.1.9"), ip("10.10.1.90")), allow_reassignment=False),
        Assign("eni-2", (ip("10.10.2.80"),), allow_reassignment=False),
    )


@pytest.mark.parametrize("known", [p for p in Phase if p is not Phase.WANTED])
def test_what_has_been_asked_for_is_not_asked_again(known: Phase) -> None:
    assert plan(known).calls() == ()


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (outcome(), Phase.ACCEPTED),
        (outcome(listed=False), Phase.DOUBTFUL),
        (outcome(failed(Fault.TRANSIENT)), Phase.WANTED),
        (outcome(failed(Fault.THROTTLED)), Phase.WANTED),
        (outcome(failed(Fault.UNREACHABLE)), Phase.WANTED),
        (outcome(failed(Fault.REFUSED)), Phase.DISPUTED),
        (outcome(failed(Fault.ENI_FULL)), Phase.DISPUTED),
        (outcome(failed(Fault.HELD_ELSEWHERE)), Phase.DISPUTED),
        (outcome(failed(Fault.NO_PERMISSION)), Phase.REFUSED),
        (outcome(failed(Fault.UNKNOWN)), Phase.REFUSED),
    ],
)
def test_a_call_moves_its_addresses(result: Outcome, expected: Phase) -> None:
    assert phase(plan().after_call(result, NOW)) is expected


def test_a_sidecar_goes_on_where_init_gives_up() -> None:
    assert phase(plan(patient=True).after_call(outcome(failed(Fault.NO_PERMISSION)), NOW)) is Phase.WANTED


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (Phase.ACCEPTED, Phase.CONFIRMED),
        (Phase.DOUBTFUL, Phase.DOUBTFUL),
        (Phase.DISPUTED, Phase.DISPUTED),
        (Phase.WANTED, Phase.WANTED),
    ],
)
def test_imds_confirms_only_what_ec2_accepted(before: Phase, expected: Phase) -> None:
    assert phase(plan(before).after_metadata("eni-1", {A, B}, NOW)) is expected


def test_imds_denies_nothing() -> None:
    assert phase(plan(Phase.ACCEPTED).after_metadata("eni-1", {B}, NOW)) is Phase.ACCEPTED
    assert phase(plan(Phase.ACCEPTED).after_metadata("eni-2", {A}, NOW)) is Phase.ACCEPTED


@pytest.mark.parametrize("before", [Phase.ACCEPTED, Phase.DOUBTFUL, Phase.DISPUTED])
@pytest.mark.parametrize("primary", [True, False])
def test_a_describe_that_shows_the_address_confirms_it(before: Phase, primary: bool) -> None:
    held = EniAddresses("eni-1", A, ()) if primary else EniAddresses("eni-1", B, (A,))
    after = plan(before, failed(Fault.REFUSED)).after_describe(held, NOW)
    assert phase(after) is Phase.CONFIRMED
    assert after.items[0].failure is None
    assert after.settled


@pytest.mark.parametrize("before", [Phase.ACCEPTED, Phase.DOUBTFUL])
def test_a_describe_without_the_address_has_it_assigned_again(before: Phase) -> None:
    after = plan(before).after_describe(EniAddresses("eni-1", B, ()), NOW)
    assert phase(after) is Phase.WANTED
    assert after.items[0].failure is not None
    assert after.calls()[0].addresses == (A,)


def test_a_describe_without_it_upholds_ec2s_refusal() -> None:
    refused = plan(Phase.DISPUTED, failed(Fault.ENI_FULL))
    after = refused.after_describe(EniAddresses("eni-1", B, ()), NOW)
    assert phase(after) is Phase.REFUSED
    assert after.items[0].failure == failed(Fault.ENI_FULL)


def test_a_full_eni_is_asked_again_in_a_sidecars_life() -> None:
    refused = plan(Phase.DISPUTED, failed(Fault.ENI_FULL), patient=True)
    assert phase(refused.after_describe(EniAddresses("eni-1", B, ()), NOW)) is Phase.WANTED


def test_a_describe_settles_nothing_that_was_not_asked_for() -> None:
    assert phase(plan().after_describe(EniAddresses("eni-1", B, (A,)), NOW)) is Phase.WANTED


@pytest.mark.parametrize(
    ("before", "metadata", "expected"),
    [
        (Phase.DISPUTED, True, Phase.REFUSED),
        (Phase.DOUBTFUL, True, Phase.REFUSED),
        (Phase.ACCEPTED, True, Phase.ACCEPTED),
        (Phase.ACCEPTED, False, Phase.REFUSED),
    ],
)
def test_without_describe_only_imds_is_left(before: Phase, metadata: bool, expected: Phase) -> None:
    known = plan(before, failed(Fault.REFUSED) if before is Phase.DISPUTED else None)
    after = known.without_describe("eni-1", failed(Fault.NO_PERMISSION), NOW, metadata=metadata)
    assert phase(after) is expected
    if expected is Phase.REFUSED:
        blamed = Fault.REFUSED if before is Phase.DISPUTED else Fault.NO_PERMISSION
        assert after.items[0].failure == failed(blamed)


class TestWanting:
    def test_what_is_known_stays_and_what_is_gone_goes(self) -> None:
        known = Plan(RETRIED).wanting([placement("10.10.1.80"), placement("10.10.1.81")])
        known = replace(known, items=tuple(replace(item, phase=Phase.CONFIRMED) for item in known.items))
        after = known.wanting([placement("10.10.1.81"), placement("10.10.1.82")])
        assert [(str(item.address), item.phase) for item in after.items] == [
            ("10.10.1.81", Phase.CONFIRMED),
            ("10.10.1.82", Phase.WANTED),
        ]

    def test_what_went_away_and_came_back_is_assigned_again(self) -> None:
        after = plan(Phase.CONFIRMED).wanting([placement("10.10.1.80")], again={A})
        assert phase(after) is Phase.WANTED

    def test_another_eni_is_another_wish(self) -> None:
        after = plan(Phase.CONFIRMED).wanting([placement("10.10.1.80", ENI_2)])
        assert after.calls()[0].eni_id == "eni-2"


def test_one_release_for_each_eni_with_all_its_addresses() -> None:
    held = [("eni-2", ip("10.10.2.80")), ("eni-1", B), ("eni-1", A), ("eni-1", A)]
    assert releases(held) == (Unassign("eni-1", (A, B)), Unassign("eni-2", (ip("10.10.2.80"),)))
