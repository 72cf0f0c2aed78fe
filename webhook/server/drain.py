"""Stop a replica without a failed admission.

The API server pools its connections to a replica and goes on using them after the replica has left the
endpoints of its Service. So requests are still answered for some seconds after SIGTERM, each with
`Connection: close`: the API server then drops the connection before this process ends. A connection that was
accepted before the end is answered, too, if its first request comes soon.

What no server can help: a request that crosses the close of a connection that has been idle for all of that
time. Go's net/http does not send a POST again once a byte of it was written.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from dataclasses import dataclass
from types import FrameType

import uvicorn

from webhook.server.http_limits import LAST_REQUEST, LimitedHttpProtocol
from webhook.server.listener import TlsListener


@dataclass(slots=True)
class Draining:
    """Whether the process is draining; the request handlers read it."""

    active: bool = False


class DrainingServer(uvicorn.Server):
    """A uvicorn server that goes on answering for `seconds` after SIGTERM."""

    def __init__(
        self, config: uvicorn.Config, listener: TlsListener, draining: Draining, seconds: float
    ) -> None:
        super().__init__(config)
        self._listener = listener
        self._draining = draining
        self._seconds = seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._drain: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - as uvicorn
        """Start to serve."""
        self._loop = asyncio.get_running_loop()
        # uvicorn itself listens on nothing, and closes our listener as if it were its own.
        await super().startup(sockets=[])
        self.servers = [self._listener]  # type: ignore[list-item] # it has what uvicorn calls
        self._listener.start(self._make_protocol)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, and close what is idle; those that have just connected may send their request."""
        self._listener.stop()
        await self._listener.handshakes(LAST_REQUEST)
        await super().shutdown(sockets)

    def _make_protocol(self) -> LimitedHttpProtocol:
        return LimitedHttpProtocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start draining at the first SIGTERM; shut down at the second one, or at any other signal."""
        if sig != signal.SIGTERM or self._draining.active or self._loop is None:
            super().handle_exit(sig, frame)
            return
        self._draining.active = True
        self._loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self._drain = asyncio.create_task(self._until_drained())

    async def _until_drained(self) -> None:
        # Always for the whole time: there is no sign of when the last API server has learnt that this replica
        # is gone, and until then it opens new connections.
        await asyncio.sleep(self._seconds)
        super().handle_exit(signal.SIGTERM, None)
