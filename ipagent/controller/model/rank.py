"""In which order calls to EC2 go."""

from __future__ import annotations

from enum import IntEnum


class Rank(IntEnum):
    """Which call goes first: what makes nodes ready, then what frees, and DeleteOnTermination last."""

    LOOK = 0
    READY = 1
    FREE = 2
    LATER = 3
