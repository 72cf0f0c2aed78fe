"""How much one pod, and all together, may ask."""

from __future__ import annotations

import pytest

from ipagent.node.sessions.limits import MAX_PEERS, ConnectionLimiter, Limits, Rate, TokenBucket

pytestmark = pytest.mark.pure


def test_a_bucket_gives_its_burst_and_then_its_refill() -> None:
    bucket = TokenBucket(Rate(3, 2))
    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.wait(10.0) == pytest.approx(0.5)
    assert bucket.take(10.5)
    assert not bucket.take(10.5)


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    bucket = TokenBucket(Rate(2, 1))
    assert bucket.take(0.0)
    assert [bucket.take(1000.0) for _ in range(3)] == [True, True, False]


def test_one_address_has_a_few_connections_and_another_is_not_hurt_by_it() -> None:
    peers = ConnectionLimiter(Limits(per_peer=2))
    assert [peers.admit("a", 0.0) for _ in range(2)] == ["", ""]
    assert "2 connections" in peers.admit("a", 0.0)
    assert peers.admit("b", 0.0) == ""
    peers.leave("a", vouched=False)
    assert peers.admit("a", 0.0) == ""
    assert peers.connections == 3


def test_a_connection_whose_pod_is_known_is_not_counted_to_its_address() -> None:
    peers = ConnectionLimiter(Limits(per_peer=1))
    assert peers.admit("a", 0.0) == ""
    peers.vouch("a")
    assert peers.admit("a", 0.0) == ""
    assert peers.connections == 2
    peers.leave("a", vouched=True)
    assert peers.connections == 1
    assert peers.admit("a", 0.0) != ""


def test_all_together_have_a_limit() -> None:
    peers = ConnectionLimiter(Limits(connections=2))
    assert [peers.admit(peer, 0.0) for peer in "ab"] == ["", ""]
    assert "2 connections open" in peers.admit("c", 0.0)


def test_connecting_again_and_again_is_slowed_down() -> None:
    peers = ConnectionLimiter(Limits(connects=Rate(2, 1)))
    for _ in range(2):
        assert peers.admit("a", 0.0) == ""
        peers.leave("a", vouched=False)
    assert "too often" in peers.admit("a", 0.0)
    assert peers.admit("a", 1.0) == ""


def test_no_number_of_addresses_fills_the_memory() -> None:
    peers = ConnectionLimiter(Limits())
    for number in range(MAX_PEERS + 5):
        assert peers.admit(str(number), 0.0) == ""
        peers.leave(str(number), vouched=False)
    assert len(peers._buckets) == MAX_PEERS  # noqa: SLF001 - what it keeps
    assert peers._open == {}  # noqa: SLF001
