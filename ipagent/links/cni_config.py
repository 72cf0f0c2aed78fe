"""The CNI configuration of a network of prefixes: the text of its file. Pure; `cni_files` writes it.

Multus reads the configuration of a NetworkAttachmentDefinition with an empty spec from the node: the file of
its folder whose `name` is that of the NetworkAttachmentDefinition (multus-cni, "Configuration reference",
confDir). It is ipvlan with the IPAM plugin host-local, which hands out all addresses of the ranges and keeps
a file for each address in use (containernetworking/plugins, host-local). The name is host-local's for its
state, too: two configurations for one ENI would hand out the same addresses, and so a network has one.
"""

from __future__ import annotations

import json
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from ipagent.links.pool import Pool

CNI_VERSION = "0.3.1"
FILE_PREFIX, FILE_SUFFIX = "99-multus-eni-", ".conflist"
"""Behind the cluster's own network, in folders that the container runtime reads, too."""
Network = IPv4Network | IPv6Network


def file_name(network: str) -> str:
    """Return the name of a network's configuration."""
    return f"{FILE_PREFIX}{network}{FILE_SUFFIX}"


def configuration(pool: Pool, master: str, data: str) -> str | None:
    """Return the configuration, None while a family has no prefix of a known subnet.

    `master` is the interface's name, `data` the folder for host-local's state.
    """
    ranges = [_ranges(pool, family) for family in pool.families]
    if not ranges or not all(ranges):
        return None
    ipam: dict[str, Any] = {"type": "host-local", "dataDir": data, "ranges": ranges}
    if pool.routes:
        ipam["routes"] = [
            {"dst": dst, **({"gw": gateway} if gateway else {})} for dst, gateway in pool.routes
        ]
    plugin = {"type": "ipvlan", "master": master, "mode": "l2", "ipam": ipam}
    return json.dumps({"cniVersion": CNI_VERSION, "name": pool.network, "plugins": [plugin]}, indent=1) + "\n"


def _ranges(pool: Pool, family: int) -> list[dict[str, str]]:
    subnets = [each for cidr in pool.cidrs if (each := ip_network(cidr)).version == family]
    found: list[dict[str, str]] = []
    for prefix in pool.active:
        block = ip_network(prefix)
        subnet = next((each for each in subnets if _inside(block, each)), None)
        if subnet is None:
            continue
        span = {"subnet": str(subnet), "rangeStart": str(block[0]), "rangeEnd": str(block[-1])}
        found.append(span | ({"gateway": str(subnet[1])} if pool.router and family == 4 else {}))
    return found


def _inside(block: Network, subnet: Network) -> bool:
    return block.version == subnet.version and block[0] in subnet and block[-1] in subnet
