"""Claims one way, statuses the other: nothing stale is told, nothing is lost."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.agent_settings import Mode
from common.exit_codes import ExitCode
from ipagent.assign.addresses import Snapshot
from ipagent.node.model.claim import Claim, ClaimState, ClaimStatus
from ipagent.node.model.pod import PodKey
from ipagent.node.sessions.claim_queue import ClaimQueue, SessionClosed, StatusUpdate

pytestmark = pytest.mark.pure

A, B = PodKey("apps", "a", "1"), PodKey("apps", "b", "2")
CLAIM = Claim(A, Mode.SIDECAR, Snapshot((), ()))
DONE = ClaimStatus(ClaimState.ASSIGNED, ExitCode.OK, "done")
LATER = ClaimStatus(ClaimState.PENDING, ExitCode.DEADLINE, "later")
FIRST, SECOND = ip_address("10.10.1.80"), ip_address("10.10.1.81")


def test_a_later_claim_replaces_one_that_waits_but_not_what_it_saw_go_away() -> None:
    box = ClaimQueue()
    box.put(replace(CLAIM, again=frozenset({FIRST})))
    box.put(replace(CLAIM, again=frozenset({SECOND}), interfaces=("net1",)))
    assert box.take() == [replace(CLAIM, again=frozenset({FIRST, SECOND}), interfaces=("net1",))]
    assert box.take() == []


def test_what_was_taken_is_not_handed_over_again() -> None:
    box = ClaimQueue()
    box.put(replace(CLAIM, again=frozenset({FIRST})))
    box.take()
    box.put(CLAIM)
    assert box.take() == [CLAIM]


def test_a_sessions_last_claim_comes_before_its_end() -> None:
    box = ClaimQueue()
    leaving = replace(CLAIM, leaving=True)
    box.put(leaving)
    box.close(A)
    assert box.take() == [leaving, SessionClosed(A)]


def test_a_session_that_comes_back_in_time_has_never_ended() -> None:
    box = ClaimQueue()
    box.put(CLAIM)
    box.take()
    box.close(A)
    box.put(CLAIM)
    assert box.take() == [CLAIM]


def test_a_status_goes_to_pods_whose_claim_was_taken_with_that_claims_ticket() -> None:
    box = ClaimQueue()
    ticket = box.put(CLAIM)
    assert box.match({A: DONE, B: DONE}) == []
    box.take()
    assert box.match({A: LATER, B: DONE}) == [StatusUpdate(A, ticket, LATER)]
    assert box.match({B: LATER}) == []
    assert box.match({A: DONE}) == [StatusUpdate(A, ticket, DONE)]


def test_a_status_that_was_found_before_a_claim_was_taken_has_the_ticket_of_the_claim_before() -> None:
    box = ClaimQueue()
    first = box.put(CLAIM)
    box.take()
    second = box.put(CLAIM)
    # The session drops it by the ticket.
    assert box.match({A: DONE}) == [StatusUpdate(A, first, DONE)]
    box.take()
    assert box.match({A: DONE}) == [StatusUpdate(A, second, DONE)]


def test_nothing_is_told_after_the_end() -> None:
    box = ClaimQueue()
    box.put(CLAIM)
    box.take()
    box.close(A)
    box.take()
    assert box.match({A: DONE}) == []


@given(st.lists(st.sampled_from(["put", "close", "take"]), max_size=30))
def test_in_the_end_the_main_loop_knows_whether_the_session_is_open(steps: list[str]) -> None:
    box = ClaimQueue()
    known = is_open = False

    def take() -> None:
        nonlocal known
        for each in box.take():
            known = isinstance(each, Claim)

    for step in steps:
        if step == "put":
            box.put(CLAIM)
            is_open = True
        elif step == "close":
            box.close(A)
            is_open = False
        else:
            take()
    take()
    assert known is is_open
