"""A sidecar with a scripted kernel, an in-memory EC2 and a clock of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ipagent.assign.addresses import IPAddress
from ipagent.assign.report import Report
from ipagent.direct import init, sidecar
from ipagent.interrupting_signals import InterruptingSignals, StopSignal
from tests.ipagent.fakes import (
    ETH0,
    NET1,
    FakeCloud,
    FakeSource,
    Lines,
    Time,
    agent,
    ip,
    patient_exit,
)

Step = Callable[[], None]


class Events:
    """A kernel that plays a script, one step whenever nothing but the slow check would wake the sidecar.

    As with a socket, what has happened wakes every wait until it is taken. `later` happens at its time, too
    late for the wait that lasts until then. Until `quiet_until` nothing of the script happens.
    """

    def __init__(self, time: Time) -> None:
        self._time = time
        self._removed: set[IPAddress] = set()
        self._happened = False
        self.script: list[Step] = []
        self.later: list[tuple[float, Step]] = []
        self.waits: list[float | None] = []
        self.quiet_until = 0.0
        self.busy: Callable[[], bool] = lambda: False

    def wait(self, seconds: float | None, wakeup: int) -> bool:
        assert wakeup >= 0
        assert len(self.waits) < 1000, "it spins"
        self.waits.append(seconds)
        if self._happened:
            return True
        if seconds is not None and (self.busy() or self._time.now < self.quiet_until):
            self._time.now += seconds
            for at, step in self.later:
                if at <= self._time.now:
                    self.happen(step)
            self.later = [(at, step) for at, step in self.later if at > self._time.now]
            return False
        if not self.script:
            raise StopSignal(15)
        self.happen(self.script.pop(0))
        return True

    def happen(self, step: Step) -> None:
        step()
        self._happened = True

    def removed(self) -> frozenset[IPAddress]:
        gone, self._removed, self._happened = frozenset(self._removed), set(), False
        return gone

    def remove(self, address: str) -> None:
        self._removed.add(ip(address))


class Sidecar:
    """A pod with net1 and net2 whose sidecar runs until its script is over, then gets SIGTERM."""

    def __init__(self, **cloud: Any) -> None:
        self.time = Time()
        self.cloud = FakeCloud(self.time, **cloud)
        self.source = FakeSource((ETH0, "10.10.0.21"), (NET1, "10.10.1.80"))
        self.lines = Lines()
        self.started = 0
        self.events = Events(self.time)
        self.script = self.events.script

    def run(self, timeout: int = 120, **settings: Any) -> Report:
        made = agent(self.source, self.cloud, self.lines, timeout=timeout, **settings)
        first = partial(init.run, made, self.time.now + timeout, self.time.timing)
        self.events.busy = lambda: bool(made.detection_seconds()) or not made.reconciler.plan.settled
        with InterruptingSignals() as signals, patient_exit():
            return sidecar.run(made, self.events, signals, first, self._on_started)

    def _on_started(self) -> None:
        if any(link is not ETH0 for link, _ in self.source.held):
            assert self.cloud.secondaries["eni-1"], "started before the first assignment"
        self.started += 1

    def add(self, address: str) -> None:
        self.source.held.append((NET1, address))

    def remove(self, address: str) -> None:
        self.source.held.remove((NET1, address))
        self.events.remove(address)

    def let_pass(self, seconds: float) -> None:
        """Let nothing happen for so long."""
        self.events.quiet_until = self.time.now + seconds

    def steal(self, address: str, eni: str = "eni-1") -> None:
        self.cloud.secondaries[eni].discard(ip(address))
        self.cloud.secondaries["eni-9"].add(ip(address))
