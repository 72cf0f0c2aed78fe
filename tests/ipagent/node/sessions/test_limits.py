"""How much one pod, and all together, may ask."""

from __future__ import annotations

import pytest

from common.token_bucket import MAX_REMEMBERED, BucketsByKey, Rate
from ipagent.node.model.pod import PodKey
from ipagent.node.sessions.limits import (
    BufferBudget,
    ClaimBudget,
    ConnectionLimiter,
    Limits,
)

pytestmark = pytest.mark.pure


def test_one_address_has_a_few_connections_and_another_is_not_hurt_by_it() -> None:
    peers = ConnectionLimiter(Limits(per_peer=2))
    assert [peers.admit("a", 0.0) for _ in range(2)] == ["", ""]
    assert "2 connections" in peers.admit("a", 0.0)
    assert peers.admit("b", 0.0) == ""
    peers.close("a", identified=False)
    assert peers.admit("a", 0.0) == ""
    assert peers.connections == 3


def test_a_connection_whose_pod_is_known_is_not_counted_to_its_address() -> None:
    peers = ConnectionLimiter(Limits(per_peer=1))
    assert peers.admit("a", 0.0) == ""
    peers.release_peer_slot("a")
    assert peers.admit("a", 0.0) == ""
    assert peers.connections == 2
    peers.close("a", identified=True)
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
        peers.close("a", identified=False)
    assert "too often" in peers.admit("a", 0.0)
    assert peers.admit("a", 1.0) == ""


def test_no_number_of_addresses_fills_the_memory() -> None:
    peers = ConnectionLimiter(Limits())
    for number in range(MAX_REMEMBERED + 5):
        assert peers.admit(str(number), 0.0) == ""
        peers.close(str(number), identified=False)
    assert len(peers._rates) == MAX_REMEMBERED  # noqa: SLF001 - what it keeps
    assert peers._open == {}  # noqa: SLF001


def test_whoever_comes_back_finds_its_bucket_as_it_left_it() -> None:
    buckets: BucketsByKey[str] = BucketsByKey(Rate(1, 0.001))
    assert buckets.of("a").take(0.0)
    assert not buckets.of("a").take(0.0)
    assert buckets.of("b").take(0.0)


def test_whoever_has_held_bytes_for_the_longest_time_makes_room() -> None:
    budget: BufferBudget[str] = BufferBudget(100)
    assert budget.hold("slow", 40) == []
    assert budget.hold("quick", 50) == []
    assert budget.hold("quick", 0) == []
    assert budget.hold("next", 50) == []
    assert budget.hold("slow", 60) == ["slow"]
    assert budget.total == 50


def test_several_make_room_for_one_and_none_that_holds_nothing() -> None:
    budget: BufferBudget[str] = BufferBudget(100)
    budget.hold("idle", 10)
    budget.hold("idle", 0)
    for name in "ab":
        budget.hold(name, 45)
    assert budget.hold("c", 95) == ["a", "b"]
    assert budget.hold("d", 200) == ["c", "d"]
    assert budget.total == 0


PODS = [PodKey("apps", f"pod-{number}", "uid") for number in range(4)]


def test_every_pod_has_its_share_whatever_the_others_claim() -> None:
    claims = ClaimBudget(Limits(claims=100, claims_share=30))
    assert claims.admit(PODS[0], 90)
    assert not claims.admit(PODS[1], 31)
    assert claims.admit(PODS[1], 30)
    assert claims.admit(PODS[2], 30)
    assert not claims.admit(PODS[0], 91)
    assert claims.total == 150


def test_what_all_pods_of_a_node_may_always_claim_is_no_more_than_the_limit() -> None:
    limits = Limits()
    assert 250 * limits.claims_share <= limits.claims
    claims = ClaimBudget(limits)
    for number in range(250):
        pod = PodKey("apps", f"hostile-{number}", f"uid-{number}")
        assert claims.admit(pod, 700 * 1024) or claims.admit(pod, limits.claims_share)
    # docs/security.md adds it up.
    assert claims.total <= 12 * 1024 * 1024


def test_a_claim_replaces_the_one_before_and_goes_with_its_pod() -> None:
    claims = ClaimBudget(Limits(claims=100, claims_share=30))
    assert claims.admit(PODS[0], 90)
    assert claims.admit(PODS[0], 100)
    claims.drop(PODS[0])
    claims.drop(PODS[1])
    assert claims.total == 0
    assert claims.admit(PODS[1], 100)
