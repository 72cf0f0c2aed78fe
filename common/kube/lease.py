"""Leader election by a Lease, as client-go's leaderelection does it.

A holder renews the Lease; others take it over when they have seen no renewal for its whole duration, by
their own clock. A holder that could not renew for `renew` seconds does not lead any more: that is shorter
than the duration, so that no two lead at once, as long as clocks run at one speed.

client-go renews as often as it retries. Here a holder renews every quarter of the duration, as the kubelet
does with its node's Lease (pkg/kubelet/kubelet.go, nodeLeaseRenewIntervalFraction): it is nearly all that a
controller at rest does. Others look every `retry` seconds, and when the Lease that they have seen runs out:
one that has died is replaced `duration` and at most one such pause after its last renewal. client-go looks at
its own pace alone, so that it takes up to two.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from common.kube.client import Client, Object
from common.kube.errors import ApiError, KubeError

MANAGER = "leader-election"


def clock() -> float:
    """Return the seconds of a clock that never jumps, and that goes on while the machine is suspended.

    Others may take the Lease meanwhile: time.monotonic would have its holder lead on when it wakes up.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class LeaseTimings:
    """Seconds; the defaults of the first three are client-go's recommendation."""

    duration: float = 15.0
    renew: float = 10.0
    retry: float = 2.0
    """Until the next try, where the Lease is another's or could not be renewed."""
    interval: float = 3.75
    """From one renewal to the next."""


def timings_for(duration: float) -> LeaseTimings:
    """Return the timings for a duration in the proportions of the defaults."""
    return LeaseTimings(duration, duration * 2 / 3, duration * 2 / 15, duration / 4)


@dataclass(frozen=True, slots=True)
class ObservedLease:
    """A Lease as it was seen; `at` is when this version was seen first (seconds of `clock`)."""

    holder: str
    version: str
    transitions: int
    duration: float
    at: float


def read_lease(found: Object, before: ObservedLease | None, now: float) -> ObservedLease:
    """Read a Lease; one that has not changed keeps the time at which it was seen."""
    spec: dict[str, Any] = found.get("spec") or {}
    version = str(found["metadata"].get("resourceVersion", ""))
    at = before.at if before is not None and before.version == version else now
    return ObservedLease(
        str(spec.get("holderIdentity") or ""),
        version,
        int(spec.get("leaseTransitions") or 0),
        float(spec.get("leaseDurationSeconds") or 0),
        at,
    )


def may_take(seen: ObservedLease, identity: str, now: float) -> bool:
    """Whether the Lease is ours, nobody's, or was not renewed for its duration."""
    return seen.holder in ("", identity) or now >= seen.at + seen.duration


def seconds_until_read(seen: ObservedLease | None, now: float, pause: float) -> float:
    """Return the seconds until the Lease of another is read again: after a pause, or when it runs out."""
    left = seen.at + seen.duration - now if seen is not None else pause
    return left if 0 < left < pause else pause


class LeaderElection(threading.Thread):
    """Tries to lead from `start` to `stop`. `on_change` is called when it begins to lead, and when it ends.

    A process that has lost the Lease should end: it is not taken again.
    """

    def __init__(  # noqa: PLR0913 - one keyword a field
        self,
        client: Client,
        *,
        namespace: str,
        name: str,
        identity: str,
        on_change: Callable[[], None],
        on_error: Callable[[Exception], None],
        timings: LeaseTimings | None = None,
    ) -> None:
        super().__init__(name="lease", daemon=True)
        self._client = client
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._on_change = on_change
        self._on_error = on_error
        self._timings = timings or LeaseTimings()
        self._ending = threading.Event()
        self._seen: ObservedLease | None = None
        self._until = float("-inf")
        self.led = False
        """Whether it has led at any time."""

    @property
    def leading(self) -> bool:
        """Whether this process leads now; asked before each call that only a leader may make."""
        return clock() < self._until

    @property
    def lost(self) -> bool:
        """Whether it led, and does not any more."""
        return self.led and not self.leading

    def stop(self) -> None:
        """Give the Lease back, so that another replica leads at once; join the thread afterwards."""
        self._ending.set()

    def run(self) -> None:
        """Take the Lease, and renew it."""
        while not self._ending.is_set() and not self.lost:
            held, begun = False, clock()
            try:
                held = self._turn()
            except KubeError as error:
                if not (isinstance(error, ApiError) and error.conflict):
                    self._on_error(error)
            # A leader's from its beginning: after a renewal that hung there is time for another one.
            spent = clock() - begun if self.led else 0.0
            self._ending.wait(max(0.0, self._pause(held=held) - spent))
        leading, self._until = self.leading, float("-inf")
        if leading:
            # Another one may lead before its answer is here.
            self._release()
        self._on_change()

    def _pause(self, *, held: bool) -> float:
        """Return the seconds until the next turn; those who wait do not all come at once."""
        if held:
            return self._timings.interval
        if self.led:
            return self._timings.retry
        pause = self._timings.retry * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
        return seconds_until_read(self._seen, clock(), pause)

    def _turn(self) -> bool:
        """Take or renew the Lease, if that is due; returns whether it is ours."""
        begun = clock()
        if self.leading and self._seen is not None and self._renew(self._seen, begun):
            return True
        seen = self._look()
        if seen is None:
            self._seen = self._create(begun)
        elif may_take(seen, self._identity, begun):
            self._seen = self._take(seen, begun)
        else:
            self._seen = seen
            self._until = float("-inf")
            return False
        # From the moment before the request: it may have been long on its way.
        self._until = begun + self._timings.renew
        if not self.led:
            self.led = True
            self._on_change()
        return True

    def _renew(self, seen: ObservedLease, begun: float) -> bool:
        """Renew the Lease without reading it before; returns whether it was still as it was written last.

        client-go does the same (tools/leaderelection, tryAcquireOrRenew, "fast path").
        """
        try:
            self._seen = self._take(seen, begun)
        except ApiError as error:
            if error.outdated:
                return False
            raise
        self._until = begun + self._timings.renew
        return True

    def _look(self) -> ObservedLease | None:
        try:
            found = self._client.get(f"{self._path}/{self._name}", f"read Lease {self._name}").object
        except ApiError as error:
            if error.not_found:
                return None
            raise
        # After the answer, which may have been long on its way: its holder may have renewed it until then.
        return read_lease(found, self._seen, clock())

    def _create(self, now: float) -> ObservedLease:
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": self._spec(0, acquired=True),
        }
        made = self._client.create(self._path, f"create Lease {self._name}", body).object
        return read_lease(made, None, now)

    def _take(self, seen: ObservedLease, now: float) -> ObservedLease:
        new = seen.holder != self._identity
        spec = self._spec(seen.transitions + new, acquired=new)
        return read_lease(self._write(seen, spec), None, now)

    def _release(self) -> None:
        if self._seen is not None:
            try:
                self._write(self._seen, {"holderIdentity": None, "leaseDurationSeconds": 1})
            except KubeError as error:
                self._on_error(error)

    def _write(self, seen: ObservedLease, spec: Object) -> Object:
        # Of the version that was read: of two that try at once, one is refused with 409.
        patch = {"metadata": {"resourceVersion": seen.version}, "spec": spec}
        path = f"{self._path}/{self._name}"
        return self._client.merge(path, f"write Lease {self._name}", patch, manager=MANAGER).object

    def _spec(self, transitions: int, *, acquired: bool) -> Object:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec: Object = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": round(self._timings.duration),
            "renewTime": now,
            "leaseTransitions": transitions,
        }
        return {**spec, "acquireTime": now} if acquired else spec
