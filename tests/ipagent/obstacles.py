"""What may be in an agent's way for a while, and when it must be done once nothing is any more."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from hypothesis import strategies as st

from ipagent.assign.ec2_error_codes import Fault

WHENS = st.sampled_from([0.0, 0.4, 3.0, 9.0, 40.0, 200.0])
"""When an obstacle has gone."""
CHANCES = st.sampled_from([0.0, 0.5, 0.999])
"""What stands for chance in a run."""

ROUNDING = 1e-6


@dataclass(frozen=True)
class Obstacle:
    """What is in the way until `gone` (seconds after the start); `pace` is the longest wait for it.

    `fault` befalls the calls of a `kind`, after their effect if `lost`.
    """

    what: str
    gone: float
    pace: float
    fault: Fault = Fault.TRANSIENT
    kind: str = ""
    lost: bool = False


def there(
    obstacles: Collection[Obstacle], elapsed: float, what: str, kind: str | None = None
) -> Obstacle | None:
    """Return the first obstacle of that sort that has not gone."""
    found = (each for each in obstacles if each.what == what and kind in (None, each.kind))
    # A clock that is 1000.4 is not 0.4 after 1000.0.
    return next((each for each in found if elapsed < each.gone - ROUNDING), None)


def done_by(obstacles: Collection[Obstacle]) -> float:
    """Return when all must be done: each obstacle may have been met one after the other."""
    gone = max((each.gone for each in obstacles), default=0.0)
    return gone + sum({(each.what, each.kind): each.pace for each in obstacles}.values())
