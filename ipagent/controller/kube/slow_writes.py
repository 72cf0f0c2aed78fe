"""Writes for which an admission webhook hangs, and when others of their kind are tried beside them. No I/O.

A webhook may hang for some objects alone, and each write that hangs takes the loop's time. All that hung when
they were tried last take a tenth of it together. Whether one of the others hangs, shows only at its next try:
those go first that will most likely be taken, and the rest after one that hangs is owed by those alone that
are no likelier than it was. What was accepted last time waits for nothing that was never accepted. Once one
hangs, the others are given up sooner, so that many that hang soon have had their first try.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from common.kube.backoff import FIRST_PATIENCE, REST
from common.kube.write_backoff import WriteBackoff

NEW_REST = 2
"""Times as long as a write hung that nothing is tried that is no likelier to be taken: those whose last try
has not hung get a third of the loop's time."""
AHEAD = 60.0
"""Seconds of that rest which may be owed: few that hang do not hold up the others."""
NEW = 60.0
"""Seconds for which a write is new that was never tried: many that hang and still have to be tried don't hold
it up."""
MAX_ACCEPTED = 10_000
"""Keys of accepted writes that are remembered."""
USUAL = 2
"""Times as long as the slowest accepted write of a group took of late the others are waited for at least."""
MAX_FIRST_PATIENCE = 10.0
"""Seconds from which on these are waited for as long as the client does."""
OF_LATE = 600.0
"""Seconds for which the slowest accepted write counts."""


class Key(NamedTuple):
    """What is written; a webhook or a policy that refuses one write of a `group` often refuses them all."""

    group: str
    name: Hashable
    attempt: Hashable = None
    """What of it waits alone once it has failed; how slow it was, counts for all attempts."""

    @property
    def whole(self) -> Key:
        """Return the key of all attempts."""
        return Key(self.group, self.name)


class _Likelihood(IntEnum):
    """How likely a write is taken: it was not when it was tried last, was never tried, or was taken."""

    HANGS = 0
    UNKNOWN = 1
    NEW = 2
    ACCEPTED = 3


@dataclass(slots=True)
class SlowWrites:
    """Times are monotonic seconds."""

    _hanging: dict[Key, Key] = field(default_factory=dict)
    """Writes whose last try has hung, and that attempt."""
    _groups: set[str] = field(default_factory=set)
    """Of these."""
    _due: float = 0.0
    """When the next one of these may be tried."""
    _owed_until: dict[int, float] = field(default_factory=lambda: dict.fromkeys(_Likelihood, 0.0))
    _accepted: dict[Key, float] = field(default_factory=dict)
    """When each was; the last one is the newest."""
    _wanted: dict[Key, float] = field(default_factory=dict)
    """Since when, of those that were never tried."""
    _backwards: bool = False
    """Whether the last ones of a turn are tried first. Neighbours by name often hang together, as a group's
    nodes do: after each that hangs the next try is made at the other end."""
    _slowest: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Seconds that the slowest accepted write of each group took of late, and when that was."""

    def begin(self, waiting: WriteBackoff) -> None:
        """Begin a turn; what has hung and does not wait any more is forgotten."""
        self._hanging = {key: each for key, each in self._hanging.items() if each in waiting}
        self._groups = {key.group for key in self._hanging}

    def want(self, keys: Iterable[Key], now: float) -> None:
        """Record what is to be written in this turn."""
        wholes = (key.whole for key in keys)
        unknown = (key for key in wholes if key not in self._accepted and key not in self._hanging)
        self._wanted = {key: self._wanted.get(key, now) for key in unknown}

    def rank(self, key: Key, place: int, now: float) -> tuple[int, float, int]:
        """Return what writes are sorted by: groups without any that hangs, then likelier ones, newer ones."""
        whole = key.whole
        if key.group not in self._groups:
            return -len(_Likelihood), 0.0, place
        since = self._accepted.get(whole, self._wanted.get(whole, now))
        return -self._likelihood(whole, now), -since, -place if self._backwards else place

    def due(self, key: Key, now: float) -> float:
        """Return when a write may be tried."""
        likelihood = self._likelihood(key.whole, now)
        if likelihood is _Likelihood.HANGS:
            return self._due
        return self._owed_until[likelihood] - AHEAD if key.group in self._groups else 0.0

    def patience(self, key: Key) -> float | None:
        """Return for how many seconds a write is waited for, None for as long as the client does."""
        if not self._hanging or key.whole in self._hanging:
            return None
        slowest, _ = self._slowest.get(key.group, (0.0, 0.0))
        found = max(FIRST_PATIENCE, USUAL * slowest)
        return found if found < MAX_FIRST_PATIENCE else None

    def _likelihood(self, whole: Key, now: float) -> _Likelihood:
        if whole in self._hanging:
            return _Likelihood.HANGS
        if whole in self._accepted:
            return _Likelihood.ACCEPTED
        return _Likelihood.NEW if now - self._wanted.get(whole, now) < NEW else _Likelihood.UNKNOWN

    def last_attempt(self, key: Key) -> Key:
        """Return the attempt that has hung, this one if none has."""
        return self._hanging.get(key.whole, key)

    def hang(self, key: Key, now: float, took: float) -> None:
        """Record that a write was refused after so many seconds."""
        whole = key.whole
        likelihood = self._likelihood(whole, now)
        for each in range(_Likelihood.UNKNOWN, max(likelihood, _Likelihood.UNKNOWN) + 1):
            # The rest goes on while another one is tried.
            self._owed_until[each] = max(self._owed_until[each], now - took) + (1 + NEW_REST) * took
        if likelihood is _Likelihood.HANGS or not self._hanging:
            # A first try that hangs postpones none of these: while new ones hang, there is always another.
            self._due = max(self._due, now + REST * took)
        self._hanging[whole] = key
        self._groups.add(key.group)
        self._accepted.pop(whole, None)
        self._backwards = not self._backwards

    def end(self, key: Key) -> None:
        """Record that a write does not hang any more."""
        self._hanging.pop(key.whole, None)

    def accept(self, key: Key, now: float, took: float) -> None:
        """Record that a write was taken after so many seconds."""
        whole = key.whole
        self._hanging.pop(whole, None)
        slowest, at = self._slowest.get(key.group, (0.0, now))
        if took >= slowest or now - at > OF_LATE:
            self._slowest[key.group] = took, now
        self._accepted.pop(whole, None)
        self._accepted[whole] = now
        if len(self._accepted) > MAX_ACCEPTED:
            del self._accepted[next(iter(self._accepted))]
