"""When the node agent's core is done: soon after the last obstacle has gone. And at rest it sleeps."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from common.agent_settings import Mode
from ipagent.assign.addresses import Detection
from ipagent.assign.drift import DESCRIBE_SECONDS, METADATA_SECONDS
from ipagent.assign.ec2_error_codes import HEALING, RETRIED, Failure, Fault
from ipagent.assign.errors import Ec2Error
from ipagent.assign.reconciler import DESCRIBE_PACE, METADATA_PACE, METADATA_PATIENCE
from ipagent.assign.retry import SLOW, SOON, THROTTLED, Timing
from ipagent.assign.selection import DETECTION_SECONDS
from ipagent.node.model.claim import Claim, ClaimState, ClaimStatus
from ipagent.node.model.grants import read_grants
from ipagent.node.model.pod import Pod, PodKey
from ipagent.node.model.pool_addresses import NO_POOL, PoolAddresses
from ipagent.node.reconcile.batch_window import INTERVALS, MAX_THROTTLED, THROTTLED_SECONDS
from ipagent.node.reconcile.controller import POOL_SECONDS, NodeController
from ipagent.node.reconcile.eni_cache import FAILED_PACE, LATE_SECONDS, READS, RECHECK_SECONDS, UNPLACED_PACE
from ipagent.node.reconcile.state import STATUS_SECONDS
from tests.ipagent.fakes import Lines, Time
from tests.ipagent.node.account import Account
from tests.ipagent.node.pods import claim, key, pod
from tests.ipagent.obstacles import CHANCES, WHENS, Obstacle, done_by, there

pytestmark = pytest.mark.pure

HOUR = 3600.0
REST = 1800.0
KINDS = ("assign", "describe", "holders", "unassign", "lookup")
ENI = "eni-a-1"
GRANTS = read_grants({"apps": {"cidrs": ["10.1.9.0/24", "2001:db8:1:0:9::/80"], "takeover": True}})


def _failing(kind: str, fault: Fault, gone: float, lost: bool) -> Obstacle:
    if kind == "lookup":
        return Obstacle("call", gone, FAILED_PACE.cap + 1 / READS.refill, fault, kind)
    pace = THROTTLED.cap if fault is Fault.THROTTLED else SOON.cap if fault in RETRIED else SLOW.cap
    return Obstacle("call", gone, pace + DESCRIBE_PACE.cap, fault, kind, lost)


FAULTS = st.sampled_from(sorted(HEALING, key=str))
HISTORIES = st.lists(
    st.one_of(
        st.builds(_failing, st.sampled_from(KINDS), FAULTS, WHENS, st.booleans()),
        st.builds(partial(Obstacle, "imds silent", pace=DESCRIBE_PACE.cap), WHENS),
        st.builds(partial(Obstacle, "imds stale", pace=DESCRIBE_PACE.cap), WHENS),
        # Nobody tells that an ENI is attached: it is looked for as long as an address fits none.
        st.builds(partial(Obstacle, "eni hidden", pace=UNPLACED_PACE.cap + max(LATE_SECONDS)), WHENS),
        st.builds(partial(Obstacle, "no network-status", pace=STATUS_SECONDS), WHENS),
        st.builds(partial(Obstacle, "tentative", pace=0.0), st.sampled_from([0.5, 4.0, 9.0])),
        st.builds(partial(Obstacle, "restarted", pace=0.0), WHENS),
    ),
    max_size=4,
)


@dataclass
class Obstructed(Account):
    """An account whose calls fail for a while."""

    obstacles: Sequence[Obstacle] = ()

    def there(self, what: str, kind: str = "") -> Obstacle | None:
        return there(self.obstacles, self.time.now - 1000.0, what, kind)

    @contextmanager
    def call(self, kind: str, action: str = "") -> Iterator[None]:
        struck = self.there("call", kind)
        with super().call(kind, action):
            if struck is None or struck.lost:
                yield
            if struck is not None:
                raise Ec2Error(Failure(struck.fault, f"struck by {struck.fault.name}"))


@dataclass
class Node:
    """A node agent's core on a clock of its own; containers state their claims anew when it starts again."""

    obstacles: Sequence[Obstacle]
    chance: float
    pool: Callable[[], PoolAddresses | None] = lambda: NO_POOL
    told: dict[PodKey, ClaimStatus] = field(default_factory=dict)
    shown: dict[PodKey, ClaimStatus] = field(default_factory=dict)
    lives: dict[PodKey, Pod] = field(default_factory=dict)
    claims: dict[PodKey, Callable[[], Claim]] = field(default_factory=dict)
    steps: int = 0

    def __post_init__(self) -> None:
        self.time, self.lines = Time(), Lines()
        self.account = Obstructed(self.time, obstacles=self.obstacles)
        self.cloud = self.account.node("a", 1)
        self._numbers = count()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._start()
        for each in self.obstacles:
            self.at(each.gone, self._start if each.what == "restarted" else self._changed)

    def at(self, seconds: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (1000.0 + seconds, next(self._numbers), do))

    @property
    def elapsed(self) -> float:
        return self.time.now - 1000.0

    def _start(self) -> None:
        timing = Timing(self.time.clock, self.time.sleep, lambda: self.chance)
        made = NodeController(self.cloud, GRANTS, timing, self.lines.log, every_pod=True, pool=self.pool)
        self.core = made
        self.told.clear()
        made.replace_pods(self._seen(each) for each in self.lives.values())
        for each in self.claims.values():
            made.set_claim(each())

    def _seen(self, each: Pod) -> Pod:
        late = self.account.there("no network-status") is not None
        return replace(each, holdings=(), waiting=True) if late else each

    def _changed(self) -> None:
        """Let the API server and the kernel tell that something has changed."""
        for each in self.lives.values():
            self.core.update_pod(self._seen(each))
        for stated in self.claims.values():
            self.core.set_claim(stated())

    def live(self, each: Pod) -> None:
        self.lives[each.key] = each
        self.core.update_pod(self._seen(each))

    def claim(self, name: str, *addresses: str, mode: Mode) -> None:
        def made() -> Claim:
            slow = self.account.there("tentative") is not None
            state = Detection.TENTATIVE if slow else Detection.DONE
            detections = [(address, state) for address in addresses if ":" in address]
            return claim(name, *addresses, mode=mode, detections=detections)

        self.claims[key(name)] = made
        self.core.set_claim(made())

    def run(self, until: float, done: Callable[[], bool] = lambda: False) -> None:
        """Turn until then, in seconds after the start."""
        still, end = 0, 1000.0 + until
        # On one clock: the difference of two floats may lie below what was added.
        while self.time.now < end:
            self.cloud.imds = self.account.there("imds silent") is None
            self.cloud.imds_delay = 5.0 if self.account.there("imds stale") else 0.0
            self.cloud.hidden = {ENI} if self.account.there("eni hidden") else set()
            pause = self.core.step()
            self.steps += 1
            self.told |= self.core.take_status_changes()
            self.shown |= self.core.take_pod_statuses()
            self.core.take_events()
            if done():
                return
            times = [end, *(at for at, _, _ in self._agenda[:1])]
            if pause is not None:
                times.append(self.time.now + pause)
            before = self.time.now
            self.time.now = max(before, min(times))
            still = still + 1 if self.time.now == before else 0
            assert still < 6, "it spins"
            while self._agenda and self._agenda[0][0] <= self.time.now:
                heapq.heappop(self._agenda)[2]()

    def assigned(self) -> bool:
        """Whether every container and every watcher has been told that all is assigned."""
        told = [self.told.get(each) for each in self.claims]
        shown = [self.shown.get(each) for each in self.lives]
        return all(each is not None and each.state is ClaimState.ASSIGNED for each in (*told, *shown))


