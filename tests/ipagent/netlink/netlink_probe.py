"""What `Netlink` sees, asked from another process.

`python -m tests.ipagent.netlink.netlink_probe [RECEIVE_BUFFER]`

A line on stdin is a question (`snapshot`, `wait`, `kinds`, `removed`, `lost`), a line of JSON on stdout its
answer.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

from ipagent.netlink import rtnetlink
from ipagent.netlink.namespace import Netlink


def main() -> None:
    """Answer until stdin ends."""
    never, write = os.pipe()
    with Netlink() as netlink:
        if len(sys.argv) > 1:
            netlink._events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, int(sys.argv[1]))  # noqa: SLF001
        for line in sys.stdin:
            print(json.dumps(answer(netlink, line.strip(), never)), flush=True)
    os.close(never)
    os.close(write)


def answer(netlink: Netlink, question: str, never: int) -> object:
    match question:
        case "snapshot":
            snapshot = netlink.snapshot(routes=True)
            names = {link.index: link.name for link in snapshot.links}
            return {
                "uid": os.getuid(),
                "local": sorted(link.name for link in snapshot.links if link.local),
                "lower": {link.name: names[link.lower] for link in snapshot.links if link.lower},
                "macs": {link.name: link.mac for link in snapshot.links},
                "addresses": [[names[entry.index], str(entry.address)] for entry in snapshot.addresses],
                "routes": [[names[route.index], str(route.destination)] for route in snapshot.routes],
            }
        case "wait":
            return netlink.wait(20, never)
        case "kinds":
            taken = netlink._events.recv(1 << 16)  # noqa: SLF001 - what has woken it
            return [kind for kind, *_ in rtnetlink.messages(taken)]
        case "removed":
            return sorted(map(str, netlink.removed()))
        case "lost":
            # "Drops", the last column but one, of all sockets of this namespace.
            rows = Path("/proc/self/net/netlink").read_text(encoding="ascii").splitlines()
            return sum(int(row.split()[-2]) for row in rows[1:])
    raise ValueError(question)


if __name__ == "__main__":
    main()
