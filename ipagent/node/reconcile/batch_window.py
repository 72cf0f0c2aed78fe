"""Batch window: how long a new address waits for others that go in the same call.

Not at all while the node is calm, longer the busier it is.

All nodes of an account and region share one limit on calls (AssignPrivateIpAddresses: 100 at once, 5 a second
after that; "Request throttling for the Amazon EC2 API"), and none sees what the others do. What a node does
see of a busy time: how often it has called itself, that pods were scheduled here which have no addresses yet,
and that EC2 has turned down a call.

Thread: the main loop's, through NodeController.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from ipagent.assign.address_calls import Assign
from ipagent.assign.addresses import IPAddress
from ipagent.assign.cloud import Cloud
from ipagent.assign.ec2_error_codes import Failure, Fault
from ipagent.assign.errors import Ec2Error
from ipagent.assign.retry import Timing

RECENT_SECONDS = 10.0
"""For how long a call counts."""

INTERVALS = (0.5, 2.0, 3.4)
"""Seconds from one call to the next, by the number of recent calls: the last for that many or more.

A pod alone is served at once, and a burst costs a node two or three calls. 20 nodes that each get a new pod
every 0.75 s make less than 8 calls a second together, for which the limit lasts half a minute.
"""

PATIENCE = 7.0
"""Seconds that addresses may wait all together before the longest interval is cut short, down to the first.

So that many are not held up by the wait for a few more.
"""

EXPECTED_SECONDS = 0.2
"""How long to wait for each pod that is about to have addresses, and no longer than for MAX_EXPECTED."""
MAX_EXPECTED = 10

SANDBOX_SECONDS = 1.5
"""From a pod's binding to its network-status, at most as a rule: the kubelet makes its sandbox."""
UNANNOUNCED_SECONDS = 1.0
"""How soon another pod may come where none is bound yet: its sandbox has to be made, too."""
CALL_WORTH = 6.0
"""Seconds that all waiting addresses together may wait for one more, so that it needs no call of its own.

For pods at random times, of which none knows of the next one, to call as soon as so many wait that the next
one is not worth it costs the fewest calls for the same mean wait: at other moments nothing has changed.
"""
ANNOUNCED_PATIENCE = 8.0
"""Seconds that they may wait all together for pods that are bound, whose sandboxes may take long."""

THROTTLED_SECONDS = 30.0
"""For how long one turned down call counts: it doubles the longest interval."""
MAX_THROTTLED = 3


@dataclass
class _Family:
    calls: deque[float] = field(default_factory=lambda: deque(maxlen=len(INTERVALS)))
    throttled: int = 0
    throttled_at: float = 0.0


class BatchWindow:
    """How busy the node is; each address family has a request limit of its own.

    `expected` is how many pods are about to have addresses.
    """

    def __init__(self) -> None:
        self.expected = 0
        self._families = {4: _Family(), 6: _Family()}

    def called(self, version: int, now: float, *, throttled: bool) -> None:
        """Record a call that assigns addresses of a family (4 or 6)."""
        family = self._families[version]
        _forget(family, now)
        family.calls.append(now)
        if throttled:
            family.throttled = min(family.throttled + 1, MAX_THROTTLED)
            family.throttled_at = now

    def due(self, version: int, arrived: Sequence[float], now: float) -> float:
        """Return when to call for addresses of a family that arrived at these times, one or more."""
        family = self._families[version]
        _forget(family, now)
        first = min(arrived) + EXPECTED_SECONDS * min(self.expected, MAX_EXPECTED)
        if not family.calls:
            return first
        if family.throttled:
            return max(first, family.calls[-1] + INTERVALS[-1] * 2.0**family.throttled)
        return self._next_call(family.calls, arrived, first)

    def _next_call(self, calls: Sequence[float], arrived: Sequence[float], first: float) -> float:
        """Return when to call after recent calls; `first` is when the first arrival has waited for others."""
        last = calls[-1]
        next_call = last + INTERVALS[len(calls) - 1]
        if len(calls) == len(INTERVALS):
            enough = (PATIENCE + sum(arrived)) / len(arrived)
            next_call = min(next_call, max(enough, last + INTERVALS[0]))
        return max(first, next_call)


class RelayedWindow(BatchWindow):
    """How busy the node is, where the controller makes the calls of all nodes (backend `central`).

    It makes them from one queue, at EC2's pace: a busy node calls when one more pod is not worth waiting for,
    and need not keep its distance from the last call for the sake of others that it does not see.
    """

    def _next_call(self, calls: Sequence[float], arrived: Sequence[float], first: float) -> float:
        last = calls[-1]
        if len(calls) == 1:
            return max(first, last + INTERVALS[0])
        soonest = max(*arrived, last + INTERVALS[0])
        enough = (ANNOUNCED_PATIENCE + sum(arrived)) / len(arrived)
        latest = min(min(arrived) + INTERVALS[-1], max(enough, soonest))
        announced = min(self.expected, MAX_EXPECTED)
        next_pod = SANDBOX_SECONDS / (announced + 1) if announced else UNANNOUNCED_SECONDS
        if len(arrived) * next_pod >= CALL_WORTH:
            return min(soonest, latest)
        if announced:
            return latest
        return min(max(min(arrived), last + INTERVALS[len(calls) - 1]), latest)


def _forget(family: _Family, now: float) -> None:
    """Forget calls that are long ago, and throttled ones step by step."""
    while family.throttled and family.throttled_at <= now - THROTTLED_SECONDS:
        family.throttled -= 1
        family.throttled_at += THROTTLED_SECONDS
    while family.calls and not family.throttled and family.calls[0] <= now - RECENT_SECONDS:
        family.calls.popleft()


class CallObserver:
    """A Cloud that records its calls to assign addresses in a BatchWindow."""

    def __init__(self, cloud: Cloud, window: BatchWindow, timing: Timing) -> None:
        self._cloud = cloud
        self._window = window
        self._timing = timing
        # Everything else goes through unchanged.
        self.metadata = cloud.metadata
        self.describe = cloud.describe
        self.holders = cloud.holders
        self.prefix_holders = cloud.prefix_holders
        self.unassign = cloud.unassign
        self.topology = cloud.topology

    def assign(self, call: Assign) -> frozenset[IPAddress]:
        """Assign addresses, and record once it is answered whether it was throttled; raises Ec2Error."""
        failure: Failure | None = None
        try:
            return self._cloud.assign(call)
        except Ec2Error as error:
            failure = error.failure
            raise
        finally:
            if failure is None or not failure.pending:
                throttled = failure is not None and failure.fault is Fault.THROTTLED
                version = call.addresses[0].version
                self._window.called(version, self._timing.clock(), throttled=throttled)
