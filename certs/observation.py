"""Since when this process has seen what is there.

How long a certificate has been in place can't be told from dates: a clock that is put right by an hour
would end every wait at once. So waits are counted on a clock that never jumps, from the first look that
found the thing and without a look that did not; a process that starts again waits again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from certs.state import State


@dataclass(frozen=True, slots=True)
class Observation:
    """Instants in seconds of a clock that never jumps.

    `leaf` is since when the Secret has held the leaf `fingerprint`; `trusted` since when every entry of the
    configuration has trusted each authority, by fingerprint; `deserted` since when there has been no entry.
    """

    fingerprint: str = ""
    leaf: float = 0.0
    trusted: Mapping[str, float] = field(default_factory=dict)
    deserted: float | None = None


def observe(before: Observation, state: State, steady: float) -> Observation:
    """Return what has been seen once `state` was read at the instant `steady`."""
    leaf = state.secret.leaf
    fingerprint = leaf.certificate.fingerprint if leaf else ""
    everywhere = [each.fingerprint for each in state.trusted if state.trusted_everywhere(each)]
    since = steady if before.deserted is None else before.deserted
    return Observation(
        fingerprint=fingerprint,
        leaf=before.leaf if fingerprint == before.fingerprint else steady,
        trusted={each: before.trusted.get(each, steady) for each in everywhere},
        deserted=None if state.entries else since,
    )
