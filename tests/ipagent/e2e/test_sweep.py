"""Taking back over the wire: the node agent's cloud, its records on disk, and the rights of its policy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from common.agent_settings import Credentials
from ipagent.assign.address_calls import Move
from ipagent.assign.addresses import Holding
from ipagent.assign.placement import place
from ipagent.assign.reconciler import Reconciler
from ipagent.aws.node_cloud import NodeCloud
from ipagent.node.gc.checkpoint import Checkpoint
from ipagent.node.gc.collector import SOON_SECONDS, Collector
from ipagent.node.gc.verdict import VerdictReason
from ipagent.node.model.address_events import EventType
from ipagent.node.model.gc_policy import GcMode, GcPolicy
from ipagent.node.model.ownership import Ownership
from ipagent.node.model.pod import InjectedAgent, Pod, PodKey
from tests.doubles import Doubles
from tests.doubles import Fault as Injected
from tests.ipagent import worlds
from tests.ipagent.fakes import Lines, Time, ip
from tests.ipagent.node.node_fakes import FakeListing
from tests.ipagent.worlds import (
    ENI_0,
    ENI_1,
    MAC_1,
    NEIGHBOUR_IPV6,
    NEIGHBOUR_SECONDARY,
    TWIN,
    tagged,
)

POLICY = Path(__file__).parents[3] / "examples" / "iam" / "node-agent.json"
OWN, OWN6, FOREIGN, FLOATING = "10.10.1.60", "2001:db8:1::60", "10.10.1.61", "10.10.1.62"
GONE, LIVING = PodKey("apps", "gone", "uid-gone"), PodKey("apps", "living", "uid-living")
COOLDOWN = 60.0


def world() -> dict[str, Any]:
    """Return a world in which the key has the policy's rights alone, and only ENI_1 has the tag."""
    made = tagged(worlds.world(secondaries=[OWN, FOREIGN, FLOATING], ipv6s=[OWN6]), ENI_1)
    (twin,) = (eni for eni in made["instances"][0]["interfaces"] if eni["id"] == TWIN)
    twin["secondaries"] = ["10.10.1.70"]
    statements = json.loads(POLICY.read_text(encoding="utf-8"))["Statement"]
    rights = {action.removeprefix("ec2:") for each in statements for action in each["Action"]}
    made["access_keys"][0]["actions"] = sorted(rights)
    return made


@pytest.fixture
def doubles() -> Iterator[Doubles]:
    with Doubles(world()) as served:
        yield served


