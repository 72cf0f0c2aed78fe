"""Random schedules: leaders that are killed after any call, pods that come and go, addresses that move and
are unassigned, people who use addresses of the pools. In the end every pod that can have an Elastic IP has
one, a StatefulSet's pod has always had the same, and nothing that nobody granted was touched."""

from __future__ import annotations

import os
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.elastic_ips import EipClaim
from ipagent.controller.eip.decide import decide
from ipagent.controller.model.condition import TRUE
from ipagent.controller.model.ec2_snapshot import CLUSTER_TAG
from ipagent.controller.model.eip_calls import Associate, Disassociate, TagEip, UntagEip
from ipagent.controller.model.eips import (
    KEPT_TAG,
    POD_TAG,
    PRIVATE_TAG,
    TARGET_TAG,
    EipPod,
    EipState,
    ElasticIp,
    Grant,
    Holder,
)
from ipagent.controller.model.node import Node
from ipagent.controller.model.state import State
from tests.ipagent.controller.eip.world import GRANTS, NODES, EipLeader, EipWorld

pytestmark = pytest.mark.pure

SEEDS = int(os.environ.get("MULTUS_ENI_NETWORK_SCHEDULES", "25"))
NAMES = ("sip-0", "sip-1", "sip-2", "web-a", "web-b")


class Killed(BaseException):
    """The process ends here, and what the call did is done."""


