"""The end of a TCP connection: the kernel goes on sending what was written before the socket was closed.

Where the peer does not read, it is kept for minutes (tcp(7), tcp_orphan_retries). No limit of connections
counts it then, but the container's memory limit does (cgroup v2, `sock` in memory.stat).
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import termios

_RESET, _USUAL = struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)
"""SO_LINGER (socket(7)): closing drops what is buffered and sends a RST, or goes on in the background."""
_CLOSED = 7
"""TCP_CLOSE (include/net/tcp_states.h)."""


def reset(connection: socket.socket) -> None:
    """Close a connection at once: nothing of it stays in the kernel."""
    reset_on_close(connection)
    connection.close()


def reset_on_close(connection: socket.socket, *, by_reset: bool = True) -> None:
    """Choose what closing does with unacknowledged data: drop it by a RST, or go on sending it as usual."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET if by_reset else _USUAL)


def would_linger(connection: socket.socket) -> bool:
    """Return whether the kernel would go on sending if the connection were closed now.

    It would where the peer has not acknowledged data, or a FIN that has been sent (tcp(7), SIOCOUTQ).
    """
    try:
        state = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        linger = connection.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(_RESET))
        size = unacknowledged(connection)
    except (OSError, ValueError):
        return False
    return bool(size > 0 and state != _CLOSED and linger != _RESET)


def unacknowledged(connection: socket.socket) -> int:
    """Return how many bytes were written that the peer has not acknowledged (tcp(7), SIOCOUTQ)."""
    (size,) = struct.unpack("=i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))
    return int(size)
