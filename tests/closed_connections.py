"""TCP connections that a process has closed and the kernel keeps: their peers have not taken everything."""

from __future__ import annotations

from pathlib import Path

_ENDING = {"04", "09", "0B"}
"""FIN_WAIT1, LAST_ACK and CLOSING (include/net/tcp_states.h): what was written is not acknowledged."""


def count_unfinished(port: int) -> int:
    """Count those of a local port, over IPv4 (proc(5), /proc/net/tcp)."""
    lines = Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]
    fields = [line.split() for line in lines]
    # A connection without an inode is no file of any process any more.
    return sum(
        int(each[1].rpartition(":")[2], 16) == port and each[3] in _ENDING and each[9] == "0"
        for each in fields
    )
