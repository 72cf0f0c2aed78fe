"""When an agent is done: soon after the last obstacle has gone, and never later than its pace allows.

And at rest it sleeps: no step repeats itself at once, and EC2 is asked for nothing that nobody needs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from common.agent_settings import Takeover
from common.exit_codes import ExitCode
from ipagent.assign.addresses import Detection, IPAddress
from ipagent.assign.drift import DESCRIBE_SECONDS, DOUBT_PACE, METADATA_SECONDS
from ipagent.assign.ec2_error_codes import HEALING, RETRIED, Failure, Fault
from ipagent.assign.errors import Ec2Unreachable, NoImds, SilentImds, error_of
from ipagent.assign.reconciler import DESCRIBE_PACE, METADATA_PACE, METADATA_PATIENCE
from ipagent.assign.retry import SLOW, SOON, THROTTLED, Timing
from ipagent.assign.selection import DETECTION_SECONDS
from ipagent.assign.topology import Eni, Topology
from ipagent.direct import init
from ipagent.direct.agent import BY_SUBNET_PACE, LIVING_PENDING_PACE, PENDING_PACE
from ipagent.direct.sidecar import LOOKUP_PACE, Follower
from tests.ipagent.fakes import (
    ENI_0,
    ENI_1,
    ENI_2,
    ETH0,
    NET1,
    NET2,
    FakeCloud,
    FakeSource,
    Lines,
    Strike,
    Time,
    agent,
    ip,
    striking,
)
from tests.ipagent.obstacles import CHANCES, WHENS, Obstacle, done_by, there

pytestmark = pytest.mark.pure

TIMEOUT = 900
HOUR = 3600.0
REST = 1800.0
OTHER = replace(ENI_1, id="eni-9", device_number=9, mac="02:aa:00:00:00:77")
"""In the subnet of net1's addresses."""
KINDS = ("assign", "describe", "holders", "unassign")


def _failing(kind: str, fault: Fault, gone: float, lost: bool) -> Obstacle:
    pace = THROTTLED.cap if fault is Fault.THROTTLED else SOON.cap
    return Obstacle("call", gone, pace + (DESCRIBE_PACE.cap if kind != "assign" else 0), fault, kind, lost)


OBSTACLES = st.one_of(
    st.builds(
        _failing, st.sampled_from(KINDS), st.sampled_from(sorted(RETRIED, key=str)), WHENS, st.booleans()
    ),
    st.builds(
        partial(Obstacle, "lookup", pace=SOON.cap), WHENS, fault=st.sampled_from(sorted(RETRIED, key=str))
    ),
    st.builds(partial(Obstacle, "imds silent", pace=DESCRIBE_PACE.cap), WHENS),
    st.builds(partial(Obstacle, "imds stale", pace=DESCRIBE_PACE.cap), WHENS),
    st.builds(partial(Obstacle, "answer unlisted", pace=DESCRIBE_PACE.cap), WHENS),
    st.builds(partial(Obstacle, "eni absent", pace=PENDING_PACE.cap), WHENS),
    st.builds(partial(Obstacle, "eni elsewhere", pace=PENDING_PACE.cap), WHENS),
    st.builds(partial(Obstacle, "eni half", pace=PENDING_PACE.cap), WHENS),
    st.builds(partial(Obstacle, "tentative", pace=0.0), st.sampled_from([0.5, 4.0, 9.0])),
)
HISTORIES = st.lists(OBSTACLES, max_size=4)


@dataclass
class Obstructed(FakeCloud):
    """ENIs and a way to them that is obstructed for a while."""

    obstacles: Sequence[Obstacle] = ()
    begun: float = 0.0

    def there(self, what: str) -> Obstacle | None:
        return there(self.obstacles, self.time.now - self.begun, what)

    def topology(self, macs: Collection[str], *, fresh: bool = False) -> Topology:
        failing = self.there("lookup")
        self.lookup_error = error_of(Failure(failing.fault, "struck")) if failing else None
        self.imds_delay = 5.0 if self.there("imds stale") else 0.0
        shown = super().topology(macs, fresh=fresh)
        if self.there("eni elsewhere"):
            # Nobody knows an ENI with net1's MAC: the subnet decides. That of net2 is known to come.
            return replace(shown, enis=(ENI_0, OTHER), absent={NET2.mac: "eni-2, which comes"})
        if self.there("eni absent"):
            return replace(shown, enis=(ENI_0, ENI_2), absent={NET1.mac: "eni-1, which comes"})
        if self.there("eni half"):
            doubt = NoImds("IMDS shows a part")
            return replace(shown, enis=(ENI_0, ENI_2), partial={NET1.mac: "half of eni-1"}, doubt=doubt)
        return shown

    def metadata(self, eni: Eni, versions: Collection[int]) -> frozenset[IPAddress] | None:
        self.imds = self.there("imds silent") is None
        return super().metadata(eni, versions)

    def _struck(self, kind: str) -> AbstractContextManager[None]:
        self.unlisted = self.there("answer unlisted") is not None
        each = there(self.obstacles, self.time.now - self.begun, "call", kind)
        if each is not None:
            return striking([Strike(kind, each.fault, each.lost)], kind)
        return nullcontext()


