"""What the kernel says of this network namespace, over raw netlink sockets.

No privilege, no polling, no package. Subscribing to address groups and dumping links, addresses and routes is
open to every process of a namespace (`man 7 netlink`); uid 65534 without capabilities may do it.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from types import TracebackType
from typing import Self

from multus_eni.ipagent.addresses import IPAddress, Snapshot
from multus_eni.ipagent.errors import AgentError
from multus_eni.ipagent.sources import rtnetlink
from multus_eni.ipagent.sources.rtnetlink import Message

# The kernel fills what the reader offers, at most 32 KiB at a time (net/netlink/af_netlink.c, netlink_dump).
_BUFFER = 1 << 16
_DUMP_SECONDS = 5.0
_DUMP_TRIES = 10
_EVENTS_AT_ONCE = 1000


class NetlinkError(AgentError):
    """The kernel does not answer as it should."""

    remedy = "Netlink sockets must be allowed: look at the container's seccomp profile."


class Netlink:
    """Reads snapshots, and hears of address changes from its construction on."""

    def __init__(self) -> None:
        self._sequence = 0
        self._dumps = _open(0)
        try:
            self._events = _open(rtnetlink.RTMGRP_IPV4_IFADDR | rtnetlink.RTMGRP_IPV6_IFADDR)
        except BaseException:
            self._dumps.close()
            raise
        self._events.setblocking(False)
        self._dumps.settimeout(_DUMP_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the sockets."""
        self._events.close()
        self._dumps.close()

    def snapshot(self, *, routes: bool) -> Snapshot:
        """Read all links and addresses, and with `routes` those too; raises NetlinkError."""
        links = self._dump(rtnetlink.RTM_GETLINK, rtnetlink.RTM_NEWLINK)
        entries = self._dump(rtnetlink.RTM_GETADDR, rtnetlink.RTM_NEWADDR)
        found = self._dump(rtnetlink.RTM_GETROUTE, rtnetlink.RTM_NEWROUTE) if routes else []
        try:
            return Snapshot(
                links=tuple(rtnetlink.link(body) for body in links),
                addresses=tuple(entry for body in entries if (entry := rtnetlink.address(body))),
                routes=tuple(route for body in found for route in rtnetlink.routes(body)),
            )
        except rtnetlink.MalformedError as error:
            raise NetlinkError(f"the kernel's answer can't be read: {error}") from None

    def wait(self, seconds: float | None, wakeup: int) -> bool:
        """Sleep until addresses change, `wakeup` is readable, or time is over; tells if they changed."""
        poll = select.poll()
        poll.register(self._events, select.POLLIN)
        poll.register(wakeup, select.POLLIN)
        # Rounded up: with 0 milliseconds left of a fraction the loop would spin.
        ready = dict(poll.poll(None if seconds is None else int(seconds * 1000) + 1))
        return self._events.fileno() in ready

    def removed(self) -> frozenset[IPAddress]:
        """Take what has happened since the last call; gives the addresses that went away.

        They may be back. Where the kernel lost events (ENOBUFS) that is not known; a snapshot must do.
        """
        gone = set()
        for _ in range(_EVENTS_AT_ONCE):
            try:
                data = _receive(self._events)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    continue
                raise NetlinkError(f"listening for address changes failed: {error}") from None
            try:
                for message in rtnetlink.messages(data):
                    if message.kind == rtnetlink.RTM_DELADDR and (entry := rtnetlink.address(message.body)):
                        gone.add(entry.address)
            except rtnetlink.MalformedError as error:
                raise NetlinkError(f"the kernel's event can't be read: {error}") from None
        return frozenset(gone)

    def _dump(self, request: int, kind: int) -> list[bytes]:
        for _ in range(_DUMP_TRIES):
            bodies = self._dump_once(request, kind)
            if bodies is not None:
                return bodies
        raise NetlinkError(f"the interfaces changed during each of {_DUMP_TRIES} readings")

    def _dump_once(self, request: int, kind: int) -> list[bytes] | None:
        """Give the bodies of a whole dump; None if it was interrupted by a change."""
        self._sequence += 1
        bodies: list[bytes] = []
        interrupted = False
        try:
            self._dumps.sendto(rtnetlink.dump_request(request, self._sequence), (0, 0))
            while True:
                for message in rtnetlink.messages(_receive(self._dumps)):
                    if message.sequence != self._sequence:
                        continue
                    interrupted |= bool(message.flags & rtnetlink.NLM_F_DUMP_INTR)
                    if _ends(message):
                        return None if interrupted else bodies
                    if message.kind == kind:
                        bodies.append(message.body)
        except (OSError, rtnetlink.MalformedError) as error:
            raise NetlinkError(f"reading the pod's interfaces failed: {error}") from None


def _ends(message: Message) -> bool:
    if message.kind not in (rtnetlink.NLMSG_DONE, rtnetlink.NLMSG_ERROR):
        return False
    if number := rtnetlink.error_number(message):
        raise OSError(number, os.strerror(number))
    return True


def _open(groups: int) -> socket.socket:
    try:
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    except OSError as error:
        raise NetlinkError(f"a netlink socket can't be opened: {error}") from None
    try:
        opened.bind((0, groups))
    except OSError as error:
        opened.close()
        raise NetlinkError(f"a netlink socket can't be bound: {error}") from None
    return opened


def _receive(source: socket.socket) -> bytes:
    """Receive one datagram of the kernel's; what other processes send is not heard."""
    while True:
        data, _, flags, sender = source.recvmsg(_BUFFER)
        if sender[0] != 0:
            continue
        if flags & socket.MSG_TRUNC:
            raise OSError(errno.EMSGSIZE, "a netlink message is too long")
        return data