class Run:
    """A sweeper with its cloud and its disk."""

    def __init__(self, doubles: Doubles, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        env = worlds.environment(doubles)
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        self.time = Time()
        self.lines = Lines()
        self.listing = FakeListing()
        self.cloud = NodeCloud(env, Credentials.CHAIN, self.lines.log, self.time.timing)
        self.folder = folder
        self.sweeper = self.start()

    def start(self) -> Collector:
        self.store = Checkpoint(self.folder, self.time.timing, self.lines.log)
        self.sweeper = Collector(
            GcPolicy(GcMode.ON, COOLDOWN),
            self.cloud,
            self.listing,
            self.store,
            timing=self.time.timing,
            wall=lambda: self.time.now,
            log=self.lines.log,
        )
        return self.sweeper

    def until(self, seconds: float) -> None:
        end = self.time.now + seconds
        while (delay := self.sweeper.step()) is not None and self.time.now + delay <= end:
            self.time.now += max(delay, 0.01)
        self.time.now = end


@pytest.fixture
def run(doubles: Doubles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    made = Run(doubles, tmp_path, monkeypatch)
    with closing(made.cloud):
        yield made


def recorded(run: Run) -> None:
    """Let a pod have been there, with a floating address, and be gone."""
    pairs = {(ENI_1, ip(each)): GONE for each in (OWN, OWN6, FLOATING)} | {(TWIN, ip("10.10.1.70")): GONE}
    floating = frozenset({(ENI_1, ip(FLOATING))})
    run.sweeper.observe(Ownership(complete=True, owners=pairs, floating=floating))
    run.until(10)
    run.start()
    run.sweeper.observe(Ownership(complete=True))


def test_what_a_gone_pod_left_is_off_the_eni_after_the_cooldown_and_nothing_else(
    run: Run, doubles: Doubles
) -> None:
    recorded(run)
    run.until(2 * SOON_SECONDS)
    assert doubles.secondaries(ENI_1) == (OWN, FOREIGN, FLOATING)
    whys = {str(each.address): each.why for each in run.sweeper.last.verdicts}
    assert whys == {
        OWN: VerdictReason.LEAKED,
        OWN6: VerdictReason.LEAKED,
        FOREIGN: VerdictReason.UNRECORDED,
        FLOATING: VerdictReason.FLOATING,
    }
    run.until(COOLDOWN)
    assert doubles.secondaries(ENI_1) == (FOREIGN, FLOATING)
    assert doubles.ipv6s(ENI_1) == ()
    # The ENI without the tag, and device 0, are none of ours.
    assert doubles.secondaries(TWIN) == ("10.10.1.70",)
    assert doubles.secondaries(ENI_0) == ()
    assert [each.kind for each in run.sweeper.take_events()] == [EventType.RECLAIMED] * 2
    (call,) = doubles.journal("UnassignPrivateIpAddresses")
    assert call.params["NetworkInterfaceId"] == ENI_1
    assert {call.result for call in doubles.journal() if call.service == "ec2"} == {"ok"}


def test_a_pod_that_has_it_again_keeps_it_and_gets_it_back(run: Run, doubles: Doubles) -> None:
    recorded(run)
    run.until(2 * SOON_SECONDS)
    holdings = (Holding("net1", MAC_1, ip(OWN)),)
    pod = Pod(LIVING, alive=True, holdings=holdings, agent=InjectedAgent.DIRECT_INIT)
    lists = run.listing.pods

    def first() -> tuple[Pod, ...]:
        """The pod comes between the list and the call."""
        run.listing.pods = lists  # type: ignore[method-assign] # back to what it was
        found = lists()
        run.listing.all[LIVING] = pod
        return found

    run.listing.pods = first  # type: ignore[method-assign] # once
    run.until(COOLDOWN)
    assert len(doubles.journal("UnassignPrivateIpAddresses")) == 1
    assert OWN in doubles.secondaries(ENI_1)
    assert run.lines.events("warning") == ["restored"]
    run.until(1000)
    assert OWN in doubles.secondaries(ENI_1)


@pytest.mark.parametrize("code", ["RequestLimitExceeded", "UnauthorizedOperation", "InternalError"])
def test_an_ec2_that_does_not_answer_takes_nothing_back(run: Run, doubles: Doubles, code: str) -> None:
    recorded(run)
    run.until(2 * SOON_SECONDS)
    doubles.put_faults(Injected("DescribeNetworkInterfaces", error=code))
    run.until(600)
    assert OWN in doubles.secondaries(ENI_1)
    assert doubles.journal("UnassignPrivateIpAddresses") == ()
    assert run.lines.events("warning") == ["sweep-failed"]
    doubles.put_faults()
    run.until(600)
    assert OWN not in doubles.secondaries(ENI_1)


def test_throttled_calls_are_made_again(run: Run, doubles: Doubles) -> None:
    recorded(run)
    doubles.put_faults(Injected("UnassignPrivateIpAddresses", error="RequestLimitExceeded", times=1))
    run.until(1000)
    assert doubles.secondaries(ENI_1) == (FOREIGN, FLOATING)
    assert run.lines.events("warning") == ["not-reclaimed"]


def test_the_rights_are_enough_to_assign_to_take_over_and_to_find_ranges(run: Run, doubles: Doubles) -> None:
    holdings = [
        Holding("net1", MAC_1, ip(text)) for text in (NEIGHBOUR_SECONDARY, NEIGHBOUR_IPV6, "10.10.1.80")
    ]
    doubles.put_faults(Injected("imds:metadata", status=500, path="*subnet-*"))
    placed = place(holdings, run.cloud.topology({MAC_1}))
    assert len(doubles.journal("DescribeSubnets")) == 1
    doubles.put_faults()
    reconciler = Reconciler(run.cloud, timing=run.time.timing, log=run.lines.log)
    reconciler.set_desired(placed.placements)
    assert any(isinstance(call, Move) for call in reconciler.plan.calls())
    while (delay := reconciler.step()) is not None:
        run.time.now += delay
    assert doubles.holder_of(NEIGHBOUR_SECONDARY) == ENI_1
    assert doubles.holder_of(NEIGHBOUR_IPV6) == ENI_1
    assert doubles.holder_of("10.10.1.80") == ENI_1
    assert run.lines.events("warning") == []
