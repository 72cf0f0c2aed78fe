"""For how long the loop waits for the answer to a change."""

from __future__ import annotations

import pytest

from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.call_relay import Action, RelayAnswer, RelayCall
from ipagent.node.central.standing_changes import GRACE, MAX_STANDING, REFUSED, StandingChanges
from tests.ipagent.fakes import ip

pytestmark = pytest.mark.pure

CALLS = [RelayCall(1, Action.ASSIGN_IPV4, "eni-1", (ip("10.10.1.81"),))]


def test_an_eni_whose_last_change_was_slow_is_not_waited_for_until_one_is_fast() -> None:
    changes = StandingChanges()
    waits = []
    for seconds in (GRACE + 1, 0.5, GRACE + 1, None, 0.5):
        waits.append(changes.patience("n1.oam"))
        changes.add("n1.oam", CALLS, since=100.0)
        changes.end("n1.oam", None if seconds is None else 100.0 + seconds)
    assert waits == [GRACE, 0.0, GRACE, 0.0, 0.0]
    assert changes.patience("n1.sig") == GRACE
    changes.add("n1.oam", CALLS, since=200.0)
    changes.prune({"n1.sig"})
    assert (changes.of("n1.oam"), changes.patience("n1.oam")) == (None, GRACE)


def assign(*last: int) -> list[RelayCall]:
    return [RelayCall(0, Action.ASSIGN_IPV4, "eni-1", tuple(ip(f"10.10.1.{each}") for each in last))]


def test_what_is_asked_for_again_as_it_was_may_stand_and_the_parts_of_a_refused_batch_may_not() -> None:
    changes = StandingChanges()
    refusal = RelayAnswer(0, failure=Failure(Fault.ENI_FULL, "full"))
    parts = [assign(1, 2), assign(1), assign(2), assign(3, 4)]

    def standing(now: float) -> list[bool]:
        return [changes.may_stand("n1.oam", calls, now) for calls in (*parts, assign(1, 2, 3, 4), assign(5))]

    assert standing(0.0) == [True] * 6
    changes.record("n1.oam", assign(1, 2, 3, 4), [refusal], 0.0)
    for now, calls, answer in ((40.0, parts[0], refusal), (80.0, parts[1], RelayAnswer(0))):
        changes.record("n1.oam", calls, [answer], now)
        assert standing(now) == [False] * 4 + [True] * 2
    assert changes.may_stand("n1.sig", parts[0], 80.0)
    assert standing(80.0 + REFUSED) == [True] * 6
    changes.record("n1.oam", assign(1, 2, 3, 4), [refusal], 200.0)
    changes.record("n1.oam", assign(5), [RelayAnswer(0)], 200.0)
    assert standing(200.0) == [True] * 6
    assert not changes.may_stand("n1.oam", assign(1) * (MAX_STANDING + 1), 200.0)
