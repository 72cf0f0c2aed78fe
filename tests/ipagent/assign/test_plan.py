"""From what is wanted and what was seen to the next calls."""

from dataclasses import replace

import pytest

from ipagent.assign.address_calls import Assign, Move, Outcome, TakeOver, Unassign, unassign_calls
from ipagent.assign.address_state import Phase, PlannedAddress
from ipagent.assign.ec2_error_codes import HEALING, RETRIED, Failure, Fault
from ipagent.assign.plan import Plan
from ipagent.assign.topology import EniDetails
from tests.ipagent.fakes import ENI_1, ENI_2, ip, placement

pytestmark = pytest.mark.pure

A, B = ip("10.10.1.80"), ip("10.10.1.81")
NOW = 7.0


def plan(phase: Phase = Phase.WANTED, failure: Failure | None = None, *, patient: bool = False) -> Plan:
    item = PlannedAddress(placement("10.10.1.80"), phase, failure)
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
        placement("10.10.1.90", takeover=False),
        placement("10.10.2.80", ENI_2, "net2", takeover=False),
        placement("10.10.1.9", ENI_1, "net3", takeover=False),
    ]
    assert Plan(RETRIED).with_desired(wanted).calls() == (
        Assign("eni-1", (ip("10.10.1.9"), ip("10.10.1.90")), allow_reassignment=False),
        Assign("eni-2", (ip("10.10.2.80"),), allow_reassignment=False),
    )


def test_what_was_sent_is_asked_for_alone_until_it_is_answered() -> None:
    """Together with what has come since, its answer would have to wait for the answer to that."""
    sent = Failure(Fault.UNREACHABLE, "not answered yet", pending=True)
    wanted = [placement("10.10.1.80"), placement("10.10.1.81"), placement("10.10.2.80", ENI_2)]
    waiting = Plan(RETRIED).with_desired(wanted[:1]).after_call(outcome(sent), 5.0)
    waiting = waiting.with_desired(wanted, (), 6.0)
    others = TakeOver("eni-2", "subnet-2", (ip("10.10.2.80"),))
    assert waiting.calls() == (TakeOver("eni-1", "subnet-1", (A,)), others)
    assert waiting.arrivals() == {("eni-2", 4, True): [6.0]}
    answered = waiting.after_call(outcome(), 7.0)
    assert answered.calls() == (TakeOver("eni-1", "subnet-1", (B,)), others)
    assert answered.arrivals() == {("eni-1", 4, True): [6.0], ("eni-2", 4, True): [6.0]}
    refused = waiting.after_call(outcome(failed(Fault.THROTTLED)), 7.0)
    assert refused.calls()[0] == TakeOver("eni-1", "subnet-1", (A, B))


def test_while_an_answer_is_out_what_an_address_failed_with_before_is_said() -> None:
    sent, again = (Failure(Fault.UNREACHABLE, text, pending=True) for text in ("sent", "sent again"))
    found = plan()
    said = []
    for failure in (sent, failed(Fault.THROTTLED), sent, again, None):
        found = found.after_call(outcome(failure), NOW)
        (item,) = found.items
        said.append(item.failure and (item.failure.told.text, item.failure.pending))
    assert said == [("sent", True), ("why", False), ("why", True), ("why", True), None]


def test_what_others_may_lose_is_a_call_of_its_own() -> None:
    wanted = [placement("10.10.1.80", takeover=False), placement("10.10.1.81"), placement("10.10.1.82")]
    assert Plan(RETRIED).with_desired(wanted).calls() == (
        Assign("eni-1", (A,), allow_reassignment=False),
        TakeOver("eni-1", "subnet-1", (B, ip("10.10.1.82"))),
    )