class Source(FakeSource):
    """A pod whose IPv6 addresses are tentative for a while."""

    cloud: Obstructed

    def snapshot(self, *, routes: bool) -> Any:
        tentative = self.cloud.there("tentative") is not None
        v6 = [address for _, address in self.held if ":" in address]
        self.detections = dict.fromkeys(v6, Detection.TENTATIVE) if tentative else {}
        return super().snapshot(routes=routes)


class Pace:
    """A run of an agent; sleeps are counted, and one that does not wait must be followed by progress."""

    def __init__(self, obstacles: Sequence[Obstacle], chance: float, **given: Any) -> None:
        self.time = Time()
        self.lines = Lines()
        self.cloud = Obstructed(self.time, obstacles=obstacles, begun=self.time.now)
        self.source = Source(
            (ETH0, "10.10.0.21"), (NET1, "10.10.1.80"), (NET2, "10.10.2.80"), (NET1, "2001:db8:1::80")
        )
        self.source.cloud = self.cloud
        self.still = 0
        self.time.on_sleep = self._sleeping
        self.slept_at = self.time.now
        timing = Timing(self.time.clock, self.time.sleep, lambda: chance)
        self.agent = agent(self.source, self.cloud, self.lines, timing, timeout=TIMEOUT, **given)
        self.timing = timing

    def _sleeping(self) -> None:
        self.still = self.still + 1 if self.time.now == self.slept_at else 0
        self.slept_at = self.time.now
        assert self.still < 4, "it spins"

    def init(self) -> Any:
        return init.run(self.agent, self.time.now + TIMEOUT, self.timing)

    @property
    def elapsed(self) -> float:
        return self.time.now - self.cloud.begun

    @property
    def held(self) -> set[tuple[str, str]]:
        return {(eni, str(each)) for eni, held in self.cloud.secondaries.items() for each in held}


def bound(obstacles: Sequence[Obstacle]) -> float:
    """Return when all must be done: each obstacle may have been met one after the other."""
    slack = DETECTION_SECONDS + METADATA_PATIENCE + METADATA_PACE.cap + SOON.base
    return done_by(obstacles) + slack


WANTED = {("eni-1", "10.10.1.80"), ("eni-2", "10.10.2.80"), ("eni-1", "2001:db8:1::80")}


@settings(max_examples=5 * settings().max_examples)
@given(obstacles=HISTORIES, chance=CHANCES, takeover=st.sampled_from(Takeover))
def test_init_ends_soon_after_the_last_obstacle(
    obstacles: list[Obstacle], chance: float, takeover: Takeover
) -> None:
    run = Pace(obstacles, chance, takeover=takeover)
    report = run.init()
    event(f"{len(obstacles)} obstacles, exit {report.exit_code}")
    assert report.exit_code == ExitCode.OK, report
    assert run.held == WANTED
    assert run.elapsed <= bound(obstacles), run.lines.all()


def test_a_release_that_is_throttled_refuses_no_address() -> None:
    """It is put on another ENI first, and EC2 gives it to the right one only after its release there."""
    slow = _failing("unassign", Fault.THROTTLED, 9.0, lost=False)
    run = Pace([Obstacle("eni elsewhere", 3.0, PENDING_PACE.cap), slow], 0.5, takeover=Takeover.NEVER)
    assert run.init().exit_code == ExitCode.OK
    assert run.held == WANTED


def test_init_does_not_wait_for_a_release_that_nothing_depends_on() -> None:
    denied = Obstacle("call", TIMEOUT, 0.0, Fault.THROTTLED, "unassign")
    run = Pace([Obstacle("eni elsewhere", 3.0, PENDING_PACE.cap), denied], 0.5)
    # EC2 moves an IPv4 address by itself; one of IPv6 has to be taken off first.
    run.source.held.remove((NET1, "2001:db8:1::80"))
    assert run.init().exit_code == ExitCode.OK
    assert run.elapsed <= bound([Obstacle("eni elsewhere", 3.0, PENDING_PACE.cap)])