class Chaos:
    """A world, whoever leads in it, and the accidents."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.world = EipWorld()
        self.world.add_eips(5, pool="sip")
        self.world.add_eips(2, pool="rtp")
        self.world.add_eips(2, pool="oam")
        nat = self.world.eips["eipalloc-00000001"]
        self.nat = replace(nat, association="eipassoc-nat", eni="eni-nat", private="10.9.9.9")
        self.world.eips[nat.id] = self.nat
        self.foreign = {eip.id: eip for eip in self.world.eips.values() if eip.tags["pool"] == "oam"}
        self.wild = True
        self.addresses = iter(range(10_000))
        self.first: dict[str, str] = {}
        self.grabbed: dict[str, ElasticIp] = {}
        self.elect()

    def elect(self) -> None:
        """Let a replica lead that remembers nothing."""
        self.leader = EipLeader(self.world, between=self._maybe_kill)

    def _maybe_kill(self, _: object) -> None:
        if self.wild and self.random.random() < 0.1:
            raise Killed

    def turn(self) -> None:
        """Let something happen, and the leader decide."""
        if self.random.random() < 0.3:
            self.random.choice(
                [self._join, self._join, self._leave, self._move, self._unassign, self._grab, self._give_back]
            )()
        try:
            self.leader.turn()
        except Killed:
            self.elect()
        self.world.now += self.random.choice([0.0, 0.1, 1.0, 12.0, 70.0])
        self.check()

    def check(self) -> None:
        """Check what must hold at every moment."""
        assert self.world.eips[self.nat.id] == self.nat
        for key, eip in self.foreign.items():
            assert self.world.eips[key] == eip
        for key, eip in self.grabbed.items():
            now = self.world.eips[key]
            assert (now.association, now.private) == (eip.association, eip.private)
        for eip in self.world.eips.values():
            owner = eip.tags.get(POD_TAG, "")
            if owner:
                assert eip.tags["pool"] == {"voice": "sip", "media": "rtp"}[owner.partition("/")[0]]
            if eip.tags.get(KEPT_TAG) == "true":
                assert self.first.setdefault(owner, eip.id) == eip.id

    def calm(self) -> None:
        """Let no more accidents happen, and everything settle."""
        self.wild = False
        self._give_back()
        for key, pod in self.world.pods.items():
            self.world.assigned[pod.addresses["net1"]] = pod.node
            assert key
        self.elect()
        self.leader.run(400)

    def _join(self) -> None:
        free = [name for name in NAMES if f"voice/{name}" not in self.world.pods]
        number = next(self.addresses)
        private, node = f"10.10.{number >> 8}.{number & 255}", self.random.choice(NODES)
        if "media/m" not in self.world.pods:
            self.world.run_pod("media/m", "net1=pool/rtp", private, node)
        elif free:
            name = self.random.choice(free)
            kept = name.startswith("sip")
            self.world.run_pod(f"voice/{name}", "net1=pool/sip", private, node, kept=kept)

    def _leave(self) -> None:
        if self.world.pods:
            key = self.random.choice(sorted(self.world.pods))
            private = self.world.pods[key].addresses["net1"]
            self.world.end_pod(key)
            if self.random.random() < 0.5:
                self.world.unassign(private)

    def _move(self) -> None:
        if self.world.assigned:
            self.world.move(self.random.choice(sorted(self.world.assigned)), self.random.choice(NODES))

    def _grab(self) -> None:
        """Somebody associates an address of the pool by hand."""
        free = [each for each in self.world.eips.values() if not each.association]
        if free and not self.grabbed:
            eip = self.random.choice(free)
            taken = replace(eip, association="eipassoc-hand", eni="eni-hand", private="10.9.9.8")
            self.world.eips[eip.id] = self.grabbed[eip.id] = taken
            self.foreign.pop(eip.id, None)

    def _give_back(self) -> None:
        for key in list(self.grabbed):
            del self.grabbed[key]
            self.world.eips[key] = replace(self.world.eips[key], association="", eni="", private="")

    def _unassign(self) -> None:
        if self.world.assigned:
            self.world.unassign(self.random.choice(sorted(self.world.assigned)))


@pytest.mark.no_cover
@pytest.mark.parametrize("seed", range(SEEDS))
def test_whoever_is_killed_each_pod_has_its_own(seed: int) -> None:
    chaos = Chaos(seed)
    for _ in range(200):
        chaos.turn()
    chaos.calm()
    chaos.check()
    world = chaos.world
    wanted = {pod.addresses["net1"]: key for key, pod in world.pods.items()}
    associated = {
        eip.private: eip.tags[POD_TAG]
        for eip in world.eips.values()
        if eip.private and eip.id != chaos.nat.id
    }
    without = {key for key in wanted.values() if world.pods[key].condition.reason == "PoolEmpty"}  # type: ignore[union-attr] # there is one
    assert associated == {private: key for private, key in wanted.items() if key not in without}
    for key, pod in world.pods.items():
        assert pod.condition is not None
        assert (pod.condition.status == TRUE) is (key not in without)
    # Four of the pool can be had: nobody goes without while one is free and kept for nobody.
    free = [
        eip
        for eip in world.eips.values()
        if eip.tags["pool"] == "sip" and not eip.private and POD_TAG not in eip.tags
    ]
    assert not (without and free)


POOLS = {name: (("pool", name),) for name in ("sip", "rtp", "oam")}
IDS = tuple(f"eipalloc-0000000{digit}" for digit in range(1, 7))
ADDRESSES = tuple(f"10.10.1.{last}" for last in range(5, 10))
OWNERS = st.sampled_from(["", "voice/a", "media/a", "voice/z", "media/10.10.1.5"])


@st.composite
def elastic_ips(draw: st.DrawFn) -> ElasticIp:
    tags = {"pool": draw(st.sampled_from([*POOLS, "none"]))}
    if owner := draw(OWNERS):
        tags |= {
            CLUSTER_TAG: draw(st.sampled_from(["prod", "test"])),
            POD_TAG: owner,
            TARGET_TAG: draw(st.sampled_from(["net1", "10.10.1.5"])),
            KEPT_TAG: draw(st.sampled_from(["true", "false"])),
            PRIVATE_TAG: draw(st.sampled_from(["", "10.10.1.5", "10.10.1.6 10.10.1.5"])),
        }
    private = draw(st.sampled_from(["", *ADDRESSES]))
    eni, association = ("eni-x", "eipassoc-x") if private else ("", "")
    return ElasticIp(draw(st.sampled_from(IDS)), "198.51.100.1", tags, association, eni, private)


@st.composite
def pods(draw: st.DrawFn) -> EipPod:
    claim = st.builds(
        EipClaim,
        st.sampled_from(["net1", "10.10.1.5", "net2"]),
        pool=st.sampled_from([*POOLS]),
    ) | st.builds(EipClaim, st.sampled_from(["net1", "net2"]), allocation=st.sampled_from(IDS))
    return EipPod(
        namespace=draw(st.sampled_from(["voice", "media", "other"])),
        name=draw(st.sampled_from("abc")),
        uid="uid",
        node="n1",
        created=draw(st.sampled_from("123")),
        claims=tuple(draw(st.lists(claim, max_size=2, unique_by=lambda each: each.target))),
        addresses={"net1": draw(st.sampled_from(ADDRESSES)), "net2": draw(st.sampled_from(ADDRESSES))},
        kept=draw(st.booleans()),
    )


GRANTED = st.dictionaries(
    st.sampled_from(["voice", "media"]),
    st.builds(
        Grant,
        st.lists(st.sampled_from([*POOLS]), max_size=2, unique=True).map(
            lambda names: {name: POOLS[name] for name in names}
        ),
        st.frozensets(st.sampled_from(IDS), max_size=2),
        st.just(GRANTS["voice"].cidrs),
    ),
    min_size=1,
)


@settings(max_examples=4 * settings().max_examples, deadline=None)
@given(GRANTED, st.lists(pods(), max_size=5), st.lists(elastic_ips(), max_size=6), st.booleans())
def test_never_another_namespaces_pool(
    grants: dict[str, Grant], running: list[EipPod], eips: list[ElasticIp], dead: bool
) -> None:
    known = {eip.id: eip for eip in eips}
    state = EipState(
        grants,
        {pod.key: pod for pod in running},
        known,
        read_at=1000.0,
        holders={address: Holder(1000.0, 1000.0, "eni-n1", "i-n1") for address in ADDRESSES},
        gone=dict.fromkeys(known, 900.0) if dead else {},
    )
    cluster = State("prod", {"n1": Node("n1", "uid", "i-n1", "eu-central-1a")})

    plan = decide(state, cluster, 1001.0)

    living = {pod.key: pod for pod in running}
    for call in plan.calls:
        if isinstance(call, TagEip):
            tags = dict(call.tags)
            namespace = tags[POD_TAG].partition("/")[0]
            assert grants[namespace].covers(known[call.eip])
            owner = living.get(tags[POD_TAG])
            claims = {each.target: each for each in owner.claims} if owner else {}
            if tags[TARGET_TAG] in claims and (pool := claims[tags[TARGET_TAG]].pool):
                assert pool in grants[namespace].pools
                assert known[call.eip].matches(POOLS[pool])
        if isinstance(call, Associate):
            # Tagged before, and so granted; what others associated is never moved.
            assert known[call.eip].tags[CLUSTER_TAG] == "prod"
            assert grants[known[call.eip].tags[POD_TAG].partition("/")[0]].covers(known[call.eip])
            assert not known[call.eip].foreign
            assert call.private in known[call.eip].privates
        if isinstance(call, Disassociate):
            assert not known[call.eip].foreign
        if isinstance(call, Disassociate | UntagEip):
            assert known[call.eip].tags[CLUSTER_TAG] == "prod"
            assert any(grant.covers(known[call.eip]) for grant in grants.values())
    associated = [call.private for call in plan.calls if isinstance(call, Associate)]
    assert len(associated) == len(set(associated))
    assert len({call.key for call in plan.calls}) == len(plan.calls)
