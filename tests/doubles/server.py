"""Runs the double: two HTTP servers, in a thread of a test or as the whole of a process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.doubles.clock import Clock
from tests.doubles.cloud import TRANSPORT, Cloud
from tests.doubles.config.document import Node
from tests.doubles.config.settings import NAMES, with_settings
from tests.doubles.config.world_file import load_world
from tests.doubles.control.endpoints import Control, state_document
from tests.doubles.ec2.endpoint import Ec2Endpoint
from tests.doubles.fault_injection import Fault
from tests.doubles.imds.endpoint import MetadataEndpoint
from tests.doubles.journal import Call
from tests.doubles.state.model import World

Address = tuple[str, int] | socket.socket
"""Where to listen: host and port, or a socket that listens already, such as one of another namespace."""
ANY_PORT = ("127.0.0.1", 0)
START_SECONDS = 10.0
STOP_SECONDS = 10.0

METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]


class Doubles:
    """The EC2 and the IMDS double, served by a background thread between `with` and its end.

    `world` is a world file's path or its content; `DocumentError` says what is wrong with it. Addresses are
    pairs of host and port, port 0 for any free one, or sockets, which are closed at the end. All methods may
    be called from any thread.
    """

    def __init__(
        self,
        world: Path | str | Mapping[str, object],
        *,
        ec2_address: Address = ANY_PORT,
        imds_address: Address = ANY_PORT,
        clock: Clock | None = None,
    ) -> None:
        self._cloud = Cloud(load_world(world), clock or Clock())
        self._addresses = (ec2_address, imds_address)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failure: BaseException | None = None
        self.ec2_url = ""
        self.imds_url = ""

    def __enter__(self) -> Self:
        sockets = listen(self._addresses)
        self.ec2_url, self.imds_url = map(url_of, sockets)
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(sockets, ready), name="doubles", daemon=True)
        self._thread.start()
        if not ready.wait(START_SECONDS) or self._failure:
            raise RuntimeError(f"the doubles did not start within {START_SECONDS} s") from self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is None or self._thread is None:
            raise RuntimeError("the doubles have not been started")
        self._loop.call_soon_threadsafe(self._cloud.closing.set)
        self._thread.join(STOP_SECONDS)
        if self._thread.is_alive() or self._failure:
            raise RuntimeError("the doubles did not stop cleanly") from self._failure

    def _run(self, sockets: list[socket.socket], ready: threading.Event) -> None:
        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            await serve(self._cloud, sockets, ready.set)

        try:
            asyncio.run(main())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits for the servers
            self._failure = error
            ready.set()

    @property
    def world(self) -> World:
        """The present world; it does not change, but is replaced by every call that has an effect."""
        return self._cloud.world

    def state(self) -> dict[str, object]:
        """Return the present world as JSON values: what `GET /_double/state` answers."""
        return state_document(self._cloud.world, self._cloud.clock.monotonic())

    def journal(self, action: str | None = None) -> tuple[Call, ...]:
        """Return all calls so far, or those of one EC2 action, in the order of their effects."""
        return tuple(call for call in self._cloud.journal.calls() if action in (None, call.action))

    def change_settings(self, **settings: object) -> None:
        """Change settings of the world: those in `NAMES`."""
        keys = Node("settings", settings).mapping(optional=NAMES)

        async def change() -> None:
            self._cloud.world = with_settings(self._cloud.world, keys)

        if self._loop is None:
            raise RuntimeError("the doubles have not been started")
        asyncio.run_coroutine_threadsafe(change(), self._loop).result(START_SECONDS)

    def put_faults(self, *faults: Fault) -> None:
        """Replace all faults; without arguments there are none."""
        self._cloud.faults.put(faults)

    def holder_of(self, address: str) -> str | None:
        """Return the interface that has the address, of either family."""
        holder = self.world.holder_of(ip_address(address))
        return holder.id if holder else None

    def elastic_ip(self, address: str) -> tuple[str, ...]:
        """Return which Elastic IPs stand for a private address."""
        return tuple(
            association.allocation
            for interface in self.world.interfaces.values()
            for association in interface.associations
            if str(association.private) == address
        )

    @property
    def remaps(self) -> int:
        """How often Elastic IPs have been associated: EC2 may charge each time."""
        return sum(each.remaps for each in self.world.elastic_ips.values())

    def secondaries(self, interface: str) -> tuple[str, ...]:
        """Return an interface's secondary addresses, in the order of their assignment."""
        return tuple(map(str, self.world.interfaces[interface].secondaries))

    def ipv6s(self, interface: str) -> tuple[str, ...]:
        """Return an interface's IPv6 addresses, in the order of their assignment."""
        return tuple(map(str, self.world.interfaces[interface].ipv6s))


def listen(addresses: Iterable[Address]) -> list[socket.socket]:
    """Listen on each address, or on none: raises OSError for the first that can't be had."""
    with contextlib.ExitStack() as opened:
        sockets = []
        for address in addresses:
            listening = opened.enter_context(_listening(address))
            # asyncio sets it only for sockets that name their protocol; without it each answer on a kept
            # connection waits for the client's delayed ACK.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sockets.append(listening)
        opened.pop_all()
        return sockets


def _listening(address: Address) -> socket.socket:
    if isinstance(address, socket.socket):
        return address
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    return socket.create_server(address, family=family, backlog=1024)


def url_of(listening: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve(cloud: Cloud, sockets: list[socket.socket], on_ready: Callable[[], None]) -> None:
    """Serve EC2 on the first socket and IMDS on the second until `cloud.closing` is set."""
    ec2 = Starlette(
        routes=[*Control(cloud).routes(), Route("/", Ec2Endpoint(cloud).__call__, methods=["GET", "POST"])]
    )
    imds = Starlette(routes=[Route("/{path:path}", MetadataEndpoint(cloud).__call__, methods=METHODS)])
    servers = [_Server(app, cloud.closing) for app in (ec2, imds)]
    async with asyncio.TaskGroup() as group:
        for server, listening in zip(servers, sockets, strict=True):
            group.create_task(server.serve(sockets=[listening]))
        for server in servers:
            await server.ready.wait()
        on_ready()


class _Protocol(HttpToolsProtocol):
    """Lets a request reach its connection, which a fault may reset."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        """Keep the transport where requests find it."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, TRANSPORT: transport}


class _Server(uvicorn.Server):
    """Serves until an event; signals are the business of whoever owns the process."""

    def __init__(self, app: Starlette, closing: asyncio.Event) -> None:
        config = uvicorn.Config(
            app,
            http=_Protocol,
            loop="asyncio",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # the source address is the caller's identity in IMDS, whatever headers say
            server_header=False,
            date_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=2,
        )
        super().__init__(config)
        self._closing = closing
        self.ready = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave all signals alone."""
        yield

    async def main_loop(self) -> None:
        """Wait for the end instead of looking for it ten times a second."""
        self.ready.set()
        await self._closing.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close everything at once where no request is under way: uvicorn pauses for a tenth of a second."""
        if self.server_state.tasks:
            await super().shutdown(sockets)
            return
        for server in self.servers:
            server.close()
        for listening in sockets or ():
            listening.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
