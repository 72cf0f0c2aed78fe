"""Interfaces, addresses and routes of the namespace that this process is in, by netlink (pyroute2)."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface, ip_interface, ip_network
from typing import Any

from pyroute2 import IPRoute

# linux/if_addr.h: no duplicate address detection, so that an IPv6 address can be used at once.
_IFA_F_NODAD = 0x02


class Links:
    """What a `Node` or a `Pod` asks of its namespace; interfaces are named, addresses are `a.b.c.d/len`.

    Every method raises OSError or pyroute2's NetlinkError as the kernel refuses.
    """

    def __init__(self) -> None:
        self._route = IPRoute()

    def close(self) -> None:
        """Close the netlink socket."""
        self._route.close()

    def up(self, name: str) -> None:
        """Set an interface up."""
        self._route.link("set", index=self._index(name), state="up")

    def down(self, name: str) -> None:
        """Set an interface down: IPv4 addresses stay, IPv6 addresses go."""
        self._route.link("set", index=self._index(name), state="down")

    def add_veth(self, name: str, peer: str, peer_pid: int, mac: str | None) -> None:
        """Make a veth pair: `name` here, `peer` with `mac` in the namespace of the process `peer_pid`."""
        end = {"ifname": peer, "net_ns_pid": peer_pid}
        if mac is not None:
            end["address"] = mac
        self._route.link("add", ifname=name, kind="veth", peer=end)

    def add_above(self, name: str, lower: str, kind: str, mac: str | None) -> None:
        """Create a `macvlan` or `ipvlan` device above another of this namespace, and set it up."""
        self._create(name, kind, mac, link=self._index(lower))

    def add_own(self, name: str, kind: str) -> None:
        """Create a device of the kind (`bridge`, `dummy`) that has nothing below it, and set it up."""
        self._create(name, kind, None)

    def _create(self, name: str, kind: str, mac: str | None, **more: int) -> None:
        given = {"address": mac} if mac is not None else {}
        self._route.link("add", ifname=name, kind=kind, **given, **more)
        self.up(name)

    def rename(self, name: str, to: str) -> None:
        """Rename an interface, up or down (Linux 6.2 renames one that is up; before, it goes down for it)."""
        index = self._index(name)
        try:
            self._route.link("set", index=index, ifname=to)
        except OSError:
            self._route.link("set", index=index, state="down")
            self._route.link("set", index=index, ifname=to)
            self._route.link("set", index=index, state="up")

    def set_mac(self, name: str, mac: str) -> None:
        """Change an interface's MAC."""
        self._route.link("set", index=self._index(name), address=mac)

    def delete(self, name: str) -> None:
        """Delete an interface, and with it the other end of a pair."""
        self._route.link("del", index=self._index(name))

    def add_address(self, name: str, address: str, *, detect: bool = False) -> None:
        """Add an address; IPv6 without duplicate address detection, unless with `detect`."""
        interface = ip_interface(address)
        flags = {"flags": _IFA_F_NODAD} if isinstance(interface, IPv6Interface) and not detect else {}
        self._route.addr("add", **self._address(name, interface), **flags)

    def delete_address(self, name: str, address: str) -> None:
        """Remove an address."""
        self._route.addr("del", **self._address(name, ip_interface(address)))

    def add_route(self, destination: str, name: str, gateway: str | None) -> None:
        """Add a route through an interface, directly or by a gateway."""
        network = ip_network(destination)
        parts: dict[str, Any] = {"dst": str(network), "oif": self._index(name)}
        if gateway is not None:
            parts["gateway"] = gateway
        elif network.version == 4:
            parts["scope"] = "link"
        self._route.route("add", **parts)

    def interfaces(self) -> dict[str, dict[str, Any]]:
        """All interfaces: name -> `mac` and `addresses` (as `a.b.c.d/len`, in the kernel's order)."""
        names: dict[int, str] = {}
        found: dict[str, dict[str, Any]] = {}
        for link in self._route.get_links():
            names[link["index"]] = link.get_attr("IFLA_IFNAME")
            found[names[link["index"]]] = {"mac": link.get_attr("IFLA_ADDRESS"), "addresses": []}
        for entry in self._route.get_addr():
            # IFA_LOCAL is the own address of a point-to-point interface, and IPv4's everywhere.
            address = entry.get_attr("IFA_LOCAL") or entry.get_attr("IFA_ADDRESS")
            found[names[entry["index"]]]["addresses"].append(f"{address}/{entry['prefixlen']}")
        return found

    def _index(self, name: str) -> int:
        indices = self._route.link_lookup(ifname=name)
        if not indices:
            raise OSError(f"there is no interface {name}")
        return int(indices[0])

    def _address(self, name: str, interface: IPv4Interface | IPv6Interface) -> dict[str, Any]:
        return {
            "index": self._index(name),
            "address": str(interface.ip),
            "prefixlen": interface.network.prefixlen,
        }
