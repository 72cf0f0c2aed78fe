"""Which lanes are measured in which turn, and in which order. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.common.order import in_turn
from benchmarks.webhook.figures import CONSTANT, OURS

EVERY_TURN = (OURS, CONSTANT)
"""The lanes that a target compares: most of the time is theirs."""
CYCLE = 6
"""The other lanes take part in the first of so many turns."""


def turns_of(cycle: int, names: Sequence[str]) -> list[list[str]]:
    """Return the turns of a cycle, each as its lanes in their order."""
    both = [name for name in names if name in EVERY_TURN]
    begin = cycle * (CYCLE - 1)
    return [in_turn(cycle, names), *(in_turn(begin + turn, both) for turn in range(CYCLE - 1))]
