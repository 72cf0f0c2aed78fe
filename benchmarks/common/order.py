"""In which order what is compared takes its turns. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Each = TypeVar("Each")


def in_turn(turn: int, every: Sequence[Each]) -> list[Each]:
    """Put them into the order of a turn: another begins each time, and every second turn runs backwards.

    What one leaves behind (garbage in the API server's heap, connections, a pod that is taken apart) so meets
    another each time, and of two of them each is first as often as the other.
    """
    begin = turn // 2 % len(every)
    order = [*every[begin:], *every[:begin]]
    return order[::-1] if turn % 2 else order
