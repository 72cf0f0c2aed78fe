"""NodeAttachments as `links` reads them, and the status that it writes. Pure; wire: `node_network_api`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

from common.shorten import shortened
from ipagent.links.plan import LinkStatus, WantedLink
from ipagent.links.pool import Pool, read_pool, read_status, status_object
from ipagent.node_network_api import with_status

MAX_MESSAGE = 1024
"""Characters of `status.link.message`, as the schema has it."""


@dataclass(frozen=True, slots=True)
class LinkAttachment:
    """A NodeAttachment of this node: what its interface shall be like, and what was reported last."""

    name: str
    wanted: WantedLink
    reported: LinkStatus | None = None
    pool: Pool | None = None


def read_attachment(found: Mapping[str, Any]) -> LinkAttachment | None:
    """Read an object that the API server has checked against its schema.

    None if no ENI is attached yet, or the attachment is being deleted: its interface is about to go.
    """
    metadata, spec, status = found["metadata"], found["spec"], found.get("status") or {}
    mac = status.get("mac")
    if not mac or "deletionTimestamp" in metadata:
        return None
    link, name = spec.get("link") or {}, str(metadata["name"])
    wanted = WantedLink(
        attachment=name,
        mac=str(mac),
        name=str(link.get("name") or spec["network"]),
        rename=link.get("rename") == "Name",
        mtu=int(link.get("mtu", 0)),
        address=str(status.get("address", "")),
        ipv6_addresses=tuple(str(ip_address(each)) for each in status.get("ipv6Addresses") or ()),
    )
    return LinkAttachment(name, wanted, _reported(status), read_pool(spec, status))


def _reported(status: Mapping[str, Any]) -> LinkStatus | None:
    link = status.get("link")
    if link is None:
        return None
    return LinkStatus(
        mac=str(link.get("mac", "")),
        name=str(link.get("name", "")),
        up=link.get("up") is True,
        mtu=int(link.get("mtu", 0)),
        message=str(link.get("message", "")),
        pool=read_status(status.get("pool")),
        host_addresses=tuple(map(str, link.get("hostAddresses") or ())),
        name_owner=str(link.get("nameOwner", "")),
    )


def fit_to_schema(status: LinkStatus) -> LinkStatus:
    """Return the status with a message that the schema takes."""
    message = shortened(status.message, MAX_MESSAGE)
    return status if message == status.message else replace(status, message=message)


def status_body(name: str, status: LinkStatus) -> dict[str, Any]:
    """Return the server-side apply of `status.link` and `status.pool`."""
    link: dict[str, Any] = {
        "mac": status.mac,
        "name": status.name,
        "up": status.up,
        "mtu": status.mtu,
        "message": status.message,
    }
    if status.host_addresses:
        link["hostAddresses"] = list(status.host_addresses)
    if status.name_owner:
        link["nameOwner"] = status.name_owner
    pool = {"pool": status_object(status.pool)} if status.pool is not None else {}
    return with_status("NodeAttachment", name, {"link": link, **pool})
