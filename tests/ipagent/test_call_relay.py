"""What node agent and controller write into NodeAttachments is what the other side reads."""

from __future__ import annotations

import json
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipagent.assign.address_calls import Assign, Unassign
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.topology import EniDetails
from ipagent.call_relay import (
    MAX_ADDRESSES,
    MAX_AGE,
    MAX_CALLS,
    Action,
    RelayAnswer,
    RelayAnswers,
    RelayCall,
    RelayRequests,
    holding_only,
)
from ipagent.call_relay_status import fault_word, read_answers, read_requests, requests_body, responses_body
from tests.ipagent.fakes import ip

pytestmark = pytest.mark.pure

NOW = 1_790_000_000.0
V4 = st.ip_addresses(v=4)
V6 = st.ip_addresses(v=6)
WORDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=20)
IDS = st.integers(0, 1 << 40)
ASSIGNS4 = st.tuples(st.sampled_from([Action.ASSIGN_IPV4, Action.UNASSIGN_IPV4]), st.tuples(V4, V4))
ASSIGNS6 = st.tuples(st.sampled_from([Action.ASSIGN_IPV6, Action.UNASSIGN_IPV6]), st.tuples(V6))
LOOKS = st.one_of(
    st.just((Action.DESCRIBE, ())),
    st.tuples(st.sampled_from([Action.HOLDERS, Action.PREFIX_HOLDERS]), st.tuples(V4, V6)),
)
CALLS = st.builds(
    lambda id_, what, eni, reassign: RelayCall(id_, what[0], eni, what[1], reassign),
    IDS,
    st.one_of(ASSIGNS4, ASSIGNS6, LOOKS),
    WORDS,
    st.booleans(),
)
ENIS = st.builds(
    EniDetails,
    eni_id=WORDS,
    primary=st.none() | V4,
    secondaries=st.lists(V4 | V6, max_size=5).map(tuple),
    primary_ipv6=st.none() | V6,
    instance_id=st.just("") | WORDS,
    device_number=st.none() | st.integers(0, 15),
    description=st.just("") | WORDS,
    managed=st.booleans(),
    mac=st.sampled_from(["", "02:aa:00:00:00:01"]),
    subnet_id=st.just("") | WORDS,
    vpc_id=st.just("") | WORDS,
    no_manage=st.booleans(),
    prefixes=st.sampled_from([(), (IPv4Network("10.0.0.16/28"), IPv6Network("2001:db8::/80"))]),
    network_card=st.integers(0, 7),
    interface_type=st.sampled_from(["interface", "trunk"]),
    owner_tag=st.just("") | WORDS,
    detaching=st.booleans(),
)
FAILURES = st.builds(Failure, st.sampled_from(Fault), WORDS, remedy=st.just("") | WORDS)
ANSWERS = st.builds(
    RelayAnswer,
    IDS,
    st.frozensets(V4 | V6, max_size=4),
    st.lists(ENIS, max_size=3).map(tuple),
    st.none() | FAILURES,
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["session", "calls", "id", "action", "eni", "addresses", "failure", "interfaces"]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


def over_the_wire(body: dict[str, Any]) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(json.dumps(body))["status"]
    return status


@given(WORDS, st.lists(CALLS, max_size=4, unique_by=lambda call: call.id))
def test_requests_arrive_as_they_were_written(session: str, calls: list[RelayCall]) -> None:
    written = RelayRequests(session, NOW, tuple(calls))
    assert read_requests(over_the_wire(requests_body("n1.oam", written))) == written


@given(WORDS, st.lists(ANSWERS, max_size=4, unique_by=lambda answer: answer.id))
def test_answers_arrive_as_they_were_written(session: str, answers: list[RelayAnswer]) -> None:
    written = RelayAnswers(session, tuple(answers))
    assert read_answers(over_the_wire(responses_body("n1.oam", written))) == written


@given(ANYTHING, ANYTHING)
def test_whatever_stands_there_is_read(requests: object, responses: object) -> None:
    found = read_requests({"requests": requests})
    if found is not None:
        assert len(found.calls) + len(found.unreadable) <= MAX_CALLS
    assert len(read_answers({"responses": responses}).answers) <= MAX_CALLS


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ({"action": "CreateNat", "eni": "eni-1"}, "CreateNat"),
        ({"action": "AssignPrivateIpAddresses", "eni": "eni-1"}, "there is none"),
        (
            {"action": "AssignPrivateIpAddresses", "eni": "eni-1", "addresses": ["2001:db8::1"]},
            "not those of",
        ),
        ({"action": "AssignPrivateIpAddresses", "addresses": ["10.0.0.1"]}, "eni"),
        ({"action": "DescribeHolders", "eni": "eni-1", "addresses": ["10.0.0.1"] * 65}, "at most 64"),
    ],
)
def test_a_call_that_cannot_be_read_is_answered_with_why(call: dict[str, Any], says: str) -> None:
    found = read_requests({"requests": {"session": "s", "time": "", "calls": [{"id": 3, **call}]}})
    assert found is not None
    assert found.calls == ()
    (answer,) = found.retained(RelayAnswers()).answers
    assert (answer.id, answer.failure and answer.failure.fault) == (3, Fault.BAD_CALL)
    assert says in str(answer.failure)


