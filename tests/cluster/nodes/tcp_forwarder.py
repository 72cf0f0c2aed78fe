"""Carries TCP connections into namespaces: `tcp_forwarder.py FD=HOST:PORT…`.

Each FD is a socket that listens outside, where it was made; connections to HOST:PORT are made here.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys

CHUNK = 1 << 16


async def main() -> None:
    servers = [await _serve(argument) for argument in sys.argv[1:]]
    await asyncio.gather(*(server.serve_forever() for server in servers))


async def _serve(argument: str) -> asyncio.Server:
    number, _, target = argument.partition("=")
    host, _, port = target.rpartition(":")

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(_copy(reader, back), _copy(there, writer))

    return await asyncio.start_server(carry, sock=socket.socket(fileno=int(number)))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy one direction to its end, and close the other side's half; a broken one breaks both."""
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()
    except OSError:
        writer.transport.abort()


if __name__ == "__main__":
    asyncio.run(main())
