"""Error classes, splitting, delays."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipagent.assign.faults import (
    BY_ADDRESS,
    HEALING,
    RETRIED,
    Backoff,
    Fault,
    backoff_for,
    classify,
    remaining,
    split,
)
from ipagent.assign.selection import IPAddress

pytestmark = pytest.mark.pure

INVALID = "InvalidParameterValue"


@pytest.mark.parametrize(
    ("code", "message", "status", "fault"),
    [
        (INVALID, "[10.0.1.5] assigned, but move is not allowed.", 400, Fault.HELD_ELSEWHERE),
        (INVALID, "Some of the specified addresses are not assigned to interface eni-1", 400, Fault.NOT_HELD),
        (INVALID, "Address does not fall within the subnet's address range", 400, Fault.REFUSED),
        (INVALID, "The address '2001:db8::1' is not mapped to interface ID 'eni-1'", 400, Fault.NOT_HELD),
        (INVALID, "[2001:db8::1] The specified address is already in use.", 400, Fault.HELD_ELSEWHERE),
        ("InvalidIPAddress.InUse", "", 400, Fault.HELD_ELSEWHERE),
        (INVALID, "Address is in subnet's reserved range", 400, Fault.REFUSED),
        (INVALID, "a sentence that nobody has seen yet", 400, Fault.REFUSED),
        (
            "PrivateIpAddressLimitExceeded",
            "Number of private addresses will exceed limit.",
            400,
            Fault.ENI_FULL,
        ),
        ("Ipv6AddressLimitExceeded", "", 400, Fault.ENI_FULL),
        ("InsufficientFreeAddressesInSubnet", "", 400, Fault.SUBNET_FULL),
        ("InvalidNetworkInterfaceID.NotFound", "", 400, Fault.NO_ENI),
        ("InvalidNetworkInterfaceId.Malformed", "", 400, Fault.NO_ENI),
        ("UnauthorizedOperation", "", 403, Fault.NO_PERMISSION),
        ("AuthFailure", "", 401, Fault.NO_CREDENTIALS),
        (
            "AuthFailure",
            "You do not have permission to access the specified resource.",
            403,
            Fault.FOREIGN_ENI,
        ),
        ("IncorrectState", "The network interface is not in a valid state.", 400, Fault.TRANSIENT),
        ("OperationNotPermitted", "You are not allowed to manage this interface.", 400, Fault.UNKNOWN),
        ("UnsupportedOperation", "The operation is not supported.", 400, Fault.UNKNOWN),
        ("RequestExpired", "", 400, Fault.NO_CREDENTIALS),
        ("RequestLimitExceeded", "", 503, Fault.THROTTLED),
        ("SlowDownPlease", "", 429, Fault.THROTTLED),
        ("InternalError", "", 500, Fault.TRANSIENT),
        ("SomethingNew", "", 500, Fault.TRANSIENT),
        ("SomethingNew", "", 502, Fault.TRANSIENT),
        ("SomethingNew", "", 400, Fault.UNKNOWN),
        ("", "", 0, Fault.UNKNOWN),
    ],
)
def test_errors_have_a_class(code: str, message: str, status: int, fault: Fault) -> None:
    assert classify(code, message, status) is fault


@given(st.text(), st.text(), st.integers(100, 499).filter(lambda status: status != 429))
def test_what_is_not_known_is_never_retried(code: str, message: str, status: int) -> None:
    if classify(f"Unheard{code}", message, status) in RETRIED:
        pytest.fail("an unknown code below 500 would be retried")


def test_what_is_retried_at_once_is_also_retried_for_life() -> None:
    assert RETRIED < HEALING
    assert not RETRIED & BY_ADDRESS
    assert Fault.REFUSED not in HEALING


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
def test_else_the_batch_is_halved(message: str) -> None:
    assert split(ips("10.0.1.5", "10.0.1.6"), message) == (ips("10.0.1.5"), ips("10.0.1.6"))


@given(st.lists(st.ip_addresses(), min_size=2, unique=True), st.text() | st.lists(st.ip_addresses()).map(str))
def test_a_split_loses_nothing_and_gets_smaller(batch: list[IPAddress], message: str) -> None:
    parts = split(batch, message)
    assert sorted((a for part in parts for a in part), key=str) == sorted(batch, key=str)
    assert all(0 < len(part) < len(batch) for part in parts)


@given(st.floats(0.01, 10), st.floats(10, 600), st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_delays_stay_within_their_range(base: float, cap: float, attempt: int, random: float) -> None:
    delay = Backoff(base, cap).delay(attempt, random)
    assert 0 < delay <= cap
    assert delay <= base * 2.0 ** min(attempt, 64)


def test_delays_double_up_to_the_cap() -> None:
    assert [Backoff(1, 10).delay(attempt, 0.5) for attempt in range(6)] == [0.5, 1, 2, 4, 5, 5]


def test_what_only_people_can_mend_is_asked_for_less_often() -> None:
    assert (
        backoff_for(Fault.NO_PERMISSION).base
        > backoff_for(Fault.THROTTLED).base
        > backoff_for(Fault.UNREACHABLE).base
    )


def test_no_time_is_left_after_the_deadline() -> None:
    assert remaining(10.0, 7.5) == 2.5
    assert remaining(10.0, 12.0) == 0.0
