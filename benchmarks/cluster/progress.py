"""What the run is doing, on standard error: standard output is the table's."""

from __future__ import annotations

import sys


def say(line: str) -> None:
    """Write one line."""
    print(f"bench-cluster: {line}", file=sys.stderr, flush=True)
