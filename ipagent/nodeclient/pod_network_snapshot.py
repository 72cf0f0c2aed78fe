"""Snapshot of the pod's network, as the container sends it to the node agent."""

from __future__ import annotations

from _socket import (  # socket would make enums of its constants: a tenth of the start
    AF_INET,
    AF_INET6,
    inet_ntop,
)

from ipagent import node_protocol
from ipagent.netlink import rtnetlink
from ipagent.netlink.sockets import KernelError, NetlinkSocket
from ipagent.node_protocol import StatementKey

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def take_snapshot(
    kernel: NetlinkSocket, *, routes: bool, named: Sequence[str] | None = None
) -> dict[str, Any]:
    """Read the links, the addresses, and with `routes` those that tell which interface is the default one.

    Addresses of global scope, default routes and those to one host: nothing else can matter to a VPC, and a
    link-local address that comes up is no news. What of it counts is not decided here, save that with `named`
    the addresses of other devices that the pod has made itself, such as tunnels, are left out. Raises
    KernelError.
    """
    links, entries = kernel.links(), kernel.addresses()
    found = kernel.routes() if routes else []
    try:
        read = [rtnetlink.link(body) for body in links]
        below = {index: lower for index, _, _, _, _, lower in read if lower}
        own: set[int] = set()
        if named is not None:
            own = {
                index
                for index, name, _, _, local, lower in read
                if local and not lower and _by_pod(name, named)
            }
        seen: dict[str, Any] = {
            StatementKey.LINKS: [_link(*each) for each in read],
            StatementKey.ADDRESSES: [
                _address(below, *entry)
                for body in entries
                if (entry := _global(body)) and entry[0] not in own
            ],
        }
        if routes:
            telling = [route for body in found for route in rtnetlink.routes(body) if _tells(*route)]
            seen[StatementKey.ROUTES] = [_route(*route) for route in telling[: node_protocol.MAX_ROUTES]]
    except rtnetlink.MalformedError as error:
        raise KernelError(f"the kernel's answer cannot be read: {error}") from None
    return seen


def removed_addresses(kernel: NetlinkSocket) -> list[str]:
    """Return the addresses that were removed since the last call; raises KernelError."""
    return [text(packed) for packed in sorted(kernel.gone())]


def text(packed: bytes) -> str:
    """Write an address of 4 or 16 bytes."""
    return inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed)


def _by_pod(name: str, named: Sequence[str]) -> bool:
    """Whether a device that was created in the pod is not one of a Multus network, going by its name."""
    return name not in named and not (name.startswith("net") and name[3:].isdigit())


def _link(index: int, name: str, mac: str, loopback: bool, *_: object) -> dict[str, Any]:
    return {
        StatementKey.INDEX: index,
        StatementKey.NAME: name,
        StatementKey.MAC: mac,
        StatementKey.LOOPBACK: loopback,
    }


def _global(body: bytes) -> tuple[int, bytes, int, int] | None:
    entry = rtnetlink.address(body)
    return entry if entry and entry[2] == rtnetlink.RT_SCOPE_UNIVERSE else None


def _address(below: dict[int, int], index: int, packed: bytes, scope: int, flags: int) -> dict[str, Any]:
    # An address on a macvlan or ipvlan device that the pod has made, such as keepalived's vrrp.51, is reached
    # by the device below it.
    for _ in below:
        index = below.get(index, index)
    return {
        StatementKey.INDEX: index,
        StatementKey.ADDRESS: text(packed),
        StatementKey.SCOPE: scope,
        StatementKey.FLAGS: flags,
    }


def _tells(index: int, base: bytes, bits: int) -> bool:
    del index
    return bits in (0, 8 * len(base))


def _route(index: int, base: bytes, bits: int) -> dict[str, Any]:
    return {StatementKey.INDEX: index, StatementKey.DESTINATION: f"{text(base)}/{bits}"}
