"""Who is let in, who is refused, and who gives way, whoever connects how often."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.connection_limits import (
    STALE,
    Connection,
    ConnectionLimits,
    ConnectionTable,
    Refusal,
    State,
    peer_of,
)
from common.token_bucket import Rate

pytestmark = pytest.mark.pure

LIMITS = ConnectionLimits(connections=8, per_peer=6, connects=Rate(100, 10))


def connect(table: ConnectionTable, peer: str, now: float = 0.0) -> Connection | Refusal:
    admission = table.admit(peer, now)
    if admission.refusal is not None:
        return admission.refusal
    if admission.evicted is not None:
        admission.evicted.abort()
        table.remove(admission.evicted)
    return table.add(peer, now, lambda: None)


def opened(table: ConnectionTable, peer: str, count: int, state: State) -> list[Connection]:
    made = []
    for number in range(count):
        connection = connect(table, peer, float(number))
        assert isinstance(connection, Connection)
        connection.enter(state, float(number))
        made.append(connection)
    return made


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:db8:0:0::ffff:1", "2001:db8::ffff:1"),
        ("fe80::1%eth0", "fe80::1"),
        ("", ""),
    ],
)
def test_a_peer_is_an_address(address: str, peer: str) -> None:
    assert peer_of(address) == peer


def test_one_peer_has_its_own_limit() -> None:
    table = ConnectionTable(LIMITS)
    opened(table, "a", 6, State.IDLE)
    assert connect(table, "a") is Refusal.TOO_MANY
    assert isinstance(connect(table, "b"), Connection)


def test_one_peer_has_its_own_rate() -> None:
    table = ConnectionTable(ConnectionLimits(connections=1000, per_peer=1000, connects=Rate(3, 2)))
    assert [isinstance(connect(table, "a"), Connection) for _ in range(4)] == [True] * 3 + [False]
    assert connect(table, "a", 0.4) is Refusal.TOO_FAST
    assert isinstance(connect(table, "a", 1.0), Connection)
    assert isinstance(connect(table, "b"), Connection)


def test_at_the_limit_the_oldest_idle_connection_of_the_largest_peer_gives_way() -> None:
    table = ConnectionTable(LIMITS)
    made = opened(table, "a", 6, State.IDLE)
    opened(table, "b", 2, State.IDLE)
    made[0].enter(State.RECEIVING, 0.0)
    admission = table.admit("c", 9.0)
    assert admission.evicted is made[1]


def test_where_none_is_idle_the_slowest_request_gives_way() -> None:
    table = ConnectionTable(LIMITS)
    made = opened(table, "a", 6, State.RECEIVING)
    opened(table, "b", 2, State.ANSWERING)
    assert table.admit("c", 9.0).evicted is made[0]


def test_a_request_that_is_being_answered_never_gives_way() -> None:
    table = ConnectionTable(LIMITS)
    opened(table, "a", 6, State.ANSWERING)
    opened(table, "b", 2, State.ANSWERING)
    assert table.admit("c", 9.0).refusal is Refusal.TOO_MANY


def test_whose_largest_peer_is_being_answered_the_next_one_gives_way() -> None:
    table = ConnectionTable(LIMITS)
    opened(table, "a", 5, State.ANSWERING)
    made = opened(table, "b", 3, State.IDLE)
    assert table.admit("c", 9.0).evicted is made[0]


def test_where_all_peers_have_one_the_stale_one_gives_way() -> None:
    """As many peers as there may be connections: none may keep the others from having a second one."""
    limits = ConnectionLimits(connections=64, per_peer=6, connects=Rate(100, 10))
    table = ConnectionTable(limits)
    made = [opened(table, f"p{number}", 1, State.RECEIVING)[0] for number in range(64)]
    made[0].enter(State.ANSWERING, 0.0)
    made[1].enter(State.RECEIVING, 3.0)
    made[2].enter(State.IDLE, 2.0)
    made[3].enter(State.IDLE, 1.0)
    for each in made[4:]:
        each.enter(State.RECEIVING, 2.5)
    assert table.admit("p0", 1.0 + STALE - 0.1).refusal is Refusal.TOO_MANY
    assert table.admit("p0", 1.0 + STALE).evicted is made[3]


def test_the_largest_peer_gets_no_place_of_others() -> None:
    table = ConnectionTable(ConnectionLimits(connections=8, per_peer=8, connects=Rate(100, 10)))
    opened(table, "a", 5, State.RECEIVING)
    opened(table, "b", 3, State.IDLE)
    assert table.admit("a", 9.0).refusal is Refusal.TOO_MANY


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(State), st.booleans()), max_size=60))
def test_limits_hold_and_a_peer_with_few_is_let_in(steps: list[tuple[int, State, bool]]) -> None:
    table = ConnectionTable(LIMITS)
    living: list[Connection] = []
    for number, (who, state, leaves) in enumerate(steps):
        peer = f"p{who}"
        admission = table.admit(peer, float(number))
        if admission.evicted is not None:
            table.remove(admission.evicted)
            living.remove(admission.evicted)
        if admission.refusal is None:
            connection = table.add(peer, float(number), lambda: None)
            connection.enter(state, float(number))
            living.append(connection)
        if leaves and living:
            table.remove(living.pop(0))
        counts = [sum(each.peer == f"p{n}" for each in living) for n in range(6)]
        assert table.total == len(living) == sum(counts) <= LIMITS.connections
        assert max(counts) <= LIMITS.per_peer
        if all(each.state is not State.ANSWERING for each in living):
            assert table.admit("newcomer", float(number)).refusal is None
