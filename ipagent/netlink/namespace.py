"""What the kernel says of this network namespace, as the agent's own types."""

from __future__ import annotations

from ipagent.assign.errors import AgentError
from ipagent.assign.selection import IPAddress, Snapshot
from ipagent.netlink import detection
from ipagent.netlink.sockets import REMEDY, NetlinkSocket


class NetlinkError(AgentError):
    """The kernel does not answer as it should."""

    remedy = REMEDY


class Netlink(NetlinkSocket):
    """Reads snapshots, and hears of address changes from its construction on."""

    error = NetlinkError

    def snapshot(self, *, routes: bool) -> Snapshot:
        """Read all links and addresses, and with `routes` those too; raises NetlinkError."""
        links, entries = self.links(), self.addresses()
        found = self.routes() if routes else []
        try:
            return Snapshot(
                links=tuple(map(detection.link, links)),
                addresses=tuple(entry for body in entries if (entry := detection.address(body))),
                routes=tuple(route for body in found for route in detection.routes(body)),
            )
        except detection.MalformedError as error:
            raise NetlinkError(f"the kernel's answer can't be read: {error}") from None

    def removed(self) -> frozenset[IPAddress]:
        """Take what has happened since the last call; gives the addresses that went away.

        They may be back. Where the kernel lost events (ENOBUFS) that is not known; a snapshot must do.
        Raises NetlinkError.
        """
        return frozenset(map(detection.unpacked, self.gone()))
