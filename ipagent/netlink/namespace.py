"""The interfaces, addresses and routes of this network namespace, as the engine's own types."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

from ipagent.assign.addresses import Detection, IPAddress, Link, LinkAddress, Route, Snapshot
from ipagent.assign.errors import AgentError
from ipagent.netlink import rtnetlink
from ipagent.netlink.sockets import REMEDY, NetlinkSocket


class NetlinkError(AgentError):
    """The kernel's answer is an error, or cannot be read."""

    remedy = REMEDY


class Netlink(NetlinkSocket):
    """Takes snapshots, and receives address changes from its construction on."""

    error = NetlinkError

    def snapshot(self, *, routes: bool) -> Snapshot:
        """Read all links and addresses, and with `routes` the routes too; raises NetlinkError."""
        links, entries = self.links(), self.addresses()
        found = self.routes() if routes else []
        try:
            return Snapshot(
                links=tuple(map(link, links)),
                addresses=tuple(entry for body in entries if (entry := address(body))),
                routes=tuple(route for body in found for route in unicast_routes(body)),
            )
        except rtnetlink.MalformedError as error:
            raise NetlinkError(f"the kernel's answer can't be read: {error}") from None

    def removed(self) -> frozenset[IPAddress]:
        """Return the addresses that were removed since the last call; they may be back.

        Where the kernel lost events (ENOBUFS), a snapshot must do instead. Raises NetlinkError.
        """
        return frozenset(map(unpack, self.gone()))


def link(body: bytes) -> Link:
    """Read an RTM_NEWLINK; raises MalformedError."""
    index, name, mac, loopback, local, lower = rtnetlink.link(body)
    return Link(index, name, mac, loopback=loopback, local=local, lower=lower)


def address(body: bytes) -> LinkAddress | None:
    """Read an RTM_NEWADDR or RTM_DELADDR; None for a family other than IP. Raises MalformedError."""
    found = rtnetlink.address(body)
    if found is None:
        return None
    index, packed, scope, flags = found
    return LinkAddress(index, unpack(packed), scope, Detection.from_flags(flags))


def unicast_routes(body: bytes) -> tuple[Route, ...]:
    """Read an RTM_NEWROUTE, one route per next hop; empty unless a unicast route of the main table."""
    return tuple(
        Route(index, ip_network((base, bits), strict=False)) for index, base, bits in rtnetlink.routes(body)
    )


def unpack(packed: bytes) -> IPAddress:
    """Read an address of 4 or 16 bytes."""
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)
