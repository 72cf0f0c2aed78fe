"""The certificate controller: reads both objects, takes the next action, sleeps until something changes."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Sequence
from typing import Protocol, assert_never

from certs.issue import issue_leaf, make_authority
from certs.metrics import MetricsAndProbes
from certs.rotation import (
    Action,
    IssueLeaf,
    MakeAuthority,
    Now,
    PruneAuthorities,
    Settings,
    UpdateCaBundle,
    Wait,
    Write,
    next_action,
)
from certs.state import AUTHORITIES, AUTHORITY_KEY, CERTIFICATE, KEY, SeenSince, seen_since
from certs.store import Conflict, Observed, Store
from certs.x509 import read_certificate, to_pem
from common.kube.backoff import pause_after_failure
from common.kube.errors import KubeError
from common.log import JsonLog

TICK = 60.0
"""Seconds between two rounds at most; a round with nothing to do asks nobody."""
RESYNC = 6 * 3600.0
"""Seconds between two reads of the objects at most, also if no watch reports a change: they bring the API
server's time, too."""
BURST = 60
"""Writes that may follow each other at once: many whole rotations."""
WINDOW = 600.0
"""Seconds within which they are counted."""
SLOW = 10.0
"""Seconds between writes after that: another program writes the same fields."""


def pause_before_write(written: Sequence[float], now: float) -> float:
    """Return the seconds to wait before the next write, so that two writers of one object are no load.

    `written` are the instants of former writes in order, `now` the present one, on a clock that never jumps.
    """
    recent = [when for when in written if now - when < WINDOW]
    return max(0.0, recent[-1] + SLOW - now) if len(recent) >= BURST else 0.0


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> Now:
        """Return the time of both clocks."""
        ...


class Controller:
    """Keeps Secret and webhook configuration in order, from `run` to `stop`.

    Dates are compared with the API server's clock, which validates certificates: each answer has its
    time, and a clock that never jumps continues it. So this machine's clock may be wrong or be corrected.
    `tick` is how many seconds `run` sleeps at most.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        clock: Clock,
        log: JsonLog,
        metrics: MetricsAndProbes,
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._log = log
        self._metrics = metrics
        self.tick = TICK
        self._changed = threading.Event()
        self._stopping = False
        self._observed: Observed | None = None
        self._read_at = 0.0
        self._offset = 0.0
        self._seen = SeenSince()
        self._failures = 0
        self._written: deque[float] = deque(maxlen=BURST)
        self._decided: Action | None = None

    def wake(self) -> None:
        """Read the objects again: one may have changed. Called from other threads."""
        self._changed.set()

    def stop(self) -> None:
        """Let `run` return. Called from other threads."""
        self._stopping = True
        self._changed.set()

    def run(self) -> None:
        """Run turns until `stop`."""
        while not self._stopping:
            self._changed.wait(self.turn())

    def turn(self) -> float:
        """Run one turn; returns the seconds until the next one, unless something changes before."""
        self._metrics.record_turn()
        if self._changed.is_set():
            self._changed.clear()
            self._observed = None
        try:
            pause = self._turn()
        except Conflict as error:
            self._log.write("info", "conflict", message=str(error))
            self._observed = None
            return random.uniform(0.01, 0.1)  # noqa: S311 - no secret: two processes shall not meet again
        except KubeError as error:
            self._observed = None
            self._failures += 1
            self._metrics.failures.inc()
            self._log.write("error", "failed", error=str(error), failures=self._failures)
            return pause_after_failure(self._failures, random.random())  # noqa: S311 - no secret
        self._failures = 0
        return pause

    def _turn(self) -> float:
        fresh = self._observed is None or self._clock.now().steady - self._read_at > RESYNC
        observed = self._read() if fresh or self._observed is None else self._observed
        action = self._decide(observed)
        if not isinstance(action, Wait) and not fresh:
            # What was read before a long sleep decides nothing.
            observed = self._read()
            action = self._decide(observed)
        if isinstance(action, Wait):
            return max(0.0, min(action.seconds, self.tick))
        return self._act(observed, action)

    def _read(self) -> Observed:
        observed = self._store.read()
        now = self._clock.now()
        self._read_at = now.steady
        self._offset = (now.wall if observed.time is None else observed.time) - now.steady
        self._seen = seen_since(self._seen, observed.state, now.steady)
        self._metrics.record_state(observed.state, self._now().wall, self._settings)
        self._observed = observed
        return observed

    def _now(self) -> Now:
        steady = self._clock.now().steady
        return Now(steady + self._offset, steady)

    def _decide(self, observed: Observed) -> Action:
        action = next_action(observed.state, self._seen, self._now(), self._settings)
        before, self._decided = self._decided, action
        if isinstance(action, Wait) and not (isinstance(before, Wait) and before.why == action.why):
            self._log.write("info", "waiting", why=action.why, seconds=round(action.seconds, 1))
        return action

    def _act(self, observed: Observed, action: Write) -> float:
        now = self._now()
        if pause := pause_before_write(self._written, now.steady):
            self._log.write(
                "warning",
                "slowed_down",
                why="another program writes the same fields",
                seconds=round(pause, 1),
            )
            return pause
        self._written.append(now.steady)
        self._observed = None
        perform(self._store, observed, action, now.wall, self._settings)
        name = type(action).__name__
        self._metrics.record_write(name)
        self._log.write("info", "wrote", action=name, why=action.why)
        return 0.0


def perform(store: Store, observed: Observed, action: Write, wall: float, settings: Settings) -> None:
    """Do what was decided: one write of one object."""
    match action:
        case UpdateCaBundle():
            store.write_ca_bundle(observed, action.authorities)
        case PruneAuthorities():
            store.write_secret(observed, {AUTHORITIES: to_pem(action.authorities)})
        case IssueLeaf():
            key = observed.data[AUTHORITY_KEY]
            leaf = issue_leaf(action.authority, key, settings.names, wall, settings.certificate_lifetime)
            store.write_secret(observed, {CERTIFICATE: leaf.certificate, KEY: leaf.key})
        case MakeAuthority():
            store.write_secret(observed, _new_authority(action, wall, settings))
        case _:
            assert_never(action)


def _new_authority(action: MakeAuthority, wall: float, settings: Settings) -> dict[str, bytes]:
    made = make_authority(wall, settings.ca_lifetime)
    data = {AUTHORITIES: made.certificate + to_pem(action.kept), AUTHORITY_KEY: made.key}
    authority = read_certificate(made.certificate)
    if action.with_leaf and authority:
        leaf = issue_leaf(authority, made.key, settings.names, wall, settings.certificate_lifetime)
        data |= {CERTIFICATE: leaf.certificate, KEY: leaf.key}
    return data