def bound(obstacles: Collection[Obstacle]) -> float:
    """Return when all must be done: each obstacle may have been met one after the other."""
    waits = done_by(obstacles)
    if any(each.fault is Fault.THROTTLED and each.kind == "assign" for each in obstacles):
        waits += max(INTERVALS[-1] * 2.0**MAX_THROTTLED, THROTTLED_SECONDS)
    # A pod that changes often spends its budget.
    slack = DETECTION_SECONDS + METADATA_PATIENCE + METADATA_PACE.cap + STATUS_SECONDS + 10.0
    return waits + slack


@given(obstacles=HISTORIES, chance=CHANCES)
def test_pods_and_watchers_are_told_soon_after_the_last_obstacle_and_then_it_rests(
    obstacles: list[Obstacle], chance: float
) -> None:
    node = Node(obstacles, chance)
    node.live(pod("init", "10.1.1.1", "2001:db8:1::1"))
    node.live(pod("sidecar", "10.1.1.2"))
    node.live(pod("alone", "10.1.1.3"))
    node.claim("init", "10.1.1.1", "2001:db8:1::1", mode=Mode.INIT)
    node.claim("sidecar", "10.1.1.2", mode=Mode.SIDECAR)
    added = 0.3
    node.at(
        added, lambda: node.claim("sidecar", "10.1.1.2", "10.1.9.1", "2001:db8:1:0:9::1", mode=Mode.SIDECAR)
    )
    node.run(bound(obstacles), lambda: node.elapsed >= added and node.assigned())
    event(f"{len(obstacles)} obstacles")
    assert node.assigned(), (node.told, node.shown)
    node.run(node.elapsed + SLOW.cap)
    node.account.calls.clear()
    node.steps = 0
    node.run(node.elapsed + REST)
    least = 0.5 + chance
    assert node.account.calls["lookup"] <= 1 + REST / (RECHECK_SECONDS * least)
    assert node.account.calls["holders"] <= 2 * (1 + REST / (DESCRIBE_SECONDS * least))
    assert set(node.account.calls) <= {"lookup", "holders"}
    assert node.steps <= 2 + REST / (METADATA_SECONDS * least) + REST / (RECHECK_SECONDS * least)


