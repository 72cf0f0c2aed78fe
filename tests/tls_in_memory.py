"""A TLS handshake without sockets."""

from __future__ import annotations

import ssl

ROUNDS = 5
"""More than a handshake of TLS 1.2 takes."""


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str | None = None) -> ssl.SSLObject:
    """Let a client connect to a server of this name; returns its side.

    Raises ssl.SSLError where one refuses the other.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asks = client.wrap_bio(to_client, to_server, server_hostname=name)
    answers = server.wrap_bio(to_server, to_client, server_side=True)
    done: set[ssl.SSLObject] = set()
    for _ in range(ROUNDS):
        for side in (asks, answers):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            done.add(side)
    assert done == {asks, answers}
    return asks
