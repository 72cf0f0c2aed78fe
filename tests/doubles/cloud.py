"""What the servers of one double share: the present world, clock, faults, request limits and journal."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.requests import Request
from starlette.responses import Response

from tests.doubles.clock import Clock
from tests.doubles.ec2.iam import AccessKey
from tests.doubles.ec2.throttling import Buckets
from tests.doubles.fault_injection import Connection, Fault, Faults
from tests.doubles.journal import Call, Journal
from tests.doubles.state.model import World
from tests.doubles.state.network_interfaces import settle

TRANSPORT = "transport"
"""The key of a request's state under which its connection is found."""


class Cloud:
    """A double at work. `world` is replaced as a whole, by the servers' thread; any thread may read it."""

    def __init__(self, world: World, clock: Clock) -> None:
        self._world = world
        self.clock = clock
        self.faults = Faults()
        self.buckets = Buckets()
        self.journal = Journal()
        self.closing = asyncio.Event()

    @property
    def world(self) -> World:
        """The present world, in which what is due has happened."""
        return settle(self._world, self.clock.monotonic())

    @world.setter
    def world(self, world: World) -> None:
        self._world = world

    async def pause(self, seconds: float) -> None:
        """Wait, but no longer than until the servers stop."""
        try:
            await asyncio.wait_for(self.closing.wait(), seconds)
        except TimeoutError:
            return

    async def until_gone(self, request: Request) -> None:
        """Leave a request without answer, until its client or the double ends."""
        ends = {asyncio.ensure_future(_gone(request)), asyncio.ensure_future(self.closing.wait())}
        _, waiting = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in waiting:
            end.cancel()

    async def deliver(self, request: Request, response: Response, fault: Fault | None) -> Response:
        """Return the response as a fault lets it through: late, or never."""
        if fault and fault.delay_ms:
            await self.pause(fault.delay_ms / 1000)
        if fault and fault.kill_pid:
            with suppress(ProcessLookupError):
                os.kill(fault.kill_pid, signal.SIGKILL)
        if fault and (fault.connection or fault.kill_pid):
            if fault.connection is Connection.RESET:
                reset(request)
            await self.until_gone(request)
        return response

    def arrival(self, service: str, request: Request, action: str, params: Mapping[str, str]) -> Call:
        """Begin the journal's entry for a call; `finished` completes it."""
        return Call(
            monotonic=self.clock.monotonic(),
            wall=self.clock.wall(),
            service=service,
            caller=str(source_of(request)),
            identity=None,
            action=action,
            params=dict(params),
            result="",
            user_agent=request.headers.get("user-agent", ""),
        )

    def finished(
        self, call: Call, result: str, key: AccessKey | None = None, fault: Fault | None = None
    ) -> None:
        """Record a call with its result."""
        self.journal.record(
            dataclasses.replace(
                call,
                result=result,
                identity=key.arn if key else None,
                access_key=key.id if key else None,
                fault=describe_fault(fault) if fault else None,
            )
        )


def describe_fault(fault: Fault) -> str:
    """Say in a few words what a fault does."""
    parts = [
        fault.error,
        f"HTTP {fault.status}" if fault.status else None,
        fault.connection and str(fault.connection),
        f"killed process {fault.kill_pid}" if fault.kill_pid else None,
        "after the effect" if fault.effect else None,
        f"delayed {fault.delay_ms} ms" if fault.delay_ms else None,
        f"effect delayed {fault.effect_delay_ms} ms" if fault.effect_delay_ms else None,
        f"stale {fault.stale_ms} ms" if fault.stale_ms else None,
    ]
    return ", ".join(filter(None, parts))


def reset(request: Request) -> None:
    """End a request's connection with a TCP reset."""
    transport: asyncio.Transport = request.scope["state"][TRANSPORT]
    transport.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    transport.abort()


def source_of(request: Request) -> IPv4Address | IPv6Address:
    """Return the address from which a request comes."""
    if request.client is None:
        raise RuntimeError("a request without a peer address: the double serves TCP only")
    return ip_address(request.client.host)


async def _gone(request: Request) -> bool:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    return True


class BodyTooLargeError(Exception):
    """A request body is larger than the limit."""


async def read_body(request: Request, limit: int) -> bytes:
    """Read a request's body; raises BodyTooLargeError beyond so many bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise BodyTooLargeError
    return bytes(body)
