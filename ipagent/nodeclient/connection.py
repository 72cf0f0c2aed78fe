"""One non-blocking TCP connection to the node agent."""

from __future__ import annotations

import _socket as socket  # socket would make enums of its constants: a tenth of the start
import errno
import os

from common.keepalive import keep_alive
from ipagent.node_protocol import ResponseParser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipagent.node_protocol import ClaimStatus, Refusal

_RECEIVE = 1 << 16


class ConnectionBroken(Exception):
    """The connection cannot be made, or has ended; the text says why."""


class Connection:
    """A connection from its first packet on; `connected` once it is established."""

    def __init__(self, host: str, port: int) -> None:
        self.connected = False
        self.answers = ResponseParser()
        self._unsent = b""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.socket(
                family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            )
        except OSError as error:
            raise ConnectionBroken(_words(error)) from None
        try:
            keep_alive(self._socket)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = self._socket.connect_ex((host, port))
        except OSError as error:
            # A host that is not an address is refused here.
            self._socket.close()
            raise ConnectionBroken(_words(error)) from None
        if code not in (0, errno.EINPROGRESS):
            self._socket.close()
            raise ConnectionBroken(os.strerror(code))

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    @property
    def wants_to_write(self) -> bool:
        """Whether it waits to be writable."""
        return not self.connected or bool(self._unsent)

    def queue(self, data: bytes) -> None:
        """Send this with the next `flush`."""
        self._unsent += data

    def flush(self) -> None:
        """Send what is queued, as far as the kernel takes it; raises ConnectionBroken."""
        if not self.connected:
            if code := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise ConnectionBroken(os.strerror(code))
            self.connected = True
        while self._unsent:
            try:
                sent = self._socket.send(self._unsent, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except OSError as error:
                raise ConnectionBroken(_words(error)) from None
            self._unsent = self._unsent[sent:]

    def receive(self) -> tuple[Sequence[Refusal | ClaimStatus], bool]:
        """Return what has come, and whether the connection has ended.

        Raises ConnectionBroken, ProtocolError.
        """
        try:
            data = self._socket.recv(_RECEIVE)
        except BlockingIOError:
            return (), False
        except OSError as error:
            raise ConnectionBroken(_words(error)) from None
        return self.answers.feed(data), not data


def _words(error: OSError) -> str:
    return error.strerror or str(error)
