"""Reads this network namespace over raw netlink sockets, as plain tuples.

Needs no privilege, no polling, no package: every process of a namespace may subscribe to the groups of its
links and addresses, and dump both and its routes (`man 7 netlink`), uid 65534 without capabilities too.
"""

from __future__ import annotations

import _socket as socket  # socket would make enums of its constants: a tenth of the start
import errno
import os
import select

from ipagent.netlink import rtnetlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import ClassVar, Self

# The kernel fills what the reader offers, at most 32 KiB at a time (net/netlink/af_netlink.c, netlink_dump).
_BUFFER = 1 << 16
_DUMP_SECONDS = 5.0
_DUMP_TRIES = 10
_EVENTS_AT_ONCE = 1000

REMEDY = "Netlink sockets must be allowed: look at the container's seccomp profile."


class KernelError(Exception):
    """The kernel's answer is an error, or cannot be read."""


class NetlinkSocket:
    """Reads links, addresses and routes, and hears of changes from its construction on.

    Every method may raise `error`, which a subclass may replace by its own, as the groups whose events it
    receives.
    """

    error: ClassVar[type[Exception]] = KernelError
    groups: ClassVar[int] = (
        rtnetlink.RTMGRP_LINK | rtnetlink.RTMGRP_IPV4_IFADDR | rtnetlink.RTMGRP_IPV6_IFADDR
    )

    def __init__(self) -> None:
        self._sequence = 0
        self._dumps = self._open(0)
        try:
            self._events = self._open(self.groups)
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

    def fileno(self) -> int:
        """Return the file descriptor that becomes readable when something has changed."""
        return self._events.fileno()

    def wait(self, seconds: float | None, wakeup: int) -> bool:
        """Sleep until there are events, `wakeup` is readable or `seconds` have passed; return if events."""
        poll = select.poll()
        poll.register(self._events, select.POLLIN)
        poll.register(wakeup, select.POLLIN)
        # Rounded up: with 0 milliseconds left of a fraction the loop would spin.
        ready = dict(poll.poll(None if seconds is None else int(seconds * 1000) + 1))
        return self._events.fileno() in ready

    def gone(self) -> set[bytes]:
        """Return the packed addresses that were removed since the last call; they may be back.

        Where the kernel lost events (ENOBUFS) they are not known, and a dump must do.
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
                raise self.error(f"listening for address changes failed: {error}") from None
            try:
                for kind, _, _, body in rtnetlink.messages(data):
                    if kind == rtnetlink.RTM_DELADDR and (entry := rtnetlink.address(body)):
                        gone.add(entry[1])
            except rtnetlink.MalformedError as error:
                raise self.error(f"the kernel's event can't be read: {error}") from None
        return gone

    def drain(self) -> None:
        """Drop the events that have come: the caller reads everything again."""
        for _ in range(_EVENTS_AT_ONCE):
            try:
                _receive(self._events)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise self.error(f"listening for changes failed: {error}") from None

    def next_sequence(self) -> int:
        """Return the number of the next request."""
        self._sequence += 1
        return self._sequence

    def request(self, message: bytes, sequence: int) -> None:
        """Send a request that wants an acknowledgement, and wait for it.

        Raises OSError with the kernel's error number, `error` where there is no answer.
        """
        try:
            self._dumps.sendto(message, (0, 0))
            code = self._acknowledgement(sequence)
        except (OSError, rtnetlink.MalformedError) as error:
            raise self.error(f"changing an interface failed: {error}") from None
        if code:
            raise OSError(code, os.strerror(code))

    def _acknowledgement(self, sequence: int) -> int:
        """Wait for the answer to one request, and return its error number, 0 for success."""
        while True:
            for kind, _, number, body in rtnetlink.messages(_receive(self._dumps)):
                if number == sequence and kind == rtnetlink.NLMSG_ERROR:
                    return rtnetlink.error_number(body)

    def links(self) -> list[bytes]:
        """Read all links, as bodies of RTM_NEWLINK."""
        return self._dump(rtnetlink.RTM_GETLINK, rtnetlink.RTM_NEWLINK)

    def addresses(self) -> list[bytes]:
        """Read all addresses, as bodies of RTM_NEWADDR."""
        return self._dump(rtnetlink.RTM_GETADDR, rtnetlink.RTM_NEWADDR)

    def routes(self) -> list[bytes]:
        """Read all routes, as bodies of RTM_NEWROUTE."""
        return self._dump(rtnetlink.RTM_GETROUTE, rtnetlink.RTM_NEWROUTE)

    def _dump(self, request: int, kind: int) -> list[bytes]:
        for _ in range(_DUMP_TRIES):
            bodies = self._dump_once(request, kind)
            if bodies is not None:
                return bodies
        raise self.error(f"the interfaces changed during each of {_DUMP_TRIES} readings")

    def _dump_once(self, request: int, wanted: int) -> list[bytes] | None:
        """Return the bodies of a whole dump; None if it was interrupted by a change."""
        self.next_sequence()
        bodies: list[bytes] = []
        interrupted = False
        try:
            self._dumps.sendto(rtnetlink.dump_request(request, self._sequence), (0, 0))
            while True:
                for kind, flags, sequence, body in rtnetlink.messages(_receive(self._dumps)):
                    if sequence != self._sequence:
                        continue
                    interrupted |= bool(flags & rtnetlink.NLM_F_DUMP_INTR)
                    if _ends(kind, body):
                        return None if interrupted else bodies
                    if kind == wanted:
                        bodies.append(body)
        except (OSError, rtnetlink.MalformedError) as error:
            raise self.error(f"reading the pod's interfaces failed: {error}") from None

    def _open(self, groups: int) -> socket.socket:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        try:
            opened = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        except OSError as error:
            raise self.error(f"a netlink socket can't be opened: {error}") from None
        try:
            opened.bind((0, groups))
        except OSError as error:
            opened.close()
            raise self.error(f"a netlink socket can't be bound: {error}") from None
        return opened


def _ends(kind: int, body: bytes) -> bool:
    if kind not in (rtnetlink.NLMSG_DONE, rtnetlink.NLMSG_ERROR):
        return False
    if number := rtnetlink.error_number(body):
        raise OSError(number, os.strerror(number))
    return True


def _receive(source: socket.socket) -> bytes:
    """Receive one datagram from the kernel; those of other processes are dropped."""
    while True:
        data, _, flags, sender = source.recvmsg(_BUFFER)
        if sender[0] != 0:
            continue
        if flags & socket.MSG_TRUNC:
            raise OSError(errno.EMSGSIZE, "a netlink message is too long")
        return data
