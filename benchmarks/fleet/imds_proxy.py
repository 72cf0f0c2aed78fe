"""IMDS for many nodes on one machine: `python -m benchmarks.fleet.imds_proxy HOST:PORT PORT ADDRESS…`.

Listens on PORT of each address, and hands on to HOST:PORT from that same address: the double tells instances
by their address. Prints a line when it listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys


def main() -> None:
    """Serve until SIGTERM."""
    target, port, *addresses = sys.argv[1:]
    host, _, target_port = target.rpartition(":")
    asyncio.run(_serve((host, int(target_port)), int(port), addresses))


async def _serve(target: tuple[str, int], port: int, addresses: list[str]) -> None:
    servers = [
        await asyncio.start_server(functools.partial(_connected, target, address), address, port)
        for address in addresses
    ]
    print("listening", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


async def _connected(
    target: tuple[str, int], address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    # A client that ends without a word is no error of ours.
    with contextlib.suppress(OSError):
        up_reader, up_writer = await asyncio.open_connection(*target, local_addr=(address, 0))
        await asyncio.gather(_copy(reader, up_writer), _copy(up_reader, writer))
    writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    main()
