"""What the servers of one double share: the present world, clock, faults and journal."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.requests import Request

from tests.doubles.clock import Clock
from tests.doubles.faults import Faults
from tests.doubles.journal import Call, Journal
from tests.doubles.model import World


class Cloud:
    """A double at work. `world` is replaced as a whole, by the servers' thread; any thread may read it."""

    def __init__(self, world: World, clock: Clock) -> None:
        self.world = world
        self.clock = clock
        self.faults = Faults()
        self.journal = Journal()
        self.closing = asyncio.Event()

    async def pause(self, seconds: float) -> None:
        """Wait, but no longer than until the servers stop."""
        try:
            await asyncio.wait_for(self.closing.wait(), seconds)
        except TimeoutError:
            return

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
        )

    def finished(self, call: Call, result: str, identity: str | None = None) -> None:
        """Record a call with its result."""
        self.journal.record(dataclasses.replace(call, result=result, identity=identity))


def source_of(request: Request) -> IPv4Address | IPv6Address:
    """Give the address from which a request comes."""
    if request.client is None:
        raise RuntimeError("a request without a peer address: the double serves TCP only")
    return ip_address(request.client.host)


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
