"""A random value, for what starts with each pod: the module random costs more than all of its use there."""

from __future__ import annotations

import os


def chance() -> float:
    """Return a random value in [0, 1)."""
    return int.from_bytes(os.urandom(4), "little") / (1 << 32)
