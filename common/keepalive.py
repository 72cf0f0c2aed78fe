"""TCP keepalive: the kernel detects a peer that went away without closing. Imports next to nothing."""

from __future__ import annotations

import _socket as socket  # socket would make enums of its constants: a tenth of the start

IDLE, INTERVAL, PROBES = 60, 15, 4
"""Seconds, seconds and a count: a dead peer of a session is found within two minutes (`man 7 tcp`)."""
USER_TIMEOUT_MS = 60_000
"""How long what was sent may wait for its acknowledgement (TCP_USER_TIMEOUT, `man 7 tcp`)."""


def keep_alive(connection: socket.socket, *, idle: int = IDLE, probes: int = PROBES) -> None:
    """Have the kernel probe an idle connection, and give up one whose peer acknowledges nothing.

    Raises OSError where the connection has gone already.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    values = {
        "TCP_KEEPIDLE": idle,
        "TCP_KEEPINTVL": INTERVAL,
        "TCP_KEEPCNT": probes,
        "TCP_USER_TIMEOUT": USER_TIMEOUT_MS,
    }
    for name, value in values.items():
        # kubectl's side runs on systems too that do not have all of them.
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
