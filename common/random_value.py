"""A random number without importing `random`, which is too slow for what starts with each pod."""

from __future__ import annotations

import os


def random_value() -> float:
    """Return a random value in [0, 1)."""
    return int.from_bytes(os.urandom(4), "little") / (1 << 32)