def test_ipv6_addresses_are_a_move_of_their_own() -> None:
    wanted = [placement("10.10.1.80"), placement("2001:db8:1::81"), placement("2001:db8:1::80")]
    assert Plan(RETRIED).with_desired(wanted).calls() == (
        TakeOver("eni-1", "subnet-1", (A,)),
        Move("eni-1", "subnet-1", (ip("2001:db8:1::80"), ip("2001:db8:1::81")), allow_reassignment=True),
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
        (outcome(failed(Fault.CONTENDED)), Phase.WANTED),
        (outcome(replace(failed(Fault.HELD_ELSEWHERE), final=True)), Phase.REFUSED),
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
    held = EniDetails("eni-1", A, ()) if primary else EniDetails("eni-1", B, (A,))
    after = plan(before, failed(Fault.ENI_FULL)).after_describe(held, NOW)
    assert phase(after) is Phase.CONFIRMED
    assert after.items[0].failure is None
    assert after.settled


@pytest.mark.parametrize("before", [Phase.ACCEPTED, Phase.DOUBTFUL])
def test_a_describe_without_the_address_has_it_assigned_again(before: Phase) -> None:
    after = plan(before).after_describe(EniDetails("eni-1", B, ()), NOW)
    assert phase(after) is Phase.WANTED
    assert after.items[0].failure is not None
    assert after.calls()[0].addresses == (A,)


def test_a_describe_without_it_upholds_ec2s_refusal() -> None:
    refused = plan(Phase.DISPUTED, failed(Fault.ENI_FULL))
    after = refused.after_describe(EniDetails("eni-1", B, ()), NOW)
    assert phase(after) is Phase.REFUSED
    assert after.items[0].failure == failed(Fault.ENI_FULL)


def test_a_full_eni_is_asked_again_in_a_sidecars_life() -> None:
    refused = plan(Phase.DISPUTED, failed(Fault.ENI_FULL), patient=True)
    assert phase(refused.after_describe(EniDetails("eni-1", B, ()), NOW)) is Phase.WANTED


def test_a_describe_settles_nothing_that_was_not_asked_for() -> None:
    assert phase(plan().after_describe(EniDetails("eni-1", B, (A,)), NOW)) is Phase.WANTED


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


class TestHolders:
    """What a look at who holds an address makes of it."""

    MINE = EniDetails("eni-1", B, (A,))
    OTHERS = EniDetails("eni-9", ip("10.10.1.9"), (A,), instance_id="i-9", device_number=1)
    V6 = ip("2001:db8:1::80")
    OTHERS_V6 = replace(OTHERS, secondaries=(V6,))

    def after(self, before: Plan, *enis: EniDetails) -> PlannedAddress:
        (item,) = before.after_holders("eni-1", {A, self.V6}, enis, NOW).items
        return item

    @pytest.mark.parametrize("fault", [Fault.HELD_ELSEWHERE, Fault.REFUSED])
    def test_an_address_that_the_eni_has_after_all_is_confirmed(self, fault: Fault) -> None:
        item = self.after(plan(Phase.DISPUTED, failed(fault)), self.OTHERS, self.MINE)
        assert (item.phase, item.failure) == (Phase.CONFIRMED, None)

    @pytest.mark.parametrize(
        ("takeover", "expected", "fault"),
        [(True, Phase.WANTED, Fault.CONTENDED), (False, Phase.REFUSED, Fault.HELD_ELSEWHERE)],
        ids=["another ENI was faster", "takeover never"],
    )
    def test_the_holder_is_named(self, takeover: bool, expected: Phase, fault: Fault) -> None:
        wanted = PlannedAddress(
            placement(str(A), takeover=takeover), Phase.DISPUTED, failed(Fault.HELD_ELSEWHERE)
        )
        item = self.after(Plan(RETRIED, items=(wanted,)), self.OTHERS)
        assert item.phase is expected
        assert item.failure
        assert "eni-9 (device number 1 of i-9)" in item.failure.text
        assert item.failure.fault is fault

    def test_a_primary_address_of_another_eni_is_refused_by_name(self) -> None:
        item = self.after(plan(Phase.DISPUTED, failed(Fault.REFUSED)), replace(self.OTHERS, primary=A))
        assert item.phase is Phase.REFUSED
        assert item.failure
        assert item.failure.fault is Fault.REFUSED
        assert "a primary address of eni-9" in item.failure.text

    def test_a_refusal_for_an_address_that_nobody_holds_stands(self) -> None:
        item = self.after(plan(Phase.DISPUTED, failed(Fault.REFUSED)))
        assert (item.phase, item.failure) == (Phase.REFUSED, failed(Fault.REFUSED))

    def test_what_was_given_up_meanwhile_is_tried_again(self) -> None:
        item = self.after(plan(Phase.DISPUTED, failed(Fault.HELD_ELSEWHERE)))
        assert item.phase is Phase.WANTED
        assert item.failure
        assert item.failure.fault is Fault.CONTENDED
        assert item.failure.text == "why; EC2 shows no ENI that has it"
        assert "another account" in item.failure.remedy

    @pytest.mark.parametrize(
        ("takeover", "holder", "expected"),
        [
            (True, OTHERS_V6, Phase.WANTED),
            (False, OTHERS_V6, Phase.REFUSED),
            (True, replace(OTHERS_V6, device_number=0), Phase.REFUSED),
        ],
        ids=["taken again", "takeover never", "barred"],
    )
    def test_an_ipv6_address_that_another_got_first(
        self, takeover: bool, holder: EniDetails, expected: Phase
    ) -> None:
        disputed = placement(str(self.V6), takeover=takeover)
        wanted = PlannedAddress(disputed, Phase.DISPUTED, failed(Fault.HELD_ELSEWHERE))
        item = self.after(Plan(RETRIED, items=(wanted,)), holder)
        assert item.phase is expected
        assert item.failure
        assert (item.failure.fault is Fault.CONTENDED) is (expected is Phase.WANTED)

    def test_without_the_look_what_ec2_said_holds_and_the_reason_is_said(self) -> None:
        before = plan(Phase.DISPUTED, failed(Fault.HELD_ELSEWHERE))
        failure = Failure(Fault.NO_PERMISSION, "you may not describe")
        (item,) = before.without_holders("eni-1", {A}, failure, NOW).items
        assert item.phase is Phase.REFUSED
        assert item.failure
        assert item.failure.text == "why; its holder is not known: you may not describe"

    @pytest.mark.parametrize("before", [Phase.CONFIRMED, Phase.TAKEN])
    def test_what_was_assigned_is_followed(self, before: Phase) -> None:
        kept = plan(before, failed(Fault.HELD_ELSEWHERE) if before is Phase.TAKEN else None)
        assert self.after(kept, self.MINE).phase is Phase.CONFIRMED
        lost = self.after(kept)
        assert (lost.phase, lost.failure) == (Phase.WANTED, None)
        taken = self.after(kept, self.OTHERS)
        assert taken.phase is Phase.TAKEN
        assert taken.failure
        assert "eni-9" in taken.failure.text

    def test_what_another_eni_held_is_assigned_once_it_is_free(self) -> None:
        refused = plan(Phase.REFUSED, failed(Fault.HELD_ELSEWHERE))
        assert self.after(refused, self.MINE).phase is Phase.CONFIRMED
        assert self.after(refused, self.OTHERS) == refused.items[0]
        assert self.after(refused).phase is Phase.WANTED
        assert self.after(plan(Phase.REFUSED, failed(Fault.REFUSED))).phase is Phase.REFUSED

    @pytest.mark.parametrize("before", [Phase.WANTED, Phase.ACCEPTED, Phase.DOUBTFUL, Phase.REFUSED])
    def test_what_is_on_its_way_is_left_to_its_call(self, before: Phase) -> None:
        assert self.after(plan(before), self.OTHERS).phase is before
        (item,) = plan(before).without_holders("eni-1", {A}, failed(Fault.UNKNOWN), NOW).items
        assert item.phase is before

    def test_a_full_eni_does_not_cause_a_look_at_other_holders(self) -> None:
        full = plan(Phase.DISPUTED, failed(Fault.ENI_FULL))
        assert not full.items[0].contested
        assert self.after(full, self.OTHERS).phase is Phase.DISPUTED


class TestWanting:
    def test_what_is_known_stays_and_what_is_gone_goes(self) -> None:
        known = Plan(RETRIED).with_desired([placement("10.10.1.80"), placement("10.10.1.81")])
        known = replace(known, items=tuple(replace(item, phase=Phase.CONFIRMED) for item in known.items))
        after = known.with_desired([placement("10.10.1.81"), placement("10.10.1.82")])
        assert [(str(item.address), item.phase) for item in after.items] == [
            ("10.10.1.81", Phase.CONFIRMED),
            ("10.10.1.82", Phase.WANTED),
        ]

    def test_what_went_away_and_came_back_is_assigned_again(self) -> None:
        after = plan(Phase.CONFIRMED).with_desired([placement("10.10.1.80")], again={A})
        assert phase(after) is Phase.WANTED

    def test_the_right_to_take_over_tries_what_was_refused_for_the_lack_of_it(self) -> None:
        without = placement("10.10.1.80", takeover=False)
        refused = Plan(RETRIED, items=(PlannedAddress(without, Phase.REFUSED, failed(Fault.HELD_ELSEWHERE)),))
        assert phase(refused.with_desired([without])) is Phase.REFUSED
        after = refused.with_desired([placement("10.10.1.80")])
        assert after.items == (PlannedAddress(placement("10.10.1.80")),)

    @pytest.mark.parametrize("fault", [Fault.HELD_ELSEWHERE, Fault.REFUSED])
    def test_a_right_that_changes_otherwise_starts_nothing_anew(self, fault: Fault) -> None:
        without = placement("10.10.1.80", takeover=False)
        taken = plan(Phase.TAKEN, failed(fault)).with_desired([without])
        assert (phase(taken), taken.items[0].takeover) == (Phase.TAKEN, False)
        back = replace(taken, items=(replace(taken.items[0], phase=Phase.REFUSED),)).with_desired([without])
        assert phase(back) is Phase.REFUSED

    def test_an_address_that_moves_to_another_eni_is_assigned_there(self) -> None:
        after = plan(Phase.CONFIRMED).with_desired([placement("10.10.1.80", ENI_2)])
        assert after.calls()[0].eni_id == "eni-2"


def test_one_release_for_each_eni_with_all_its_addresses() -> None:
    held = [("eni-2", ip("10.10.2.80")), ("eni-1", B), ("eni-1", A), ("eni-1", A)]
    assert unassign_calls(held) == (Unassign("eni-1", (A, B)), Unassign("eni-2", (ip("10.10.2.80"),)))
