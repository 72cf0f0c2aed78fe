"""Python's garbage collector at a program's start, which makes many objects and hardly any garbage.

An injected container does the same without this module, one more that every pod would import: `main` in
`ipagent/cli.py` begins, `mark_started` in `ipagent/startup.py` ends.
"""

from __future__ import annotations

import gc

COLLECT_AT_START = 100_000
"""Objects made before Python looks for garbage: more than any import makes."""
COLLECT_AT_WORK = 700
"""The same after that: Python's own default, from 3.13 on 2,000. What programs take was measured with it."""


def begin_startup() -> None:
    """Begin the start of this process."""
    gc.set_threshold(COLLECT_AT_START)


def end_startup() -> None:
    """Exempt what the start has created from garbage collection, which then looks for garbage as usual."""
    # Later full collections would take 10 ms longer.
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AT_WORK)
