"""What the kernel says of this network namespace, as the agent's own types."""

from __future__ import annotations

from multus_eni.ipagent.addresses import IPAddress, Snapshot
from multus_eni.ipagent.errors import AgentError
from multus_eni.ipagent.slim.netlink import REMEDY, Kernel
from multus_eni.ipagent.sources import rtnetlink


class NetlinkError(AgentError):
    """The kernel does not answer as it should."""

    remedy = REMEDY


class Netlink(Kernel):
    """Reads snapshots, and hears of address changes from its construction on."""

    error = NetlinkError

    def snapshot(self, *, routes: bool) -> Snapshot:
        """Read all links and addresses, and with `routes` those too; raises NetlinkError."""
        links, entries = self.links(), self.addresses()
        found = self.routes() if routes else []
        try:
            return Snapshot(
                links=tuple(map(rtnetlink.link, links)),
                addresses=tuple(entry for body in entries if (entry := rtnetlink.address(body))),
                routes=tuple(route for body in found for route in rtnetlink.routes(body)),
            )
        except rtnetlink.MalformedError as error:
            raise NetlinkError(f"the kernel's answer can't be read: {error}") from None

    def removed(self) -> frozenset[IPAddress]:
        """Take what has happened since the last call; gives the addresses that went away.

        They may be back. Where the kernel lost events (ENOBUFS) that is not known; a snapshot must do.
        Raises NetlinkError.
        """
        return frozenset(map(rtnetlink.unpacked, self.gone()))
