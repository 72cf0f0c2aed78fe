"""TLS in front of the EC2 double: `python -m benchmarks.agent.tls_proxy CERTIFICATE KEY HOST:PORT HOST:PORT`.

Listens on the first address, hands everything on to the second, and prints a line when it listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys


def main() -> None:
    """Serve until SIGTERM."""
    certificate, key, listen, target = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    asyncio.run(_serve(context, _address(listen), _address(target)))


async def _serve(context: ssl.SSLContext, listen: tuple[str, int], target: tuple[str, int]) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(*target)
        await asyncio.gather(_copy(reader, up_writer), _copy(up_reader, writer))

    server = await asyncio.start_server(connected, *listen, ssl=context)
    print("listening", flush=True)
    async with server:
        await server.serve_forever()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # A client that ends without a word is no error of ours.
    with contextlib.suppress(OSError, ssl.SSLError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


if __name__ == "__main__":
    main()
