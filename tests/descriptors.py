"""Takes the file descriptors from a process that runs, and gives them back."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

STANDARD = 3
"""Standard input, output and error: nothing else can be opened (setrlimit(2), RLIMIT_NOFILE)."""


@contextmanager
def no_descriptors(pid: int) -> Iterator[None]:
    """Have every open, accept and connect of a process fail with EMFILE for the length of a block."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (STANDARD, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
