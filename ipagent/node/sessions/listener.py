"""The port of the session server: accepts connections, and refuses them more cheaply than it accepts them.

Thread: `listen` any, all else the server's event loop.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

BACKLOG = 512
AT_ONCE = 32
"""Connections that are accepted before those that are open have their turn."""
PAUSE_SECONDS = 1.0
"""How long none is accepted where the kernel has no descriptor or no memory for one."""
RECEIVE_BUFFER = 16 * 1024
SEND_BUFFER = 32 * 1024
"""Bytes in the kernel for each connection; it takes twice as much (`man 7 socket`, SO_RCVBUF)."""


def listen(host: str, port: int) -> socket.socket:
    """Open the port; raises OSError. `host` is an address of the node."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        # The next process after an upgrade must not wait for the last one's connections.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit them.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


class Acceptor:
    """Passes new connections and their peers' addresses to `accepted`, errors of the kernel to `failed`."""

    def __init__(
        self,
        listener: socket.socket,
        loop: asyncio.AbstractEventLoop,
        accepted: Callable[[socket.socket, str], None],
        failed: Callable[[OSError], None],
    ) -> None:
        self._listener = listener
        self._loop = loop
        self._accepted = accepted
        self._failed = failed
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to accept connections."""
        self._listener.setblocking(False)
        self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Accept no more."""
        if self._timer:
            self._timer.cancel()
        self._loop.remove_reader(self._listener)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # EMFILE, ENFILE, ENOBUFS, ENOMEM: to try at once would fail at once.
                self._failed(error)
                self._loop.remove_reader(self._listener)
                self._timer = self._loop.call_later(PAUSE_SECONDS, self.start)
                return
            connection.setblocking(False)
            self._accepted(connection, str(address[0]))
