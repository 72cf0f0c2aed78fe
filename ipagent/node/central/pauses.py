"""Which NodeAttachments nothing is asked by for a while after a failure, and why. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from ipagent.assign.ec2_error_codes import Failure

PAUSE = 1.0
"""Seconds after a failure: one turn of the loop waits once."""
SLOW = 2.0
"""Seconds after which a failure is slow: an admission webhook was waited for, 10 s by default."""
REST = 9
"""Times as long as a slow failure took nothing is asked: all of them take a tenth of the loop's time."""


class _Paused(NamedTuple):
    failed_at: float
    until: float
    failure: Failure
    slow: bool


@dataclass(slots=True)
class Pauses:
    """`clock` gives monotonic seconds."""

    clock: Callable[[], float]
    _all: tuple[float, Failure] | None = None
    _paused: dict[str, _Paused] = field(default_factory=dict)

    def of_all(self) -> Failure | None:
        """Return why nothing at all is asked; None if it may be."""
        return self._all[1] if self._all is not None and self.clock() < self._all[0] else None

    def of(self, name: str) -> Failure | None:
        """Return why nothing is asked by this NodeAttachment; None if it may be."""
        found = self._paused.get(name)
        return found.failure if found is not None and self.clock() < found.until else None

    def failed_at(self, name: str) -> float:
        """Return when it failed last, 0.0 if it has not since it was written."""
        return self._paused[name].failed_at if name in self._paused else 0.0

    def pause_all(self, failure: Failure) -> None:
        """Record that nothing is taken or answered."""
        self._all = self.clock() + PAUSE, failure

    def pause(self, name: str, failure: Failure, took: float) -> None:
        """Record a failure of this NodeAttachment alone, after so many seconds."""
        now = self.clock()
        slow = [each for other, each in self._paused.items() if other != name and each.slow]
        rest = REST * took * (1 + len(slow)) if took >= SLOW else PAUSE
        self._paused[name] = _Paused(now, now + rest, failure, took >= SLOW)

    def end(self, name: str) -> None:
        """Record that it has been written."""
        self._paused.pop(name, None)
