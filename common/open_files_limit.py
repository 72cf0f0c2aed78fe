"""Raises the process's own limit of file descriptors. Imports next to nothing."""

from __future__ import annotations

import resource


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files to the hard one; returns the limit that holds.

    The soft limit is 1024 on many nodes, for programs that use select(2) (`man 5 systemd.exec`, LimitNOFILE).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            # Above what the kernel allows (fs.nr_open): what was set before still holds.
            return soft
    return hard