def test_more_than_fits_is_not_written() -> None:
    many = tuple(ip(f"10.0.0.{number}") for number in range(MAX_ADDRESSES + 1))
    call = RelayCall(1, Action.ASSIGN_IPV4, "eni-1", many)
    with pytest.raises(ValueError, match="at most"):
        requests_body("n1.oam", RelayRequests("s", NOW, (call,)))
    with pytest.raises(ValueError, match="at most"):
        requests_body(
            "n1.oam",
            RelayRequests("s", NOW, tuple(RelayCall(n, Action.DESCRIBE, "eni-1") for n in range(17))),
        )


def test_only_answers_of_the_session_count_and_only_for_what_is_still_requested() -> None:
    one, two, three = (RelayCall(number, Action.DESCRIBE, "eni-1") for number in (1, 2, 3))
    answers = RelayAnswers("s1", (RelayAnswer(1), RelayAnswer(2)))
    assert RelayRequests("s1", NOW, (two, three)).unanswered(answers) == (three,)
    assert RelayRequests("s2", NOW, (one, two)).unanswered(answers) == (one, two)
    assert RelayRequests("s1", NOW, (two, three)).retained(answers) == RelayAnswers("s1", (RelayAnswer(2),))
    assert RelayRequests("s2", NOW, (one,)).retained(answers) == RelayAnswers("s2")


@pytest.mark.parametrize(
    ("written", "expired"),
    [
        (NOW, False),
        (NOW - MAX_AGE, False),
        (NOW - MAX_AGE - 1, True),
        (NOW + MAX_AGE, False),
        (NOW + 600, True),
        (None, True),
    ],
)
def test_an_old_request_is_refused_with_both_clocks(written: float | None, expired: bool) -> None:
    failure = RelayRequests("s", written).expired(NOW)
    assert (failure is not None) is expired
    if failure is not None:
        assert "2026-09-21T14:13:20Z" in failure.text
        assert "chrony" in failure.remedy


def test_calls_are_the_engines() -> None:
    address = (ip("10.0.0.1"),)
    assert RelayCall(1, Action.ASSIGN_IPV4, "eni-1", address, True).change == Assign("eni-1", address, True)
    assert RelayCall(1, Action.UNASSIGN_IPV4, "eni-1", address).change == Unassign("eni-1", address)
    assert RelayCall(1, Action.HOLDERS, "eni-1", address).change is None


def test_holders_are_shown_with_what_is_asked_for_alone() -> None:
    asked = [ip("10.0.0.5"), ip("10.0.0.17")]
    prefixes = (IPv4Network("10.0.0.16/28"), IPv4Network("10.0.0.32/28"))
    holder = EniDetails("eni-1", ip("10.0.0.4"), (ip("10.0.0.5"), ip("10.0.0.6")), prefixes=prefixes)
    other = EniDetails("eni-2", ip("10.0.0.7"), (ip("10.0.0.8"),))
    (shown,) = holding_only([holder, other], asked)
    assert (shown.primary, shown.secondaries, shown.prefixes) == (
        ip("10.0.0.4"), (ip("10.0.0.5"),), (IPv4Network("10.0.0.16/28"),)
    )  # fmt: skip


@pytest.mark.parametrize(
    "answer",
    [{"interfaces": ["eni-1"]}, {"interfaces": [{}]}, {"failure": []}, {"failure": "x"}, {"addresses": [{}]}],
)
def test_an_answer_that_cannot_be_read_is_a_failure_that_passes(answer: dict[str, Any]) -> None:
    (found,) = read_answers({"responses": {"session": "s", "calls": [{"id": 1, **answer}]}}).answers
    assert found.failure is not None
    assert found.failure.fault is Fault.TRANSIENT


def test_an_answer_of_a_newer_controller_is_a_failure_that_ends() -> None:
    given = {"session": "s", "calls": [{"id": 1, "failure": {"fault": "Sunspots", "message": "x"}}]}
    (answer,) = read_answers({"responses": given}).answers
    assert answer.failure == Failure(Fault.UNKNOWN, "x")
    assert fault_word(Fault.NO_ENI) == "NoEni"
