"""The next try and the backoff before it, and the clock, sleep and random values that both use."""

from __future__ import annotations

from collections.abc import Callable, Collection

from common.backoff import full_jitter
from common.frozen_dataclass import dataclass
from ipagent.assign.ec2_error_codes import RETRIED, Failure, Fault


@dataclass(frozen=True)
class Backoff:
    """Delays in seconds that double from `base` up to `cap`."""

    base: float
    cap: float

    def delay(self, attempt: int, random: float) -> float:
        """Return the delay after the failed attempt number `attempt` (0 the first); `random` is in [0, 1)."""
        return full_jitter(self.base, self.cap, attempt, random)


@dataclass(frozen=True)
class Attempt:
    """When the next try is to be made, and how many there were."""

    at: float = 0.0
    tries: int = 0

    def later(self, now: float, delays: Backoff, random: float) -> Attempt:
        """Return the try after one more."""
        return Attempt(now + delays.delay(self.tries, random), self.tries + 1)


NOW = Attempt()

SOON = Backoff(0.5, 30.0)
THROTTLED = Backoff(1.0, 60.0)
SLOW = Backoff(30.0, 300.0)
TURN_SECONDS = 20.0
"""After so long in one turn of a loop, slow calls that are left go on in the next one: others wait, too."""
PENDING_SECONDS = 0.5
"""Until it is asked again whether a call that was sent is answered: it is not sent again for that."""


def backoff_for(fault: Fault) -> Backoff:
    """Return the backoff for a fault: what only people can mend is asked for less often."""
    if fault is Fault.THROTTLED:
        return THROTTLED
    return SOON if fault in RETRIED else SLOW


def shortest_backoff(failures: Collection[Failure]) -> Backoff:
    """Return the backoff of the failure that is tried again first."""
    return min((backoff_for(each.fault) for each in failures), key=lambda each: each.base)


def after_failures(failures: Collection[Failure], last: Attempt, now: float, random: float) -> Attempt:
    """Return when to call again, as soon as one of the failures has it; to ask for an answer is no try."""
    if any(each.pending for each in failures):
        return Attempt(now + PENDING_SECONDS, last.tries)
    return last.later(now, shortest_backoff(failures), random)


@dataclass(frozen=True)
class Timing:
    """Where time and randomness come from: a monotonic clock in seconds, a sleep, random values in [0, 1)."""

    clock: Callable[[], float]
    sleep: Callable[[float], None]
    random: Callable[[], float]


def remaining(deadline: float, now: float) -> float:
    """Return the seconds until the deadline, never negative."""
    return max(0.0, deadline - now)
