"""Priority of calls to EC2."""

from __future__ import annotations

from enum import IntEnum


class Rank(IntEnum):
    """Which call goes first: nodes that become ready, pods' addresses, what frees; what can wait last."""

    LOOK = 0
    READY = 1
    ASSIGN = 2
    FREE = 3
    LATER = 4
