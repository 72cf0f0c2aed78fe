"""Adds an address and takes it away, and says when.

`python -S -m benchmarks.agent.toggle_address INTERFACE CIDR` runs in the pod's network namespace with the
rights of root there. For each line `add` or `delete` on stdin it prints the monotonic time at which it asked
the kernel. Raw netlink, since a library takes a millisecond or more between the call and the kernel
(linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h; `man 7 rtnetlink`).
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time

RTM_NEWADDR, RTM_DELADDR = 20, 21
NLMSG_ERROR = 2
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE = 0x1, 0x4, 0x200, 0x400
IFA_ADDRESS, IFA_LOCAL = 1, 2

_HEADER = struct.Struct("=IHHII")
_ADDRESS = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH4s")
_ERRNO = struct.Struct("=i")


def request(kind: int, index: int, address: bytes, bits: int) -> bytes:
    """Ask for an IPv4 address to be added to, or deleted from, the interface with this index."""
    flags = NLM_F_REQUEST | NLM_F_ACK | (NLM_F_CREATE | NLM_F_EXCL if kind == RTM_NEWADDR else 0)
    body = _ADDRESS.pack(socket.AF_INET, bits, 0, 0, index)
    body += b"".join(_ATTRIBUTE.pack(_ATTRIBUTE.size, each, address) for each in (IFA_LOCAL, IFA_ADDRESS))
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body


def main() -> None:
    """Serve until stdin ends."""
    interface, cidr = sys.argv[1:]
    address, _, bits = cidr.partition("/")
    index, packed = socket.if_nametoindex(interface), socket.inet_aton(address)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.bind((0, 0))
        for line in sys.stdin:
            message = request(RTM_NEWADDR if line.strip() == "add" else RTM_DELADDR, index, packed, int(bits))
            asked = time.monotonic()
            kernel.send(message)
            _check(kernel.recv(1 << 16))
            print(asked, flush=True)


def _check(answer: bytes) -> None:
    _, kind, _, _, _ = _HEADER.unpack_from(answer)
    (number,) = _ERRNO.unpack_from(answer, _HEADER.size)
    if kind != NLMSG_ERROR or number:
        raise OSError(-number, f"the kernel refuses the address: {os.strerror(-number)}")


if __name__ == "__main__":
    main()