def test_an_eni_that_has_gone_is_looked_for_at_once() -> None:
    """EC2 says so at the call, after the turn's look at the ENIs."""
    node = Node([Obstacle("call", 1.0, 0.0, Fault.NO_ENI, "assign")], 0.999)
    node.live(pod("a", "10.1.1.1"))
    node.run(1.0)
    assert node.account.calls["lookup"] == 2


def test_what_waits_until_it_is_known_what_stays_is_released_then() -> None:
    known: list[PoolAddresses] = []
    node = Node([], 0.5, pool=lambda: known[0] if known else None)
    node.live(pod("a", "10.1.1.1"))
    node.core.set_claim(claim("a", "10.1.1.1", release_on_exit=True))
    node.run(30.0)
    node.core.update_pod(node.lives.pop(key("a")), gone=True)
    node.run(60.0)
    assert node.account.enis[ENI].secondaries
    known.append(NO_POOL)
    node.run(60.0 + 2 * POOL_SECONDS)
    assert not node.account.enis[ENI].secondaries


def test_an_outage_that_is_over_does_not_put_off_what_is_lost_later() -> None:
    node = Node([Obstacle("call", 300.0, 0.0, Fault.TRANSIENT, "assign")], 0.999)
    node.live(pod("a", "10.1.1.1"))
    node.run(400.0)
    assert node.shown[key("a")].state is ClaimState.ASSIGNED
    node.account.enis[ENI].secondaries.clear()
    again = Obstacle("call", 0.0, 0.0, Fault.TRANSIENT, "assign")
    node.run(2 * HOUR, lambda: node.shown[key("a")].state is not ClaimState.ASSIGNED)
    node.account.obstacles = [replace(again, gone=node.elapsed + 0.1)]
    lost = node.elapsed
    node.run(lost + 60.0, lambda: bool(node.account.enis[ENI].secondaries))
    assert node.elapsed - lost <= 2 * SOON.base


WAITS = {
    "call assign": "struck by THROTTLED",
    "call lookup": "struck by THROTTLED",
    "no network-status": "Multus has not written the pod's network-status yet",
    "eni hidden": "10.1.1.1 (net1)",
    "tentative": "duplicate address detection has not ended",
}


@pytest.mark.parametrize("what", WAITS)
def test_a_container_is_told_what_its_pod_waits_for(what: str) -> None:
    kind = what.partition("call ")[2]
    name = "call" if kind else what
    node = Node([Obstacle(name, 10 * HOUR, 0.0, Fault.THROTTLED, kind)], 0.5)
    node.live(pod("a", "10.1.1.1"))
    # Beside it a floating address: detection is waited for of those alone.
    node.claim("a", "10.1.1.1", "2001:db8:1:0:9::1", mode=Mode.INIT)
    node.run(4.0)
    assert WAITS[what] in node.told[key("a")].message
