"""Reads what checks need of NetworkAttachmentDefinitions: plugin, master, and the ranges of their IPAM."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from check.model import Object, Resource, as_objects, text_of
from common.object_fields import as_map
from ipagent.assign.addresses import IPAddress, IPNetwork

WHEREABOUTS = "whereabouts"
HOST_LOCAL = "host-local"
LOCAL_PLUGINS = ("bridge", "dummy", "loopback", "ptp", "tap")
"""Plugins that join pods of one node: they take no ENI, or the VPC does not deliver to their MACs."""


@dataclass(frozen=True, slots=True)
class Range:
    """Addresses from `first` to `last` that an IPAM hands out; `text` is what the network says."""

    text: str
    first: IPAddress
    last: IPAddress

    def overlaps(self, other: Range) -> bool:
        """Return whether an address lies in both."""
        if self.first.version != other.first.version:
            return False
        return int(self.first) <= int(other.last) and int(other.first) <= int(self.last)

    def within(self, network: IPNetwork) -> bool:
        """Return whether the network contains all of it."""
        return self.first in network and self.last in network


@dataclass(frozen=True, slots=True)
class Network:
    """A NetworkAttachmentDefinition. `problem` says why its configuration can't be read.

    `plugin` is the type of its first plugin, empty where the configuration is in a file on the nodes.
    `ipam` is the plugin's `ipam`, with the network's name as `name`. `has_own_mac`: its pods have a MAC that
    no ENI has.
    """

    key: str
    problem: str = ""
    plugin: str = ""
    master: str = ""
    ipam: Object = field(default_factory=dict)
    ranges: tuple[Range, ...] = ()
    name: str = ""
    has_own_mac: bool = False

    @property
    def is_local(self) -> bool:
        """Whether its pods reach their own node alone, so that its addresses are none of the VPC's."""
        return self.plugin in LOCAL_PLUGINS

    @property
    def pool(self) -> str:
        """The NodeSlicePool of whereabouts (`getSliceName`, pkg/storage/kubernetes)."""
        return text_of(self.ipam.get("network_name")) or self.name

    @property
    def allocator(self) -> tuple[str, str]:
        """What hands out its addresses: two networks of one allocator never get the same address.

        whereabouts keeps one pool for a range and a `network_name`, and by default one register of all
        addresses (`enable_overlapping_ranges`); host-local keeps files by network name on each node.
        """
        kind = text_of(self.ipam.get("type"))
        if kind != WHEREABOUTS:
            return kind, self.key
        group = text_of(self.ipam.get("network_name"))
        if self.ipam.get("enable_overlapping_ranges") is False:
            return kind, f"{group} {' '.join(each.text for each in self.ranges)}"
        return kind, group


def read_network(resource: Resource) -> Network:
    """Read one; raises nothing."""
    text = resource.spec.get("config") or ""
    if not text:
        return Network(resource.key)
    try:
        config = json.loads(str(text))
    except (ValueError, RecursionError) as error:
        return Network(resource.key, problem=f"spec.config is not JSON: {error}")
    if not isinstance(config, dict):
        return Network(resource.key, problem="spec.config is not a JSON object")
    plugins = as_objects(config.get("plugins")) or [config]
    plugin = plugins[0]
    if not isinstance(plugin.get("type"), str) or not plugin["type"]:
        return Network(resource.key, problem="spec.config names no plugin: `type` is missing")
    ipam = as_map(plugin.get("ipam"))
    try:
        ranges = tuple(_ranges(ipam))
    except ValueError as error:
        return Network(resource.key, problem=f"spec.config: ipam: {error}")
    return Network(
        key=resource.key,
        plugin=plugin["type"],
        master=text_of(plugin.get("master")) or text_of(plugin.get("device")),
        ipam=ipam,
        ranges=ranges,
        name=text_of(config.get("name")) or resource.name,
        has_own_mac=plugin["type"] == "bridge"
        # In this mode the one pod has the MAC of the master (containernetworking/plugins, macvlan).
        or (plugin["type"] == "macvlan" and plugin.get("mode") != "passthru"),
    )


def _ranges(ipam: Object) -> Iterator[Range]:
    """Read the ranges of whereabouts (`range`, `ipRanges`) and host-local (`subnet`, `ranges`)."""
    if ipam.get("type") == WHEREABOUTS:
        for each in (ipam, *as_objects(ipam.get("ipRanges"))):
            if each.get("range"):
                yield _range(text_of(each["range"]), each.get("range_start"), each.get("range_end"))
    elif ipam.get("type") == HOST_LOCAL:
        sets = ipam.get("ranges")
        nested = (
            [each for part in sets if isinstance(part, list) for each in part]
            if isinstance(sets, list)
            else []
        )
        for each in (ipam, *as_objects(nested)):
            if each.get("subnet"):
                yield _range(text_of(each["subnet"]), each.get("rangeStart"), each.get("rangeEnd"))


def _range(text: str, first: Any, last: Any) -> Range:
    start, dash, rest = text.partition("-")
    if dash:
        # whereabouts: "10.0.0.5-10.0.0.9/24"
        network = ipaddress.ip_network(rest, strict=False)
        first, last = start, rest.partition("/")[0]
    else:
        network = ipaddress.ip_network(text, strict=False)
    begin = ipaddress.ip_address(text_of(first)) if first else network[0]
    end = ipaddress.ip_address(text_of(last)) if last else network[-1]
    return Range(text, begin, end)


def attached_addresses(annotations: Mapping[str, str]) -> tuple[tuple[str, IPAddress], ...]:
    """Read from `network-status` the pod's Multus addresses, each with its network (`namespace/name`)."""
    return tuple(
        (text_of(entry.get("name")), address)
        for entry in _attachments(annotations)
        for address in _addresses(entry.get("ips"))
    )


def attached_interfaces(annotations: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Read from `network-status` the pod's Multus interfaces, each with its network (`namespace/name`)."""
    return tuple(
        (text_of(each.get("name")), text_of(each.get("interface"))) for each in _attachments(annotations)
    )


def _attachments(annotations: Mapping[str, str]) -> list[Object]:
    """Return the entries of `network-status`, save those of the cluster's default network."""
    try:
        found = json.loads(annotations.get("k8s.v1.cni.cncf.io/network-status") or "[]")
    except (ValueError, RecursionError):
        return []
    entries = as_objects(found)
    default = {text_of(entry.get("name")) for entry in entries if entry.get("default")}
    return [each for each in entries if text_of(each.get("name")) not in default and not each.get("default")]


def _addresses(found: object) -> Iterator[IPAddress]:
    for text in found if isinstance(found, list) else ():
        try:
            yield ipaddress.ip_address(text_of(text).partition("/")[0])
        except ValueError:
            continue
