"""Python's garbage collector at a program's start, which makes many objects and hardly any garbage."""

from __future__ import annotations

import gc

COLLECT_AT_START = 100_000
"""Objects made before Python looks for garbage, its default being 700: more than any import makes."""
_DEFAULT = gc.get_threshold()


def collect_rarely() -> None:
    """Begin the start of this process."""
    gc.set_threshold(COLLECT_AT_START)


def end_startup() -> None:
    """Exempt what the start has created from garbage collection, which then goes on as Python has it."""
    # Later full collections would take 10 ms longer.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_DEFAULT)