@pytest.mark.parametrize("error", [SilentImds("no answer"), error_of(Failure(Fault.UNREACHABLE, "no route"))])
def test_the_enis_are_looked_for_until_the_time_is_up(error: Any) -> None:
    run = Pace([], 0.999)
    until = init.SILENT_IMDS_SECONDS if isinstance(error, SilentImds) else TIMEOUT
    looks: list[float] = []

    def fail(macs: Collection[str], *, fresh: bool = False) -> Topology:
        looks.append(run.elapsed)
        raise error if macs or fresh else AssertionError

    run.cloud.topology = fail  # type: ignore[method-assign] # it never answers
    assert run.init().exit_code == error.exit_code
    assert looks[-1] == pytest.approx(until - init.LAST_LOOK_SECONDS)


class Followed(Pace):
    """A sidecar whose first assignment is done; what is in the way begins when an address is added."""

    def __init__(self, obstacles: Sequence[Obstacle], chance: float, **given: Any) -> None:
        super().__init__([], chance, **given)
        assert self.init().exit_code == ExitCode.OK
        self.cloud.obstacles, self.cloud.begun = obstacles, self.time.now
        self.follower = Follower(self.agent, self)
        self.steps = 0

    def wait(self, seconds: float | None, wakeup: int) -> bool:
        raise AssertionError((seconds, wakeup))

    def removed(self) -> frozenset[IPAddress]:
        return frozenset()

    def add(self, *addresses: str) -> None:
        self.source.held += [(NET1, each) for each in addresses]
        self.follower.mark_changed()

    def follow(self, until: float, done: Callable[[], bool] = lambda: False) -> None:
        """Step until then, in seconds after the obstacles began; the kernel tells what has ended."""
        time, begun = self.time, self.cloud.begun
        what = ("tentative", "held elsewhere")
        changes = [begun + each.gone for each in self.cloud.obstacles if each.what in what]
        while not done() and time.now < begun + until:
            pause = self.follower.step()
            self.steps += 1
            following = [begun + until, *(at for at in changes if at > time.now)]
            if pause is not None:
                following.append(time.now + pause)
            before, time.now = time.now, max(time.now, min(following))
            self._sleeping()
            if any(before < at <= time.now for at in changes):
                self.cloud.secondaries["eni-9"].clear()
                self.follower.mark_changed()

    @property
    def done(self) -> bool:
        return self.agent.all_assigned and self.agent.placed and not self.agent.pending


def test_nor_does_it_in_a_sidecar() -> None:
    slow = _failing("unassign", Fault.THROTTLED, 9.0, lost=False)
    run = Followed([Obstacle("eni elsewhere", 3.0, 0.0), slow], 0.5, takeover=Takeover.NEVER)
    run.add(*ADDED)
    run.follow(
        2 * THROTTLED.cap, lambda: run.done and run.held == WANTED | {("eni-1", each) for each in ADDED}
    )
    assert run.elapsed < THROTTLED.cap


ADDED = ("10.10.1.81", "2001:db8:1::81")
SLOW_FAULTS = st.sampled_from(sorted(HEALING - RETRIED, key=str))
LIVING_PACES = {
    "lookup": LOOKUP_PACE.cap,
    "eni elsewhere": BY_SUBNET_PACE.cap,
    "eni absent": LIVING_PENDING_PACE.cap,
    "eni half": LIVING_PENDING_PACE.cap,
}
FOLLOWED = st.lists(
    st.one_of(
        OBSTACLES.map(lambda each: replace(each, pace=LIVING_PACES.get(each.what, each.pace))),
        st.builds(
            partial(Obstacle, "call", pace=SLOW.cap), WHENS, fault=SLOW_FAULTS, kind=st.sampled_from(KINDS)
        ),
        st.builds(partial(Obstacle, "held elsewhere", pace=DOUBT_PACE.cap + 1.5 * METADATA_SECONDS), WHENS),
    ),
    max_size=4,
)


@given(obstacles=FOLLOWED, chance=CHANCES)
def test_a_sidecar_has_what_is_added_soon_after_the_last_obstacle_and_then_rests(
    obstacles: list[Obstacle], chance: float
) -> None:
    held = any(each.what == "held elsewhere" for each in obstacles)
    run = Followed(obstacles, chance, takeover=Takeover.NEVER if held else Takeover.ALWAYS)
    if held:
        run.cloud.secondaries["eni-9"] = {ip(ADDED[0])} if run.cloud.there("held elsewhere") else set()
    run.add(*ADDED)
    run.follow(
        bound(obstacles), lambda: run.done and run.held == WANTED | {("eni-1", each) for each in ADDED}
    )
    event(f"{len(obstacles)} obstacles")
    assert run.held == WANTED | {("eni-1", each) for each in ADDED}, run.lines.all()
    assert run.done
    # What was put on another ENI may still be released there.
    run.follow(run.elapsed + SLOW.cap)
    run.cloud.calls.clear()
    run.cloud.lookups.clear()
    run.steps = run.cloud.metadata_reads = 0
    run.follow(run.elapsed + REST)
    least = max(chance, 0.1)
    assert run.cloud.lookups == []
    assert run.steps <= 1 + REST / (METADATA_SECONDS * (0.5 + chance)), "each look is one step"
    assert run.cloud.metadata_reads <= 2 * run.steps
    batches = 3
    assert len(run.cloud.calls) <= batches * (1 + REST / (DESCRIBE_SECONDS * (0.5 + least)))
    assert {kind for kind, _, _ in run.cloud.calls} <= {"holders"}


@pytest.mark.parametrize("what", ["eni absent", "eni half"])
def test_a_sidecar_that_waits_for_an_eni_asks_less_and_less_often(what: str) -> None:
    run = Followed([Obstacle(what, 10 * HOUR, 0.0)], 0.5)
    run.add("10.10.1.81")
    run.follow(HOUR)
    assert not run.done
    run.cloud.lookups.clear()
    run.follow(2 * HOUR)
    assert 1 <= len(run.cloud.lookups) <= 1 + HOUR / (LIVING_PENDING_PACE.cap * 0.5)


WAITS = {
    "call assign": ("assign-failed", "struck by THROTTLED"),
    "call describe": ("describe-failed", "whether eni-1 has 10.10.1.8"),
    "lookup": ("lookup-failed", "struck"),
    "eni absent": ("lookup-failed", "10.10.1.8"),
    "eni half": ("lookup-failed", "IMDS shows a part"),
}


@pytest.mark.parametrize("mode", ["init", "sidecar"])
@pytest.mark.parametrize("what", WAITS)
def test_what_a_pod_waits_for_is_in_its_log_and_in_its_last_message(what: str, mode: str) -> None:
    kind = what.partition("call ")[2]
    obstacles = [Obstacle(what.partition(" ")[0] if kind else what, 10 * HOUR, 0.0, Fault.THROTTLED, kind)]
    if kind == "describe":
        # Only what IMDS does not show is described.
        obstacles.append(Obstacle("imds silent", 10 * HOUR, 0.0))
    if mode == "init":
        run: Pace = Pace(obstacles, 0.5)
        report = run.init()
        assert report.exit_code != ExitCode.OK
        assert "10.10.1.80 (net1)" in report.message
    else:
        run = Followed(obstacles, 0.5)
        run.add("10.10.1.81")
        run.follow(60.0)
    events = {"eni absent": "not-assigned", "eni half": "not-assigned"} if mode == "sidecar" else {}
    wanted = events.get(what, WAITS[what][0])
    told = [line for line in run.lines.all() if line["level"] in ("warning", "error")]
    told = [line for line in told if line["event"] == wanted and WAITS[what][1] in line["message"]]
    assert told, run.lines.all()
    assert len(told) <= 10 + TIMEOUT / (SOON.cap * 0.5), "it is told without end"


def test_what_ends_before_the_enis_are_found_is_no_success() -> None:
    run = Pace([Obstacle("lookup", 10 * HOUR, 0.0, Fault.THROTTLED)], 0.5)
    run.agent.read_addresses()
    report = run.agent.report()
    assert report.exit_code == ExitCode.DEADLINE
    assert report.message.startswith("Not assigned: 10.10.1.80 (net1)")
    assert "10.10.2.80 (net2)" in report.message
    assert ": its ENI has not been found yet." in report.message
    run.agent.lookup_failure = Ec2Unreachable("EC2 is silent", "Let it speak.")
    assert ": its ENI has not been found yet: EC2 is silent. Let it speak. " in run.agent.report().message
